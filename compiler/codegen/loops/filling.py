"""Loop descriptions of values made of nothing but a shape: constants and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticnet.compiler.codegen.loops.describe import describes
from staticnet.compiler.codegen.loops.form import Kernel, Routine, View, const, position, store
from staticnet.compiler.codegen.loops.nest import emit, plan_nest
from staticnet.compiler.codegen.loops.operations import cast
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ops.fill import Iota
from staticnet.compiler.ops.leaf import Constant, SizeOf


def is_empty(view: View) -> bool:
    """Whether a view has no elements."""
    return 0 in view.shape


def fill_kernel(name: str, out: View, value: Any) -> Kernel:
    """One number everywhere."""
    nest = plan_nest(out.shape, [out.strides])
    return Kernel(name, emit(nest, lambda index: [store(out, index, const(value, out.dtype))]))


@describes(SizeOf)
def size_of(op: SizeOf, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """A size as a number."""
    return Routine((fill_kernel(op.name, outputs[0], op.size),))


@describes(Constant)
def constant(op: Constant, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """A single number; larger constants are memory of the program, not steps."""
    return Routine((fill_kernel(op.name, outputs[0], op.value.item()),)) if op.value.size == 1 else None


@describes(Iota)
def iota(op: Iota, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """Positions along an axis."""
    (out,) = outputs
    if is_empty(out):
        return Routine()
    counts = [int(axis == op.axis) for axis in range(out.ndim)]
    nest = plan_nest(out.shape, [out.strides, counts])
    loop = emit(nest, lambda index: [store(out, index, cast(position(index[op.axis]), out.dtype))])
    return Routine((Kernel(op.name, loop),))
