"""What a machine can do at most, measured: multiply-adds a second, and bytes a second that copies read and write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: seconds of one timed run, and how many count
_ROUND = 5e-4
_ROUNDS = 5


class Level(NamedTuple):
    """Copies that touch no more than `size` bytes in all, and so stay in the cache of this name: bytes a second."""

    name: str
    size: float
    rate: float


@dataclass(frozen=True)
class Rates:
    """float32 operations a second, and copies from the smallest cache to memory."""

    flops: float
    copies: tuple[Level, ...]

    def copy(self, nbytes: int) -> float:
        """Bytes a second where so many are touched."""
        return next((level.rate for level in self.copies if nbytes <= level.size), self.copies[-1].rate)

    def at_most(self, other: Rates) -> Rates:
        """No more than another's."""
        copies = [a._replace(rate=min(a.rate, b.rate)) for a, b in zip(self.copies, other.copies, strict=True)]
        return Rates(min(self.flops, other.flops), tuple(copies))

    def times(self, factor: int) -> Rates:
        """So many times as much of everything."""
        return Rates(self.flops * factor, tuple(level._replace(rate=level.rate * factor) for level in self.copies))

    def __str__(self) -> str:
        copies = ", ".join(f"{level.rate / 1e9:.3g} in {level.name}" for level in self.copies)
        return f"{self.flops / 1e9:.3g} GFLOP/s float32; copies, GB/s: {copies}"


class Limit(NamedTuple):
    """The least seconds that some work takes, and whether 'arithmetic' or 'memory' takes them."""

    seconds: float
    bound: str


@dataclass(frozen=True)
class Ceilings:
    """What a `machine` can do with one thread, and with all that a program takes."""

    machine: str
    threads: int
    one: Rates
    all: Rates

    def rates(self, threads: int) -> Rates:
        """What so many threads can do; between one and all as if each did as much as the first, up to all."""
        return self.one if threads <= 1 else self.one.times(threads).at_most(self.all)

    def limit(self, flops: int, nbytes: int, *, itemsize: int = 4, threads: int = 1) -> Limit:
        """The limit of so many operations on numbers of `itemsize` and so many bytes, whichever takes longer."""
        rates = self.rates(threads)
        arithmetic = flops / (rates.flops * 4 / max(itemsize, 4))
        memory = nbytes / rates.copy(nbytes)
        return Limit(arithmetic, "arithmetic") if arithmetic > memory else Limit(memory, "memory")

    def __str__(self) -> str:
        several = f"\n{self.threads} threads: {self.all}" if self.threads > 1 else ""
        return f"1 thread: {self.one}{several}"


def sizes(*caches: tuple[str, int]) -> list[tuple[str, float, int]]:
    """Of caches by name and size, smallest first, and of memory: name, size, and bytes to copy there.

    Half a cache is touched, so that others find room in it; and, for memory, twice the largest.
    """
    kept = [(name, size) for name, size in caches if size]
    found: list[tuple[str, float, int]] = [(name, float(size), size // 4) for name, size in kept]
    return [*found, ("memory", math.inf, min(max(size for _, size in kept), _MOST))]


#: bytes beyond which arrays are not made, however large a cache is
_MOST = 128 << 20


def fastest(run: Callable[[], object], least: float = _ROUND, rounds: int = _ROUNDS) -> float:
    """Seconds of one call: the best round of some, each long enough to be timed."""
    run()
    began = time.perf_counter()
    run()
    once = max(time.perf_counter() - began, 1e-7)
    times = max(1, round(least / once))
    return min(_seconds(run, times) for _ in range(rounds))


def _seconds(run: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - began) / times


def levels(places: Sequence[tuple[str, float, int]], seconds: Callable[[int], float]) -> tuple[Level, ...]:
    """The rates of copies of so many bytes, which are read and written."""
    return tuple(Level(name, size, 2 * nbytes / seconds(nbytes)) for name, size, nbytes in places)
