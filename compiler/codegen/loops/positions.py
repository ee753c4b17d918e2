"""Loop descriptions of argmax and argmin: the first position of an extreme, of the first NaN where there is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staticnet.compiler.codegen.loops.describe import describes
from staticnet.compiler.codegen.loops.filling import is_empty
from staticnet.compiler.codegen.loops.form import (
    TRUE,
    Accumulate,
    Affine,
    Fail,
    For,
    Index,
    Kernel,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    Var,
    View,
    const,
    load,
    position,
    store,
)
from staticnet.compiler.codegen.loops.nest import Nest, around, emit, plan_nest
from staticnet.compiler.codegen.loops.operations import apply, identity, select
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import int64
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.reduce import ArgMax, ArgMin

_BEST_AT = Register("best_at", int64)
_NOWHERE = const(np.iinfo(np.int64).max, int64)


@describes(ArgMax, ArgMin)
def arg_extreme(
    op: ArgMax | ArgMin, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine:
    """Lines contiguous in memory as vectors, twice over; others side by side, in one pass."""
    (x,), (out,) = inputs, outputs
    if is_empty(out):
        return Routine()
    if is_empty(x):
        return Routine((Kernel(op.name, For(Var("once"), 1, (Fail(TRUE),))),))
    axes = op.axes(x.ndim)
    kept = iter(out.strides if not op.keepdims else [s for k, s in enumerate(out.strides) if k not in axes])
    strides = tuple(0 if axis in axes else next(kept) for axis in range(x.ndim))
    result = View(out.array, Layout(x.shape, strides, out.layout.offset))
    counts = Layout.dense(x.shape).strides if op.axis is None else [int(axis == op.axis) for axis in range(x.ndim)]
    outer = plan_nest([1 if k in axes else n for k, n in enumerate(x.shape)], [strides, x.strides])
    line = plan_nest([n if k in axes else 1 for k, n in enumerate(x.shape)], [x.strides, counts])
    is_contiguous = line.loops and abs(line.loops[-1].strides[0]) == 1 and line.extents[-1] >= _LONG
    if not outer.loops or is_contiguous:
        return Routine((Kernel(op.name, _by_line(op, x, result, outer, line, counts)),))
    return Routine((Kernel(op.name, _side_by_side(op, x, result, outer)),))


#: from this many elements on a line is worth a vector of its own
_LONG = 8


def _by_line(op: ArgMax | ArgMin, x: View, result: View, outer: Nest, line: Nest, counts: Sequence[int]) -> For:
    """For each line its extreme, then the first position of that."""
    extreme = "maximum" if isinstance(op, ArgMax) else "minimum"
    best = Register("best", x.dtype)
    variables = outer.variables()
    start = outer.index(variables)

    def find(index: Sequence[Affine]) -> list[Statement]:
        return [Accumulate(best, extreme, _at(x, start, index))]

    def locate(index: Sequence[Affine]) -> list[Statement]:
        value = _at(x, start, index)
        here = apply("equal", value, best.value)
        if x.dtype.is_float:
            here = apply("logical_or", here, apply("isnan", value))
        place = sum((part * count for part, count in zip(index, counts, strict=True)), Affine())
        return [Accumulate(_BEST_AT, "minimum", select(here, position(place), _NOWHERE))]

    inside = (
        Set(best, identity(extreme, x.dtype)),
        emit(line, find, "x"),
        Set(_BEST_AT, _NOWHERE),
        emit(line, locate, "y"),
        Store(result.array, result.at(*start), _BEST_AT.value),
    )
    return around(variables, outer.extents, inside)


def _at(x: View, start: Sequence[Affine], index: Sequence[Affine]) -> Value:
    return load(x, *(a + b for a, b in zip(start, index, strict=True)))


def _side_by_side(op: ArgMax | ArgMin, x: View, result: View, outer: Nest) -> For:
    """A lane for each line, and the best element so far in it."""
    axis, step = op.axis, Var("step")
    assert axis is not None
    best = Register("best", x.dtype)

    def lines(index: Sequence[Affine]) -> list[Statement]:
        def element(place: Index) -> Value:
            return load(x, *index[:axis], place, *index[axis + 1 :])

        value = element(step + 1)
        is_better = apply("greater" if isinstance(op, ArgMax) else "less", value, best.value)
        if x.dtype.is_float:
            first = apply("logical_and", apply("isnan", value), apply("logical_not", apply("isnan", best.value)))
            is_better = apply("logical_or", is_better, first)
        update = (
            Set(_BEST_AT, select(is_better, position(step + 1), _BEST_AT.value)),
            Set(best, select(is_better, value, best.value)),
        )
        rest = [For(step, x.shape[axis] - 1, update)] if x.shape[axis] > 1 else []
        return [
            Set(best, element(0)),
            Set(_BEST_AT, const(0, int64)),
            *rest,
            store(result, index, _BEST_AT.value),
        ]

    return emit(outer, lines)
