"""A program bound to memory of its own: every step made ready once, then run again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticnet.compiler.errors import StaticnetError
from staticnet.compiler.program import Instruction, Program, Storage
from staticnet.runtime.backend import Backend
from staticnet.runtime.state import State
from staticnet.runtime.times import Times, clock_cost


class Bound:
    """A program bound to an arena of its own: every kernel call is made ready once."""

    #: whether a run cannot be interrupted between its first and its last write to a state
    is_atomic = False
    #: what it rests on, as its executor sees it
    basis: tuple = ()

    def __init__(self, program: Program, backend: Backend, states: Sequence[State], constants: Sequence[Any]):
        self.program, self.backend = program, backend
        self.arena = backend.empty(program.arena_bytes)
        self.scratch = backend.empty(program.scratch_bytes) if program.scratch_bytes else None
        self.memory = [self._memory(storage, states, constants) for storage in program.storages]
        self.arrays = [self._array(index) for index in range(len(program.buffers))]
        self.calls = [self.call(instruction) for instruction in program.instructions]
        self.feeds = [self.arrays[slot.buffer] for slot in program.feeds]
        self.outputs = [self.arrays[slot.buffer] for slot in program.outputs]
        self.copies = [
            (self.arrays[program.states[copy.state].buffer], self.arrays[copy.buffer]) for copy in program.copies
        ]

    def _memory(self, storage: Storage, states: Sequence[State], constants: Sequence[Any]) -> Any:
        """The bytes of a storage; states and constants stand for themselves."""
        if storage.place == "state":
            return states[storage.slot].array
        if storage.place == "constant":
            return constants[storage.slot]
        if storage.place == "feed":
            return self.backend.empty(storage.nbytes)
        return self.arena[storage.offset : storage.offset + storage.nbytes]

    def _array(self, index: int) -> Any:
        buffer = self.program.buffers[index]
        memory = self.memory[buffer.storage]
        if self.program.storages[buffer.storage].place in {"state", "constant"}:
            memory = memory.reshape(-1).view(np.uint8)
        return self.backend.view(memory, 0, buffer.layout, buffer.type.dtype.numpy)

    def call(self, instruction: Instruction) -> Any:
        inputs = tuple(self.arrays[index] for index in instruction.inputs)
        outputs = tuple(self.arrays[index] for index in instruction.outputs)
        scratch = self.scratch[: instruction.scratch] if instruction.scratch else None  # type: ignore[index]
        return self.backend.call(instruction, inputs, outputs, scratch)

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Copy the feeds in, run every step, copy the outputs out, then finish the states."""
        self.backend.enter(self.program)
        write = self.backend.write
        for target, source in zip(self.feeds, feeds, strict=True):
            write(target, source)
        done = -1
        with np.errstate(all="ignore"):
            try:
                for done, call in enumerate(self.calls):  # noqa: B007
                    call()
            except StaticnetError as error:
                raise self._at_origin(error, done) from None
        return self.finish()

    def finish(self) -> list[np.ndarray]:
        """Copies of the outputs for the caller; then the states that were not written in place."""
        results = [self.backend.to_host(array) for array in self.outputs]
        for target, source in self.copies:
            self.backend.copy(target, source)
        return results

    def run_timed(self, feeds: Sequence[np.ndarray]) -> Times:
        """As `run`, by the clock; the results are thrown away."""
        cost, now = clock_cost(), time.perf_counter
        begins: list[float] = []
        ends: list[float] = []
        started = now()
        self.backend.enter(self.program)
        for target, source in zip(self.feeds, feeds, strict=True):
            self.backend.write(target, source)
        self.backend.synchronize()
        ready = now() - started
        with np.errstate(all="ignore"):
            try:
                for call in self.calls:
                    begins.append(now() - started)
                    call()
                    self.backend.synchronize()
                    ends.append(max(now() - started - cost, begins[-1]))
            except StaticnetError as error:
                raise self._at_origin(error, len(ends)) from None
        self.finish()
        return Times(ready, tuple(begins), tuple(ends), now() - started, len(ends) * cost)

    def runs_natively(self, number: int) -> bool:
        """Whether an instruction runs as generated machine code, not as its card's kernel."""
        return False

    def threads_of(self, number: int) -> int:
        """How many threads an instruction takes."""
        return 1

    def _at_origin(self, error: StaticnetError, index: int) -> StaticnetError:
        origin = self.program.instructions[index].origin
        if origin is not None:
            error.origin = origin
        return error
