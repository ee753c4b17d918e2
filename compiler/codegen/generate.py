"""A Program as code: for each instruction the routine that computes it, and what its arrays stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from staticnet.compiler.codegen.loops import describers  # noqa: F401  (fills the table of describers)
from staticnet.compiler.codegen.loops.describe import describe
from staticnet.compiler.codegen.loops.form import Array, Routine, View
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.codegen.standing import Standing, standing_kernels
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.leaf import Identity
from staticnet.compiler.program import Buffer, Generated, Instruction, Operand, Program

_ALIGNMENT = 64
#: what arrays are called in the text of kernels, where loop variables have names of one letter
_SHORT = {"input": "in", "output": "out"}


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
    program = replace(program, steps=steps, scratch_bytes=scratch, code=code)
    standing = standing_kernels(program)
    spaces = [workspace(generated.routine, number, standing) for number, generated in enumerate(code)]
    memory = replace(program.memory, scratch_bytes=scratch + Workspace.joint(spaces).nbytes)
    return replace(program, memory=memory, standing=standing)


def copies_code(program: Program, machine: Machine) -> tuple[Generated, ...]:
    """Routines for the copies that end a program, in order; none where an output must be fetched before them."""
    kept = {program.buffers[program.states[copy.state].buffer].storage for copy in program.copies}
    if any(program.buffers[slot.buffer].storage in kept for slot in program.outputs):
        return ()
    found = []
    for copy in program.copies:
        inputs, from_inputs = _views([program.buffers[copy.buffer]], "input")
        outputs, from_outputs = _views([program.buffers[program.states[copy.state].buffer]], "output")
        found.append(Generated(describe(Identity(), inputs, outputs, machine), from_inputs, from_outputs))
    return tuple(found) if all(each.routine is not None for each in found) else ()


def code_of(program: Program, instruction: Instruction, machine: Machine) -> Generated:
    """The code of one instruction of a program, described anew."""
    return _generate(program, instruction, machine, {})


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
        array = Array(f"{_SHORT[role]}{number}", buffer.type.dtype, size, role, number)
        views.append(View(array, Layout(layout.shape, layout.strides, -below)))
        operands.append(Operand(buffer.index, layout.offset + below))
    return views, tuple(operands)


@dataclass(frozen=True)
class Workspace:
    """Where the arrays of a routine lie in their regions, in bytes, and how large the regions are.

    'shared' is used by one step after the other, 'local' is each worker's own, 'kept' holds what outlasts a call.
    """

    places: Mapping[Array, tuple[str, int]]
    shared: int
    local: int
    kept: int

    @staticmethod
    def joint(spaces: Sequence[Workspace]) -> Workspace:
        """Regions large enough for all; what is kept lies side by side."""
        return Workspace(
            {},
            max((space.shared for space in spaces), default=0),
            max((space.local for space in spaces), default=0),
            sum(space.kept for space in spaces),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all regions, for one worker."""
        return self.shared + self.local + self.kept


def workspace(routine: Routine | None, number: int, standing: Standing) -> Workspace:
    """The workspace of one instruction's routine."""
    if routine is None:
        return Workspace({}, 0, 0, 0)
    kept = {a for place, kernel in enumerate(routine.kernels) if (number, place) in standing for a in kernel.written}
    places: dict[Array, tuple[str, int]] = {}
    sizes = {"shared": 0, "local": 0, "kept": 0}
    for array in routine.workspace:
        region = "kept" if array in kept and array.role == "shared" else array.role
        places[array] = region, sizes[region]
        sizes[region] += -(-array.size * array.dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
    return Workspace(places, sizes["shared"], sizes["local"], sizes["kept"])
