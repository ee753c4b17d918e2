"""How many threads NumPy's matrix products take: one for programs whose products are small.

OpenBLAS wakes all its threads for products of a few microseconds and lets them spin; on a busy machine
that makes small networks many times slower. There is no public switch in NumPy, so the one of the
OpenBLAS inside its wheels is called; where there is none (Accelerate, MKL) nothing is changed.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
from collections.abc import Callable

#: products below this many operations run faster on one thread
SMALL_PRODUCT = 100_000_000

_SYMBOLS = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


@functools.cache
def _switch() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """OpenBLAS's functions to ask for and set its number of threads, or None."""
    try:
        library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return None
    for symbol in _SYMBOLS:
        get = getattr(library, symbol.format("get_num_threads"), None)
        set = getattr(library, symbol.format("set_num_threads"), None)
        if get is not None and set is not None:
            get.argtypes, get.restype = (), ctypes.c_int
            set.argtypes, set.restype = (ctypes.c_int,), None
            return get, set
    return None


@functools.cache
def _initial() -> int:
    switch = _switch()
    return switch[0]() if switch else 1


_current: int | None = None


def use_threads(most_flops: int, limit: int | None = None) -> None:
    """Choose the number of threads, at most `limit`, for a program whose largest step takes this many operations."""
    global _current
    if os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS"):
        return  # the user has chosen
    most = _initial()  # asked before anything is set
    wanted = 1 if most_flops < SMALL_PRODUCT else limit or most
    if wanted == _current:
        return
    if (switch := _switch()) is not None:
        switch[1](wanted)
    _current = wanted
