"""An exported program: the members of one instance of it, where they lie, and the calls of kernels that make a run.

An instance is one struct. States that a run updates, and scalars, lie in it, first of all; of other states it
holds pointers, which lead at first to the values in the file. Then comes the workspace: the arena and what
kernels need for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from staticnet.compiler.codegen.generate import Workspace, workspace
from staticnet.compiler.codegen.loops.describe import describe
from staticnet.compiler.codegen.loops.form import Array, Fail, Kernel, View, statements
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.codegen.standing import Standing
from staticnet.compiler.errors import ExportError
from staticnet.compiler.ir import Layout, Type
from staticnet.compiler.ir.op import format_attribute
from staticnet.compiler.ops.leaf import Identity
from staticnet.compiler.program import Buffer, Generated, Instruction, Program
from staticnet.runtime.native.export_names import Names

ALIGNMENT = 64
POINTER_BYTES = 8
#: words that the header gives a meaning of its own
_RESERVED = ("model", "code", "workspace")


@dataclass(frozen=True)
class Value:
    """An input, an output or a state: what the program calls it, and its name in C."""

    name: str
    label: str
    type: Type

    @property
    def size(self) -> int:
        return int(self.type.size)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.type.shape)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Member(Value):
    """A state in the instance: its values, or a pointer to them, `offset` bytes from the start."""

    slot: int
    offset: int
    is_pointer: bool
    is_updated: bool
    initial: np.ndarray

    @property
    def nbytes(self) -> int:
        return POINTER_BYTES if self.is_pointer else max(self.initial.nbytes, self.type.dtype.itemsize)

    @cached_property
    def starts_at_zero(self) -> bool:
        """Whether all bytes of the first value are zero."""
        return not self.initial.reshape(-1).view(np.uint8).any()


class Spot(NamedTuple):
    """An address: `offset` bytes from the 'model', or from a numbered 'state', 'feed', 'output' or 'constant'."""

    base: str
    number: int
    offset: int


@dataclass(frozen=True)
class Call:
    """One call of a kernel, over all its iterations; `step` is the number of its instruction, from 1 on."""

    kernel: Kernel
    spots: tuple[Spot, ...]
    step: int = 0

    @property
    def can_fail(self) -> bool:
        return any(isinstance(statement, Fail) for statement in statements((self.kernel.loop,)))


@dataclass(frozen=True)
class Plan:
    """All that header and code of an exported program are made of."""

    name: str
    program: Program
    machine: Machine
    feeds: tuple[Value, ...]
    outputs: tuple[Value, ...]
    members: tuple[Member, ...]
    #: bytes from the start of an instance that hold states
    state_bytes: int
    workspace_offset: int
    #: size of an instance
    nbytes: int
    #: what follows from states behind pointers alone, and is done when those are set
    preparation: tuple[Call, ...]
    calls: tuple[Call, ...]
    #: for each output, what writes it
    giving: tuple[tuple[Call, ...], ...]
    #: what ends a run: states that were not written in place
    copies: tuple[Call, ...]

    @property
    def pointers(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.is_pointer)

    @property
    def workspace_bytes(self) -> int:
        return self.nbytes - self.workspace_offset

    def failures(self) -> dict[int, str]:
        """What a run that fails says, by the number of the step."""
        steps = dict.fromkeys(call.step for call in self.calls if call.can_fail)
        instructions = self.program.instructions
        return {step: _failure(self.program, instructions[step - 1], step) for step in steps}


def make_plan(program: Program, states: Sequence[np.ndarray], machine: Machine, name: str) -> Plan:
    """The plan of a program with these values of its states; `name` begins every public name.

    Raises ExportError for a program with steps that have no native code.
    """
    _check_native(program)
    return _Planner(program, states, machine, name).plan()


def _check_native(program: Program) -> None:
    """Raise ExportError, naming all, for steps that only Python can run."""
    steps = zip(program.instructions, program.code, strict=True)
    lacking = [instruction for instruction, generated in steps if generated.routine is None]
    if not lacking:
        return
    places = [f"{i.op.title}{f' at {i.origin.short}' if i.origin else ''}" for i in lacking]
    names = ", ".join(dict.fromkeys(places))
    raise ExportError(
        f"{program.name} has {len(lacking)} steps without native code: {names}; write them with other ops, leave them "
        "to the caller by making what they compute an input, or export the model as ONNX",
        origin=lacking[0].origin,
    )


def _failure(program: Program, instruction: Instruction, step: int) -> str:
    """`step 17, check_labels(target, classes=10) at train.py:17, refused the values it was given`."""
    known = {slot.buffer: slot.name for slot in (*program.feeds, *program.states)}
    names = [known[index] for index in instruction.inputs if index in known]
    attributes = [f"{name}={format_attribute(value)}" for name, value in instruction.op.attributes.items()]
    where = f" at {instruction.origin.short}" if instruction.origin else ""
    what = f"{instruction.op.title}({', '.join([*names, *attributes])})"
    return f"step {step}, {what}{where}, refused the values it was given"


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class _Planner:
    def __init__(self, program: Program, states: Sequence[np.ndarray], machine: Machine, name: str):
        self.program, self.states, self.machine, self.name = program, states, machine, name
        self.updated = {*program.written, *(copy.state for copy in program.copies)}
        self.inside = {
            slot for slot, state in enumerate(program.states) if slot in self.updated or state.type.size == 1
        }
        self.standing: Standing = {
            place: read for place, read in program.standing.items() if not read & self.inside
        }
        self.spaces = [workspace(code.routine, number, self.standing) for number, code in enumerate(program.code)]

    def plan(self) -> Plan:
        names = Names(*_RESERVED, f"{self.name}_t")
        program = self.program
        feeds, outputs = (
            tuple(Value(names.new(slot.name), slot.name, slot.type) for slot in slots)
            for slots in (program.feeds, program.outputs)
        )
        self.members, state_bytes, end = self._members(names)
        #: where the regions of the workspace begin
        self.regions: dict[str, int] = {}
        space = Workspace.joint(self.spaces)
        self.start = place = _aligned(end)
        sizes = (program.arena_bytes, space.shared, space.local, space.kept)
        for region, nbytes in zip(("arena", "shared", "local", "kept"), sizes, strict=True):
            self.regions[region] = place
            place += _aligned(nbytes)
        preparation, calls = self._calls()
        return Plan(
            self.name,
            program,
            self.machine,
            feeds,
            outputs,
            tuple(self.members.values()),
            state_bytes,
            self.start,
            max(place, self.start + ALIGNMENT),
            preparation,
            calls,
            giving=tuple(self._given(number) for number in range(len(outputs))),
            copies=tuple(call for copy in program.copies for call in self._kept(copy.buffer, copy.state)),
        )

    def _members(self, names: Names) -> tuple[dict[int, Member], int, int]:
        """Members by slot, what lies in the instance first; the bytes of those, and where all end."""
        found: dict[int, Member] = {}
        place = state_bytes = 0
        for is_pointer in (False, True):
            for slot, state in enumerate(self.program.states):
                if (slot in self.inside) == is_pointer:
                    continue
                initial = np.ascontiguousarray(self.states[slot]).reshape(self.states[slot].shape)
                assert Type(initial.shape, initial.dtype) == state.type, (state, initial.shape, initial.dtype)
                named = (names.new(state.name), state.name, state.type)
                member = Member(*named, slot, place, is_pointer, slot in self.updated, initial)
                found[slot] = member
                place += member.nbytes if is_pointer else _aligned(member.nbytes)
            state_bytes = state_bytes if is_pointer else place
        return found, state_bytes, place

    # -- calls ----------------------------------------------------------------------------------

    def _calls(self) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
        preparation: list[Call] = []
        calls: list[Call] = []
        kept = 0
        for number, (generated, space) in enumerate(zip(self.program.code, self.spaces, strict=True)):
            assert generated.routine is not None
            for order, kernel in enumerate(generated.routine.kernels):
                if kernel.loop.extent:
                    spots = tuple(self._spot(generated, space, kept, array) for array in kernel.arrays)
                    target = preparation if (number, order) in self.standing else calls
                    target.append(Call(kernel, spots, number + 1))
            kept += space.kept
        return tuple(preparation), tuple(calls)

    def _spot(self, generated: Generated, space: Workspace, kept: int, array: Array) -> Spot:
        if array in space.places:
            region, offset = space.places[array]
            return Spot("model", 0, self.regions[region] + offset + (kept if region == "kept" else 0))
        operand = generated.operand(array)
        return self._buffer_spot(self.program.buffers[operand.buffer], operand.start)

    def _buffer_spot(self, buffer: Buffer, start: int) -> Spot:
        """The address of element `start` of a buffer's storage."""
        storage, offset = self.program.storages[buffer.storage], start * buffer.type.dtype.itemsize
        if storage.place == "arena":
            return Spot("model", 0, self.regions["arena"] + storage.offset + offset)
        if storage.place != "state":
            return Spot(storage.place, storage.slot, offset)
        member = self.members[storage.slot]
        return Spot("state", storage.slot, offset) if member.is_pointer else Spot("model", 0, member.offset + offset)

    def _given(self, number: int) -> tuple[Call, ...]:
        buffer = self.program.buffers[self.program.outputs[number].buffer]
        return self._copy(buffer, Spot("output", number, 0))

    def _kept(self, index: int, slot: int) -> tuple[Call, ...]:
        target = self.program.buffers[self.program.states[slot].buffer]
        return self._copy(self.program.buffers[index], self._buffer_spot(target, 0))

    def _copy(self, buffer: Buffer, target: Spot) -> tuple[Call, ...]:
        """Calls that write a buffer to a row-major array."""
        layout = buffer.layout
        size = buffer.type.size and 1 + layout.offset + sum(
            max(0, (extent - 1) * stride) for extent, stride in zip(layout.shape, layout.strides, strict=True)
        )
        source = View(Array("i0", buffer.type.dtype, int(size), "input"), layout)
        result = Array("o0", buffer.type.dtype, int(buffer.type.size), "output")
        routine = describe(Identity(), [source], [View(result, Layout.dense(layout.shape))], self.machine)
        assert routine is not None and not routine.workspace
        spots: Mapping[str, Spot] = {"input": self._buffer_spot(buffer, 0), "output": target}
        return tuple(Call(k, tuple(spots[array.role] for array in k.arrays)) for k in routine.kernels)
