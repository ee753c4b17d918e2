"""What this processor can do at most through NumPy: matrix products, which may take threads, copies and sums."""

from __future__ import annotations

import functools

import numpy as np

from staticnet.runtime.blas import use_threads
from staticnet.runtime.ceilings import Ceilings, Rates, fastest, levels, stretches
from staticnet.runtime.native import host

_SIZE = 512


@functools.cache
def ceilings(threads: int) -> Ceilings:
    """With one thread and with so many; measured once a process, which takes about a tenth of a second."""
    _, l2_bytes = host.cache_sizes()
    places = levels(stretches(l2_bytes, host.last_level_bytes()), _copy, _read)
    one = Rates(_product(1), places)
    every = Rates(_product(threads), places).chosen(one, max) if threads > 1 else one
    return Ceilings(f"{host.architecture()}, NumPy {np.__version__}", threads, one, every)


def _product(threads: int) -> float:
    x = np.ones((_SIZE, _SIZE), np.float32)
    out = np.empty_like(x)
    operations = 2 * _SIZE**3
    use_threads(operations if threads > 1 else 0, threads)
    return operations / fastest(lambda: np.matmul(x, x, out=out))


def _copy(nbytes: int) -> float:
    source, target = np.ones(nbytes, np.uint8), np.ones(nbytes, np.uint8)
    return fastest(lambda: np.copyto(target, source))


def _read(nbytes: int) -> float:
    source = np.ones(nbytes // 8, np.int64)
    return fastest(source.sum)
