"""What rows cannot say of softmax and its relatives: infinities, empty axes, bad operands."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.ops.base import F
from tests.ops.helpers import node, run, slope

NAN, INF = np.nan, np.inf


def test_logsumexp_of_infinities() -> None:
    x = np.array([[-INF, -INF], [-INF, 1.0], [INF, 1.0], [INF, INF], [NAN, 1.0]])
    assert np.array_equal(run(lambda x: F.logsumexp(x, axis=1), x), [-INF, 1, INF, INF, NAN], equal_nan=True)


def test_softmax_of_infinities() -> None:
    x = np.array([[-INF, 1.0, 1.0], [-INF, -INF, 7.0], [-INF, -INF, -INF]])
    expected = [[0, 0.5, 0.5], [0, 0, 1], [NAN, NAN, NAN]]
    assert np.array_equal(run(F.softmax, x), expected, equal_nan=True)
    with np.errstate(divide="ignore"):
        assert np.array_equal(run(F.log_softmax, x), np.log(expected), equal_nan=True)


def test_an_infinite_logit_makes_only_itself_unknown_in_log_softmax() -> None:
    assert np.array_equal(run(F.log_softmax, np.array([INF, 0.0])), [NAN, -INF], equal_nan=True)


def test_gradient_through_masked_elements_is_finite() -> None:
    x = np.array([[-INF, 1.0, 2.0], [0.0, -INF, -INF]])
    weight = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for function in (F.softmax, lambda x: F.exp(F.log_softmax(x))):
        found = slope(lambda x, w, f=function: f(x) * w, x, weight)
        assert np.isfinite(found).all() and found[0, 0] == 0 and np.allclose(found.sum(1), 0)
    found = slope(lambda x: F.logsumexp(x, axis=1), x)
    assert np.isfinite(found).all() and np.allclose(found.sum(1), 1)


@pytest.mark.parametrize("large", [1e4, -1e4, 1e30])
def test_large_logits_do_not_overflow(large: float) -> None:
    x = np.array([[large, large], [large, -large]], np.float32)
    assert np.isfinite(run(F.softmax, x)).all()
    assert np.isfinite(run(lambda x: F.logsumexp(x, axis=1), x)).all()
    assert np.allclose(run(F.log_softmax, x)[0], np.log(0.5))


def test_empty_arrays() -> None:
    empty_lines, no_lines = np.zeros((3, 0), np.float32), np.zeros((0, 3), np.float32)
    for x in (empty_lines, no_lines):
        assert run(F.softmax, x).shape == run(F.log_softmax, x).shape == x.shape
    assert run(lambda x: F.logsumexp(x, axis=1), empty_lines).tolist() == [-INF] * 3
    assert run(lambda x: F.logsumexp(x, axis=1), no_lines).shape == (0,)
    assert run(F.logsumexp, empty_lines) == -INF


def test_logsumexp_of_a_scalar_is_the_scalar() -> None:
    assert run(F.logsumexp, np.float64(2.5)) == 2.5


def test_bad_operands() -> None:
    with pytest.raises(DTypeError, match="softmax: x must be float, not int64"):
        F.softmax(node(3, dtype="int64"))
    with pytest.raises(DTypeError, match="logsumexp: x must be float, not bool"):
        F.logsumexp(node(3, dtype="bool"))
    with pytest.raises(ShapeError, match="axis 2 is out of range for 2 axes"):
        F.softmax(node("batch", 3), axis=2)
    with pytest.raises(ShapeError, match="axis -1 is out of range for 0 axes"):
        F.log_softmax(node())
    with pytest.raises(ArgumentError, match="axis must be an integer, not None"):
        F.softmax(node(3), axis=None)
    with pytest.raises(ShapeError, match="name an axis twice"):
        F.logsumexp(node(2, 3), axis=(1, -1))
