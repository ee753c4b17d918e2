"""Ops that only look at the same elements in another way: reshape, transpose, broadcast and their relatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.errors import ArgumentError, ShapeError, UndecidableSizeError
from staticnet.compiler.ir import Layout, Node, Op, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import as_node, as_shape, function, normalize_axes, normalize_axis, sum_to


class Move(Op, abstract=True):
    """Base of ops that move elements and compute nothing."""

    def flops(self, out: Any, *types: Type) -> Size:
        return 0


# -- reshape ----------------------------------------------------------------------------------


class Reshape(Move):
    """The same elements, in row-major order, in another shape."""

    shape: Shape
    onnx = "Reshape"

    def infer(self, x: Type) -> Type:
        if not dims.same(x.size, dims.product(self.shape)):
            raise ShapeError(
                f"reshape: {format_shape(x.shape)} holds {x.size} elements and {format_shape(self.shape)} "
                f"{dims.product(self.shape)}: they must be equal{for_all_sizes(x.size, *self.shape)}"
            )
        return x.with_shape(self.shape)

    def view(self, layout: Layout, shape: tuple[int, ...]) -> Layout | None:
        return reshape_layout(layout, shape)

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        # The output is dense, so it can be seen in the operand's shape, however that one lies.
        xp.copyto(out.reshape(x.shape), x)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (reshape(g, x.shape),)


def for_all_sizes(*sizes: Size) -> str:
    """What a message adds when a check failed for some values of the symbols only."""
    names = sorted(frozenset().union(*map(dims.symbols, sizes)))
    return f" for every value of {', '.join(f'`{name}`' for name in names)}" if names else ""


def reshape_layout(layout: Layout, new_shape: tuple[int, ...]) -> Layout | None:
    """The layout of a reshaped view, or None when the elements do not lie so that one pair of strides fits.

    The axes fall into groups of equal size, as small as possible, from the old shape and the new one;
    a group is a view exactly when its old axes can be merged into one.
    """
    if 0 in layout.shape:
        return Layout(new_shape, Layout.dense(new_shape).strides, layout.offset)
    old = [(size, stride) for size, stride in zip(layout.shape, layout.strides, strict=True) if size != 1]
    strides = [0] * len(new_shape)
    first = axis = 0
    while first < len(old):
        last, merged, start, wanted = first, old[first][0], axis, 1
        while wanted != merged:
            if wanted < merged:
                wanted, axis = wanted * new_shape[axis], axis + 1
            else:
                last += 1
                merged *= old[last][0]
        if any(old[k][1] != old[k + 1][1] * old[k + 1][0] for k in range(first, last)):
            return None
        step = old[last][1]
        for k in reversed(range(start, axis)):
            strides[k] = step
            step *= new_shape[k]
        first = last + 1
    return Layout(new_shape, tuple(strides), layout.offset)


@function("reshape")
def reshape(x: Any, shape: Any) -> Node:
    """The elements of `x`, in row-major order, in another shape; one size may be -1 and is worked out.

    Sizes may be symbolic; then the number of elements must be equal for all of their values.
    """
    x = as_node(x)
    sizes = list((shape,) if isinstance(shape, Dim) or hasattr(shape, "__index__") else shape)
    unknown = [axis for axis, size in enumerate(sizes) if not isinstance(size, Dim) and size == -1]
    if len(unknown) > 1:
        raise ShapeError(f"reshape: only one size can be -1, not {len(unknown)}: {format_shape(sizes)}")
    for axis in unknown:
        rest = dims.product(as_shape("reshape", sizes[:axis] + sizes[axis + 1 :]))
        sizes[axis] = _missing_size(x.shape, sizes, rest)
    return _reshape(x, as_shape("reshape", sizes))


def _missing_size(old: Shape, sizes: Sequence[Size], rest: Size) -> Size:
    total = dims.product(old)
    if not isinstance(rest, Dim) and rest == 0:
        raise ShapeError(f"reshape: beside a size of 0 the -1 in {format_shape(sizes)} could be anything; write it out")
    found = dims.divide_exact(total, rest)
    if found is not None:
        return found
    if dims.is_static(total) and dims.is_static(rest):
        raise ShapeError(
            f"reshape: {format_shape(old)} holds {total} elements, which {format_shape(sizes)} cannot: "
            f"{total} is no multiple of {rest}"
        )
    raise ShapeError(
        f"reshape: the -1 in {format_shape(sizes)} cannot be worked out from {format_shape(old)}: whether {total} "
        f"is a multiple of {rest} is not known{for_all_sizes(total, rest)}; write the size out or fix the dimension"
    )


def _reshape(x: Node, shape: Shape) -> Node:
    return x if dims.same_shape(x.shape, shape) else apply(Reshape(shape=shape), x)


@function("expand_dims")
def expand_dims(x: Any, axis: Any) -> Node:
    """`x` with new axes of size 1, at the positions `axis` (an int or several) of the result."""
    x = as_node(x)
    count = len(tuple(axis)) if isinstance(axis, Iterable) else 1
    new = normalize_axes("expand_dims", axis, x.ndim + count)
    sizes = iter(x.shape)
    return _reshape(x, tuple(1 if k in new else next(sizes) for k in range(x.ndim + count)))


@function("unsqueeze")
def unsqueeze(x: Any, dim: int) -> Node:
    """`expand_dims` under PyTorch's name: `x` with a new axis of size 1 at position `dim`."""
    return expand_dims(x, dim)


@function("squeeze")
def squeeze(x: Any, axis: Any = None) -> Node:
    """`x` without the axes `axis`, which must have size 1; None drops every axis whose size is 1.

    Raises UndecidableSizeError for None where a symbolic size may or may not be 1: name the axes then.
    """
    x = as_node(x)
    for size in x.shape if axis is None else ():
        if not dims.same(size, 1) and not dims.known_different(size, 1):
            raise UndecidableSizeError(
                f"squeeze: whether {size} is 1 in {format_shape(x.shape)} is not known before the run; "
                "name the axes to drop, as in `squeeze(x, axis=1)`"
            )
    ones = {k for k, size in enumerate(x.shape) if dims.same(size, 1)}
    dropped = ones if axis is None else set(normalize_axes("squeeze", axis, x.ndim))
    for k in sorted(dropped - ones):
        raise ShapeError(f"squeeze: axis {k} of {format_shape(x.shape)} has size {x.shape[k]}, not 1")
    return _reshape(x, tuple(size for k, size in enumerate(x.shape) if k not in dropped))


@function("flatten")
def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Node:
    """`x` with the axes from `start_dim` to `end_dim`, both included, joined into one; all by default."""
    x = as_node(x)
    if x.ndim == 0:
        return _reshape(x, (1,))
    start, end = (normalize_axis("flatten", axis, x.ndim) for axis in (start_dim, end_dim))
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} lies after end_dim {end_dim} in {format_shape(x.shape)}")
    return _reshape(x, (*x.shape[:start], dims.product(x.shape[start : end + 1]), *x.shape[end + 1 :]))


# -- transpose --------------------------------------------------------------------------------


class Transpose(Move):
    """The axes in another order: axis k of the result is axis `axes[k]` of the operand."""

    axes: tuple[int, ...]
    onnx = "Transpose"

    def infer(self, x: Type) -> Type:
        if sorted(self.axes) != list(range(x.ndim)):
            raise ShapeError(f"transpose: axes {self.axes} are no permutation of the {x.ndim} axes of {x}")
        return x.with_shape(x.shape[axis] for axis in self.axes)

    def view(self, layout: Layout, shape: tuple[int, ...]) -> Layout:
        return Layout(shape, tuple(layout.strides[axis] for axis in self.axes), layout.offset)

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.copyto(out, x.transpose(self.axes))

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (transpose(g, [self.axes.index(axis) for axis in range(len(self.axes))]),)


@function("transpose")
def transpose(x: Any, axes: Any = None) -> Node:
    """`x` with its axes in the order `axes`, reversed when None."""
    x = as_node(x)
    given = range(x.ndim)[::-1] if axes is None else axes
    order = tuple(normalize_axis("transpose", axis, x.ndim) for axis in given)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(
            f"transpose: axes {tuple(given)} must name each of the {x.ndim} axes of {format_shape(x.shape)} once"
        )
    return x if order == tuple(range(x.ndim)) else apply(Transpose(axes=order), x)


@function("swapaxes")
def swapaxes(x: Any, axis1: int, axis2: int) -> Node:
    """`x` with two axes exchanged."""
    x = as_node(x)
    first, second = (normalize_axis("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return transpose(x, order)


@function("moveaxis")
def moveaxis(x: Any, source: Any, destination: Any) -> Node:
    """`x` with the axes `source` (an int or several) at the positions `destination`, the others in their order."""
    x = as_node(x)
    sources, destinations = (
        [normalize_axis("moveaxis", axis, x.ndim) for axis in (given if isinstance(given, Iterable) else (given,))]
        for given in (source, destination)
    )
    if len(sources) != len(destinations) or any(len(set(axes)) != len(axes) for axes in (sources, destinations)):
        raise ArgumentError(
            f"moveaxis: source {source} and destination {destination} must name equally many axes, each once"
        )
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for position, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(position, axis)
    return transpose(x, order)


# -- broadcast --------------------------------------------------------------------------------


class Broadcast(Move):
    """The value repeated along new leading axes and along axes of size 1."""

    shape: Shape
    onnx = "Expand"

    def infer(self, x: Type) -> Type:
        extra = len(self.shape) - x.ndim
        shapes = f"broadcast_to: {format_shape(x.shape)} does not broadcast to {format_shape(self.shape)}"
        if extra < 0:
            raise ShapeError(f"{shapes}, which has fewer axes")
        for axis, (size, new) in enumerate(zip(x.shape, self.shape[extra:], strict=True)):
            if not dims.same(size, new) and not (isinstance(size, int) and size == 1):
                raise ShapeError(f"{shapes}: size {size} of axis {axis} is neither 1 nor {new}")
        return x.with_shape(self.shape)

    def view(self, layout: Layout, shape: tuple[int, ...]) -> Layout:
        extra = len(shape) - len(layout.shape)
        repeated = [size != new for size, new in zip(layout.shape, shape[extra:], strict=True)]
        strides = (0 if again else stride for again, stride in zip(repeated, layout.strides, strict=True))
        return Layout(shape, (*[0] * extra, *strides), layout.offset)

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.copyto(out, x)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (sum_to(g, x.shape),)


@function("broadcast_to")
def broadcast_to(x: Any, shape: Any) -> Node:
    """`x` repeated to `shape`: sizes agree, or are literally 1 in `x`; new axes come first."""
    x, shape = as_node(x), as_shape("broadcast_to", shape)
    return x if dims.same_shape(x.shape, shape) else apply(Broadcast(shape=shape), x)


@function("tile")
def tile(x: Any, reps: Any) -> Node:
    """`x` laid side by side `reps` times along each axis; fewer counts than axes mean the last axes."""
    x, counts = as_node(x), as_shape("tile", reps)
    ndim = max(x.ndim, len(counts))
    counts = (*[1] * (ndim - len(counts)), *counts)
    sizes = (*[1] * (ndim - x.ndim), *x.shape)
    pairs = list(zip(counts, sizes, strict=True))
    apart = _reshape(x, tuple(size for _, size in pairs for size in (1, size)))
    repeated = broadcast_to(apart, [size for pair in pairs for size in pair])
    return _reshape(repeated, tuple(dims.product(pair) for pair in pairs))


@function("repeat")
def repeat(x: Any, repeats: Size, axis: int | None = None) -> Node:
    """Each element of `x` `repeats` times in a row along `axis`; None flattens first. One count for all elements."""
    x = as_node(x)
    if axis is None:
        x, axis = flatten(x), 0
    axis = normalize_axis("repeat", axis, x.ndim)
    (count,) = as_shape("repeat", repeats)
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    repeated = broadcast_to(_reshape(x, (*before, size, 1, *after)), (*before, size, count, *after))
    return _reshape(repeated, (*before, dims.product((size, count)), *after))
