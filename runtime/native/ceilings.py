"""What this processor can do at most, measured with kernels of our own: multiply-adds, copies, and sums."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops.form import (
    Array,
    For,
    Kernel,
    Load,
    Register,
    Set,
    Statement,
    Store,
    Value,
    Var,
    affine,
    const,
)
from staticnet.compiler.codegen.loops.operations import add, multiply_add
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import float32
from staticnet.runtime.ceilings import Ceilings, Rates, Stretch, fastest, levels, stretches
from staticnet.runtime.native import driver, host, jit
from staticnet.runtime.native.driver import entry_symbol, wrap
from staticnet.runtime.native.threads import pool

#: multiply-adds of each accumulator in one unit of work, and units of each thread
_DEPTH, _UNITS = 1000, 20
#: sums that are added to in turn by what reads, and how often
_CHAINS, _RUN = 8, 16
#: seconds to wait for a run of all threads that is as fast as it should be
_PATIENCE = 0.06
#: bytes that one timed job reads at least
_WORTH_TIMING = 8 << 20


@functools.cache
def ceilings(machine: Machine, threads: int) -> Ceilings:
    """With one thread and with so many; measured once a process, which takes about a tenth of a second."""
    threads = min(threads, pool().ensure(threads))
    bench = _Bench(machine, threads)
    one = bench.rates(1)
    every = bench.rates(threads).chosen(one, max) if threads > 1 else one
    return Ceilings(f"{machine.name}, vectors of {machine.vector_bytes} bytes", threads, one, every)


class _Bench:
    """Memory to run over, and the kernels."""

    def __init__(self, machine: Machine, threads: int):
        self.machine = machine
        most = max(place.nbytes for place in self.places(threads))
        # Ones: what is multiplied and added neither vanishes nor overflows.
        self.memory, self.sums = _ones(most // 2), _ones(most // 128)
        start = self.memory.ctypes.data
        self.pointers = np.array([start, start + most, start, self.sums.ctypes.data], np.int64)
        self.accumulators = 20 if machine.registers >= 32 else 12
        self.lanes = machine.lanes(4)
        self._alone = 0.0
        kernels = (_product(self.accumulators, self.lanes), _copy(), _read(self.lanes))
        self._product, self._copy, self._read = jit.load([_function(kernel, machine) for kernel in kernels], machine)

    def places(self, threads: int) -> list[Stretch]:
        return stretches(self.machine.l2_bytes, host.last_level_bytes(), threads)

    def rates(self, threads: int) -> Rates:
        job = self._job(self._product, 2, _UNITS * threads, threads)
        # The first thread alone takes as long as all at best. It takes patience to find all processors idle.
        seconds = fastest(job.run) if threads == 1 else fastest(job.run, _PATIENCE, 1.05 * self._alone)
        self._alone = seconds if threads == 1 else self._alone
        operations = 2 * _DEPTH * self.accumulators * self.lanes * _UNITS * threads

        def over(function: int, arguments: int, grouped: int, nbytes: int) -> float:
            times = -(-_WORTH_TIMING // nbytes)
            job = self._job(function, arguments, nbytes // (4 * grouped), threads, times)
            return fastest(job.run) / times

        copy = functools.partial(over, self._copy, 0, 1)
        read = functools.partial(over, self._read, 2, _CHAINS * _RUN * self.lanes)
        return Rates(operations / seconds, levels(self.places(threads), copy, read))

    def _job(self, function: int, arguments: int, extent: int, threads: int, times: int = 1) -> driver.Job:
        """A kernel run over an extent so many times. Workers keep to their parts and so need not wait in between."""
        grain = -(-extent // threads)
        entry = driver.Entry(function, self.pointers.ctypes.data + 8 * arguments, extent, grain, independent=True)
        helpers = pool().address if threads > 1 else 0
        return driver.Job(driver.table([entry] * times), 0, times, pool=helpers, workers=threads)


def _ones(size: int) -> np.ndarray:
    """Numbers that begin with a cache line."""
    memory = np.ones(size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + size]


def _product(accumulators: int, lanes: int) -> Kernel:
    """Independent chains of multiply-adds, one vector each."""
    unit, depth, lane = Var("unit"), Var("depth"), Var("lane")
    x, y = Array("x", float32, 2 + lanes, "input"), Array("y", float32, lanes, "output")
    factor, term = Load(float32, x, affine(0)), Load(float32, x, affine(1))
    sums = [Register(f"sum{number}", float32) for number in range(accumulators)]
    body: tuple[Statement, ...] = (
        *(Set(each, Load(float32, x, lane + 2)) for each in sums),
        For(depth, _DEPTH, tuple(Set(each, multiply_add(each.value, factor, term)) for each in sums)),
        Store(y, unit * lanes + lane, _sum(sums)),
    )
    return Kernel("product", For(unit, 1 << 20, (For(lane, lanes, body, "vector"),)))


def _read(lanes: int) -> Kernel:
    """Sums of runs of memory, several at a time."""
    unit, depth, lane = Var("unit"), Var("depth"), Var("lane")
    x, y = Array("x", float32, 1 << 30, "input"), Array("y", float32, 1 << 30, "output")
    sums = [Register(f"sum{number}", float32) for number in range(_CHAINS)]
    run = unit * (_CHAINS * _RUN * lanes) + depth * (_CHAINS * lanes) + lane
    adding = [Set(each, add(each.value, Load(float32, x, run + number * lanes))) for number, each in enumerate(sums)]
    body: tuple[Statement, ...] = (
        *(Set(each, const(0, float32)) for each in sums),
        For(depth, _RUN, tuple(adding)),
        Store(y, unit * lanes + lane, _sum(sums)),
    )
    return Kernel("read", For(unit, 1 << 20, (For(lane, lanes, body, "vector"),)))


def _sum(registers: Sequence[Register]) -> Value:
    total: Value = registers[0].value
    for other in registers[1:]:
        total = add(total, other.value)
    return total


def _copy() -> Kernel:
    place = Var("place")
    x, y = Array("x", float32, 1 << 30, "input"), Array("y", float32, 1 << 30, "output")
    return Kernel("copy", For(place, 1 << 30, (Store(y, affine(place), Load(float32, x, affine(place))),), "vector"))


def _function(kernel: Kernel, machine: Machine) -> tuple[str, str]:
    symbol = f"staticnet_ceiling_{kernel.name}"
    return entry_symbol(symbol), print_kernel(kernel, machine, symbol) + wrap(symbol, len(kernel.arrays))
