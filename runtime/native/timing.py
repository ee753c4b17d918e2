"""Runs by the clock: the program as it always runs, threads and all, with ticks noted between its instructions.

Python is no nearer to the kernels than in any other run, so what takes a microsecond is seen to take one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from staticnet.compiler.errors import StaticnetError
from staticnet.runtime.native import driver
from staticnet.runtime.native.driver_text import INDEPENDENT, ROW
from staticnet.runtime.native.threads import pool
from staticnet.runtime.native.ticks import clock, tick_entries
from staticnet.runtime.times import Times, clock_cost

if TYPE_CHECKING:
    from staticnet.runtime.native.bound import NativeBound

_EXTENT, _GRAIN, _FLAGS = (ROW.index(name) for name in ("extent", "grain", "flags"))


class Timing:
    """A bound program made ready for such runs."""

    def __init__(self, bound: NativeBound):
        self.bound = bound
        count = len(bound.program.instructions)
        entries: dict[int, list[int]] = {}
        for number, entry in enumerate(bound.code.entries):
            # Copies of states come last, as instructions beyond the last.
            entries.setdefault(min(entry.instruction, count), []).append(number)
        self._parts: list[_Native | _Python] = []
        together: list[int] = []
        for number in range(count):
            if bound.runs_natively(number):
                together.append(number)
                continue
            if together:
                self._parts.append(_Native(bound, together, entries))
            self._parts.append(_Python(bound, number))
            together = []
        if together or count in entries:
            self._parts.append(_Native(bound, together, entries, entries.get(count, [])))

    def run(self, feeds: Sequence[np.ndarray]) -> Times:
        """One run; its results are thrown away, states change."""
        bound, now, parts = self.bound, time.perf_counter, self._parts
        started = now()
        bound.begin(feeds)
        ready = now()
        with np.errstate(all="ignore"):
            for part in parts:
                part.run()
        bound.end()
        finished = now()
        begins: list[float] = []
        ends: list[float] = []
        spent = 2 * clock_cost()
        for part in parts:
            spent += part.tell(started, begins, ends)
        return Times(ready - started, tuple(begins), tuple(ends), finished - started, spent)


class _Python:
    """An instruction that runs as its op's kernel."""

    def __init__(self, bound: NativeBound, number: int):
        self._bound, self._number, self._call = bound, number, bound.calls[number]
        self._before = self._after = 0.0

    def run(self) -> None:
        self._before = time.perf_counter()
        try:
            self._call()
        except StaticnetError as error:
            raise self._bound._at_origin(error, self._number) from None
        self._after = time.perf_counter()

    def tell(self, started: float, begins: list[float], ends: list[float]) -> float:
        """Add when it began and ended; gives what the clock took."""
        cost = clock_cost()
        begins.append(self._before - started)
        ends.append(max(self._after - started - cost, begins[-1]))
        return 2 * cost


class _Native:
    """Instructions as one job, with a tick before each and one after; then the entries `copies`, and the last tick."""

    def __init__(
        self,
        bound: NativeBound,
        numbers: Sequence[int],
        entries: Mapping[int, Sequence[int]],
        copies: Sequence[int] = (),
    ):
        self._bound = bound
        self._ticks = np.zeros(len(numbers) + 2, np.int64)
        self._pointers = self._ticks.ctypes.data + 8 * np.arange(len(self._ticks), dtype=np.int64)
        stamps = driver.table(tick_entries(self._pointers))
        rows: list[np.ndarray] = []
        #: for each row the instruction that it belongs to
        self._owners: list[int] = []
        for order, number in enumerate(numbers):
            own = self._rows(entries.get(number, ()))
            rows += [stamps[order : order + 1], own]
            self._owners += [number] * (1 + len(own))
        rows += [stamps[-2:-1], self._rows(copies), stamps[-1:]]
        self._job = self._ready(np.concatenate(rows))
        self._before = self._after = 0.0

    def _rows(self, entries: Sequence[int]) -> np.ndarray:
        """The driver's rows of some entries; what comes after them waits for the last."""
        rows = self._bound._rows[np.array(entries, np.intp)]
        rows[-1:, _FLAGS] &= ~INDEPENDENT
        return rows

    def _ready(self, rows: np.ndarray) -> driver.Job:
        workers = self._bound.workers_for(self._bound.code.entries)
        return driver.Job(rows, 0, len(rows), pool=pool().address if workers > 1 else 0, workers=workers)

    def run(self) -> None:
        self._before = time.perf_counter()
        failed = self._job.run()
        self._after = time.perf_counter()
        if failed >= 0:
            self._bound._refuse(self._owners[failed])

    def tell(self, started: float, begins: list[float], ends: list[float]) -> float:
        """Add when each began and ended; gives what the clocks took."""
        tick = clock()
        seconds = (self._ticks - self._ticks[0]) * tick.seconds
        # Entering a job takes about as long as leaving it: the ticks lie in the middle.
        first = (self._before + self._after - seconds[-1]) / 2 - started
        lengths = np.maximum(np.diff(seconds[:-1]) - tick.cost * tick.seconds, 0.0)
        own = first + seconds[:-2]
        begins += own.tolist()
        ends += (own + lengths).tolist()
        return 2 * clock_cost() + len(self._ticks) * tick.cost * tick.seconds
