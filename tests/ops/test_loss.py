"""What rows cannot say of the losses: labels out of range, extreme values, operands that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, DTypeError, RunError, ShapeError
from staticnet.compiler.ops.base import F
from tests.ops.helpers import node, run, slope

ELEMENTWISE = ["mse_loss", "l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"]
LOGITS = np.zeros((4, 3), np.float32)


# -- labels out of range ----------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("label", [3, -1, 250])
def test_a_label_out_of_range_is_named_with_its_position(loss: str, label: int) -> None:
    labels = np.array([0, 2, label, 99])
    with pytest.raises(RunError, match=rf"label {label} at position \(2,\) is not one of the 3 classes \(0 to 2\)"):
        run(getattr(F, loss), LOGITS, labels)


def test_the_position_of_a_label_in_an_image() -> None:
    labels = np.zeros((2, 5, 5), np.uint8)
    labels[1, 4, 2] = 7
    with pytest.raises(RunError, match=r"label 7 at position \(1, 4, 2\)"):
        run(F.cross_entropy, np.zeros((2, 3, 5, 5)), labels)


def test_the_gradient_alone_checks_the_labels_too() -> None:
    with pytest.raises(RunError, match="label 3"):
        slope(F.cross_entropy, LOGITS, np.array([0, 1, 2, 3]))


def test_no_labels_are_no_error() -> None:
    labels = np.zeros(0, np.int64)
    assert run(lambda x, t: F.cross_entropy(x, t, "sum"), LOGITS[:0], labels) == 0
    assert run(lambda x, t: F.cross_entropy(x, t, "none"), LOGITS[:0], labels).shape == (0,)
    assert np.isnan(run(F.cross_entropy, LOGITS[:0], labels))


# -- values -----------------------------------------------------------------------------------


def test_cross_entropy_of_sure_predictions() -> None:
    x = np.array([[1000.0, 0.0], [0.0, 1000.0], [0.0, -np.inf]], np.float32)
    losses = run(lambda x, t: F.cross_entropy(x, t, "none"), x, np.array([0, 0, 0]))
    assert losses.tolist() == [0, 1000, 0]
    assert run(lambda x, t: F.cross_entropy(x, t, "none"), x, np.array([1, 1, 1])).tolist() == [1000, 0, np.inf]


def test_labels_of_any_integer_type_with_many_classes() -> None:
    x = np.random.default_rng(0).normal(size=(2, 300))
    expected = run(F.cross_entropy, x, np.array([5, 127]))
    for dtype in ("int8", "uint8", "int32", "uint64"):
        labels = np.array([5, 127], dtype)
        assert run(F.cross_entropy, x, labels) == expected
        assert np.allclose(slope(F.cross_entropy, x, labels).sum(1), 0)


def test_labels_and_one_hot_probabilities_agree() -> None:
    x = np.random.default_rng(1).normal(size=(4, 3, 2))
    labels = np.array([[0, 1], [2, 0], [1, 1], [2, 2]])
    one_hot = np.moveaxis(np.eye(3)[labels], -1, 1)
    assert np.allclose(run(F.cross_entropy, x, labels), run(F.cross_entropy, x, one_hot))


def test_binary_cross_entropy_with_logits_has_its_slope_at_zero() -> None:
    x, target = np.zeros(3), np.array([0.0, 0.25, 1.0])
    assert slope(F.binary_cross_entropy_with_logits, x, target).tolist() == ((0.5 - target) / 3).tolist()


def test_binary_cross_entropy_keeps_small_losses_and_stays_finite() -> None:
    def losses(x: np.ndarray, target: np.ndarray) -> np.ndarray:
        return run(lambda x, t: F.binary_cross_entropy_with_logits(x, t, "none"), x, target)

    x = np.array([30.0, -30.0, 1e30, -1e30], np.float32)
    target = np.array([1.0, 0.0, 1.0, 0.0], np.float32)
    assert np.allclose(losses(x, target), [np.exp(-30), np.exp(-30), 0, 0], rtol=1e-6, atol=0)
    assert losses(x, 1 - target).tolist() == np.float32([30, 30, 1e30, 1e30]).tolist()


def test_binary_cross_entropy_at_its_ends() -> None:
    p, target = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    assert run(lambda p, t: F.binary_cross_entropy(p, t, "none"), p, target).tolist() == [0, 0, 100, 100]
    assert np.isfinite(slope(F.binary_cross_entropy, p, target)).all()


def test_integer_targets_take_the_dtype_of_the_value() -> None:
    x = node(4)
    for dtype in ("int64", "bool", "uint8"):
        assert F.mse_loss(x, node(4, dtype=dtype)).dtype == x.dtype
        assert F.binary_cross_entropy_with_logits(x, node(4, dtype=dtype)).dtype == x.dtype
    assert F.mse_loss(x, 0.5).dtype == x.dtype


# -- operands that do not fit -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_batches_of_different_sizes(name: str) -> None:
    with pytest.raises(ShapeError, match=r"of shape \(4, 3\).*labels of shape \(4,\), not \(5,\)"):
        getattr(F, name)(node(4, 3), node(5, dtype="int64"))
    with pytest.raises(ShapeError, match=r"of shape \(batch, 3\).*labels of shape \(batch,\), not \(other,\)"):
        getattr(F, name)(node("batch", 3), node("other", dtype="int64"))


def test_labels_of_the_wrong_rank() -> None:
    with pytest.raises(ShapeError, match=r"labels of shape \(4,\), not \(4, 1\)"):
        F.cross_entropy(node(4, 3), node(4, 1, dtype="int64"))
    with pytest.raises(ShapeError, match=r"classes on axis 1 and take integer labels of shape \(4, 5\), not \(4,\)"):
        F.cross_entropy(node(4, 3, 5), node(4, dtype="int64"))


def test_dtypes_that_do_not_fit() -> None:
    with pytest.raises(DTypeError, match="logits must be float, not int64"):
        F.cross_entropy(node(4, 3, dtype="int64"), node(4, dtype="int64"))
    with pytest.raises(DTypeError, match=r"labels of shape \(4,\) must be integers, not float32.*\(4, 3\)"):
        F.cross_entropy(node(4, 3), node(4))
    with pytest.raises(ShapeError, match=r"probabilities of shape \(4, 2\) must have the shape.*\(4, 3\)"):
        F.cross_entropy(node(4, 3), node(4, 2))
    with pytest.raises(DTypeError, match="the target must be float or integer, not bool"):
        F.cross_entropy(node(4, 3), node(4, dtype="bool"))
    with pytest.raises(DTypeError, match="the target must be integer, not float32"):
        F.nll_loss(node(4, 3), node(4))
    with pytest.raises(ShapeError, match="need an axis of classes"):
        F.cross_entropy(node(), node(dtype="int64"))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses_do_not_broadcast_silently(name: str) -> None:
    with pytest.raises(ShapeError, match=rf"{name}: the value has shape \(batch, 1\) and its target \(batch,\)"):
        getattr(F, name)(node("batch", 1), node("batch"))
    with pytest.raises(DTypeError, match="must be float, not int64"):
        getattr(F, name)(node(3, dtype="int64"), node(3))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", *ELEMENTWISE])
def test_an_unknown_reduction_is_refused(name: str) -> None:
    target = node(2, dtype="int64") if name in ("cross_entropy", "nll_loss") else node(2, 3)
    with pytest.raises(ArgumentError, match=f"{name}: reduction must be 'mean', 'sum' or 'none', not 'average'"):
        getattr(F, name)(node(2, 3), target, reduction="average")
