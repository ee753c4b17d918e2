"""Timing sides in turn: rounds in which each has a turn of some calls, so that all meet the same disturbances."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.figures import median


@dataclass(frozen=True)
class Turns:
    """How long to measure: rounds, and for each turn its seconds, and its fewest and most calls."""

    rounds: int = 9
    seconds: float = 0.1
    fewest: int = 2
    most: int = 1000

    @property
    def warm_up(self) -> float:
        """Seconds of calls at the start of a turn that are not counted."""
        return self.seconds / 10


QUICK = Turns(rounds=2, seconds=0.001, fewest=1, most=3)


@dataclass(frozen=True)
class Times:
    """Seconds of one side: the median call of each round, and the fastest call of all."""

    rounds: list[float]
    fastest: float

    @property
    def median(self) -> float:
        return median(self.rounds)


def interleave(sides: Mapping[str, Callable[[int], object]], turns: Turns) -> dict[str, Times]:
    """The times of all sides; each is called with the number of the call. The garbage collector rests meanwhile.

    Every turn begins with calls that are not counted: they bring back what the sides before have driven
    out of the caches, and let the threads of those come to rest.
    """
    medians: dict[str, list[float]] = {name: [] for name in sides}
    fastest = dict.fromkeys(sides, float("inf"))
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(turns.rounds):
            for name in _rotated(list(sides), number):
                times = _turn(sides[name], turns)
                medians[name].append(median(times))
                fastest[name] = min(fastest[name], *times)
            gc.collect()
    finally:
        if was_enabled:
            gc.enable()
    return {name: Times(medians[name], fastest[name]) for name in sides}


def _rotated(names: list[str], number: int) -> list[str]:
    """Each round begins with another side, so that none always follows the same one."""
    first = number % len(names)
    return names[first:] + names[:first]


def _turn(call: Callable[[int], object], turns: Turns) -> list[float]:
    clock = time.perf_counter
    begun = clock()
    call(0)
    while clock() - begun < turns.warm_up:
        call(0)
    times: list[float] = []
    begun = clock()
    while len(times) < turns.fewest or (len(times) < turns.most and clock() - begun < turns.seconds):
        start = clock()
        call(len(times))
        times.append(clock() - start)
    return times
