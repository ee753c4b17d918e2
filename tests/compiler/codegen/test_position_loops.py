"""argmax and argmin in loops."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.positions  # noqa: F401
from staticnet.compiler.codegen.loops.interpret import Failed
from staticnet.compiler.ir import Type
from staticnet.compiler.ops.reduce import ArgMax, ArgMin
from tests.compiler.codegen.placed import check, dense, described, execute

RNG = np.random.default_rng(0)


def numbers(*shape, dtype="float32"):
    """Small integers: there are ties."""
    return RNG.integers(0 if dtype in ("bool", "uint8") else -3, 2 if dtype == "bool" else 4, shape).astype(dtype)


@pytest.mark.parametrize("card", [ArgMax, ArgMin])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    "shape, axis",
    [((), None), ((5,), 0), ((1,), 0), ((3, 40), 1), ((3, 40), 0), ((2, 3, 20), None), ((2, 3, 5), 1), ((0, 3), 1)],
    ids=str,
)
def test_first_extreme(card, keepdims, shape, axis):
    assert check(card(axis=axis, keepdims=keepdims), [numbers(*shape)]) >= 4


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_dtypes(dtype):
    for axis in (0, 1, None):
        assert check(ArgMax(axis=axis), [numbers(4, 19, dtype=dtype)]) >= 4


@pytest.mark.parametrize("card", [ArgMax, ArgMin])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_the_first_nan_wins(card, axis):
    x = numbers(20, 20)
    x[3, 7] = x[3, 9] = x[8, 7] = np.nan
    x[4] = np.inf
    x[5] = -np.inf
    x[6] = np.nan
    assert check(card(axis=axis), [x]) >= 4


def test_no_element_fails():
    run = described(ArgMax(axis=None), [np.zeros((0, 2), "f")], [dense(2), dense(0)], results=[Type((), "int64")])
    with pytest.raises(Failed):
        execute(run)
