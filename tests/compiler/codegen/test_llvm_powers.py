"""power, floor division and remainder of floats, and power of integers, printed as LLVM IR."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.codegen.llvm.operations import print_operation
from staticnet.compiler.dtypes import as_dtype
from tests.compiler.codegen.one_operation import MACHINES, Lines, compiled
from tests.compiler.codegen.test_llvm_operations import pairs, same
from tests.compiler.codegen.test_llvm_transcendental import EXTENDED, LIMITS, ulps

SPECIAL = [0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, np.inf, -np.inf, np.nan, 1e-320, -1e-320, 1e300, 1.5, -1.5]
SPECIAL += [2.0**53, 2.0**53 - 1, 2.0**52 + 1, 1 - 2.0**-53, 1 + 2.0**-52, 2.0**24 - 1, 2.0**23 + 1, 1e-45, 3e38, 1e5]


def arguments(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Each special number with each, random bits, and random numbers whose power is finite."""
    generator, count = np.random.default_rng(2), 20000
    with np.errstate(all="ignore"):
        special = np.array(SPECIAL).astype(dtype)
        unsigned, width = ("uint32", 32) if dtype == "float32" else ("uint64", 64)
        bits = generator.integers(0, 1 << width, (2, count), np.uint64).astype(unsigned).view(dtype)
        base = np.exp(generator.normal(size=count) * generator.choice([1e-6, 1e-3, 0.1, 1, 10, 100], count))
        base = np.clip(base, 1e-38, 1e38).astype(dtype)
        largest = 104 if dtype == "float32" else 745
        logarithm = np.log(base.astype(np.float64))
        exponent = generator.uniform(-1.02, 1.02, count) * largest / np.where(logarithm == 0, 1, logarithm)
        negative, whole = -np.exp(generator.normal(size=count)), generator.integers(-300, 300, count)
        x, y = (part.ravel() for part in np.meshgrid(special, special))
        small = generator.normal(size=count) * 3
        xs = [x, bits[0], base, base, negative, np.round(base * 100)]
        ys = [y, bits[1], exponent, small, whole, np.round(small)]
        return np.concatenate(xs).astype(dtype), np.concatenate(ys).astype(dtype)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"] if EXTENDED else ["float32"])
def test_power_of_floats(machine: str, dtype: str) -> None:
    x, y = arguments(dtype)
    wide = np.float64 if dtype == "float32" else np.longdouble
    with np.errstate(all="ignore"):
        error = ulps(compiled(machine, "power", [dtype] * 2)(x, y), np.power(x.astype(wide), y.astype(wide)))
    worst = int(error.argmax())
    assert error[worst] <= LIMITS[dtype], (x[worst], y[worst], error[worst])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_power_of_what_is_special(machine: str, dtype: str) -> None:
    special = np.array([0.0, -0.0, 1, -1, 2, -2, 4, -0.5, 0.5, 3, -3, np.inf, -np.inf, np.nan, 2.5, -2.5], dtype)
    x, y = (part.ravel() for part in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.longdouble), y.astype(np.longdouble)).astype(dtype)
    same(compiled(machine, "power", [dtype] * 2)(x, y), expected)


@pytest.mark.parametrize("machine", MACHINES)
def test_whole_powers_of_whole_numbers_are_exact(machine: str) -> None:
    x, y = (part.ravel().astype(np.float64) for part in np.meshgrid(np.arange(-40, 41), np.arange(0, 9)))
    same(compiled(machine, "power", ["float64"] * 2)(x, y), x**y)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_numbers_of_lanes(machine: str, lanes: int) -> None:
    x, y = arguments("float64")
    x, y = x[:3000], y[:3000]
    whole = compiled(machine, "power", ["float64"] * 2)(x, y)
    same(compiled(machine, "power", ["float64"] * 2, lanes=lanes)(x, y), whole)
    whole = compiled(machine, "remainder", ["float64"] * 2)(x, y)
    same(compiled(machine, "remainder", ["float64"] * 2, lanes=lanes)(x, y), whole)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floor_division_of_floats(machine: str, dtype: str) -> None:
    x, y = arguments(dtype)
    with np.errstate(all="ignore"):
        same(compiled(machine, "floor_divide", [dtype] * 2)(x, y), np.floor_divide(x, y))
        same(compiled(machine, "remainder", [dtype] * 2)(x, y), np.remainder(x, y))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_power_of_integers(machine: str, dtype: str) -> None:
    x, y = pairs(dtype)
    chosen = y >= 0
    x, y = x[chosen], y[chosen]
    same(compiled(machine, "power", [dtype] * 2)(x, y), np.power(x, y))
    if dtype.startswith("i"):
        x = np.array([1, -1, -1, 2, 0, -7], dtype)
        y = np.array([-3, -3, -2, -1, -1, -2], dtype)
        same(compiled(machine, "power", [dtype] * 2)(x, y), np.array([1, -1, 1, 0, 0, 0], dtype))


def test_functions_of_all_dtypes_stand_in_one_module() -> None:
    for machine in MACHINES.values():
        functions = set()
        for dtype in map(as_dtype, ["int32", "uint32", "int64", "uint64", "float32", "float64"]):
            for lanes in (1, 4):
                lines = Lines(machine, lanes)
                print_operation(lines, "power", ["%a0", "%b0"], dtype, dtype)
                functions |= {text for text in lines.declarations if text.startswith("define")}
        names = {text.split("(")[0] for text in functions}
        assert len(names) == len(functions) == 12
