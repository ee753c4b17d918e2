"""A program bound to memory as native code: runs of steps as one call of the driver each, the rest through Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticnet.compiler.errors import CompilerError, StaticnetError
from staticnet.compiler.program import Instruction, Program
from staticnet.runtime.backend import Backend, Call
from staticnet.runtime.bound import Bound
from staticnet.runtime.native import driver
from staticnet.runtime.native.code import Code, Entry, Place
from staticnet.runtime.native.threads import pool
from staticnet.runtime.native.timing import Timing
from staticnet.runtime.state import State
from staticnet.runtime.times import Times

#: nanoseconds; shorter runs do not let other Python threads go on
_SHORT = 50_000
#: nanoseconds of a run from which it is shared among workers: waking them takes some microseconds
_SHARED_FROM = 100_000
#: bytes of a feed from which it pays to read it where the caller has it
_LONG_FEED = 16 << 10


class NativeBound(Bound):
    """A program's code with the addresses of one set of memory."""

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
        self.code, self.workers = code, workers
        space = code.workspace
        # Workers are a whole number of cache lines apart.
        sizes = {"shared": space.shared, "local": space.local * workers, "kept": space.kept}
        self.regions = {region: backend.empty(size) for region, size in sizes.items()}
        super().__init__(program, backend, states, constants)
        self._pointers, self._rows = self._table(code.entries)
        self._standing = self._standing_work(states)
        self._entries_of: dict[int, range] = {}
        for number, entry in enumerate(code.entries):
            first = self._entries_of.get(entry.instruction, range(number, number)).start
            self._entries_of[entry.instruction] = range(first, number + 1)
        self._jobs: list[driver.Job] = []
        self.segments = self._segments()
        self._has_python = any(generated.routine is None for generated in program.code)
        self._feed_places = self._places_of_feeds()
        self._left = [] if code.has_copies else self.copies
        self.is_atomic = not self._has_python and not self._left and len(self.segments) == 1
        is_short = all(type(place) is _FeedPlace for place in self._feed_places)
        if self.is_atomic and is_short and not code.standing:
            self._run_job = self._jobs[0].run_holding if self._is_brief(code.entries) else self._jobs[0].run
            self.run = self.run_short  # type: ignore[method-assign]
        self.calls = [self._single(number) for number in range(len(program.instructions))]
        self._timing: Timing | None = None

    # -- addresses ------------------------------------------------------------------------------

    def _table(self, entries: Sequence[Entry]) -> tuple[np.ndarray, np.ndarray]:
        """The pointers that entries take, a line for each worker, and the driver's rows, which lead to them."""
        starts = [0, *itertools.accumulate(len(entry.places) for entry in entries)]
        pointers = np.zeros((self.workers, starts[-1]), np.int64)
        for worker in range(self.workers):
            pointers[worker] = [self._address(place, worker) for entry in entries for place in entry.places]
        base, stride = pointers.ctypes.data, pointers.strides[0]
        rows = driver.table(
            [
                driver.Entry(entry.address, base + 8 * start, entry.extent, entry.grain, stride)
                for entry, start in zip(entries, starts, strict=False)
            ]
        )
        return pointers, rows

    def _standing_work(self, states: Sequence[State]) -> Callable[[], None]:
        """What must be done before a run when states have changed since the last."""
        if not self.code.standing:
            return _nothing
        kept = self._table(self.code.standing)
        job = driver.Job(kept[1], 0, len(self.code.standing))
        read = [states[slot] for slot in self.code.states]
        seen: list[object] = [None]

        def renew() -> None:
            contents = [state.content for state in read]
            if contents != seen:
                job.run()
                seen[:] = contents

        renew.kept = kept  # type: ignore[attr-defined]  # the job leads into this memory
        return renew

    def _places_of_feeds(self) -> list[_FeedPlace]:
        slots: dict[int, list[tuple[int, int]]] = {}
        places = [place for entry in self.code.entries for place in entry.places]
        for number, place in enumerate(places):
            if place.region == "buffer":
                storage = self.program.buffers[place.buffer].storage
                slots.setdefault(storage, []).append((number, place.offset))
        found = []
        for slot, own in zip(self.program.feeds, self.feeds, strict=True):
            is_long = own.nbytes >= _LONG_FEED and not self._is_seen_by_python(slot.buffer)
            kind = _LongFeedPlace if is_long else _FeedPlace
            found.append(kind(own, self._pointers, slots.get(self.program.buffers[slot.buffer].storage, [])))
        return found

    def _is_seen_by_python(self, buffer: int) -> bool:
        """Whether a feed is read by kernels, or fetched: then it must lie where its arrays say."""
        storage = self.program.buffers[buffer].storage
        fetched = (*(slot.buffer for slot in self.program.outputs), *(copy.buffer for copy in self.program.copies))
        return self._has_python or any(self.program.buffers[index].storage == storage for index in fetched)

    def _address(self, place: Place, worker: int) -> int:
        if place.region == "buffer":
            return self.memory[self.program.buffers[place.buffer].storage].ctypes.data + place.offset
        step = worker * self.code.workspace.local if place.region == "local" else 0
        return self.regions[place.region].ctypes.data + step + place.offset

    # -- running --------------------------------------------------------------------------------

    def _segments(self) -> list[Callable[[], None]]:
        """The program as few calls: consecutive native steps together, and what must run in Python between them."""
        found: list[Callable[[], None]] = []
        first = last = 0
        for number, generated in enumerate(self.program.code):
            if generated.routine is not None:
                last = self._entries_of.get(number, range(last, last)).stop
                continue
            if last > first:
                found.append(self._native(first, last))
            found.append(self._in_python(number))
            first = last
        if first < len(self.code.entries):
            found.append(self._native(first, len(self.code.entries)))
        return found

    def workers_for(self, entries: Sequence[Entry]) -> int:
        """How many workers run some entries: one, where the work is too small to be shared."""
        is_large = sum(entry.cost for entry in entries) > _SHARED_FROM
        return self.workers if is_large and any(entry.extent > entry.grain for entry in entries) else 1

    def _native(self, first: int, last: int) -> Callable[[], None]:
        entries = self.code.entries[first:last]
        workers = self.workers_for(entries)
        job = driver.Job(self._rows, first, last, pool=pool().address if workers > 1 else 0, workers=workers)
        self._jobs.append(job)
        run = job.run_holding if self._is_brief(entries) else job.run

        def call() -> None:
            failed = run()
            if failed >= 0:
                self._refuse(self.code.entries[failed].instruction)

        return call

    @staticmethod
    def _is_brief(entries: Sequence[Entry]) -> bool:
        return sum(entry.cost for entry in entries) < _SHORT

    def _in_python(self, number: int) -> Call:
        instruction = self.program.instructions[number]
        call = self._kernel(instruction)

        def guarded() -> None:
            try:
                with np.errstate(all="ignore"):
                    call()
            except StaticnetError as error:
                raise self._at_origin(error, number) from None

        return guarded

    def _kernel(self, instruction: Instruction) -> Call:
        """The card's kernel, its results through row-major memory where they lie otherwise."""
        outputs = [self.arrays[index] for index in instruction.outputs]
        if all(array.flags.c_contiguous for array in outputs):
            return super().call(instruction)
        inputs = tuple(self.arrays[index] for index in instruction.inputs)
        plain = tuple(np.empty(array.shape, array.dtype) for array in outputs)
        scratch = self.scratch[: instruction.scratch] if instruction.scratch else None  # type: ignore[index]
        run = self.backend.call(instruction, inputs, plain, scratch)

        def call() -> None:
            run()
            for target, source in zip(outputs, plain, strict=True):
                np.copyto(target, source)

        return call

    def call(self, instruction: Instruction) -> Any:
        return None

    def _single(self, number: int) -> Call:
        """One instruction alone, for runs that look inside."""
        if self.program.code[number].routine is None:
            return self._kernel(self.program.instructions[number])
        entries = self._entries_of.get(number)
        if entries is None:
            return lambda: None
        job = driver.Job(self._rows, entries.start, entries.stop)
        self._jobs.append(job)

        def call() -> None:
            self._standing()
            if job.run() >= 0:
                self._refuse(number)

        return call

    def _refuse(self, number: int) -> None:
        """A native step refused its operands: its card's kernel says why."""
        for place in self._feed_places:
            place.settle()
        instruction = self.program.instructions[number]
        types = [self.program.buffers[index].type for index in instruction.inputs]
        need = instruction.op.scratch(*types)
        inputs = tuple(self.arrays[index] for index in instruction.inputs)
        outputs = tuple(np.empty_like(self.arrays[index], order="C") for index in instruction.outputs)
        try:
            self.backend.call(instruction, inputs, outputs, self.backend.empty(need) if need else None)()
        except StaticnetError as error:
            raise self._at_origin(error, number) from None
        message = f"native code of {instruction.op.title} refused what its kernel takes"
        raise CompilerError(message, origin=instruction.origin)

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.begin(feeds)
        for segment in self.segments:
            segment()
        return self.end()

    def begin(self, feeds: Sequence[np.ndarray]) -> None:
        """Make ready for the first step of a run."""
        if self._has_python:
            self.backend.enter(self.program)
        for place, source in zip(self._feed_places, feeds, strict=True):
            place.take(source)
        self._standing()

    def end(self) -> list[np.ndarray]:
        """Copies of the outputs for the caller; then the states that no step wrote."""
        results = [array.copy() for array in self.outputs]
        for target, source in self._left:
            np.copyto(target, source)
        for place in self._feed_places:
            place.release()
        return results

    def run_timed(self, feeds: Sequence[np.ndarray]) -> Times:
        if self._timing is None:
            self._timing = Timing(self)
        return self._timing.run(feeds)

    def runs_natively(self, number: int) -> bool:
        return self.program.code[number].routine is not None

    def threads_of(self, number: int) -> int:
        entries = [self.code.entries[index] for index in self._entries_of.get(number, ())]
        workers = self.workers_for(self.code.entries)
        return max((min(workers, -(-entry.extent // entry.grain)) for entry in entries), default=1)

    def run_short(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`run` for a program of one native segment and short feeds: what is to be done around it counts."""
        for own, source in zip(self.feeds, feeds):  # noqa: B905  (its check of the lengths takes time)
            own[...] = source
        if self._run_job() >= 0:
            self.segments[0]()  # once more, to say why
        return [array.copy() for array in self.outputs]


def _nothing() -> None:
    pass


class _FeedPlace:
    """Where a feed is read: a buffer of the program, or for long arrays the caller's own memory."""

    def __init__(self, own: np.ndarray, pointers: np.ndarray, slots: Sequence[tuple[int, int]]):
        self.own, self._pointers = own, pointers
        self._slots = [slot for slot, _ in slots]
        self._offsets = np.array([offset for _, offset in slots], np.int64)
        self._address = own.ctypes.data

    def take(self, source: np.ndarray) -> None:
        """Let the program read a feed: a copy of a short one, or of one whose memory is not as kernels need it."""
        self.own[...] = source

    def settle(self) -> None:
        """Have the feed where the program's arrays say."""

    def release(self) -> None:
        """Keep nothing of the caller's alive."""


class _LongFeedPlace(_FeedPlace):
    _source: np.ndarray | None = None

    def settle(self) -> None:
        if self._source is not None:
            self.own[...] = self._source

    def release(self) -> None:
        self._source = None

    def take(self, source: np.ndarray) -> None:
        flags = source.flags
        if not (flags.c_contiguous and flags.aligned and source.dtype.isnative):
            self.own[...] = source
            source = self.own
        self._source = source
        address = source.__array_interface__["data"][0]
        if address != self._address:
            self._address = address
            self._pointers[:, self._slots] = self._offsets + address
