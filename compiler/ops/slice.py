"""Ops that cut arrays out of each other and put them together: slice, pad, concat and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.errors import ArgumentError, DTypeError, RunError, ShapeError
from staticnet.compiler.ir import Layout, Node, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, function, lift, normalize_axes, normalize_axis
from staticnet.compiler.ops.shape import Move, expand_dims

Bounds = tuple[Size, Size, int]


def range_size(start: Size, stop: Size, step: int) -> Size:
    """The length of `range(start, stop, step)`, whose bounds may be symbolic."""
    distance, stride = (stop - start, step) if step > 0 else (start - stop, -step)
    return dims.maximum(dims.ceil_div(distance, stride), 0)


class _Sliced(Move, abstract=True):
    """Base of the slice and its transpose: along each axis the positions `range(start, stop, step)`.

    A negative step runs down to a stop of -1 at the least. A bound may lie beyond the axis where the range is empty.
    """

    starts: tuple[Size, ...]
    stops: tuple[Size, ...]
    steps: tuple[int, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        return tuple(map(range_size, self.starts, self.stops, self.steps))

    @property
    def index(self) -> tuple[slice, ...]:
        """NumPy's index of the positions, once the bounds are numbers and no range is empty."""
        bounds: Any = zip(self.starts, self.stops, self.steps, strict=True)
        return tuple(slice(start, None if stop < 0 else stop, step) for start, stop, step in bounds)

    def out_of_range(self, shape: Shape) -> str | None:
        """What is wrong with the ranges in an array of `shape`, as far as numbers tell."""
        for axis, (start, size, step, n) in enumerate(zip(self.starts, self.sizes, self.steps, shape, strict=True)):
            if isinstance(start, Dim) or isinstance(size, Dim) or isinstance(n, Dim) or size == 0:
                continue
            last = start + (size - 1) * step
            if min(start, last) < 0 or max(start, last) >= n:
                wanted = f"element {start}" if size == 1 else f"the range from {start} to {last}"
                return f"slice: {wanted} of axis {axis} of an array of shape {format_shape(shape)} does not exist"
        return None


class Slice(_Sliced):
    """The elements at regular steps along each axis."""

    def infer(self, x: Type) -> Type:
        if not len(self.starts) == len(self.stops) == len(self.steps) == x.ndim:
            raise ShapeError(f"slice: {self} does not fit the {x.ndim} axes of {format_shape(x.shape)}")
        problem = self.out_of_range(x.shape)
        if problem:
            raise ShapeError(problem)
        return x.with_shape(self.sizes)

    def view(self, layout: Layout, shape: tuple[int, ...]) -> Layout:
        self.check(layout.shape)
        strides = tuple(stride * step for stride, step in zip(layout.strides, self.steps, strict=True))
        if 0 in shape:
            return Layout(shape, strides, layout.offset)
        first = sum(int(start) * stride for start, stride in zip(self.starts, layout.strides, strict=True))
        return Layout(shape, strides, layout.offset + first)

    def check(self, shape: tuple[int, ...]) -> None:
        # `x[0]` has a shape whatever the size of its axis, so an empty one is found only when it is met.
        problem = self.out_of_range(shape)
        if problem:
            raise RunError(problem)

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        self.check(x.shape)
        if out.size:
            xp.copyto(out, x[self.index])

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (apply(SliceScatter(shape=x.shape, starts=self.starts, stops=self.stops, steps=self.steps), g),)


class SliceScatter(_Sliced):
    """Zeros of `shape` with the operand laid over a slice of them: the transpose of Slice."""

    shape: Shape

    def infer(self, x: Type) -> Type:
        if not dims.same_shape(x.shape, self.sizes):
            raise ShapeError(f"slice_scatter: a slice of {format_shape(self.sizes)} takes no {format_shape(x.shape)}")
        return x.with_shape(self.shape)

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        if x.size != out.size:
            out.fill(0)
        if x.size:
            out[self.index] = x

    def expand(self, x: Node) -> Node:
        for axis, n in enumerate(self.shape):
            x = _placed(x, axis, self.starts[axis], self.steps[axis], n)
        return x

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (apply(Slice(starts=self.starts, stops=self.stops, steps=self.steps), g),)


def _placed(x: Node, axis: int, start: Size, step: int, n: Size) -> Node:
    """`x` spread out along one axis from `start` on by `step`, among zeros, to size `n`."""
    size = x.shape[axis]
    if step < 0:
        x, start, step = flip(x, axis), start + (size - 1) * step, -step
    if step > 1:
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        apart = _padded(F.reshape(x, (*before, size, 1, *after)), axis + 1, 0, step - 1)
        spread = F.reshape(apart, (*before, size * step, *after))
        size = dims.maximum(size * step - (step - 1), 0)
        x = cut(spread, axis, 0, size)
    # The start of an empty range may lie beyond the end.
    low = dims.minimum(start, n - size)
    return _padded(x, axis, low, n - size - low)


def _padded(x: Node, axis: int, low: Size, high: Size) -> Node:
    if dims.same(low, 0) and dims.same(high, 0):
        return x
    lows: list[Size] = [0] * x.ndim
    highs: list[Size] = [0] * x.ndim
    lows[axis], highs[axis] = low, high
    return apply(Pad(low=tuple(lows), high=tuple(highs), value=0), x)


def slice_axes(x: Node, bounds: Sequence[Bounds]) -> Node:
    """`x` cut to one (start, stop, step) per axis; `x` itself when that is everything."""
    whole = [dims.same_shape(axis_bounds, (0, n, 1)) for axis_bounds, n in zip(bounds, x.shape, strict=True)]
    if all(whole):
        return x
    starts, stops, steps = zip(*bounds, strict=True)
    return apply(Slice(starts=starts, stops=stops, steps=steps), x)


def cut(x: Node, axis: int, start: Size, stop: Size, step: int = 1) -> Node:
    """`x` cut along one axis."""
    bounds: list[Bounds] = [(0, n, 1) for n in x.shape]
    bounds[axis] = (start, stop, step)
    return slice_axes(x, bounds)


def slice_bounds(given: slice, n: Size) -> Bounds:
    """A Python slice of an axis of size `n`, its bounds counted from the front.

    A symbolic bound counts from the front, unless it is known to be negative.
    """
    start, stop, step = (
        value if value is None or isinstance(value, Dim) else _whole(value)
        for value in (given.start, given.stop, given.step)
    )
    step = 1 if step is None else step
    if isinstance(step, Dim) or step == 0:
        raise ArgumentError(f"the step of a slice must be a number other than 0, not {step}")
    if not any(isinstance(value, Dim) for value in (n, start, stop)):
        first, end, step = slice(start, stop, step).indices(n)  # type: ignore[arg-type]
        return first, (max if step > 0 else min)(first, end), step
    if step > 0:
        return _from_front(start, n, 0), _clamped(stop, n, n, 0), step
    return _clamped(start, n, n - 1, -1), _clamped(stop, n, -1, -1), step


def _whole(value: Any) -> int:
    if isinstance(value, Node):
        raise ArgumentError(
            "the bounds of a slice must be known before the run, for the size of the result depends on them; "
            "take elements at computed positions with an array of indices"
        )
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ArgumentError(f"the bounds of a slice are whole numbers, not {value!r}")
    return int(value)


def _from_front(start: Size | None, n: Size, default: Size) -> Size:
    """A first position, left beyond the end where it lies there; the stop then makes the range empty."""
    if start is None:
        return default
    return n - dims.minimum(-start, n) if dims.at_least(start, 0) is False else dims.maximum(start, 0)


def _clamped(bound: Size | None, n: Size, default: Size, least: int) -> Size:
    if bound is None:
        return default
    if dims.at_least(bound, 0) is False:
        return dims.maximum(n + bound, least)
    return dims.maximum(dims.minimum(bound, n + least), least)


@function("flip")
def flip(x: Any, axis: Any = None) -> Node:
    """`x` with its elements in reverse order along `axis`: an int, several, or None for all."""
    x = as_node(x)
    axes = normalize_axes("flip", axis, x.ndim)
    return slice_axes(x, [(n - 1, -1, -1) if k in axes else (0, n, 1) for k, n in enumerate(x.shape)])


@function("split")
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> tuple[Node, ...]:
    """`x` cut along `axis` into that many equal parts, or at the positions given, as NumPy's split.

    (PyTorch's split takes sizes instead.)
    """
    x = as_node(x)
    axis = normalize_axis("split", axis, x.ndim)
    n = x.shape[axis]
    if hasattr(indices_or_sections, "__index__"):
        count = int(indices_or_sections)
        part = dims.divide_exact(n, count) if count > 0 else None
        if part is None:
            raise ShapeError(f"split: axis {axis} of size {n} is not known to divide into {count} equal parts")
        return tuple(cut(x, axis, k * part, (k + 1) * part) for k in range(count))
    edges = [None, *indices_or_sections, None]
    return tuple(cut(x, axis, *slice_bounds(slice(*pair), n)) for pair in pairwise(edges))


# -- pad --------------------------------------------------------------------------------------


class Pad(Move):
    """The operand with `low` elements before and `high` elements after it along each axis, all equal to `value`."""

    low: tuple[Size, ...]
    high: tuple[Size, ...]
    value: float | int | bool = 0
    onnx = "Pad"

    def infer(self, x: Type) -> Type:
        if not len(self.low) == len(self.high) == x.ndim:
            raise ShapeError(f"pad: widths for {len(self.low)} axes do not fit {format_shape(x.shape)}")
        return x.with_shape(low + n + high for low, n, high in zip(self.low, x.shape, self.high, strict=True))

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        middle = tuple(slice(low, low + n) for low, n in zip(self.low, x.shape, strict=True))
        for axis, inside in enumerate(middle):
            before = middle[:axis]
            out[(*before, slice(None, inside.start))] = self.value
            out[(*before, slice(inside.stop, None))] = self.value
        out[middle] = x

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (slice_axes(g, [(low, low + n, 1) for low, n in zip(self.low, x.shape, strict=True)]),)


@function("pad")
def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: float | int | bool = 0) -> Node:
    """`x` with `constant_values` around it.

    `pad_width` is one (before, after) per axis, one pair for all axes, or one number for all sides.
    Sizes may be symbolic; negative widths are refused.
    """
    x = as_node(x)
    if mode != "constant":
        raise ArgumentError(f"pad: the mode {mode!r} is not known; there is 'constant'")
    pairs = _pad_pairs(pad_width, x.ndim)
    for size in (size for pair in pairs for size in pair):
        if not dims.at_least(size, 0):
            raise ShapeError(f"pad: no width may be negative; {size} {'is' if dims.is_static(size) else 'can be'}")
    if all(dims.same(size, 0) for pair in pairs for size in pair):
        return x
    if dtypes.promote_scalar(x.dtype, constant_values) != x.dtype:
        raise DTypeError(f"pad: the value {constant_values!r} does not fit {x.dtype}; cast one of them")
    low, high = zip(*pairs, strict=True)
    return apply(Pad(low=low, high=high, value=x.dtype.numpy.type(constant_values).item()), x)


def _pad_pairs(pad_width: Any, ndim: int) -> list[Shape]:
    """One (before, after) per axis, from any of the forms that NumPy takes."""
    if isinstance(pad_width, Dim) or hasattr(pad_width, "__index__"):
        return [_size_pair((pad_width, pad_width))] * ndim
    given = list(pad_width)
    if given and all(isinstance(size, Dim) or hasattr(size, "__index__") for size in given):
        return [_size_pair(given)] * ndim
    pairs = [_size_pair(pair) for pair in given]
    if len(pairs) == 1:
        return pairs * ndim
    if len(pairs) != ndim:
        raise ShapeError(f"pad: pad_width {pad_width} has {len(pairs)} pairs for {ndim} axes")
    return pairs


def _size_pair(given: Any) -> Shape:
    pair = tuple(map(dims.as_size, (given,) if isinstance(given, Dim) or hasattr(given, "__index__") else given))
    if len(pair) not in (1, 2):
        raise ShapeError(f"pad: (before, after) is a pair, not {format_shape(pair)}")
    return (pair[0], pair[-1])


# -- concat -----------------------------------------------------------------------------------


class Concat(Move):
    """The operands one after the other along `axis`."""

    axis: int
    onnx = "Concat"

    def infer(self, *types: Type) -> Type:
        first, axis = types[0], self.axis
        if not 0 <= axis < first.ndim:
            raise ShapeError(f"concat: axis {axis} is out of range for {format_shape(first.shape)}")
        size: Size = 0
        for type in types:
            if type.dtype != first.dtype:
                raise DTypeError(f"concat: operands of types {', '.join(map(repr, types))} have different dtypes")
            others = (*type.shape[:axis], *type.shape[axis + 1 :])
            if type.ndim != first.ndim or not dims.same_shape(others, (*first.shape[:axis], *first.shape[axis + 1 :])):
                raise ShapeError(
                    f"concat: {' and '.join(format_shape(t.shape) for t in types)} must agree on every axis but {axis}"
                )
            size = size + type.shape[axis]
        return first.with_shape((*first.shape[:axis], size, *first.shape[axis + 1 :]))

    def kernel(self, xp: Any, *arrays: Any, out: Any, scratch: Any) -> None:
        xp.concatenate(arrays, axis=self.axis, out=out)

    def grad(self, g: Node, y: Node, *inputs: Node) -> tuple:
        parts: list[Node] = []
        start: Size = 0
        for x in inputs:
            stop = start + x.shape[self.axis]
            parts.append(cut(g, self.axis, start, stop))
            start = stop
        return tuple(parts)


@function("concat")
def concat(values: Sequence[Any], axis: int = 0) -> Node:
    """The `values` one after the other along `axis`; their other sizes must be equal, dtypes promote."""
    values = _several("concat", values)
    nodes = lift(*values)
    axis = normalize_axis("concat", axis, nodes[0].ndim)
    return nodes[0] if len(nodes) == 1 else apply(Concat(axis=axis), *nodes)


@function("concatenate")
def concatenate(values: Sequence[Any], axis: int = 0) -> Node:
    """`concat` under NumPy's name."""
    return concat(values, axis)


@function("stack")
def stack(values: Sequence[Any], axis: int = 0) -> Node:
    """The `values`, of one shape, one after the other along a new `axis`; dtypes promote."""
    nodes = lift(*_several("stack", values))
    for node in nodes:
        if not dims.same_shape(node.shape, nodes[0].shape):
            raise ShapeError(f"stack: {format_shape(nodes[0].shape)} and {format_shape(node.shape)} must be equal")
    return concat([expand_dims(node, axis) for node in nodes], axis)


def _several(op: str, values: Any) -> Sequence[Any]:
    if isinstance(values, Node):
        raise ArgumentError(f"{op} takes a list of values, not one value")
    values = list(values)
    if not values:
        raise ArgumentError(f"{op} takes at least one value; the list is empty")
    return values
