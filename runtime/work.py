"""What an instruction does, counted: operations, distinct bytes that it reads and writes, and what kind of op it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from staticnet.compiler.ir import Layout, Op
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.fused import Fused
from staticnet.compiler.ops.index import Gather, GatherElements, GatherND
from staticnet.compiler.program import Instruction, Program

_GATHERS = (Gather, GatherND, GatherElements)


@dataclass(frozen=True)
class Work:
    """Operations of one run of an instruction, and the bytes that it reads and writes."""

    flops: int
    read: int
    written: int

    @property
    def bytes(self) -> int:
        return self.read + self.written


def work_of(program: Program, instruction: Instruction) -> Work:
    """The work of an instruction.

    Bytes are those of its operands and of its results, each read or written once, wherever several of its operands
    lie in the same place; of what is gathered from, no more than the result holds.
    """
    table = _table(instruction.op)
    read = [index for position, index in enumerate(instruction.inputs) if position != table]
    written = _distinct(program, instruction.outputs)
    total = _distinct(program, read)
    if table is not None:
        total += min(_distinct(program, [instruction.inputs[table]]), written)
    return Work(program.flops(instruction), total, written)


def kind_of(op: Op) -> str:
    """What an op counts as when steps are grouped: of a fused one what the others are fused to."""
    if not isinstance(op, Fused):
        return "pointwise" if isinstance(op, Pointwise) else op.name
    if op.anchor is not None:
        return op.anchor.op.name
    return op.reductions[0].op.name if op.reductions else "pointwise"


def _table(op: Op) -> int | None:
    """The operand from which elements are gathered, if the op does that."""
    if isinstance(op, _GATHERS):
        return 0
    if isinstance(op, Fused) and op.anchor is not None and isinstance(op.anchor.op, _GATHERS):
        source = op.anchor.inputs[0]
        return op.body.inputs.index(source) if source in op.body.inputs else None
    return None


def _distinct(program: Program, buffers: Sequence[int]) -> int:
    """Bytes of buffers; those that overlap count once."""
    seen: dict[int, dict[Layout, int]] = {}
    for index in buffers:
        buffer = program.buffers[index]
        seen.setdefault(buffer.storage, {})[buffer.layout] = _bytes(buffer.layout, buffer.type.dtype.itemsize)
    return sum(min(sum(found.values()), program.storages[storage].nbytes) for storage, found in seen.items())


def _bytes(layout: Layout, itemsize: int) -> int:
    """Bytes of the elements that a layout reaches, those along axes that only repeat counted once."""
    if 0 in layout.shape:
        return 0
    return itemsize * math.prod(size for size, stride in zip(layout.shape, layout.strides, strict=True) if stride != 0)
