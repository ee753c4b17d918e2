"""exp, log and the rest printed as LLVM IR: within 2 ulp in float32 and 4 ulp in float64 over the whole range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.compiler.codegen.one_operation import MACHINES, compiled
from tests.conftest import sweep_is_full

LIMITS = {"float32": 2.0, "float64": 4.0}
EXTENDED = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant
PI = np.longdouble("3.14159265358979323846264338327950288")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _erf(x: np.ndarray) -> np.ndarray:
    """2 / sqrt(pi) * exp(-x**2) * sum of (2 x**2)**n x / (2 n + 1)!!, all of whose terms have one sign."""
    magnitude = np.abs(x).astype(np.longdouble)
    scale = 2 / np.sqrt(PI)
    result = np.where(magnitude < 7, magnitude * scale, np.minimum(magnitude, 1))
    for low, high, terms in ((1e-12, 0.5, 20), (0.5, 1, 30), (1, 2, 50), (2, 4, 110), (4, 7, 250)):
        chosen = (magnitude >= low) & (magnitude < high)
        own = magnitude[chosen]
        term = total = own
        for n in range(1, terms):
            term = term * (2 * own * own) / (2 * n + 1)
            total = total + term
        result[chosen] = total * np.exp(-own * own) * scale
    return np.copysign(result, x)


MEANINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "erf": _erf,
}
#: those that give back the sign of zero
ODD = {"expm1", "log1p", "sin", "tanh", "erf"}


def ulps(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """How far results are from wider ones, in units of the last place; infinite where NaN or infinity are missed."""
    limits, wide = np.finfo(found.dtype), exact.dtype.type
    rounded = exact.astype(found.dtype)
    _, exponent = np.frexp(rounded)
    unit = np.ldexp(wide(1), np.maximum(exponent - limits.nmant - 1, limits.minexp - limits.nmant).astype(np.int32))
    # What rounds to infinity is as far from the largest number as one step more would be.
    step = wide(2) ** limits.maxexp
    ours = np.where(np.isinf(found), np.copysign(step, found), found.astype(wide))
    theirs = np.where(np.isinf(rounded), np.copysign(step, exact), exact)
    error = np.abs(ours - theirs) / np.where(np.isfinite(rounded), unit, step * limits.epsneg)
    error = np.where(np.isnan(found) & np.isnan(exact), 0, error)
    return np.where(np.isnan(error), np.inf, error).astype(np.float64)


def numbers(dtype: str, step: int) -> np.ndarray:
    """Of float32 every so many-th of all there are; of float64 random ones, as many."""
    special = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 88.72284, -103.97, 709.782712893384, -745.14])
    if dtype == "float32":
        every = np.arange(0, 1 << 32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
        return np.concatenate([every, special.astype(np.float32)])
    generator, count = np.random.default_rng(11), (1 << 32) // step // 8
    bits = generator.integers(0, 1 << 64, count, np.uint64).view(np.float64)
    usual = generator.normal(size=3 * count) * np.exp(generator.uniform(-4, 7, 3 * count))
    quarters = np.round(usual[:count]) * (np.pi / 2)
    return np.concatenate([bits, usual, quarters, special])


def check(machine: str, operation: str, dtype: str, x: np.ndarray, lanes: int | None = None) -> None:
    found = compiled(machine, operation, [dtype], lanes=lanes)(x)
    with np.errstate(all="ignore"):
        exact = MEANINGS[operation](x.astype(np.float64 if dtype == "float32" else np.longdouble))
        error = ulps(found, exact)
    worst = int(error.argmax())
    assert error[worst] <= LIMITS[dtype], f"{operation}({x[worst]!r}) = {found[worst]!r}, {error[worst]} ulp off"
    if operation in ODD:
        zeros = x == 0
        assert np.array_equal(np.signbit(found[zeros]), np.signbit(x[zeros]))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("operation", MEANINGS)
def test_float32(machine: str, operation: str) -> None:
    check(machine, operation, "float32", numbers("float32", 16381 + 2 * list(MACHINES).index(machine)))


@pytest.mark.skipif(not EXTENDED, reason="needs a type wider than float64")
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("operation", MEANINGS)
def test_float64(machine: str, operation: str) -> None:
    check(machine, operation, "float64", numbers("float64", 1 << 20))


@pytest.mark.sweep
@pytest.mark.parametrize("operation", MEANINGS)
@pytest.mark.parametrize("machine", MACHINES)
def test_float32_densely(machine: str, operation: str) -> None:
    """In the full sweep every number there is."""
    parts, step = (64, 1) if sweep_is_full() else (1, 4093)
    for part in range(parts):
        bits = np.arange(part, 1 << 32, parts * step, dtype=np.uint64).astype(np.uint32)
        check(machine, operation, "float32", bits.view(np.float32))


@pytest.mark.parametrize("operation", MEANINGS)
def test_scalars_and_other_numbers_of_lanes(operation: str) -> None:
    usual = np.concatenate([np.linspace(-9, 9, 401), [1e5, -1e9, 1e30, 700, np.nan, np.inf, 1e-40, 0.0]])
    for machine in MACHINES:
        for dtype in ("float32", "float64") if EXTENDED else ("float32",):
            for lanes in (1, 2, 4, 32):
                check(machine, operation, dtype, usual.astype(dtype), lanes)


@pytest.mark.parametrize("operation", MEANINGS)
def test_float16_is_computed_in_float32(operation: str) -> None:
    every = np.arange(1 << 16).astype(np.uint16).view(np.float16)
    for machine in MACHINES:
        found = compiled(machine, operation, ["float16"])(every)
        with np.errstate(all="ignore"):
            error = ulps(found, MEANINGS[operation](every.astype(np.float64)))
        assert error.max() <= 0.51
