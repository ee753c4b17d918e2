"""Short ways for tests of printers: variables, arrays, and a native run held against the interpreter's."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.codegen.loops.form import Array, For, Kernel, Store, Value, Var, affine
from staticnet.compiler.codegen.loops.interpret import run_kernel
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import DType
from tests.compiler.codegen.native import run_native, smaller_machines

N, J, K, L, R = map(Var, "njklr")
MACHINES = pytest.mark.parametrize("machine", smaller_machines(), ids=lambda m: f"{m.vector_bytes}bytes")
#: around one, two and five vectors of any width
TAILS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 47, 63, 64, 65, 79, 80, 81, 100, 129, 161)


def source(name: str, dtype: DType, size: int) -> Array:
    return Array(name, dtype, size, "input")


def target(name: str, dtype: DType, size: int) -> Array:
    return Array(name, dtype, size, "output")


def numbers(array: Array, seed: int = 0) -> np.ndarray:
    """Small whole numbers, so that sums do not depend on their order."""
    return np.random.default_rng(seed).integers(0, 5, array.size).astype(array.dtype.numpy)


def check(kernel: Kernel, machine: Machine, ranges: int = 1, **given: np.ndarray) -> dict[str, np.ndarray]:
    """Run a kernel natively and by the interpreter on the same numbers; all memory must be equal."""
    memory = {array: given.get(array.name, numbers(array, place)) for place, array in enumerate(kernel.arrays)}
    expected = {array: content.copy() for array, content in memory.items()}
    run_kernel(kernel, expected)
    got = {array: content.copy() for array, content in memory.items()}
    run_native(kernel, got, machine, ranges)
    for array in kernel.arrays:
        np.testing.assert_array_equal(got[array], expected[array], err_msg=f"{array.name}\n{kernel}")
    return {array.name: content for array, content in got.items()}


def pointwise(extent: int, array: Array, value: Value, kind: str = "vector") -> Kernel:
    return Kernel("pointwise", For(N, extent, (Store(array, affine(N), value),), kind))
