"""Compile time of long chains: how it grows from n nodes to 2n, and how long 10,000 nodes take."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import staticnet as sn
from benchmarks.figures import Figure, median
from staticnet.compiled import CompiledFunction

TITLE = "Compile time of long chains"
METHOD = (
    "Chains of n elementwise nodes (tanh, times a constant, plus the input, sin, and so on); the time covers tracing, "
    "the gradient to the input, all passes, fusion, schedule and memory plan, in processor seconds. A chain of 2n is "
    "compiled between two of n, so that other programs on the machine disturb both alike; the ratio is the median of "
    "several such rounds. Before each compilation the garbage collector runs, then it works as for a user."
)

LENGTHS = (1_000, 2_000, 4_000, 8_000)
ROUNDS = 5
DOUBLING_GOAL = 2.2
LONG = 10_000
LONG_GOAL = 10.0


def run(*, quick: bool = False) -> list[Figure]:
    """Ratios over all lengths, over a short one when `quick`, and the time of one long chain."""
    lengths, long, rounds = ((100,), 300, 1) if quick else (LENGTHS, LONG, ROUNDS)
    seconds_of(100)  # imports what is imported lazily
    return [*(doubling(length, rounds) for length in lengths), long_chain(long, rounds)]


def doubling(length: int, rounds: int) -> Figure:
    """How many times longer a chain of twice the length takes."""
    ratios, doubles = [], []
    for _ in range(rounds):
        before, double, after = (seconds_of(count)[0] for count in (length, 2 * length, length))
        ratios.append(2 * double / (before + after))
        doubles.append(double)
    label = f"time at {2 * length:,} / time at {length:,} nodes"
    return Figure(label, median(ratios), goal=DOUBLING_GOAL, note=f"the longer in {median(doubles):.3g} s")


def long_chain(length: int, rounds: int) -> Figure:
    """Processor seconds of one chain."""
    processor, elapsed = zip(*(seconds_of(length) for _ in range(rounds)), strict=True)
    return Figure(f"{length:,} nodes", median(processor), "s", LONG_GOAL, f"{median(elapsed):.3g} s elapsed")


def seconds_of(length: int) -> tuple[float, float]:
    """Processor seconds and seconds elapsed of one compilation, after a collection of what came before."""
    gc.collect()
    processor, start = time.process_time(), time.perf_counter()
    compile_chain(length)
    return time.process_time() - processor, time.perf_counter() - start


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
