"""What one compiled call costs beside its arithmetic: the smallest program there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import staticnet as sn
from benchmarks.figures import Figure, median

TITLE = "Overhead of a call"
METHOD = "One addition, and a chain of 50, on arrays of 4 numbers: medians of many calls, beside the same in plain NumPy."


def run(*, quick: bool = False) -> list[Figure]:
    """Times of a call of 1 and of 50 instructions; few calls when `quick`."""
    calls = 50 if quick else 5_000
    x = np.ones(4, np.float32)
    figures = []
    for count in (1, 50):
        compiled = sn.compile(lambda x, count=count: _additions(x, count, sn.maximum))
        times = [seconds_per_call(function, (x,), calls) for function in (compiled, lambda x: _additions(x, count, np.maximum))]
        note = f"NumPy alone {times[1] * 1e6:.1f} us"
        figures.append(Figure(f"compiled call of {count} instruction{'s' * (count > 1)}", times[0] * 1e6, "us", note=note))
    return figures


def seconds_per_call(function: Callable[..., Any], arguments: Sequence[Any], calls: int) -> float:
    """Median seconds of one call after a warm-up."""
    function(*arguments)
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return median(times)
