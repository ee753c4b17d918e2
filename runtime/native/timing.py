"""Runs by the clock: the program as it always runs, threads and all, with ticks noted between its instructions.

Python is no nearer to the kernels than in any other run, so what takes a microsecond is seen to take one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
        self._clock, self._clock_cost = clock(), clock_cost()
        count = len(bound.program.instructions)
        self._entries: dict[int, list[int]] = {}
        for number, entry in enumerate(bound.code.entries):
            # Copies of states come last, as instructions beyond the last.
            self._entries.setdefault(min(entry.instruction, count), []).append(number)
        self._begins, self._ends = np.zeros(count), np.zeros(count)
        self._started = self._spent = 0.0
        self._parts: list[Callable[[], None]] = []
        run: list[int] = []
        for number in range(count):
            if bound.runs_natively(number):
                run.append(number)
                continue
            self._add_native(run)
            self._parts.append(self._python(number))
            run = []
        self._add_native(run, self._entries.get(count, []))

    def run(self, feeds: Sequence[np.ndarray]) -> Times:
        """One run; its results are thrown away, states change."""
        self._spent = 0.0
        self._started = time.perf_counter()
        self.bound.begin(feeds)
        ready = time.perf_counter() - self._started
        with np.errstate(all="ignore"):
            for part in self._parts:
                part()
        self.bound.end()
        finished = time.perf_counter() - self._started
        return Times(ready, tuple(self._begins.tolist()), tuple(self._ends.tolist()), finished, self._spent)

    def _python(self, number: int) -> Callable[[], None]:
        call = self.bound.calls[number]

        def run() -> None:
            began = time.perf_counter()
            try:
                call()
            except StaticnetError as error:
                raise self.bound._at_origin(error, number) from None
            seconds = max(time.perf_counter() - began - self._clock_cost, 0.0)
            self._begins[number] = began - self._started
            self._ends[number] = self._begins[number] + seconds
            self._spent += self._clock_cost

        return run

    def _add_native(self, numbers: Sequence[int], copies: Sequence[int] = ()) -> None:
        """Instructions as one job, a tick before each and after all; then the entries `copies`, and the last tick."""
        if not numbers and not copies:
            return
        ticks = np.zeros(len(numbers) + 2, np.int64)
        pointers = ticks.ctypes.data + 8 * np.arange(len(ticks), dtype=np.int64)
        stamps = driver.table(tick_entries(pointers))
        rows, owners = [], []
        for order, number in enumerate(numbers):
            own = self._rows(self._entries.get(number, []))
            rows += [stamps[order : order + 1], own]
            owners += [number] * (1 + len(own))
        rows += [stamps[-2:-1], self._rows(copies), stamps[-1:]]
        self._parts.append(self._native(np.concatenate(rows), owners, numbers, ticks, pointers))

    def _rows(self, entries: Sequence[int]) -> np.ndarray:
        """The driver's rows of some entries; what comes after them waits for the last."""
        rows = self.bound._rows[np.array(entries, np.intp)]
        rows[-1:, _FLAGS] &= ~INDEPENDENT
        return rows

    def _native(
        self,
        rows: np.ndarray,
        owners: Sequence[int],
        numbers: Sequence[int],
        ticks: np.ndarray,
        pointers: np.ndarray,
    ) -> Callable[[], None]:
        bound = self.bound
        is_shared = bound.workers > 1 and bool((rows[:, _EXTENT] > rows[:, _GRAIN]).any())
        workers = bound.workers if is_shared else 1
        job = driver.Job(rows, 0, len(rows), pool=pool().address if is_shared else 0, workers=workers)
        own = slice(numbers[0], numbers[-1] + 1) if numbers else slice(0, 0)
        seconds, cost = self._clock.seconds, self._clock.cost

        def run(kept: np.ndarray = pointers) -> None:  # the job leads into this memory
            before = time.perf_counter()
            failed = job.run()
            after = time.perf_counter()
            if failed >= 0:
                bound._refuse(owners[failed])
            # Entering a job takes about as long as leaving it: the ticks lie in the middle.
            whole = (ticks[-1] - ticks[0]) * seconds
            first = (before + after - whole) / 2 - self._started
            self._begins[own] = first + (ticks[:-2] - ticks[0]) * seconds
            self._ends[own] = self._begins[own] + np.maximum(np.diff(ticks[:-1]) - cost, 0.0) * seconds
            self._spent += len(ticks) * cost * seconds

        return run
