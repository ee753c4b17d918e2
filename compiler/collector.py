"""Python's collector of reference cycles, paused while a graph is compiled."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_was_enabled = False


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no reference cycles inside the block; also a decorator. Blocks may nest, and overlap between threads.

    Graphs have no cycles, and what a pass drops is freed by its reference count. But the nodes that stay
    make the collector look through all of them again and again, the more of them the longer.
    """
    global _pauses, _was_enabled
    with _lock:
        if not _pauses:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if not _pauses and _was_enabled:
                gc.enable()
