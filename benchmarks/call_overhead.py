"""What a compiled call costs beside its arithmetic: the smallest programs there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import staticnet as sn
from benchmarks.figures import Figure, median

TITLE = "Overhead of a call"
METHOD = "A sine, and a chain of 50, of 4 numbers: medians over many calls, beside the same in plain NumPy."

LENGTHS = (1, 50)
CALLS = 5_000


def run(*, quick: bool = False) -> list[Figure]:
    """Times of calls of 1 and 50 instructions; few calls when `quick`."""
    calls = 50 if quick else CALLS
    x = np.ones(4, np.float32)
    figures = []
    for length in LENGTHS:
        compiled = seconds_per_call(sn.compile(chain(length, sn.sin)), x, calls)
        plain = seconds_per_call(chain(length, np.sin), x, calls)
        label = f"compiled call of {length} instruction{'s' * (length > 1)}"
        figures.append(Figure(label, compiled * 1e6, "us", note=f"NumPy alone {plain * 1e6:.3g} us"))
    return figures


def chain(length: int, sine: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that takes the sine `length` times."""

    def function(x: Any) -> Any:
        for _ in range(length):
            x = sine(x)
        return x

    return function


def seconds_per_call(function: Callable[[Any], Any], x: np.ndarray, calls: int) -> float:
    """Median seconds of one call after a warm-up."""
    function(x)
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function(x)
        times.append(time.perf_counter() - start)
    return median(times)
