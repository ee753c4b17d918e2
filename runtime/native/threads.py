"""The pool of workers: one a process, threads that wait inside the native driver and run tables together.

The thread that runs a job is its worker 0. A job that wants more workers than there are takes those there are; a
thread that finds the pool busy runs its job alone. A forked child begins without workers.
"""

from __future__ import annotations

import atexit
import os
import threading
import time

import numpy as np

from staticnet.runtime.native.driver import Job, driver
from staticnet.runtime.native.driver_text import MOST_WORKERS, POOL, POOL_BYTES
from staticnet.runtime.native.host import usable_cores

#: looks of a waiting worker before it sleeps: some tens of microseconds; where workers share processors, one or two
_SPIN, _SPIN_SHARED = 2000, 32
_PATIENCE = 10.0


class Pool:
    """Workers beside the calling thread, started when first wanted. Its memory stays where it is, forked or not."""

    def __init__(self) -> None:
        line = 128
        memory = np.zeros(POOL_BYTES + line, np.uint8)
        start = -memory.ctypes.data % line
        self._fields = memory[start : start + POOL_BYTES].view(np.int32)
        self.address: int = self._fields.ctypes.data
        self.reset()

    def reset(self) -> None:
        """Begin anew: no workers, no job."""
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._fields[:] = 0
        self._set("live", 1)
        self._set("spin", _SPIN)

    @property
    def live(self) -> int:
        """Threads there are to run a job, the calling one counted."""
        return int(self._fields[POOL["live"] // 4])

    def ensure(self, workers: int) -> int:
        """Start what is missing of this many workers, the calling thread counted; how many there are then."""
        if self.live >= workers:
            return self.live
        with self._lock:
            for number in range(self.live, min(workers, MOST_WORKERS)):
                if not self._start(number):
                    break
            self._set("spin", _SPIN if self.live <= usable_cores() else _SPIN_SHARED)
            return self.live

    def dismiss(self) -> bool:
        """Send all workers home; False when a job runs just now."""
        with self._lock:
            if not self._threads:
                return True
            if not driver().dismiss(self.address):
                return False
            for thread in self._threads:
                thread.join(_PATIENCE)
            self._threads.clear()
            self._set("ready", 0)
            return True

    def _start(self, number: int) -> bool:
        """Start one worker and wait until it waits for jobs; False when the system gives no more threads."""
        arguments = (self.address, number, int(self._fields[POOL["word"] // 4]))
        thread = threading.Thread(target=driver().work, args=arguments, name=f"staticnet-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._threads.append(thread)
        while self._fields[POOL["ready"] // 4] < number:
            time.sleep(0)
        self._set("live", number + 1)
        return True

    def _set(self, field: str, value: int) -> None:
        self._fields[POOL[field] // 4] = value


_pool = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.reset)
atexit.register(_pool.dismiss)


def pool() -> Pool:
    """The pool of this process."""
    return _pool


def job(rows: np.ndarray, first: int, last: int, workers: int) -> Job:
    """A job that the pool helps with when more than one worker is wanted; run it with `run`."""
    return Job(rows, first, last, pool=_pool.address if workers > 1 else 0, workers=workers)


def run(work: Job) -> int:
    """Run a job with as many workers as it wants: the first entry that failed, or -1."""
    if work.workers > 1:
        _pool.ensure(work.workers)
    return work.run()
