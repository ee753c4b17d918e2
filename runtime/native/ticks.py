"""The processor's own clock: an entry that notes its ticks, to stand between the kernels of a table, and their length.

The counters meant here go on at one rate, whatever the processor's own: on x86 the time stamp counter, on ARM the
virtual timer. Reading one takes some ten nanoseconds, where the system's clock may take hundreds.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import numpy as np

from staticnet.compiler.errors import CompilerError
from staticnet.runtime.native import driver, host, jit

_SYMBOL = "staticnet_tick"
_TEXT = """
$declare
define i32 @staticnet_tick(ptr %arguments, i64 %begin, i64 %end) nounwind {
  %cell = load ptr, ptr %arguments
  %now = $read
  store volatile i64 %now, ptr %cell
  ret i32 0
}
"""
_X86 = ("declare i64 @llvm.readcyclecounter()", "call i64 @llvm.readcyclecounter()")
_ARM = (
    'declare i64 @llvm.read_volatile_register.i64(metadata)\n!0 = !{!"cntvct_el0"}',
    "call i64 @llvm.read_volatile_register.i64(metadata !0)",
)
_PROCESSORS = {"x86_64": _X86, "aarch64": _ARM, "arm64": _ARM}

#: seconds over which ticks are counted
_BASELINE = 0.02
_SAMPLES = 200


def tick_text(triple: str) -> str:
    """The entry, as LLVM IR; raises CompilerError for processors not provided for."""
    processor = triple.partition("-")[0]
    if processor not in _PROCESSORS:
        raise CompilerError(f"the clock of {processor} is not known; set STATICNET_NATIVE=0")
    declare, read = _PROCESSORS[processor]
    return _TEXT.replace("$declare", declare).replace("$read", read)


@functools.cache
def tick_address() -> int:
    """Address of the entry: `i32 f(ptr arguments, i64, i64)`, which writes to the cell that `arguments` leads to."""
    machine = host.machine()
    (address,) = jit.load([(_SYMBOL, tick_text(machine.triple))], machine)
    return address


def tick_entries(pointers: np.ndarray) -> list[driver.Entry]:
    """An entry for each cell that `pointers` (int64 addresses) leads to; both must outlive the table.

    Each is of one group with what follows it, so that nobody waits for it.
    """
    first = pointers.ctypes.data
    return [driver.Entry(tick_address(), first + 8 * n, 1, independent=True) for n in range(len(pointers))]


@dataclass(frozen=True)
class Clock:
    """`seconds` of a tick, and ticks between two entries that have nothing between them."""

    seconds: float
    cost: float


@functools.cache
def clock() -> Clock:
    """The clock, held against the system's once a process; takes some 20 ms."""
    cells = np.zeros(_SAMPLES, np.int64)
    pointers = cells.ctypes.data + 8 * np.arange(_SAMPLES, dtype=np.int64)
    job = driver.Job(driver.table(tick_entries(pointers)), 0, _SAMPLES)
    began = _both(job, cells)
    costs = []
    while time.perf_counter() - began[0] < _BASELINE:
        job.run()
        costs.append(float(np.median(np.diff(cells))))
    ended = _both(job, cells)
    return Clock((ended[0] - began[0]) / (ended[1] - began[1]), float(np.median(costs)))


def _both(job: driver.Job, cells: np.ndarray) -> tuple[float, int]:
    """The system's clock and the processor's, read within the shortest time of several."""
    found = []
    for _ in range(20):
        before = time.perf_counter()
        job.run()
        after = time.perf_counter()
        found.append((after - before, (before + after) / 2, int(cells[len(cells) // 2])))
    _, seconds, ticks = min(found)
    return seconds, ticks
