"""One run by the clock: when each instruction began and ended, and what reading the clock itself takes."""

from __future__ import annotations

import functools
import statistics
import time
from dataclasses import dataclass

_SAMPLES = 200


@dataclass(frozen=True)
class Times:
    """Seconds from the beginning of a run to when its feeds were taken, its instructions ran and all was done.

    What the clock itself took is in no instruction; in all it was `clock` seconds.
    """

    ready: float
    begins: tuple[float, ...]
    ends: tuple[float, ...]
    finished: float
    clock: float = 0.0

    @property
    def seconds(self) -> tuple[float, ...]:
        """Of each instruction."""
        return tuple(end - begin for begin, end in zip(self.begins, self.ends, strict=True))

    @property
    def call(self) -> float:
        """Of the whole run, without the clock."""
        return max(self.finished - self.clock, 0.0)


@functools.cache
def clock_cost() -> float:
    """Seconds that a call of a function that does nothing seems to take; measured once a process."""
    found = []
    for _ in range(_SAMPLES):
        began = time.perf_counter()
        _nothing()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def _nothing() -> None:
    pass
