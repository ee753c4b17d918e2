"""STATICNET_GUARD=1: native programs with watched bytes around every array, and the name of the step that wrote there.

Each storage, each array of workspace and copies of feeds, states and constants lie apart in memory between two
zones of known bytes. After every step all zones must be as they were, and so must all that the step only reads.
What is read from a zone is NaN. Slow, and takes several times the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.program import Program, Storage
from staticnet.runtime.backend import Backend, Call
from staticnet.runtime.native.bound import NativeBound
from staticnet.runtime.native.code import Code, Entry, Place
from staticnet.runtime.poison import POISON
from staticnet.runtime.state import State

#: bytes of a zone
ZONE = 256


class _Block:
    """Bytes, poisoned at first, between two zones of a NaN that no other block has: no copy of one goes unseen."""

    def __init__(self, name: str, nbytes: int, number: int, backend: Backend):
        memory = backend.empty(2 * ZONE + nbytes)
        backend.fill(memory, POISON)
        self.name, self.inside = name, memory[ZONE : ZONE + nbytes]
        self.before, self.behind = memory[:ZONE], memory[ZONE + nbytes :]
        self._wanted = np.full(ZONE // 4, 0x7FC00001 + number % 0x3FFFFF, np.uint32).view(np.uint8)
        self.mend()

    def mend(self) -> None:
        self.before[...] = self.behind[...] = self._wanted

    def damage(self) -> str | None:
        """What was written in the zones."""
        for zone, place in ((self.behind, "behind"), (self.before, "before")):
            touched = np.flatnonzero(zone != self._wanted)
            if touched.size:
                first = touched[0] if place == "behind" else ZONE - touched[-1]
                return f"{touched.size} bytes {place} {self.name}, the nearest at a distance of {first}"
        return None


class GuardedBound(NativeBound):
    """A program's code on watched memory."""

    def __init__(
        self,
        program: Program,
        backend: Backend,
        states: Sequence[State],
        constants: Sequence[Any],
        *,
        code: Code,
        workers: int,
    ):
        self._blocks: list[_Block] = []
        self._mirrors: list[tuple[State, _Block]] = []
        self._sizes: dict[Place, tuple[str, int]] = {}
        self._workspace: dict[tuple[Place, int], _Block] = {}
        code = replace(
            code,
            entries=tuple(map(self._told_apart, code.entries)),
            standing=tuple(map(self._told_apart, code.standing)),
        )
        super().__init__(program, backend, states, constants, code=code, workers=workers)
        self.is_atomic = False
        self.__dict__.pop("run", None)  # the short way
        count = len(program.instructions)
        last = [number for number, entry in enumerate(code.entries) if entry.instruction >= count]
        self.calls = [self._watched(number, call) for number, call in enumerate(self._unwatched())]
        self._finish = self._native(last[0], last[-1] + 1) if last else None

    # -- memory ---------------------------------------------------------------------------------

    def _block(self, name: str, nbytes: int) -> _Block:
        block = _Block(name, nbytes, len(self._blocks), self.backend)
        self._blocks.append(block)
        return block

    def _memory(self, storage: Storage, states: Sequence[State], constants: Sequence[Any]) -> Any:
        block = self._block(self._name(storage), storage.nbytes)
        if storage.place == "state":
            self._mirrors.append((states[storage.slot], block))
        if storage.place == "constant":
            block.inside[...] = _bytes(constants[storage.slot])
        return block.inside

    def _name(self, storage: Storage) -> str:
        held = [buffer for buffer in self.program.buffers if buffer.storage == storage.index]
        return f"the {storage.place} of {', '.join(f'b{buffer.index} : {buffer.type}' for buffer in held)}"

    def _told_apart(self, entry: Entry) -> Entry:
        """The entry, its places in workspace marked with its instruction: each such array gets a block."""
        places = []
        for number, place in enumerate(entry.places):
            if place.region != "buffer":
                place = Place(place.region, entry.instruction, place.offset)
                if entry.kernel is not None:
                    array = entry.kernel.arrays[number]
                    self._sizes[place] = f"workspace {array.name}", array.size * array.dtype.itemsize
            places.append(place)
        return replace(entry, places=tuple(places))

    def _address(self, place: Place, worker: int) -> int:
        if place.region == "buffer":
            return super()._address(place, worker)
        key = place, worker if place.region == "local" else 0
        if key not in self._workspace:
            # Loops that come from the cache say nothing of sizes: then the rest of the region.
            rest = getattr(self.code.workspace, place.region) - place.offset
            name, nbytes = self._sizes.get(place, (f"{place.region} workspace", rest))
            self._workspace[key] = self._block(name, nbytes)
        return self._workspace[key].inside.ctypes.data

    def _is_seen_by_python(self, buffer: int) -> bool:
        return True  # so that all feeds are copied in

    # -- running --------------------------------------------------------------------------------

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        try:
            self.begin(feeds)
            for call in self.calls:
                call()
            if self._finish is not None:
                self._finish()
                self._check("the last copies")
            return super().end()
        finally:
            self._give_states()

    def begin(self, feeds: Sequence[np.ndarray]) -> None:
        for state, block in self._mirrors:
            block.inside[...] = _bytes(state.array)
        super().begin(feeds)
        self._check("standing work")

    def end(self) -> list[np.ndarray]:
        self._check("the program")
        results = super().end()
        self._give_states()
        return results

    def _give_states(self) -> None:
        for state, block in self._mirrors:
            _bytes(state.array)[...] = block.inside

    def _unwatched(self) -> list[Call]:
        """A call for each instruction, with as many workers as a run has."""
        found = []
        for number, generated in enumerate(self.program.code):
            entries = self._entries_of.get(number)
            if generated.routine is None:
                found.append(self._in_python(number))
            else:
                found.append(self._native(entries.start, entries.stop) if entries else _nothing)
        return found

    def _watched(self, number: int, call: Call) -> Call:
        instruction = self.program.instructions[number]
        written = {self.program.buffers[index].storage for index in instruction.outputs}
        read = {self.program.buffers[index].storage for index in instruction.inputs} - written
        operands = [self.memory[storage] for storage in sorted(read)]

        def watched() -> None:
            self._standing()
            before = list(map(zlib.crc32, operands))
            call()
            self._check(f"step {instruction.time}, {instruction.op.title},", instruction.origin)
            for storage, old, memory in zip(sorted(read), before, operands, strict=True):
                if zlib.crc32(memory) != old:
                    name = self._name(self.program.storages[storage])
                    raise CompilerError(
                        f"step {instruction.time}, {instruction.op.title}, wrote to {name}, which it reads",
                        origin=instruction.origin,
                    )

        return watched

    def _check(self, step: str, origin: Any = None) -> None:
        damages = [damage for block in self._blocks if (damage := block.damage())]
        if damages:
            for block in self._blocks:
                block.mend()
            raise CompilerError(f"{step} wrote outside of its memory: {damages[0]}", origin=origin)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def _nothing() -> None:
    pass
