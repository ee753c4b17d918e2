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
    lengths, rounds = ((100, 200), 1) if quick else (LENGTHS, ROUNDS)
    compile_seconds(100)  # imports what is imported lazily
    times = measure(lengths, rounds)
    figures = [Figure(f"{n:,} nodes", times[n], "s") for n in lengths]
    for short, long in itertools.pairwise(lengths):
        label = f"time at {long:,} / time at {short:,} nodes"
        figures.append(Figure(label, times[long] / times[short], goal=DOUBLING_GOAL))
    if not quick:
        figures.append(Figure(f"{LONG:,} nodes, elapsed", _elapsed(lambda: compile_seconds(LONG)), "s", LONG_GOAL))
    return figures


def measure(lengths: Sequence[int], rounds: int) -> dict[int, float]:
    """Median processor seconds per length."""
    times: dict[int, list[float]] = {length: [] for length in lengths}
    for _ in range(rounds):
        for length in lengths:
            times[length].append(compile_seconds(length))
    return {length: median(values) for length, values in times.items()}


def compile_seconds(length: int) -> float:
    """Processor seconds to trace, differentiate and compile one chain."""
    gc.collect()
    start = time.process_time()
    CompiledFunction(chain(length), (sn.TensorSpec(("batch", 16)),)).bind(batch=8)
    return time.process_time() - start


def chain(length: int) -> Callable[[Any], Any]:
    """A function of `length` elementwise nodes one after the other, with the gradient of their sum."""

    def function(x: Any) -> Any:
        y = x
        links = (sn.tanh, lambda y: y * 0.5, lambda y: y + x, sn.sin)
        for number in range(length):
            y = links[number % len(links)](y)
        return y, sn.grad(y.sum(), [x])

    return function


def _elapsed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
