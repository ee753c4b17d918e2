"""What rows cannot say of normalisation: its statistics, what has no gradient, operands that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler.errors import DTypeError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Type
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from tests.ops.helpers import node, run, slope

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3, 4))
MEAN, VAR = RNG.normal(size=3), RNG.uniform(0.5, 2, 3)


def normalise(x: np.ndarray, **options: Any) -> list[np.ndarray]:
    return run(lambda x, mean, var: F.batch_norm(x, mean, var, **options), x, MEAN.astype(x.dtype), VAR.astype(x.dtype))


def test_training_normalises_and_moves_the_running_statistics() -> None:
    y, mean, var = normalise(X, training=True, momentum=0.3)
    assert np.allclose(y.mean((0, 2)), 0) and np.allclose(y.var((0, 2)), 1, atol=1e-4)
    assert np.allclose(mean, 0.7 * MEAN + 0.3 * X.mean((0, 2)))
    assert np.allclose(var, 0.7 * VAR + 0.3 * X.var((0, 2), ddof=1))


def test_inference_uses_the_running_statistics_and_keeps_them() -> None:
    y, mean, var = normalise(X)
    assert np.allclose(y, (X - MEAN[:, None]) / np.sqrt(VAR[:, None] + 1e-5))
    assert np.array_equal(mean, MEAN) and np.array_equal(var, VAR)


def test_weight_and_bias_default_to_one_and_zero() -> None:
    ones, zeros = np.ones(3), np.zeros(3)
    given = run(lambda *a: F.batch_norm(*a, training=True), X, MEAN, VAR, ones, zeros)
    assert all(np.array_equal(a, b) for a, b in zip(given, normalise(X, training=True), strict=True))


def test_a_large_mean_costs_no_accuracy() -> None:
    single = X.astype(np.float32)
    y, _, _ = normalise(single, training=True)
    shifted, _, var = normalise(single + np.float32(4096), training=True, momentum=1.0)
    assert np.allclose(shifted, y, atol=2e-3)
    assert np.allclose(var, X.var((0, 2), ddof=1), rtol=2e-3)


def test_the_running_statistics_give_x_no_gradient() -> None:
    for index in (1, 2):
        total = slope(lambda x, m, v, i=index: F.batch_norm(x, m, v, training=True)[i], X, MEAN, VAR)
        assert not total.any()


def test_both_modes_have_the_same_types() -> None:
    operands = [make_input("x", Type((dims.symbol("batch"), 3, 4), "float32")), *(node(3) for _ in range(2))]
    training, inference = (F.batch_norm(*operands, training=mode) for mode in (True, False))
    assert [part.type for part in training] == [part.type for part in inference]


def test_one_value_per_channel_met_at_run_time_keeps_the_variance_finite() -> None:
    x, mean, var = node("batch", 3), node(3), node(3)
    results = F.batch_norm(x, mean, var, training=True, momentum=0.5)
    feeds = {x: np.float32([[1, 2, 3]]), mean: np.zeros(3, np.float32), var: np.ones(3, np.float32)}
    y, new_mean, new_var = evaluate(results, feeds, {"batch": 1})
    assert not y.any() and new_mean.tolist() == [0.5, 1, 1.5] and new_var.tolist() == [0.5] * 3


def test_one_value_per_channel_known_beforehand_is_refused() -> None:
    for shape in ((1, 3), (1, 3, 1, 1)):
        with pytest.raises(ShapeError, match="must have more than one value per channel"):
            F.batch_norm(node(*shape), node(3), node(3), training=True)
        F.batch_norm(node(*shape), node(3), node(3))


def test_operands_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"running_mean has shape \(4,\), but .* \(batch, 3, 8\) has 3 channels"):
        F.batch_norm(node("batch", 3, 8), node(4), node(3))
    with pytest.raises(ShapeError, match=r"weight has shape \(3, 1\)"):
        F.batch_norm(node("batch", 3), node(3), node(3), node(3, 1))
    with pytest.raises(ShapeError, match=r"2 to 5 axes.*\(3,\)"):
        F.batch_norm(node(3), node(3), node(3))
    with pytest.raises(DTypeError, match="running_var is float64 and x float32"):
        F.batch_norm(node(2, 3), node(3), node(3, dtype="float64"))
    with pytest.raises(DTypeError, match="batch_norm does not take int64"):
        F.batch_norm(node(2, 3, dtype="int64"), node(3, dtype="int64"), node(3, dtype="int64"))


def test_layer_norm_operands_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"normalized_shape \(4,\) must be the last sizes of x, \(batch, 3\)"):
        F.layer_norm(node("batch", 3), 4)
    with pytest.raises(ShapeError, match=r"weight has shape \(2,\), not \(3,\)"):
        F.layer_norm(node("batch", 3), 3, node(2))
    with pytest.raises(DTypeError, match="x must be float, not int32"):
        F.layer_norm(node(2, 3, dtype="int32"), 3)
