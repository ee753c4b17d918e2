"""Compile time of long chains: how it grows from n nodes to 2n, and how long 10,000 nodes take."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import staticnet as sn
from benchmarks.figures import Figure, median
from staticnet.compiled import CompiledFunction

TITLE = "Compile time of long chains"
METHOD = (
    "Chains of n elementwise nodes (tanh, times a constant, plus the input, sin, and so on); the time covers tracing, "
    "the gradient to the input, all passes, fusion, schedule and memory plan. Each time is the median of several "
    "rounds that take all lengths in turn, in processor seconds, so that other programs on the machine count little. "
    "The garbage collector stays on, as it is for a user, after a full collection before each run."
)

LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000)
ROUNDS = 5
DOUBLING_GOAL = 2.2
LONG = 10_000
LONG_GOAL = 10.0


def run(*, quick: bool = False) -> list[Figure]:
    """Figures over all lengths, over two short ones when `quick`."""
    lengths, long, rounds = ((100, 200), 300, 1) if quick else (LENGTHS, LONG, ROUNDS)
    compile_chain(100)  # imports what is imported lazily
    times = measure((*lengths, long), rounds)
    figures = [Figure(f"{n:,} nodes", times[n][0], "s") for n in lengths]
    for short, double in itertools.pairwise(lengths):
        ratio = times[double][0] / times[short][0]
        figures.append(Figure(f"time at {double:,} / time at {short:,} nodes", ratio, goal=DOUBLING_GOAL))
    processor, elapsed = times[long]
    return [*figures, Figure(f"{long:,} nodes", processor, "s", LONG_GOAL, f"{elapsed:.3g} s elapsed")]


def measure(lengths: Sequence[int], rounds: int) -> dict[int, tuple[float, float]]:
    """Median processor seconds, and median seconds elapsed, per length."""
    times: dict[int, list[tuple[float, float]]] = {length: [] for length in lengths}
    for _ in range(rounds):
        for length in lengths:
            gc.collect()
            processor, start = time.process_time(), time.perf_counter()
            compile_chain(length)
            times[length].append((time.process_time() - processor, time.perf_counter() - start))
    return {length: (median([p for p, _ in pairs]), median([e for _, e in pairs])) for length, pairs in times.items()}


def compile_chain(length: int) -> None:
    """Trace, differentiate and compile one chain."""
    CompiledFunction(chain(length), (sn.TensorSpec(("batch", 16)),)).bind(batch=8)


def chain(length: int) -> Callable[[Any], Any]:
    """A function of `length` elementwise nodes one after the other, with the gradient of their sum."""

    def function(x: Any) -> Any:
        y = x
        links = (sn.tanh, lambda y: y * 0.5, lambda y: y + x, sn.sin)
        for number in range(length):
            y = links[number % len(links)](y)
        return y, sn.grad(y.sum(), [x])

    return function
