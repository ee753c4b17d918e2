"""One scalar operation compiled by itself over whole arrays, for tests of what is printed for it."""

from __future__ import annotations

import ctypes
import itertools
import struct
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from staticnet.compiler.codegen.llvm.arithmetic import Number
from staticnet.compiler.codegen.llvm.conversions import narrow_half, widen_half
from staticnet.compiler.codegen.llvm.operations import print_operation
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import DType, as_dtype, float16, float32, uint8, uint16

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

TRIPLE = llvm.get_process_triple()
HOST = llvm.get_host_cpu_features()


def _machine(features: dict[str, bool], bytes: int, registers: int, fma: bool) -> Machine:
    flat = ",".join(("+" if on else "-") + name for name, on in sorted(features.items()))
    return Machine("x86-64", flat, TRIPLE, bytes, registers, has_fma=fma)


def _without(*parts: str) -> dict[str, bool]:
    return {name: on and not any(name.startswith(part) for part in parts) for name, on in HOST.items()}


def machines() -> dict[str, Machine]:
    """The vector units that this processor can stand for."""
    if not TRIPLE.startswith("x86_64"):
        return {"host": Machine("", "", TRIPLE, 16, 32, has_fma=True)}
    found = {"sse2": _machine({"sse2": True, "sse3": False, "avx": False}, 16, 16, False)}
    if HOST.get("avx2") and HOST.get("fma"):
        found["avx2"] = _machine(_without("avx512", "avx10"), 32, 16, True)
    if HOST.get("avx512f") and HOST.get("avx512dq") and HOST.get("avx512bw") and HOST.get("avx512vl"):
        found["avx512"] = _machine(_without("avx10"), 64, 32, True)
    return found


MACHINES = machines()


class Lines:
    """The smallest emitter there is: instructions one after another."""

    def __init__(self, machine: Machine, lanes: int):
        self.machine, self.lanes = machine, lanes
        self.lines: list[str] = []
        self.declarations: dict[str, None] = {}
        self.names: dict[str, str] = {}
        self.count = itertools.count()

    def scalar(self, dtype: DType) -> str:
        if dtype.is_float:
            return "double" if dtype.itemsize == 8 else "float"
        return "i1" if dtype.is_bool else f"i{8 * dtype.itemsize}"

    def type_of(self, dtype: DType) -> str:
        return self.vector(self.scalar(dtype))

    def vector(self, scalar: str) -> str:
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    def const(self, value: Any, dtype: DType) -> str:
        if not dtype.is_float:
            text = str(int(value))
        else:
            with np.errstate(over="ignore"):
                number = float(value) if dtype.itemsize == 8 else float(np.float32(value))
            text = f"0x{struct.unpack('>Q', struct.pack('>d', number))[0]:016X}"
        return text if self.lanes == 1 else f"splat ({self.scalar(dtype)} {text})"

    def do(self, template: str, type: str) -> str:
        if template not in self.names:
            self.names[template] = f"%v{next(self.count)}"
            self.lines.append(f"  {self.names[template]} = {template}")
        return self.names[template]

    def declare(self, text: str) -> None:
        self.declarations[text] = None

    def load(self, pointer: str, dtype: DType) -> str:
        stored = uint16 if dtype == float16 else uint8 if dtype.is_bool else dtype
        place = self.do(f"getelementptr {self.scalar(stored)}, ptr {pointer}, i64 %i", "ptr")
        type = self.type_of(stored)
        loaded = Number(self, self.do(f"load {type}, ptr {place}, align 1", type), stored)
        if dtype == float16:
            return widen_half(loaded).name
        return loaded.not_equal(0).name if dtype.is_bool else loaded.name

    def store(self, pointer: str, name: str, dtype: DType) -> None:
        value, stored = Number(self, name, dtype), dtype
        if dtype == float16:
            value, stored = narrow_half(Number(self, name, float32)), uint16
        elif dtype.is_bool:
            stored = uint8
            value = value.convert("zext", stored)
        place = self.do(f"getelementptr {self.scalar(stored)}, ptr {pointer}, i64 %i", "ptr")
        self.lines.append(f"  store {value.type} {value.name}, ptr {place}, align 1")


class Compiled:
    """An operation on arrays of these dtypes, `lanes` at a time; `repeat` times over for measurements."""

    def __init__(
        self, machine: Machine, lanes: int, operation: str, dtypes: Sequence[DType], result: DType, level: int = 2
    ):
        self.lanes, self.result = lanes, result
        self.dtypes = tuple(dtypes)
        self.ir = self._print(machine, operation)
        target = llvm.Target.from_triple(machine.triple)
        options = target.create_target_machine(machine.name, machine.features, opt=level, jit=True)
        module = llvm.parse_assembly(self.ir)
        module.verify()
        self.assembly = options.emit_assembly(module)
        self.engine = llvm.create_mcjit_compiler(module, options)
        self.engine.finalize_object()
        pointers = [ctypes.c_void_p] * (len(self.dtypes) + 1)
        self.function = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)(self.engine.get_function_address("run"))

    def _print(self, machine: Machine, operation: str) -> str:
        lines = Lines(machine, self.lanes)
        operands = [lines.load(f"%p{number}", dtype) for number, dtype in enumerate(self.dtypes)]
        name = print_operation(lines, operation, operands, self.dtypes[-1], self.result)
        lines.store("%out", name, self.result)
        parameters = ", ".join(f"ptr %p{number}" for number in range(len(self.dtypes)))
        body = "\n".join(lines.lines)
        return "\n".join(lines.declarations) + f"""
define void @run({parameters}, ptr %out, i64 %count) {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %next, %loop ]
{body}
  %next = add i64 %i, {self.lanes}
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """The operation on arrays of any size: the rest of the last vector is filled with ones."""
        size = arrays[0].size
        padded = -(-size // self.lanes) * self.lanes
        filled = []
        for array, dtype in zip(arrays, self.dtypes, strict=True):
            assert array.dtype == dtype.numpy and array.size == size
            filled.append(np.ones(padded, array.dtype))
            filled[-1][:size] = array.ravel()
        out = np.zeros(padded, self.result.numpy)
        self.run(*filled, out)
        return out[:size].reshape(arrays[0].shape)

    def run(self, *arrays: np.ndarray) -> None:
        """On arrays that are multiples of the lanes, the last of which is the result."""
        self.function(*(array.ctypes.data for array in arrays), arrays[-1].size)


def compiled(
    machine: str, operation: str, dtypes: Sequence[Any], result: Any = None, lanes: int | None = None
) -> Compiled:
    """An operation for one of MACHINES, by default as wide as a vector of the widest of its dtypes."""
    types = [as_dtype(dtype) for dtype in dtypes]
    own = types[-1] if result is None else as_dtype(result)
    chosen = MACHINES[machine]
    width = max(4 if dtype == float16 else dtype.itemsize for dtype in [*types, own])
    return Compiled(chosen, lanes or chosen.lanes(width), operation, types, own)

