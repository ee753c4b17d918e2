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

_FLAGS = ROW.index("flags")


class Timing:
    """A bound program made ready for such runs."""

    def __init__(self, bound: NativeBound):
        self.bound = bound
        self._clock, self._clock_cost = clock(), clock_cost()
        count = len(bound.program.instructions)
        self.begins, self.ends = np.zeros(count), np.zeros(count)
        self.parts: list[Callable[[], None]] = []
        self._spent = 0.0
        run: list[int] = []
        for number in range(count):
            if bound.runs_natively(number):
                run.append(number)
                continue
            self._add_native(run)
            self.parts.append(self._python(number))
            run = []
        self._add_native(run, is_last=True)

    def run(self, feeds: Sequence[np.ndarray]) -> Times:
        """One run; results go nowhere, states change."""
        bound, now = self.bound, time.perf_counter
        self._spent = 0.0
        started = now()
        bound.begin(feeds)
        ready = now()
        self.started = started
        with np.errstate(all="ignore"):
            for part in self.parts:
                part()
        bound.results()
        finished = now() - started
        return Times(ready - started, tuple(self.begins.tolist()), tuple(self.ends.tolist()), finished, self._spent)

    # -- parts ----------------------------------------------------------------------------------

    def _python(self, number: int) -> Callable[[], None]:
        call = self.bound.calls[number]

        def run() -> None:
            began = time.perf_counter()
            try:
                call()
            except StaticnetError as error:
                raise self.bound._at_origin(error, number) from None
            seconds = max(time.perf_counter() - began - self._clock_cost, 0.0)
            self.begins[number] = began - self.started
            self.ends[number] = self.begins[number] + seconds
            self._spent += self._clock_cost

        return run

    def _add_native(self, numbers: list[int], *, is_last: bool = False) -> None:
        """The instructions as one job, a tick before each and one after all; the last job ends with the copies."""
        copies = range(self.bound.entries_of(numbers[-1]).stop if numbers else 0, 0)
        if is_last:
            copies = self.bound.entries_of(len(self.bound.program.instructions))
        if not numbers and not len(copies):
            return
        ticks = np.zeros(len(numbers) + 1, np.int64)
        pointers = ticks.ctypes.data + 8 * np.arange(len(ticks), dtype=np.int64)
        stamps = driver.table(tick_entries(pointers))
        rows: list[np.ndarray] = []
        owners: list[int] = []
        for stamp, number in zip(stamps, numbers, strict=False):
            own = self._rows(self.bound.entries_of(number))
            rows += [stamp[None], own]
            owners += [number] * (1 + len(own))
        rows += [stamps[-1:], self._rows(copies)]
        owners += [len(self.bound.program.instructions)] * (1 + len(copies))
        self.parts.append(self._native(np.concatenate(rows), owners, numbers, ticks, pointers))

    def _rows(self, entries: range) -> np.ndarray:
        """The driver's rows of some entries, which whatever comes then waits for."""
        rows = self.bound.rows[entries.start : entries.stop].copy()
        if len(rows):
            rows[-1, _FLAGS] &= ~INDEPENDENT
        return rows

    def _native(
        self, rows: np.ndarray, owners: list[int], numbers: list[int], ticks: np.ndarray, pointers: np.ndarray
    ) -> Callable[[], None]:
        workers = self.bound.workers
        is_shared = workers > 1 and bool((rows[:, ROW.index("extent")] > rows[:, ROW.index("grain")]).any())
        job = driver.Job(rows, 0, len(rows), pool=pool().address if is_shared else 0, workers=workers if is_shared else 1)
        where = slice(numbers[0], numbers[-1] + 1) if numbers else slice(0, 0)
        seconds, cost = self._clock.seconds, self._clock.cost

        def run(kept: np.ndarray = pointers) -> None:  # the rows lead there
            before = time.perf_counter()
            failed = job.run()
            after = time.perf_counter()
            if failed >= 0:
                self.bound._refuse(owners[failed])
            # Entering the job and leaving it take about as long: so its ticks lie in the middle.
            begins = (ticks[:-1] - ticks[0]) * seconds
            lengths = np.maximum(np.diff(ticks) - cost, 0) * seconds
            first = (before + after - (ticks[-1] - ticks[0]) * seconds) / 2 - self.started
            self.begins[where] = first + begins
            self.ends[where] = self.begins[where] + lengths
            self._spent += len(ticks) * cost * seconds

        return run
