"""Loop descriptions of ops that add at computed positions.

A first kernel checks all positions. Equal positions are added to in the order of the updates: workers share the
elements of the result among them, never the updates of one element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from staticnet.compiler.codegen.loops.describe import describes
from staticnet.compiler.codegen.loops.filling import fill_kernel, is_empty
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    If,
    Index,
    Kernel,
    Load,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Var,
    View,
    dense,
    load,
    store,
    within,
)
from staticnet.compiler.codegen.loops.gathering import Column, Lookup, columns_of, spread
from staticnet.compiler.codegen.loops.nest import Nest, around, emit, plan_nest
from staticnet.compiler.codegen.loops.operations import add, cast
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import float16, float32, int64
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.index import ScatterAdd, ScatterElementsAdd, ScatterNDAdd

#: elements of a row that one worker takes at a time
_CHUNK = 64


@dataclass(frozen=True)
class _Scatter:
    """updates[i] is added to `total` at the place that `target`, total along the axes of the updates that are not
    looked up, and the lookup give; `places` are the axes that are.
    """

    updates: View
    target: View
    lookup: Lookup
    places: tuple[int, ...]

    def loop(self) -> For:
        """All additions."""
        shape = tuple(1 if axis in self.places else n for axis, n in enumerate(self.updates.shape))
        nest = plan_nest(shape, [self.target.strides, self.updates.strides, *self.lookup.strides])
        if not nest.loops:
            return For(Var("once"), 1, (self._each_place(lambda place: self._element(place, True)),))
        variables = nest.variables()
        if len(variables) > 1:
            inside = self._rows(nest, (*variables[:-1], 0), nest.extents[-1], "whole")
            return around(variables[:-1], nest.extents[:-1], (inside,))
        return self._in_chunks(nest)

    def _in_chunks(self, nest: Nest) -> For:
        """The updates of a stretch of the rows, stretch by stretch."""
        chunk = Var("chunk")
        whole, rest = divmod(nest.extents[0], _CHUNK)
        if not whole:
            return For(chunk, 1, (self._rows(nest, [0], rest, "rest"),))
        inside: Statement = self._rows(nest, [chunk * _CHUNK], _CHUNK, "whole")
        if rest:
            inside = If((within(chunk, 0, whole),), (inside,), (self._rows(nest, [whole * _CHUNK], rest, "rest"),))
        return For(chunk, whole + bool(rest), (inside,))

    def _rows(self, nest: Nest, starts: Sequence[Index], extent: int, name: str) -> For:
        """The updates of a row, place by place; the row is the innermost loop of the nest, from its start on."""
        lane = Var(f"{name}_lane")
        index = nest.index([*starts[:-1], lane + starts[-1]])
        varies = any(nest.loops[-1].strides[2:])

        def row(place: Sequence[Index]) -> list[Statement]:
            whole = [a + b for a, b in zip(index, place, strict=True)]
            loop = For(lane, extent, tuple(self._element(whole, varies)), "vector")
            return [loop] if varies else [self._look_up(whole), loop]

        return self._each_place(row, f"{name}_")

    def _each_place(self, body: Callable[[Sequence[Index]], Sequence[Statement]], prefix: str = "") -> For:
        """A loop over the updates of one element, in their order."""
        variables = {axis: Var(f"{prefix}place{axis}") for axis in self.places}
        place = [variables[axis] * 1 if axis in variables else Affine() for axis in range(self.updates.ndim)]
        extents = [self.updates.shape[axis] for axis in self.places]
        return around(list(variables.values()), extents, tuple(body(place)))

    _row = Register("row", int64)

    def _look_up(self, index: Sequence[Index]) -> Statement:
        return Set(self._row, self.lookup.at(*index)[0])

    def _element(self, index: Sequence[Index], look_up: bool) -> list[Statement]:
        total, row = self.target.array, self._row.value
        place = self.target.at(*index)
        update = cast(load(self.updates, *index), total.dtype)
        added = Store(total, place, add(Load(total.dtype, total, place, row), update), row)
        return [self._look_up(index), added] if look_up else [added]


def _scattered(name: str, out: View, indices: View, scatter: Callable[[View], _Scatter]) -> Routine:
    """The check, zeros and the additions; half floats are added up in single precision."""
    total = out if out.dtype != float16 else dense(Array(f"{name}_total", float32, _size(out), "shared"), *out.shape)
    plan = scatter(total)
    checks = () if is_empty(indices) else (plan.lookup.check(name),)
    if is_empty(out):
        return Routine(checks)
    kernels = [*checks, fill_kernel(f"{name}_zeros", total, 0)]
    if not is_empty(plan.updates):
        kernels.append(Kernel(name, plan.loop()))
    if total is not out:
        nest = plan_nest(out.shape, [out.strides, total.strides])
        rounded = emit(nest, lambda index: [store(out, index, cast(load(total, *index), float16))])
        kernels.append(Kernel(f"{name}_round", rounded))
    return Routine(tuple(kernels))


def _size(view: View) -> int:
    size = 1
    for n in view.shape:
        size *= n
    return size


@describes(ScatterAdd)
def scatter_add(op: ScatterAdd, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """Slices added along an axis."""
    (indices, updates), (out,) = inputs, outputs
    axis, places = op.axis, tuple(range(op.axis, op.axis + indices.ndim))

    def scatter(total: View) -> _Scatter:
        column = Column(spread(indices, updates.shape, places), total.shape[axis], total.strides[axis])
        kept = [k for k in range(updates.ndim) if k not in places]
        return _Scatter(updates, spread(_without(total, [axis]), updates.shape, kept), Lookup((column,)), places)

    return _scattered(op.name, out, indices, scatter)


@describes(ScatterNDAdd)
def scatter_nd_add(
    op: ScatterNDAdd, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine:
    """Slices added at positions in the leading axes."""
    (indices, updates), (out,) = inputs, outputs
    places = tuple(range(indices.ndim - 1))

    def scatter(total: View) -> _Scatter:
        lookup = columns_of(indices, total, updates.shape, places)
        rest = _without(total, range(indices.shape[-1]))
        return _Scatter(updates, spread(rest, updates.shape, range(len(places), updates.ndim)), lookup, places)

    return _scattered(op.name, out, indices, scatter)


@describes(ScatterElementsAdd)
def scatter_elements_add(
    op: ScatterElementsAdd, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine:
    """Elements added along an axis."""
    (indices, updates), (out,) = inputs, outputs
    axis = op.axis

    def scatter(total: View) -> _Scatter:
        column = Column(indices, total.shape[axis], total.strides[axis])
        kept = [k for k in range(updates.ndim) if k != axis]
        return _Scatter(updates, spread(_without(total, [axis]), updates.shape, kept), Lookup((column,)), (axis,))

    return _scattered(op.name, out, indices, scatter)


def _without(view: View, axes: Any) -> View:
    """The first slice along some axes."""
    kept = [k for k in range(view.ndim) if k not in axes]
    shape, strides = tuple(view.shape[k] for k in kept), tuple(view.strides[k] for k in kept)
    return View(view.array, Layout(shape, strides, view.layout.offset))
