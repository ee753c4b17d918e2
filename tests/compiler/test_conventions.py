"""Slopes at kinks, poles and ties: the conventions that the documentation promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from staticnet.compiler.autodiff import gradients
from staticnet.compiler.errors import GradientError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Type
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input


def slope(function: Any, at: Any) -> Any:
    """The derivative of sum(function(x)) by the elements of x."""
    array = np.asarray(at, np.float64)
    x = make_input("x", Type(array.shape, "float64"))
    return evaluate(gradients([F.sum(function(x))], [x]), {x: array})[0].tolist()


@pytest.mark.parametrize(
    ("function", "at", "wanted"),
    [
        (F.relu, 0.0, 0.0),
        (F.relu, -0.0, 0.0),
        (F.absolute, 0.0, 0.0),
        (F.sign, 1.0, None),
        (F.sqrt, 0.0, math.inf),
        (lambda x: F.clip(x, -1.0, 1.0), [-1.5, -1.0, 0.0, 1.0, 1.5], [0.0, 1.0, 1.0, 1.0, 0.0]),
        (lambda x: F.clip(x, None, 1.0), [-9.0, 1.0, 2.0], [1.0, 1.0, 0.0]),
        (lambda x: F.clip(x, 0.0), [-1.0, 0.0, 1.0], [0.0, 1.0, 1.0]),
        (lambda x: F.maximum(x, 0.0), [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        (lambda x: F.minimum(x, 0.0), [-1.0, 0.0, 1.0], [1.0, 0.5, 0.0]),
        (F.max, [1.0, 3.0, 3.0, 2.0], [0.0, 0.5, 0.5, 0.0]),
        (F.min, [1.0, 3.0, 1.0, 1.0], [1 / 3, 0.0, 1 / 3, 1 / 3]),
        (lambda x: F.power(x, 0.0), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: F.power(x, 1.0), [0.0, 2.0], [1.0, 1.0]),
        (lambda x: F.power(x, 2.0), [0.0, -2.0], [0.0, -4.0]),
        (lambda x: F.power(0.0, x), [1.0, 2.0], [0.0, 0.0]),
        (lambda x: F.leaky_relu(x, 0.1), [-1.0, 0.0, 1.0], [0.1, 0.1, 1.0]),
        (F.elu, [0.0, 1000.0], [1.0, 1.0]),
        (F.sigmoid, [-1000.0, 1000.0], [0.0, 0.0]),
        (F.softplus, [-1000.0, 0.0, 1000.0], [0.0, 0.5, 1.0]),
        (lambda x: F.where(x > 0, F.log(F.where(x > 0, x, 1.0)), 0.0), [-1.0, 2.0], [0.0, 0.5]),
        (F.prod, [0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
        (F.prod, [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
    ],
)  # fmt: skip
def test_conventions_at_kinks(function, at, wanted):
    if wanted is None:
        with pytest.raises(GradientError):
            slope(function, at)
        return
    assert slope(function, at) == pytest.approx(wanted, abs=1e-15)


def test_not_a_number_is_not_hidden():
    assert math.isnan(slope(F.exp, math.nan))
    assert math.isnan(slope(lambda x: x * 0 * math.nan, 1.0))
