"""Short ways for tests to print, compile and run kernels on flat NumPy arrays, and to read their assembly."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops.form import Array, Kernel, Routine
from staticnet.compiler.codegen.loops.interpret import Failed
from staticnet.compiler.codegen.machine import Machine


@cache
def host() -> Machine:
    """The machine that runs the tests."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    flags = ",".join(name for name in features.flatten().split(",") if name.startswith("+"))
    width = 64 if features.get("avx512bw") else 32 if features.get("avx2") else 16
    return Machine(
        llvm.get_host_cpu_name(), flags, llvm.get_default_triple(), width, 32 if width == 64 else 16,
        has_fma=bool(features.get("fma")) or not llvm.get_default_triple().startswith("x86"),
    )  # fmt: skip


def smaller_machines() -> list[Machine]:
    """This machine, and on x86 also as one with narrower vectors."""
    machines = [host()]
    if host().triple.startswith("x86"):
        if host().vector_bytes == 64:
            flags = "+avx,+avx2,+fma,+f16c,+sse4.2,+ssse3,+sse4.1,+popcnt,+bmi,+bmi2"
            machines.append(replace(host(), name="haswell", features=flags, vector_bytes=32, registers=16))
        machines.append(
            replace(host(), name="x86-64", features="+sse2", vector_bytes=16, registers=16, has_fma=False)
        )
    return machines


def target_machine(machine: Machine) -> llvm.TargetMachine:
    """LLVM's own; an engine takes it over, so make one for each."""
    host()
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(
        cpu=machine.name, features=machine.features, opt=3, reloc="pic", codemodel="default"
    )


def parsed(kernel: Kernel, machine: Machine) -> llvm.ModuleRef:
    """The verified module of a kernel, its function called `kernel`."""
    module = llvm.parse_assembly(print_kernel(kernel, machine, "kernel"))
    module.data_layout = str(target_machine(machine).target_data)
    module.verify()
    return module


def assembly(kernel: Kernel, machine: Machine | None = None) -> str:
    """What a kernel compiles to."""
    machine = machine or host()
    return target_machine(machine).emit_assembly(parsed(kernel, machine))


class Compiled:
    """A kernel in memory: call it with arrays, in the order of `kernel.arrays`, and a range."""

    def __init__(self, kernel: Kernel, machine: Machine | None = None):
        machine = machine or host()
        self.kernel = kernel
        self._engine = llvm.create_mcjit_compiler(parsed(kernel, machine), target_machine(machine))
        self._engine.finalize_object()
        types = [ctypes.c_void_p] * len(kernel.arrays) + [ctypes.c_int64] * 2
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(self._engine.get_function_address("kernel"))

    def __call__(self, memory: Mapping[Array, np.ndarray], begin: int = 0, end: int | None = None) -> None:
        """Run a range; raises interpret.Failed where a Fail held."""
        end = self.kernel.loop.extent if end is None else end
        if self._call(*(memory[array].ctypes.data for array in self.kernel.arrays), begin, end):
            raise Failed


def run_native(
    work: Routine | Kernel, memory: Mapping[Array, np.ndarray], machine: Machine | None = None, ranges: int = 1
) -> None:
    """Run all kernels on flat arrays, as interpret.run_routine does; each kernel's range in so many parts."""
    routine = work if isinstance(work, Routine) else Routine((work,))
    arrays = dict(memory)
    for array in routine.workspace:
        if array not in arrays:
            arrays[array] = np.full(array.size, np.nan if array.dtype.is_float else 1).astype(array.dtype.numpy)
    for kernel in routine.kernels:
        compiled, extent = Compiled(kernel, machine), kernel.loop.extent
        cuts = [extent * part // ranges for part in range(ranges + 1)]
        for begin, end in itertools.pairwise(cuts):
            compiled(arrays, begin, end)
