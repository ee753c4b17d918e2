"""Tables of kernels and jobs over them: what Python hands to the native driver, and how it calls it.

A call takes one address: that costs Python a fifth of a microsecond, each further argument about as much again.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from staticnet.compiler.errors import ArgumentError
from staticnet.runtime.native import host, jit
from staticnet.runtime.native.driver_text import INDEPENDENT, JOB, ROW, SYMBOL, driver_text


class Entry(NamedTuple):
    """One kernel of a table.

    `function`: address of an entry (see `wrap`), or of any `i32 f(ptr arguments, i64 begin, i64 end)` that returns
    0 when all went well. `arguments`: address of its pointers, those of worker k lie k * `stride` bytes further (0:
    all have the same). Its `extent` iterations are shared out in multiples of `grain`; when there is only one such
    multiple the calling thread does all. `independent`: this and the next entry are of one group, in which nobody
    waits; of a group, however long, no entry reads or writes what another one writes.
    """

    function: int
    arguments: int
    extent: int
    grain: int = 1
    stride: int = 0
    independent: bool = False


def table(entries: Sequence[Entry]) -> np.ndarray:
    """The rows that the driver reads, int64; they may be changed between calls.

    Raises ArgumentError for a negative extent or a grain below 1.
    """
    rows = np.zeros((len(entries), len(ROW)), np.int64)
    for row, entry in zip(rows, entries, strict=True):
        if entry.extent < 0 or entry.grain < 1:
            raise ArgumentError(f"extent {entry.extent}, grain {entry.grain}: at least 0 and 1 are needed")
        flags = INDEPENDENT if entry.independent else 0
        row[:] = (entry.function, entry.arguments, entry.stride, entry.extent, entry.grain, flags)
    return rows


class Job:
    """Entries `first` to `last` (exclusive) of a table, ready to be called again and again.

    `run()` and `run_holding()` return the number of the first entry that failed, -1 for none; entries after it that
    depend on it did not run. `run` lets other Python threads go on meanwhile, `run_holding` does not and is a little
    faster. With a pool's address and more than one worker wanted, the pool's workers help.
    One job must not be run twice at a time: its kernels write to the same memory.
    """

    def __init__(self, rows: np.ndarray, first: int, last: int, *, pool: int = 0, workers: int = 1):
        if rows.dtype != np.int64 or rows.shape[1:] != (len(ROW),) or not rows.flags.c_contiguous:
            raise ArgumentError(f"a table has {len(ROW)} int64 columns, not {rows.dtype} {rows.shape}; take `table`")
        if not 0 <= first <= last <= len(rows):
            raise ArgumentError(f"entries {first} to {last} of a table that has {len(rows)}")
        self.rows, self.workers = rows, workers
        self.words = np.array((rows.ctypes.data, first, last, pool, workers), np.int64)
        assert len(self.words) == len(JOB)
        self.address: int = self.words.ctypes.data
        functions = driver()
        self.run: Callable[[], int] = functools.partial(functions.run, self.address)
        self.run_holding: Callable[[], int] = functools.partial(functions.run_holding, self.address)


@dataclass(frozen=True)
class Functions:
    """The driver's functions. `run(job)`, `run_holding(job)`; of a pool `work(pool, worker, seen)`, `dismiss(pool)`."""

    run: Callable[[int], int]
    run_holding: Callable[[int], int]
    work: Callable[[int, int, int], int]
    dismiss: Callable[[int], int]


@functools.cache
def driver() -> Functions:
    """The driver, compiled at its first use. Raises CompilerError where there is none."""
    machine = host.machine()
    (address,) = jit.load([(SYMBOL, driver_text(machine.triple))], machine)
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    run, work, dismiss = map(ctypes.PYFUNCTYPE(pointer, word)(address), range(3))
    return Functions(
        run=ctypes.CFUNCTYPE(word, pointer)(run),
        run_holding=ctypes.PYFUNCTYPE(word, pointer)(run),
        work=ctypes.CFUNCTYPE(word, pointer, word, word)(work),
        dismiss=ctypes.CFUNCTYPE(word, pointer)(dismiss),
    )


def entry_symbol(symbol: str) -> str:
    """The symbol of the entry that `wrap` makes for a kernel."""
    return f"{symbol}_entry"


def wrap(symbol: str, arity: int) -> str:
    """LLVM IR of the entry of a kernel `i32 @symbol(ptr, ..., i64, i64)` with `arity` pointers, to stand beside it.

    The entry, `i32 @symbol_entry(ptr arguments, i64 begin, i64 end)`, reads the pointers and calls the kernel.
    """
    lines = [f"define i32 @{entry_symbol(symbol)}(ptr %arguments, i64 %begin, i64 %end) nounwind {{"]
    for number in range(arity):
        lines.append(f"  %place{number} = getelementptr ptr, ptr %arguments, i64 {number}")
        lines.append(f"  %pointer{number} = load ptr, ptr %place{number}")
    given = ", ".join([f"ptr %pointer{number}" for number in range(arity)] + ["i64 %begin", "i64 %end"])
    lines += [f"  %result = call i32 @{symbol}({given})", "  ret i32 %result", "}"]
    return "\n".join(lines) + "\n"
