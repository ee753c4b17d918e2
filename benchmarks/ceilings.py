"""What the machine itself can do, measured in the same rounds: a large matrix product, and a copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.workloads import QUICK_STREAM_BYTES, STREAM_BYTES

#: names of these sides
PRODUCT, COPY = "(product)", "(copy)"
SIZE = 1024
QUICK_SIZE = 64


def product(peers: Sequence[str], quick: bool) -> tuple[Callable[[int], Any], int]:
    """A product of two square matrices in the fastest library there is, and its operations."""
    size = QUICK_SIZE if quick else SIZE
    a, b = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
    out = np.empty_like(a)
    calls: list[Callable[[int], Any]] = [lambda number: np.matmul(a, b, out=out)]
    if "torch" in peers:
        import torch

        tensors = [torch.from_numpy(array) for array in (a, b, out)]
        calls.append(lambda number: torch.mm(*tensors[:2], out=tensors[2]))
    return min(calls, key=_seconds), 2 * size**3


def copy(quick: bool) -> tuple[Callable[[int], Any], int]:
    """np.copyto from array to array, and the bytes it reads and writes."""
    source = np.ones((QUICK_STREAM_BYTES if quick else STREAM_BYTES) // 4, np.float32)
    target = np.zeros_like(source)
    return lambda number: np.copyto(target, source), 2 * source.nbytes


def _seconds(call: Callable[[int], Any]) -> float:
    """The fastest of a few calls."""
    times = []
    for number in range(5):
        start = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - start)
    return min(times)
