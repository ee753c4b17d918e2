"""Loop descriptions of ops that read at computed positions, and of the check of class labels.

A position that does not exist makes the kernel fail; nothing is read there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from staticnet.compiler.codegen.loops.describe import describes
from staticnet.compiler.codegen.loops.filling import is_empty
from staticnet.compiler.codegen.loops.form import (
    Fail,
    Index,
    Kernel,
    Load,
    Register,
    Routine,
    Set,
    Statement,
    Value,
    View,
    const,
    load,
    store,
)
from staticnet.compiler.codegen.loops.nest import emit, plan_nest
from staticnet.compiler.codegen.loops.operations import add, apply, bitcast, cast, multiply, select
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import int64, uint64
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.index import Gather, GatherElements, GatherND
from staticnet.compiler.ops.loss import CheckLabels


@dataclass(frozen=True)
class Column:
    """Indices into an axis of `size`, its elements `stride` apart; `index` has one for each element of interest."""

    index: View
    size: int
    stride: int

    def resolved(self, *index: Index) -> tuple[Value, Value]:
        """How far the position lies from the start, 0 where it does not exist, and whether that is so."""
        given = cast(load(self.index, *index), int64)
        zero = const(0, int64)
        counted = select(apply("less", given, zero), add(given, const(self.size, int64)), given)
        missing = apply("greater_equal", bitcast(counted, uint64), const(self.size, uint64))
        return multiply(select(missing, zero, counted), const(self.stride, int64)), missing


@dataclass(frozen=True)
class Lookup:
    """A position in some axes, one column an axis."""

    columns: tuple[Column, ...]

    @property
    def strides(self) -> list[tuple[int, ...]]:
        return [column.index.strides for column in self.columns]

    def at(self, *index: Index) -> tuple[Value, Fail]:
        """How far from the start the position at an index lies, and the check that it exists."""
        offsets, missing = zip(*(column.resolved(*index) for column in self.columns), strict=True)
        return reduce(add, offsets), Fail(reduce(lambda x, y: apply("logical_or", x, y), missing))

    def check(self, name: str) -> Kernel:
        """A kernel that fails where a position does not exist."""
        first = self.columns[0].index
        shape = tuple(1 if not stride else n for n, stride in zip(first.shape, first.strides, strict=True))
        nest = plan_nest(shape, self.strides)
        return Kernel(f"{name}_check", emit(nest, lambda index: [self.at(*index)[1]]))


def spread(view: View, shape: Sequence[int], axes: Sequence[int]) -> View:
    """A view in a wider `shape`: its axes are `axes` of that, along all others it stays where it is."""
    strides = [0] * len(shape)
    for axis, stride in zip(axes, view.strides, strict=True):
        strides[axis] = stride
    return View(view.array, Layout(tuple(shape), tuple(strides), view.layout.offset))


def columns_of(indices: View, x: View, shape: Sequence[int], axes: Sequence[int]) -> Lookup:
    """The columns of positions in the leading axes of `x`, which the last axis of the indices holds."""
    found = []
    for k in range(indices.shape[-1]):
        *strides, step = indices.strides
        column = View(
            indices.array, Layout(indices.shape[:-1], tuple(strides), indices.layout.offset + k * step)
        )
        found.append(Column(spread(column, shape, axes), x.shape[k], x.strides[k]))
    return Lookup(tuple(found))


# -- gathers ----------------------------------------------------------------------------------


def _gathered(name: str, indices: View, x: View, source: View, lookup: Lookup, out: View) -> Routine:
    """out = the elements of x where `source`, x along the axes that are not looked up, and the lookup say."""
    if is_empty(indices):
        return Routine()
    if is_empty(out) or is_empty(x):
        return Routine((lookup.check(name),))
    nest = plan_nest(out.shape, [out.strides, source.strides, *lookup.strides])
    row = Register("row", int64)
    once = len(nest.loops) > 1 and not any(nest.loops[-1].strides[2:])

    def look_up(index: Sequence[Index]) -> list[Statement]:
        offset, exists = lookup.at(*index)
        return [exists, Set(row, offset)]

    def element(index: Sequence[Index]) -> list[Statement]:
        value = Load(x.dtype, x.array, source.at(*index), row.value)
        return [*([] if once else look_up(index)), store(out, index, value)]

    return Routine((Kernel(name, emit(nest, element, ahead=look_up if once else None)),))


@describes(Gather)
def gather(op: Gather, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """Rows, or elements, one after another."""
    (x, indices), (out,) = inputs, outputs
    axis, places = op.axis, range(op.axis, op.axis + indices.ndim)
    column = Column(spread(indices, out.shape, places), x.shape[axis], x.strides[axis])
    others = View(x.array, Layout(
        tuple(n for k, n in enumerate(x.shape) if k != axis),
        tuple(stride for k, stride in enumerate(x.strides) if k != axis),
        x.layout.offset,
    ))
    source = spread(others, out.shape, [k for k in range(out.ndim) if k not in places])
    return _gathered(op.name, indices, x, source, Lookup((column,)), out)


@describes(GatherND)
def gather_nd(op: GatherND, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """Slices at positions in the leading axes."""
    (x, indices), (out,) = inputs, outputs
    places, length = range(indices.ndim - 1), indices.shape[-1]
    rest = View(x.array, Layout(x.shape[length:], x.strides[length:], x.layout.offset))
    source = spread(rest, out.shape, range(indices.ndim - 1, out.ndim))
    return _gathered(op.name, indices, x, source, columns_of(indices, x, out.shape, places), out)


@describes(GatherElements)
def gather_elements(
    op: GatherElements, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine:
    """One index an element."""
    (x, indices), (out,) = inputs, outputs
    column = Column(indices, x.shape[op.axis], x.strides[op.axis])
    strides = tuple(0 if axis == op.axis else stride for axis, stride in enumerate(x.strides))
    source = View(x.array, Layout(out.shape, strides, x.layout.offset))
    return _gathered(op.name, indices, x, source, Lookup((column,)), out)


# -- labels -----------------------------------------------------------------------------------


@describes(CheckLabels)
def check_labels(op: CheckLabels, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """A copy that fails where a label is no class; operand and result may be the same memory."""
    (labels,), (out,) = inputs, outputs
    if is_empty(out):
        return Routine()
    dtype, limits = labels.dtype, np.iinfo(labels.dtype.numpy)
    nest = plan_nest(out.shape, [out.strides, labels.strides])

    def element(index: Sequence[Index]) -> list[Statement]:
        label = load(labels, *index)
        checks: list[Statement] = []
        if limits.min < 0:
            checks.append(Fail(apply("less", label, const(0, dtype))))
        if int(op.classes) <= limits.max:  # type: ignore[arg-type]
            checks.append(Fail(apply("greater_equal", label, const(op.classes, dtype))))
        return [*checks, store(out, index, label)]

    return Routine((Kernel(op.name, emit(nest, element)),))
