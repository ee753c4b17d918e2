"""A Program as code: for each instruction the routine that computes it, and what its arrays stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from staticnet.compiler.codegen.loops import describers  # noqa: F401  (fills the table of describers)
from staticnet.compiler.codegen.loops.describe import describe
from staticnet.compiler.codegen.loops.form import Array, Routine, View
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ir import Layout
from staticnet.compiler.program import Buffer, Instruction, Program

_ALIGNMENT = 64


@dataclass(frozen=True)
class Operand:
    """What an array of a routine is in the program: a buffer, from its element number `start` on."""

    buffer: int
    start: int


@dataclass(frozen=True)
class Generated:
    """The code of one instruction; None where it runs as its card's kernel."""

    instruction: Instruction
    routine: Routine | None
    inputs: tuple[Operand, ...] = ()
    outputs: tuple[Operand, ...] = ()

    def operand(self, array: Array) -> Operand:
        """What an input or output array stands for."""
        return (self.inputs if array.role == "input" else self.outputs)[array.number]


def generate(program: Program, machine: Machine) -> tuple[Generated, ...]:
    """The code of every instruction, in order."""
    return tuple(_generate(program, instruction, machine) for instruction in program.instructions)


def _generate(program: Program, instruction: Instruction, machine: Machine) -> Generated:
    inputs, from_inputs = _views([program.buffers[index] for index in instruction.inputs], "input")
    outputs, from_outputs = _views([program.buffers[index] for index in instruction.outputs], "output")
    routine = describe(instruction.op, inputs, outputs, machine)
    return Generated(instruction, routine, from_inputs, from_outputs)


def _views(buffers: Sequence[Buffer], role: str) -> tuple[list[View], tuple[Operand, ...]]:
    """Views of buffers, and where their arrays begin: at the lowest element that the view reaches.

    So kernels on views that differ in their place alone are the same.
    """
    views, operands = [], []
    for number, buffer in enumerate(buffers):
        layout = buffer.layout
        reach = [(size - 1) * stride for size, stride in zip(layout.shape, layout.strides, strict=True)]
        below = 0 if 0 in layout.shape else sum(min(each, 0) for each in reach)
        above = 0 if 0 in layout.shape else sum(max(each, 0) for each in reach)
        size = 0 if 0 in layout.shape else above - below + 1
        array = Array(f"{role[0]}{number}", buffer.type.dtype, size, role, number)
        views.append(View(array, Layout(layout.shape, layout.strides, -below)))
        operands.append(Operand(buffer.index, layout.offset + below))
    return views, tuple(operands)


def workspace(routine: Routine) -> tuple[dict[Array, int], int, int]:
    """Where shared and local arrays lie in their regions, in bytes, and the sizes of both regions."""
    places: dict[Array, int] = {}
    sizes = {"shared": 0, "local": 0}
    for array in routine.workspace:
        places[array] = sizes[array.role]
        sizes[array.role] += -(-array.size * array.dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
    return places, sizes["shared"], sizes["local"]
