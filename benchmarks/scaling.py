"""Compile time of long chains: how it grows from n nodes to 2n, and how long 10,000 nodes take."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import staticnet as sn
from benchmarks.figures import Figure
from staticnet.compiled import CompiledFunction

TITLE = "Compile time of long chains"
METHOD = (
    "Chains of n elementwise nodes (tanh, times a constant, plus the input, sin, and so on); the time covers tracing, "
    "the gradient to the input, all passes, fusion, schedule and memory plan, in processor seconds. In each of several "
    "rounds every length is compiled as often as makes 16,000 nodes, so that other programs on the machine disturb all "
    "alike; the fastest round counts. Before each compilation the garbage collector runs, then it works as for a user."
)

LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000)
ROUNDS = 3
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
    """Processor seconds, and seconds elapsed, per length: the fastest round.

    In each round every length is compiled as often as makes about as many nodes as the longest, so that all of them
    meet the same disturbances.
    """
    times: dict[int, list[tuple[float, float]]] = {length: [] for length in lengths}
    for _ in range(rounds):
        for length in lengths:
            repeats = max(lengths) // length
            runs = [seconds_of(length) for _ in range(repeats)]
            times[length].append((sum(p for p, _ in runs) / repeats, sum(e for _, e in runs) / repeats))
    return {length: min(pairs) for length, pairs in times.items()}


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
