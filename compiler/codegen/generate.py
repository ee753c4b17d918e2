"""A Program as code: for each instruction the routine that computes it, and what its arrays stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from staticnet.compiler.codegen.loops import describers  # noqa: F401  (fills the table of describers)
from staticnet.compiler.codegen.loops.describe import describe
from staticnet.compiler.codegen.loops.form import Array, Routine, View
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ir import Layout
from staticnet.compiler.program import Buffer, Generated, Instruction, Operand, Program

_ALIGNMENT = 64


def with_code(program: Program, machine: Machine) -> Program:
    """The program with the code of every instruction; its scratch is what that code, and kernels elsewhere, need."""
    instructions = program.instructions
    known: dict[Any, Routine | None] = {}
    code = tuple(_generate(program, instruction, machine, known) for instruction in instructions)
    has_routine = {i.time: each.routine is not None for i, each in zip(instructions, code, strict=True)}
    steps = tuple(
        replace(
            step,
            instructions=tuple(replace(i, scratch=0) if has_routine[i.time] else i for i in step.instructions),
        )
        for step in program.steps
    )
    scratch = max((i.scratch for step in steps for i in step.instructions), default=0)
    shared, local = workspace_bytes(code)
    memory = replace(program.memory, scratch_bytes=scratch + shared + local)
    return replace(program, steps=steps, scratch_bytes=scratch, memory=memory, code=code)


def workspace_bytes(code: Sequence[Generated]) -> tuple[int, int]:
    """Bytes of shared workspace, and of each worker's own, that is enough for every routine."""
    sizes = [workspace(each.routine)[1:] for each in code if each.routine is not None]
    return max((shared for shared, _ in sizes), default=0), max((local for _, local in sizes), default=0)


def _generate(
    program: Program, instruction: Instruction, machine: Machine, known: dict[Any, Routine | None]
) -> Generated:
    """The code of one instruction; `known` holds the routines of ops met before on views like these."""
    inputs, from_inputs = _views([program.buffers[index] for index in instruction.inputs], "input")
    outputs, from_outputs = _views([program.buffers[index] for index in instruction.outputs], "output")
    key = (instruction.op.key, *inputs, *outputs)
    if key not in known:
        known[key] = describe(instruction.op, inputs, outputs, machine)
    return Generated(known[key], from_inputs, from_outputs)


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
