"""The static plan checker: an independent reading of a Program that trusts nothing the planner said.

Lifetimes are computed anew from the instructions alone, over bytes, and every rule of the plan is held
against them.
"""

from __future__ import annotations

import bisect
import heapq

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.program import Buffer, Instruction, Program, Storage

END = 1 << 60


def check_plan(program: Program) -> Program:
    """The program itself; raises CompilerError naming the two buffers that get in each other's way.

    Two values whose bytes overlap have disjoint lifetimes, unless the op is declared in-place for that
    operand, it is the last use, of equal type, and neither a feed, a constant nor an output. A view lies
    within its base. Feeds and constants are never written; a state is written once, after its last read,
    fetches included, and after everything that may fail.
    """
    for buffer in program.buffers:
        _check_extent(program, buffer)
    born, dies = _lifetimes(program)
    for instruction in program.instructions:
        for operand in instruction.inputs:
            if born[operand] >= instruction.time:
                raise CompilerError(f"{_name(program, operand)} is read at {instruction.time}, before it is written")
        for output in instruction.outputs:
            _check_write(program, instruction, output, born, dies)
        if instruction.scratch > program.scratch_bytes:
            raise CompilerError(
                f"{instruction.op} needs {instruction.scratch} of {program.scratch_bytes} bytes of scratch"
            )
    _check_overlaps(program, born, dies)
    _check_fetches(program, born)
    return program


def _lifetimes(program: Program) -> tuple[list[int], list[int]]:
    """When each buffer's bytes are written, and when they are read for the last time, views included.

    A view is born with what it looks at and keeps it alive: buffers of one storage that hold the same
    writing are found by the instruction that wrote the storage last before the view's first reader.
    """
    count = len(program.buffers)
    written = [END] * count
    last_read = [-1] * count
    for instruction in program.instructions:
        for index in instruction.outputs:
            written[index] = instruction.time
        for index in instruction.inputs:
            last_read[index] = instruction.time
    for index in (*(slot.buffer for slot in program.outputs), *(copy.buffer for copy in program.copies)):
        last_read[index] = END
    outside = {s.index for s in program.storages if s.place != "arena"}
    is_written_anywhere = {i for instruction in program.instructions for i in instruction.outputs}
    writings: dict[int, list[tuple[int, int]]] = {}
    for index in is_written_anywhere:
        writings.setdefault(program.buffers[index].storage, []).append((written[index], index))
    born, dies = list(written), list(last_read)
    for buffer in program.buffers:
        if buffer.index in is_written_anywhere:
            continue
        before = [entry for entry in sorted(writings.get(buffer.storage, ())) if entry[1] < buffer.index]
        if before:
            base = before[-1][1]
            born[buffer.index] = born[base]
            dies[base] = max(dies[base], last_read[buffer.index])
        elif buffer.storage in outside:
            born[buffer.index] = -1
    return born, dies


def _check_extent(program: Program, buffer: Buffer) -> None:
    storage = program.storages[buffer.storage]
    layout = buffer.layout
    if layout.shape != tuple(buffer.type.shape):
        raise CompilerError(f"{_name(program, buffer.index)} has the layout of another shape: {layout}")
    if 0 in layout.shape:
        return
    low = high = layout.offset
    for size, stride in zip(layout.shape, layout.strides, strict=True):
        reach = (size - 1) * stride
        low, high = low + min(reach, 0), high + max(reach, 0)
    itemsize = buffer.type.dtype.itemsize
    if low < 0 or (high + 1) * itemsize > storage.nbytes:
        raise CompilerError(
            f"{_name(program, buffer.index)} reaches outside its storage of {storage.nbytes} bytes: {layout}"
        )
    if storage.place == "arena" and storage.offset + storage.nbytes > program.arena_bytes:
        raise CompilerError(f"{_name(program, buffer.index)} reaches outside the arena of {program.arena_bytes} bytes")


def _check_write(program: Program, instruction: Instruction, output: int, born: list[int], dies: list[int]) -> None:
    buffer = program.buffers[output]
    storage = program.storages[buffer.storage]
    if storage.place in {"feed", "constant"}:
        raise CompilerError(f"{instruction.op} writes to a {storage.place}, {_name(program, output)}")
    if not buffer.layout.is_packed:
        raise CompilerError(f"{instruction.op} writes to a view, {_name(program, output)}: {buffer.layout}")
    for position, operand in enumerate(instruction.inputs):
        if _overlap(program, program.buffers[operand], buffer):
            _check_in_place(program, instruction, position, buffer, dies)
    if storage.place == "state":
        _check_state_write(program, instruction, buffer, storage)


def _check_in_place(program: Program, instruction: Instruction, position: int, out: Buffer, dies: list[int]) -> None:
    operand = program.buffers[instruction.inputs[position]]
    same = operand.type == out.type and operand.layout == out.layout
    if not same:
        raise CompilerError(f"{instruction.op} overwrites {_name(program, operand.index)} of another type or layout")
    if position not in instruction.op.in_place:
        raise CompilerError(f"{instruction.op} is not declared in-place for operand {position}")
    if program.storages[operand.storage].place in {"feed", "constant"}:
        raise CompilerError(f"{instruction.op} overwrites the {program.storages[operand.storage].place} it reads")
    if dies[operand.index] > instruction.time:
        raise CompilerError(f"{instruction.op} overwrites {_name(program, operand.index)}, which is read later")


def _check_state_write(program: Program, instruction: Instruction, out: Buffer, storage: Storage) -> None:
    if storage.slot not in program.written:
        raise CompilerError(
            f"{instruction.op} writes state {program.states[storage.slot].name}, which is not to change"
        )
    for other in program.instructions:
        writes = [index for index in other.outputs if program.buffers[index].storage == storage.index]
        if writes and writes != [out.index]:
            raise CompilerError(f"state {program.states[storage.slot].name} is written twice")
        if other.time >= instruction.time and program.can_fail(other):
            raise CompilerError(f"{other.op} may fail after state {program.states[storage.slot].name} is written")
        for index in other.inputs:
            buffer = program.buffers[index]
            if buffer.storage == storage.index and other.time > instruction.time and buffer.index < out.index:
                raise CompilerError(
                    f"{other.op} reads the old value of state {program.states[storage.slot].name} too late"
                )


def _check_overlaps(program: Program, born: list[int], dies: list[int]) -> None:
    """Sweep over time with the bytes in use: what is written must not lie on what is still to be read."""
    live: list[tuple[int, int, int]] = []  # (first byte, byte after the last, buffer): disjoint, sorted
    deaths: list[tuple[int, tuple[int, int, int]]] = []
    for instruction in program.instructions:
        while deaths and deaths[0][0] < instruction.time:
            dead = heapq.heappop(deaths)[1]
            place = bisect.bisect_left(live, dead)
            if place < len(live) and live[place] == dead:
                live.pop(place)
        operands = {program.buffers[index].storage for index in instruction.inputs}
        for index in instruction.outputs:
            storage = program.storages[program.buffers[index].storage]
            if storage.place != "arena" or not program.buffers[index].type.bytes:
                continue
            start, end = storage.offset, storage.offset + storage.nbytes
            place = bisect.bisect_left(live, (start, 0, 0))
            while place and live[place - 1][1] > start:
                place -= 1
            while place < len(live) and live[place][0] < end:
                other = live[place][2]
                is_in_place = dies[other] == instruction.time and program.buffers[other].storage == storage.index
                if not (is_in_place and storage.index in operands):
                    raise CompilerError(
                        f"{_name(program, index)} is written at {instruction.time} over {_name(program, other)}, "
                        f"which lives from {born[other]} to {dies[other]}"
                    )
                live.pop(place)  # in place, and checked where it was written
            entry = (start, end, index)
            bisect.insort(live, entry)
            heapq.heappush(deaths, (dies[index], entry))


def _check_fetches(program: Program, born: list[int]) -> None:
    """Outputs and copies are read after the last instruction, the copies one after the other."""
    writers = {program.buffers[i].storage: i for instruction in program.instructions for i in instruction.outputs}
    overwritten: set[int] = set()
    states = [program.buffers[slot.buffer].storage for slot in program.states]
    fetches = [*((slot.buffer, None) for slot in program.outputs), *((c.buffer, c.state) for c in program.copies)]
    for index, state in fetches:
        storage = program.buffers[index].storage
        if born[index] == END:
            raise CompilerError(f"{_name(program, index)} is fetched and never written")
        is_old = storage in overwritten or (storage in states and index < writers.get(storage, -1))
        if is_old:
            raise CompilerError(f"{_name(program, index)} is fetched after the state that it lies in is written")
        if state is not None:
            if state in program.written or states[state] in overwritten:
                raise CompilerError(f"state {program.states[state].name} is written twice")
            if storage == states[state] or program.buffers[index].type != program.states[state].type:
                raise CompilerError(f"{_name(program, index)} is no new value for state {program.states[state].name}")
            overwritten.add(states[state])


def _overlap(program: Program, a: Buffer, b: Buffer) -> bool:
    """Whether the storages of two buffers share bytes."""
    if a.storage == b.storage:
        return bool(a.type.bytes and b.type.bytes)
    one, two = program.storages[a.storage], program.storages[b.storage]
    if one.place != "arena" or two.place != "arena" or not one.nbytes or not two.nbytes:
        return False
    return one.offset < two.offset + two.nbytes and two.offset < one.offset + one.nbytes


def _name(program: Program, index: int) -> str:
    return f"b{index} : {program.buffers[index].type}"
