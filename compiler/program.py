"""The Program: a flat list of steps over buffers with fixed places, ready to be run again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from staticnet.compiler.ir import Layout, Op, Type
from staticnet.compiler.ir.op import array_digest, format_attribute
from staticnet.compiler.memory_report import MemoryReport
from staticnet.compiler.origins import Origin
from staticnet.compiler.target import Target

if TYPE_CHECKING:
    from staticnet.compiler.codegen.loops.form import Array, Routine


@dataclass(frozen=True)
class Storage:
    """A run of bytes: a piece of the arena, or the whole of a feed, a state or a constant.

    `first` and `last` are the times (instruction numbers) between which it holds something that is
    still needed; what is not in the arena lives throughout.
    """

    index: int
    place: str  # 'arena', 'feed', 'state', 'constant'
    nbytes: int
    first: int
    last: int
    offset: int = 0  # in the arena, bytes
    slot: int = -1  # which feed, state or constant


@dataclass(frozen=True)
class Buffer:
    """One value: where its elements lie in a storage. `symbolic` is its type before sizes were bound."""

    index: int
    storage: int
    type: Type
    layout: Layout
    symbolic: Type


@dataclass(frozen=True)
class Instruction:
    """One kernel call: read the input buffers, write the output buffers."""

    time: int
    op: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    #: the operand whose bytes the output overwrites, if any
    in_place: int | None = None
    scratch: int = 0
    origin: Origin | None = None


@dataclass(frozen=True)
class Step:
    """Instructions that belong together: one op, or a fused group."""

    index: int
    instructions: tuple[Instruction, ...]

    @property
    def label(self) -> str:
        names = [instruction.op.title for instruction in self.instructions]
        return names[0] if len(names) == 1 else f"fused[{' '.join(names)}]"


@dataclass(frozen=True)
class Slot:
    """A feed, a state or an output by name."""

    name: str
    type: Type
    buffer: int


@dataclass(frozen=True)
class Copy:
    """After the last step: the new value of a state that could not be written in place."""

    buffer: int
    state: int


@dataclass(frozen=True)
class Operand:
    """What an array of a routine is in the program: a buffer, from its element number `start` on."""

    buffer: int
    start: int


@dataclass(frozen=True)
class Generated:
    """The code of one instruction; no routine where it runs as its card's kernel."""

    routine: Routine | None
    inputs: tuple[Operand, ...] = ()
    outputs: tuple[Operand, ...] = ()

    def operand(self, array: Array) -> Operand:
        """What an input or output array stands for."""
        return (self.inputs if array.role == "input" else self.outputs)[array.number]


@dataclass(frozen=True)
class Program:
    """What a backend runs. Immutable; its text is the same in every process."""

    name: str
    target: Target
    binding: Mapping[str, int]
    feeds: tuple[Slot, ...]
    states: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    constants: tuple[np.ndarray, ...]
    storages: tuple[Storage, ...]
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    #: states whose new value is computed into their own storage
    written: tuple[int, ...]
    copies: tuple[Copy, ...]
    arena_bytes: int
    scratch_bytes: int
    memory: MemoryReport = field(compare=False)
    #: the generated code of each instruction, for targets that have it
    code: tuple[Generated, ...] = field(default=(), compare=False, repr=False)
    #: (instruction, kernel) whose results follow from these states alone and outlast a call
    standing: Mapping[tuple[int, int], frozenset[int]] = field(default_factory=dict, compare=False, repr=False)
    #: what a backend's cache files it under, and what it kept of the code
    key: str | None = field(default=None, compare=False, repr=False)
    loaded: Any = field(default=None, compare=False, repr=False)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(instruction for step in self.steps for instruction in step.instructions)

    @property
    def writes_state(self) -> bool:
        return bool(self.written or self.copies)

    @cached_property
    def most_flops(self) -> int:
        """Arithmetic operations of the instruction that has most of them."""
        return max(map(self.flops, self.instructions), default=0)

    def can_fail(self, instruction: Instruction) -> bool:
        """Whether an instruction may refuse the values it reads."""
        return instruction.op.can_fail(*(self.buffers[index].type for index in instruction.inputs))

    def flops(self, instruction: Instruction) -> int:
        """Arithmetic operations of one instruction."""
        out = self.buffers[instruction.outputs[0]].type
        return int(instruction.op.flops(out, *(self.buffers[index].type for index in instruction.inputs)))  # type: ignore[arg-type]

    def text(self) -> str:
        """The program as text: slots, then one line an instruction with the place of its result."""
        return _program_text(self)

    def __str__(self) -> str:
        return self.text()

    @cached_property
    def digest(self) -> str:
        """A digest of the text."""
        return hashlib.blake2b(self.text().encode(), digest_size=16).hexdigest()


def _program_text(program: Program) -> str:
    binding = ", ".join(f"{name}={size}" for name, size in sorted(program.binding.items()))
    lines = [f"program {program.name} target={program.target.name} [{binding}]"]
    lines.append(f"  arena {program.arena_bytes} bytes, scratch {program.scratch_bytes} bytes")
    for kind, slots in (("feed", program.feeds), ("state", program.states)):
        lines += [f"  {kind} b{slot.buffer} {slot.name} : {slot.type}" for slot in slots]
    for storage in program.storages:
        if storage.place == "constant":
            array = program.constants[storage.slot]
            shown = format_attribute(array) if array.size <= 8 else f"<{array_digest(array).hex()[:12]}>"
            buffer = next(b for b in program.buffers if b.storage == storage.index)
            lines.append(f"  constant b{buffer.index} : {buffer.type} = {shown}")
    for step in program.steps:
        if len(step.instructions) > 1:
            lines.append(f"  step {step.index} fused")
        for instruction in step.instructions:
            indent = "    " if len(step.instructions) > 1 else f"  step {step.index} "
            lines.append(indent + _instruction_text(program, instruction))
    lines += [f"  output {slot.name} = {_operand_text(program, slot.buffer)}" for slot in program.outputs]
    lines += [f"  write {program.states[index].name} in place" for index in program.written]
    lines += [
        f"  copy {program.states[copy.state].name} <- {_operand_text(program, copy.buffer)}" for copy in program.copies
    ]
    return "\n".join(lines) + "\n"


def _instruction_text(program: Program, instruction: Instruction) -> str:
    operands = [_operand_text(program, index) for index in instruction.inputs]
    attributes = [f"{name}={format_attribute(value)}" for name, value in instruction.op.attributes.items()]
    results = ", ".join(
        f"b{index} : {program.buffers[index].type} {_place_text(program, index)}" for index in instruction.outputs
    )
    notes = f" in place of {operands[instruction.in_place]}" if instruction.in_place is not None else ""
    notes += f" scratch {instruction.scratch}" if instruction.scratch else ""
    notes += f"  # {instruction.origin.short}" if instruction.origin else ""
    return f"{results} = {instruction.op.title}({', '.join([*operands, *attributes])}){notes}"


def _place_text(program: Program, index: int) -> str:
    storage = program.storages[program.buffers[index].storage]
    if storage.place == "arena":
        return f"@{storage.offset}+{storage.nbytes}"
    return f"@{storage.place}"


def _operand_text(program: Program, index: int) -> str:
    buffer = program.buffers[index]
    if buffer.layout == Layout.dense(tuple(buffer.type.shape)):  # type: ignore[arg-type]
        return f"b{index}"
    layout = buffer.layout
    return f"b{index}(s{buffer.storage} strides={layout.strides} offset={layout.offset})"
