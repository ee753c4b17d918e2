"""Casts printed as LLVM IR give what NumPy's astype gives on x86-64; float16 works on every machine."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.compiler.codegen.one_operation import MACHINES, compiled
from tests.compiler.codegen.test_llvm_operations import numbers, same

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
SIGNS = (1, -1)
LIMITS = [sign * (2.0**power + step) for sign in SIGNS for power in (7, 8, 15, 16, 31) for step in (-1, -0.5, 0, 1)]
LARGE = [sign * 2.0**power * part for sign in SIGNS for power in (32, 63, 64, 100) for part in (1 - 2.0**-11, 1, 1.5)]


def astype(x: np.ndarray, dtype: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x.astype(dtype)


def floats(dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.concatenate([numbers(dtype), np.array(LIMITS + LARGE).astype(dtype)])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("source", ["bool", *INTEGERS])
def test_integers_to_everything(machine: str, source: str) -> None:
    x = numbers(source)
    for result in ["bool", *INTEGERS, *FLOATS]:
        same(compiled(machine, "cast", [source], result)(x), astype(x, result))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("source", FLOATS)
def test_floats_to_everything(machine: str, source: str) -> None:
    x = floats(source)
    for result in ["bool", *INTEGERS, *FLOATS]:
        expected = x
        if result == "uint32":
            # NumPy's own paths for short and long arrays differ beyond what int32 and uint32 hold.
            low = np.abs(x.astype(np.float64)) < 2.0**31
            expected = np.where(low | ((x > 0) & (x.astype(np.float64) < 2.0**32)), x, x.dtype.type(0))
        same(compiled(machine, "cast", [source], result)(x), astype(expected, result))


@pytest.mark.parametrize("machine", MACHINES)
def test_all_of_float16(machine: str) -> None:
    every = np.arange(1 << 16).astype(np.uint16).view(np.float16)
    same(compiled(machine, "cast", ["float16"], "float32")(every), every.astype(np.float32))
    kept = compiled(machine, "cast", ["float16"], "float16")(every)
    same(kept, every)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_rounding_to_float16(machine: str, source: str) -> None:
    """Ties, what lies just beside them, and every order of magnitude."""
    every = np.arange(1 << 15).astype(np.uint16).view(np.float16)
    every = every[np.isfinite(every)].astype(source)
    middle = (every[1:] + every[:-1]) / 2
    wide = np.random.default_rng(1).integers(0, 1 << 32, 50000, np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([every, middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf).astype(source)])
    wide = wide[~np.isnan(wide)].astype(source)
    x = np.concatenate([x, -x, wide, np.array([65519.99, 65520, 65504, np.inf, np.nan], source)])
    with np.errstate(over="ignore"):
        same(compiled(machine, "cast", [source], "float16")(x), x.astype(np.float16))


@pytest.mark.parametrize("machine", MACHINES)
def test_bitcast(machine: str) -> None:
    every = np.arange(1 << 16).astype(np.uint16)
    # A NaN that is no quiet one becomes one.
    ordinary = every[~np.isnan(every.view(np.float16))]
    for integer in ("int16", "uint16"):
        bits = ordinary.view(integer)
        same(compiled(machine, "bitcast", [integer], "float16")(bits), bits.view(np.float16))
        same(compiled(machine, "bitcast", ["float16"], integer)(bits.view(np.float16)), bits)
    for floating, integer in (("float32", "int32"), ("float32", "uint32"), ("float64", "int64")):
        x = floats(floating)
        assert np.array_equal(compiled(machine, "bitcast", [floating], integer)(x), x.view(integer))
        same(compiled(machine, "bitcast", [integer], floating)(x.view(integer)), x)
    same(compiled(machine, "bitcast", ["bool"], "int8")(numbers("bool")), np.array([0, 1], np.int8))
    same(compiled(machine, "bitcast", ["int8"], "bool")(np.array([0, 1], np.int8)), numbers("bool"))
