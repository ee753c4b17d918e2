"""Ops that take elements at computed positions, and the ops that add them back: gather and scatter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import DTypeError, RunError, ShapeError
from staticnet.compiler.ir import Node, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, broadcast_shapes, function, normalize_axis
from staticnet.compiler.ops.leaf import Constant
from staticnet.compiler.ops.shape import Move

#: elements that a kernel handles at once where NumPy has no way around a temporary array
CHUNK = 2048
#: from this many elements a row on, adding row by row is faster than NumPy's add.at
LONG_ROW = 128


# -- indices ----------------------------------------------------------------------------------


def as_indices(op: str, value: Any) -> Node:
    """Integer indices as an int32 or int64 node; a list of integers becomes int64."""
    if isinstance(value, (list, tuple)) and len(value) == 0:
        value = np.zeros(0, np.int64)
    node = as_node(value)
    if node.dtype.is_bool:
        raise DTypeError(
            f"{op}: with a boolean mask the shape of the result would depend on the data; "
            "choose between values with where(mask, x, y), or multiply by the mask"
        )
    if not node.dtype.is_integer:
        raise DTypeError(f"{op}: indices must be integers, not {node.dtype}; cast them")
    return node if node.dtype in (dtypes.int32, dtypes.int64) else F.cast(node, dtypes.int64)


def check_known(op: str, indices: Node, axis: int, size: Size) -> None:
    """Raise ShapeError now where a constant index is out of range of an axis of known size."""
    if isinstance(indices.op, Constant) and dims.is_static(size):
        problem = out_of_range(op, indices.op.value, axis, size)
        if problem:
            raise ShapeError(problem)


def out_of_range(op: str, indices: Any, axis: int, size: Any) -> str | None:
    """What is wrong with the first index that an axis of this size does not have; None when all are fine."""
    if indices.size == 0 or (indices.min() >= -size and indices.max() < size):
        return None
    first = int(((indices < -size) | (indices >= size)).argmax())
    position = tuple(map(int, np.unravel_index(first, indices.shape)))
    where = f" at position {format_shape(position)}" if position else ""
    allowed = f"it takes {-size} to {size - 1}" if size else "it has no elements"
    return f"{op}: index {int(indices[position])}{where} is out of range for axis {axis} of size {size}: {allowed}"


def resolve(xp: Any, op: str, indices: Any, axis: int, size: int, scratch: Any) -> Any:
    """The indices as int64 counted from the front, in workspace of 8 bytes each; RunError when one is out of range."""
    problem = out_of_range(op, indices, axis, size)
    if problem:
        raise RunError(problem)
    if indices.size == 0:
        return xp.empty(indices.shape, "int64")
    found = scratch[: 8 * indices.size].view("int64").reshape(indices.shape)
    xp.copyto(found, indices)
    xp.remainder(found, size, out=found)
    return found


class _Indexed(Move, abstract=True):
    """Base of gathers and scatters: indices are int32 or int64, negative ones count from the end."""

    may_fail = True

    def check_indices(self, indices: Type) -> None:
        if indices.dtype not in (dtypes.int32, dtypes.int64):
            raise DTypeError(f"{self.name}: indices must be int32 or int64, not {indices.dtype}")


class _ScatterAdd(_Indexed, abstract=True):
    """Base of the transposes of gathers: zeros, with the updates added at the indices; equal indices accumulate."""

    def check_updates(self, indices: Type, updates: Type, wanted: Sequence[Size]) -> None:
        self.check_indices(indices)
        if updates.dtype.is_bool:
            raise DTypeError(f"{self.name} does not add up bool; cast the updates")
        if not dims.same_shape(updates.shape, tuple(wanted)):
            raise ShapeError(
                f"{self.name}: indices {format_shape(indices.shape)} take updates of {format_shape(wanted)}, "
                f"not {format_shape(updates.shape)}"
            )

    def scratch(self, indices: Type, updates: Type) -> int:
        total = int(self.infer(indices, updates).size) if updates.dtype == dtypes.float16 else 0  # type: ignore[union-attr]
        return 8 * int(indices.size) + 4 * total

    def kernel(self, xp: Any, indices: Any, updates: Any, *, out: Any, scratch: Any) -> None:
        total = out
        if out.dtype == "float16" and out.size:
            start = 8 * indices.size
            total = scratch[start : start + 4 * out.size].view("float32").reshape(out.shape)
        self.add(xp, indices, updates, total, scratch)
        if total is not out:
            xp.copyto(out, total, casting="same_kind")

    def add(self, xp: Any, indices: Any, updates: Any, total: Any, scratch: Any) -> None:
        raise NotImplementedError

    def flops(self, out: Any, *types: Type) -> Size:
        return types[1].size


# -- rows: the leading axes at computed positions ---------------------------------------------


def gather_rows(xp: Any, rows: Any, columns: Sequence[Any], out: Any) -> None:
    """`out[i] = rows[columns[0][i], columns[1][i], ...]`, without a temporary array larger than CHUNK elements."""
    count = out.shape[0]
    if out.size == 0:
        return
    step = CHUNK * count // out.size
    if step > 1:
        for start in range(0, count, step):
            part = slice(start, start + step)
            out[part] = rows[tuple(column[part] for column in columns)]
        return
    for i in range(count):
        out[i] = rows[tuple(int(column[i]) for column in columns)]


def add_rows(xp: Any, rows: Any, columns: Sequence[Any], values: Any) -> None:
    """`rows[columns[0][i], columns[1][i], ...] += values[i]` for each position i of the columns, in order."""
    if values.size == 0:
        return
    if xp is not np or values.size < LONG_ROW * columns[0].size:
        xp.add.at(rows, tuple(columns), values)
        return
    for i, _ in np.ndenumerate(columns[0]):
        row = rows[tuple(column[i] for column in columns)]
        xp.add(row, values[i], out=row)


class Gather(_Indexed):
    """The slices of the operand at `indices` along `axis`; the axes of the indices take the place of that one."""

    axis: int
    onnx = "Gather"

    def infer(self, x: Type, indices: Type) -> Type:
        self.check_indices(indices)
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"gather: axis {self.axis} is out of range for {format_shape(x.shape)}")
        return x.with_shape((*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))

    def scratch(self, x: Type, indices: Type) -> int:
        return 8 * int(indices.size)

    def kernel(self, xp: Any, x: Any, indices: Any, *, out: Any, scratch: Any) -> None:
        found = resolve(xp, self.name, indices, self.axis, x.shape[self.axis], scratch)
        if out.size == 0:
            return
        if xp is np and x.flags.c_contiguous:
            # The mode only keeps take from buffering its whole result; nothing is left to clip.
            xp.take(x, found, axis=self.axis, out=out, mode="clip")
            return
        flat = out.reshape((*x.shape[: self.axis], found.size, *x.shape[self.axis + 1 :]))
        gather_rows(xp, xp.moveaxis(x, self.axis, 0), [found.reshape(-1)], xp.moveaxis(flat, self.axis, 0))

    def grad(self, g: Node, y: Node, x: Node, indices: Node) -> tuple:
        return apply(ScatterAdd(axis=self.axis, size=x.shape[self.axis]), indices, g), None


class ScatterAdd(_ScatterAdd):
    """Zeros with the updates added at `indices` along an axis of `size`: the transpose of Gather."""

    axis: int
    size: Size

    def infer(self, indices: Type, updates: Type) -> Type:
        before, after = updates.shape[: self.axis], updates.shape[self.axis + indices.ndim :]
        self.check_updates(indices, updates, (*before, *indices.shape, *after))
        return updates.with_shape((*before, self.size, *after))

    def add(self, xp: Any, indices: Any, updates: Any, total: Any, scratch: Any) -> None:
        found = resolve(xp, self.name, indices, self.axis, total.shape[self.axis], scratch)
        total.fill(0)
        places = range(found.ndim)
        values = xp.moveaxis(updates, [self.axis + k for k in places], list(places))
        add_rows(xp, xp.moveaxis(total, self.axis, 0), [found], values)

    def expand(self, indices: Node, updates: Node) -> Node:
        places = range(indices.ndim)
        values = F.moveaxis(updates, [self.axis + k for k in places], list(places))
        shape = (self.size, *values.shape[indices.ndim :])
        added = apply(ScatterNDAdd(shape=shape), F.expand_dims(indices, -1), values)
        return F.moveaxis(added, 0, self.axis)

    def grad(self, g: Node, y: Node, indices: Node, updates: Node) -> tuple:
        return None, apply(Gather(axis=self.axis), g, indices)


class GatherND(_Indexed):
    """The slices of the operand at positions in its leading axes; the last axis of the indices holds one position."""

    name, onnx = "gather_nd", "GatherND"

    def infer(self, x: Type, indices: Type) -> Type:
        self.check_indices(indices)
        return x.with_shape((*indices.shape[:-1], *x.shape[position_length(self.name, indices, x.shape) :]))

    def scratch(self, x: Type, indices: Type) -> int:
        return 8 * int(indices.size)

    def kernel(self, xp: Any, x: Any, indices: Any, *, out: Any, scratch: Any) -> None:
        columns = resolve_columns(xp, self.name, indices, x.shape, scratch)
        if out.size == 0:
            return
        flat = out.reshape((-1, *x.shape[len(columns) :]))
        gather_rows(xp, x, [column.reshape(-1) for column in columns], flat)

    def grad(self, g: Node, y: Node, x: Node, indices: Node) -> tuple:
        return apply(ScatterNDAdd(shape=x.shape), indices, g), None


class ScatterNDAdd(_ScatterAdd):
    """Zeros of `shape` with the updates added at positions in the leading axes: the transpose of GatherND."""

    name = "scatter_nd_add"
    shape: Shape

    def infer(self, indices: Type, updates: Type) -> Type:
        rest = self.shape[position_length(self.name, indices, self.shape) :]
        self.check_updates(indices, updates, (*indices.shape[:-1], *rest))
        return updates.with_shape(self.shape)

    def add(self, xp: Any, indices: Any, updates: Any, total: Any, scratch: Any) -> None:
        columns = resolve_columns(xp, self.name, indices, total.shape, scratch)
        total.fill(0)
        add_rows(xp, total, columns, updates)

    def grad(self, g: Node, y: Node, indices: Node, updates: Node) -> tuple:
        return None, apply(GatherND(), g, indices)


def position_length(op: str, indices: Type, shape: Shape) -> int:
    """How many leading axes a position counts in: the size of the last axis of the indices."""
    length = indices.shape[-1] if indices.ndim else 0
    if not isinstance(length, int) or not 1 <= length <= len(shape):
        raise ShapeError(
            f"{op}: the last axis of indices {format_shape(indices.shape)} must hold positions in 1 to {len(shape)} "
            f"axes of {format_shape(shape)}"
        )
    return length


def resolve_columns(xp: Any, op: str, indices: Any, shape: Sequence[int], scratch: Any) -> list[Any]:
    """One array of indices per leading axis, counted from the front, in workspace."""
    count = indices.size // indices.shape[-1]
    return [
        resolve(xp, op, indices[..., k], k, shape[k], None if scratch is None else scratch[8 * k * count :])
        for k in range(indices.shape[-1])
    ]


# -- elements: one index for each element of the result ---------------------------------------


class GatherElements(_Indexed):
    """Along `axis` the element that `indices`, of the result's shape, name there."""

    axis: int
    onnx = "GatherElements"

    def infer(self, x: Type, indices: Type) -> Type:
        self.check_indices(indices)
        axis = self.axis
        others = [(*t.shape[:axis], *t.shape[axis + 1 :]) for t in (x, indices)]
        if x.ndim != indices.ndim or not axis < x.ndim or not dims.same_shape(*others):
            raise ShapeError(
                f"gather_elements: {format_shape(x.shape)} and indices {format_shape(indices.shape)} "
                f"must agree on every axis but {axis}"
            )
        return x.with_shape(indices.shape)

    def scratch(self, x: Type, indices: Type) -> int:
        return 8 * int(indices.size)

    def kernel(self, xp: Any, x: Any, indices: Any, *, out: Any, scratch: Any) -> None:
        found = resolve(xp, self.name, indices, self.axis, x.shape[self.axis], scratch).reshape(-1)
        flat = out.reshape(-1)
        for part, columns in element_chunks(xp, out.shape):
            columns[self.axis] = found[part]
            flat[part] = x[tuple(columns)]

    def grad(self, g: Node, y: Node, x: Node, indices: Node) -> tuple:
        return apply(ScatterElementsAdd(axis=self.axis, size=x.shape[self.axis]), indices, g), None


class ScatterElementsAdd(_ScatterAdd):
    """Zeros with each update added where its index names along an axis of `size`: the transpose of GatherElements."""

    axis: int
    size: Size

    def infer(self, indices: Type, updates: Type) -> Type:
        self.check_updates(indices, updates, indices.shape)
        return updates.with_shape((*updates.shape[: self.axis], self.size, *updates.shape[self.axis + 1 :]))

    def add(self, xp: Any, indices: Any, updates: Any, total: Any, scratch: Any) -> None:
        found = resolve(xp, self.name, indices, self.axis, total.shape[self.axis], scratch).reshape(-1)
        total.fill(0)
        for part, columns in element_chunks(xp, updates.shape):
            values = updates[tuple(columns)]
            columns[self.axis] = found[part]
            xp.add.at(total, tuple(columns), values)

    def grad(self, g: Node, y: Node, indices: Node, updates: Node) -> tuple:
        return None, apply(GatherElements(axis=self.axis), g, indices)


def element_chunks(xp: Any, shape: tuple[int, ...]) -> Iterator[tuple[slice, list[Any]]]:
    """The elements of an array, CHUNK at a time: the part in row-major order, and its index along each axis."""
    total = int(np.prod(shape, dtype=np.int64))
    for start in range(0, total, CHUNK):
        stop = min(start + CHUNK, total)
        yield slice(start, stop), list(xp.unravel_index(xp.arange(start, stop), shape))


# -- functions --------------------------------------------------------------------------------


@function("take")
def take(x: Any, indices: Any, axis: int | None = None) -> Node:
    """The elements of `x` at integer `indices` of any shape along `axis`; None takes from the flattened `x`.

    Negative indices count from the end; one out of range raises before anything is written.
    """
    x = as_node(x)
    if axis is None:
        x, axis = F.flatten(x), 0
    axis, indices = normalize_axis("take", axis, x.ndim), as_indices("take", indices)
    check_known("take", indices, axis, x.shape[axis])
    return apply(Gather(axis=axis), x, indices)


@function("take_along_axis")
def take_along_axis(x: Any, indices: Any, axis: int) -> Node:
    """For each of `indices` the element of `x` at that index along `axis` and at its own place along the others.

    The other sizes broadcast. Negative indices count from the end; one out of range raises.
    """
    x, indices = as_node(x), as_indices("take_along_axis", indices)
    axis = normalize_axis("take_along_axis", axis, x.ndim)
    if x.ndim != indices.ndim:
        raise ShapeError(
            f"take_along_axis: {format_shape(x.shape)} and indices {format_shape(indices.shape)} differ in their "
            "numbers of axes; add axes of size 1"
        )
    check_known("take_along_axis", indices, axis, x.shape[axis])
    apart = [(*node.shape[:axis], 1, *node.shape[axis + 1 :]) for node in (x, indices)]
    common = broadcast_shapes("take_along_axis", *apart)
    x, indices = (
        F.broadcast_to(node, (*common[:axis], node.shape[axis], *common[axis + 1 :])) for node in (x, indices)
    )
    return apply(GatherElements(axis=axis), x, indices)
