"""Arithmetic, comparison, logic, bits and rounding printed as LLVM IR give what NumPy gives, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler.codegen.llvm.operations import print_operation
from staticnet.compiler.codegen.loops.operations import OPERATIONS
from staticnet.compiler.dtypes import ALL, bool_, float32, int32, uint32
from tests.compiler.codegen.one_operation import MACHINES, Lines, compiled

#: tested elsewhere: accurate to some ulp, or with operands of their own kind
ELSEWHERE = {"exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "softplus", "erf", "power"}
ELSEWHERE |= {"left_shift", "right_shift", "multiply_high", "floor_divide", "remainder"}
ELSEWHERE |= {"select", "multiply_add", "cast", "bitcast"}
PLAIN = [name for name in OPERATIONS if name not in ELSEWHERE]

FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.75, 1e-3, np.inf, -np.inf, np.nan]


def numbers(dtype: Any) -> np.ndarray:
    """Numbers of a dtype with all that is special about it."""
    dtype, generator = np.dtype(dtype), np.random.default_rng(7)
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        near = [float(value) for value in (limits.max, -limits.max, limits.tiny, limits.smallest_subnormal)]
        whole = [2.0**limits.nmant - 0.5, 2.0**limits.nmant, 2.0 ** (limits.nmant - 1) + 0.5, -(2.0**limits.nmant)]
        return np.concatenate([FLOATS, near, whole, generator.normal(size=31) * 4]).astype(dtype)
    limits = np.iinfo(dtype)
    special = [limits.min, limits.max, 0, 1, 2, 3, 7, limits.max // 2]
    special += [-1, -2, -3, limits.min + 1] if dtype.kind == "i" else [limits.max - 1]
    wide = generator.integers(limits.min, limits.max, 20, dtype, endpoint=True)
    return np.concatenate([np.array(special, dtype), wide])


def pairs(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Each number of a dtype with each."""
    x, y = np.meshgrid(numbers(dtype), numbers(dtype))
    return x.ravel(), y.ravel()


def same(found: np.ndarray, expected: np.ndarray, signed_zero: bool = True) -> None:
    """Equal bits, but for those of NaN."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if signed_zero and found.dtype.kind == "f":
        ours, theirs = np.signbit(found), np.signbit(expected)
        assert np.array_equal(ours[expected == expected], theirs[expected == expected])


def cases() -> list[tuple[str, str]]:
    kinds = {"b": ["bool"], "i": ["int8", "int16", "int32", "int64"]}
    kinds |= {"u": ["uint8", "uint16", "uint32", "uint64"], "f": ["float32", "float64"]}
    return [(name, dtype) for name in PLAIN for kind in OPERATIONS[name].kinds for dtype in kinds[kind]]


def test_every_operation_is_printed_for_all_its_kinds() -> None:
    dtypes = {"b": bool_, "i": int32, "u": uint32, "f": float32}
    for name, entry in OPERATIONS.items():
        for kind in entry.kinds:
            lines = Lines(next(iter(MACHINES.values())), 4)
            operands = ["%a0", "%b0", "%c0"][: entry.arity]
            result = bool_ if entry.result == "bool" else dtypes[kind]
            assert print_operation(lines, name, operands, dtypes[kind], result).startswith("%"), (name, kind)


@pytest.mark.parametrize("machine", MACHINES)
def test_plain_operations(machine: str) -> None:
    for name, dtype in cases():
        entry = OPERATIONS[name]
        arguments = pairs(dtype) if entry.arity == 2 else (numbers(dtype),)
        result = "bool" if entry.result == "bool" else dtype
        with np.errstate(all="ignore"):
            expected = np.asarray(entry.meaning(*arguments)).astype(result, copy=False)
        found = compiled(machine, name, [dtype] * entry.arity, result)(*arguments)
        try:
            same(found, expected, signed_zero=name not in {"maximum", "minimum"})
        except AssertionError as error:
            raise AssertionError(f"{name} of {dtype}") from error


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integer_division(machine: str, dtype: str) -> None:
    arguments = pairs(dtype)
    with np.errstate(all="ignore"):
        for name in ("floor_divide", "remainder"):
            same(compiled(machine, name, [dtype] * 2)(*arguments), OPERATIONS[name].meaning(*arguments))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_division_of_all_small_integers(dtype: str) -> None:
    limits = np.iinfo(dtype)
    every = np.arange(limits.min, limits.max + 1).astype(dtype)
    x, y = (part.ravel() for part in np.meshgrid(every, every))
    with np.errstate(all="ignore"):
        same(compiled("sse2" if "sse2" in MACHINES else "host", "floor_divide", [dtype] * 2)(x, y), x // y)


@pytest.mark.parametrize("machine", MACHINES)
def test_division_of_large_integers_near_multiples(machine: str) -> None:
    generator = np.random.default_rng(3)
    for dtype in ("int32", "uint32", "int16", "uint16"):
        limits = np.iinfo(dtype)
        divisor = generator.integers(1, limits.max, 20000, endpoint=True) >> generator.integers(0, 16, 20000)
        divisor = np.maximum(divisor, 1)
        quotient = limits.max // divisor
        for step in (-1, 0, 1):
            x, y = (divisor * quotient + step).astype(dtype), divisor.astype(dtype)
            same(compiled(machine, "floor_divide", [dtype] * 2)(x, y), x // y)


@pytest.mark.parametrize("machine", MACHINES)
def test_shifts_and_high_products(machine: str) -> None:
    for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        x, y = pairs(dtype)
        y = (y % np.array(8 * y.dtype.itemsize - 1, dtype)).astype(dtype)
        same(compiled(machine, "left_shift", [dtype] * 2)(x, y), np.left_shift(x, y))
        same(compiled(machine, "right_shift", [dtype] * 2)(x, y), np.right_shift(x, y))
    x, y = pairs("uint32")
    same(compiled(machine, "multiply_high", ["uint32"] * 2)(x, y), OPERATIONS["multiply_high"].meaning(x, y))


@pytest.mark.parametrize("machine", MACHINES)
def test_select_and_multiply_add(machine: str) -> None:
    for dtype in map(str, ALL):
        x, y = pairs(dtype)
        condition = np.arange(x.size) % 3 == 0
        same(compiled(machine, "select", ["bool", dtype, dtype])(condition, x, y), np.where(condition, x, y))
    for dtype in ("int8", "uint16", "int32", "int64"):
        x, y = pairs(dtype)
        same(compiled(machine, "multiply_add", [dtype] * 3)(x, y, x), x * y + x)
    x, y, z = np.random.default_rng(5).normal(size=(3, 1000)).astype(np.float32)
    exact = x.astype(np.float64) * y + z
    expected = exact.astype(np.float32) if MACHINES[machine].has_fma else x * y + z
    same(compiled(machine, "multiply_add", ["float32"] * 3)(x, y, z), expected)


def test_scalars_and_other_numbers_of_lanes() -> None:
    x, y = pairs("float32")
    for machine in MACHINES:
        for lanes in (1, 2, 4, 8, 32):
            same(compiled(machine, "maximum", ["float32"] * 2, lanes=lanes)(x, y), np.maximum(x, y), False)
            same(compiled(machine, "floor", ["float32"], lanes=lanes)(x), np.floor(x))
