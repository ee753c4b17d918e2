"""What a machine can do at most, measured: multiply-adds a second, and bytes a second from and to each cache."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: the least calls that are timed, and the seconds spent on them: a machine has other things to do at times
_ROUNDS, _SPENT = 4, 0.006
#: bytes beyond which arrays are not made, however large a cache is
_MOST = 128 << 20


class Level(NamedTuple):
    """A cache, or memory, as it serves what touches no more than `size` bytes in all.

    `copy` counts bytes read and written a second when as many are read as written, `read` when none are written.
    """

    name: str
    size: float
    copy: float
    read: float

    def seconds(self, read: int, written: int) -> float:
        """How long so many bytes take: as much as copying asks for each."""
        for_reading = 1 / max(self.read, self.copy)
        for_writing = max(2 / self.copy - for_reading, 0.0)
        return read * for_reading + written * for_writing

    def times(self, factor: int) -> Level:
        """Of so many threads, each as fast as one."""
        size = self.size * factor if self.name in _OWN else self.size
        return Level(self.name, size, self.copy * factor, self.read * factor)


#: caches of which each thread has its own
_OWN = {"L1", "L2"}


@dataclass(frozen=True)
class Rates:
    """float32 operations a second, and caches from the smallest to memory."""

    flops: float
    levels: tuple[Level, ...]

    def level(self, nbytes: int) -> Level:
        """Where so many bytes are kept."""
        return next((level for level in self.levels if nbytes <= level.size), self.levels[-1])

    def times(self, factor: int) -> Rates:
        """So many times as much of everything."""
        return Rates(self.flops * factor, tuple(level.times(factor) for level in self.levels))

    def chosen(self, other: Rates, choose: Callable[[float, float], float]) -> Rates:
        """The smaller, or the larger, of both at each place."""
        levels = tuple(
            Level(a.name, max(a.size, b.size), choose(a.copy, b.copy), choose(a.read, b.read))
            for a, b in zip(self.levels, other.levels, strict=True)
        )
        return Rates(choose(self.flops, other.flops), levels)

    def __str__(self) -> str:
        levels = ", ".join(f"{level.name} {level.copy / 1e9:.3g}" for level in self.levels)
        return f"{self.flops / 1e9:.3g} GFLOP/s (float32); copies in GB/s: {levels}"


class Limit(NamedTuple):
    """The least seconds that some work takes, and whether 'arithmetic' or 'memory' takes them."""

    seconds: float
    bound: str


@dataclass(frozen=True)
class Ceilings:
    """What a `machine` can do with one thread, and with all that a program may take."""

    machine: str
    threads: int
    one: Rates
    all: Rates

    def rates(self, threads: int) -> Rates:
        """What so many threads can do: each as much as the first, up to what all can do together."""
        if threads >= self.threads:
            return self.all
        return self.one if threads <= 1 else self.one.times(threads).chosen(self.all, min)

    def limit(self, flops: int, read: int, written: int, *, itemsize: int = 4, threads: int = 1) -> Limit:
        """The limit of operations on numbers of `itemsize` bytes, and of bytes; whichever takes longer."""
        rates = self.rates(threads)
        arithmetic = flops / (rates.flops * 4 / max(itemsize, 4))
        memory = rates.level(read + written).seconds(read, written)
        return Limit(arithmetic, "arithmetic") if arithmetic > memory else Limit(memory, "memory")

    def __str__(self) -> str:
        several = f"\n{self.threads} threads: {self.all}" if self.threads > 1 else ""
        return f"1 thread: {self.one}{several}"


class Stretch(NamedTuple):
    """Copies of so many bytes, and reading twice as many, show what a cache of this name and size can do."""

    name: str
    size: float
    nbytes: int


def stretches(l2_bytes: int, last_level_bytes: int, threads: int = 1) -> list[Stretch]:
    """Half of a cache is touched, so that others find room in it; for memory twice the largest."""
    own = l2_bytes * threads
    found = [Stretch("L2", own, own // 4)]
    if last_level_bytes > l2_bytes:
        shared = max(last_level_bytes, own)
        found.append(Stretch("L3", shared, shared // 4))
    return [*found, Stretch("memory", math.inf, min(max(last_level_bytes, own), _MOST))]


def fastest(run: Callable[[], object], spent: float = _SPENT, good: float = 0.0) -> float:
    """Seconds of the fastest of some calls, in all no longer than `spent`; sooner when one is as fast as `good`."""
    run()
    found: list[float] = []
    until = time.perf_counter() + spent
    while len(found) < _ROUNDS or (time.perf_counter() < until and min(found) > good):
        found.append(_seconds(run))
    return min(found)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def levels(places: Sequence[Stretch], copy: Callable[[int], float], read: Callable[[int], float]) -> tuple[Level, ...]:
    """Levels, given the seconds that it takes to copy so many bytes, and to read so many."""
    return tuple(
        Level(name, size, 2 * nbytes / copy(nbytes), 2 * nbytes / read(2 * nbytes)) for name, size, nbytes in places
    )
