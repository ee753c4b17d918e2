"""Rows of the losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.rows_softmax import log_softmax
from tests.ops.table import Arg, Row

LOGITS = Arg(("N", 5))
LABELS = Arg(("N",), "int64", 0, 5)
IMAGE = Arg(("N", 4, "H", 2))
IMAGE_LABELS = Arg(("N", "H", 2), "int32", 0, 4)
PROBABILITIES = Arg(("N", 5), low=0.05, high=0.95)


def picked(x: np.ndarray, labels: np.ndarray, axis: int = 1) -> np.ndarray:
    return -np.take_along_axis(x, np.expand_dims(labels, axis), axis).squeeze(axis)


def cross_entropy(x: np.ndarray, labels: np.ndarray, axis: int = 1) -> np.ndarray:
    return picked(log_softmax(x, axis), labels, axis)


def soft_cross_entropy(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -(log_softmax(x.astype(np.float64), 1) * target).sum(1).astype(x.dtype)


def binary(p: np.ndarray, target: np.ndarray) -> np.ndarray:
    wide = p.astype(np.float64)
    return -(target * np.log(wide) + (1 - target) * np.log1p(-wide)).astype(p.dtype)


def binary_with_logits(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return (target * np.logaddexp(0, -wide) + (1 - target) * np.logaddexp(0, wide)).astype(x.dtype)


def row(
    id: str, loss: Callable, args: tuple[Arg, Arg], reference: Callable, reduction: str = "mean", **more: Any
) -> Row:
    """A row of `loss` with a reduction, against the same reduction of `reference`, which gives the single losses."""
    reduce = {"mean": np.mean, "sum": np.sum, "none": lambda losses: losses}[reduction]
    card = {"nll_loss": "check_labels", "mse_loss": "square", "l1_loss": "absolute"}.get(loss.__name__, loss.__name__)
    card = "log_softmax" if args[1].dtype == "float32" and card == "cross_entropy" else card

    def build(x: Any, target: Any) -> Any:
        return loss(x, target, reduction)

    return Row(id, (card,), build, args, lambda x, target: reduce(reference(x, target)), **more)


LARGE = Arg((2, 4), low=-3e4, high=3e4)
EXTREME = Arg((4,), values=[-200.0, -20.0, 20.0, 200.0])
TRUTHS = Arg((4,), values=[0.0, 0.5, 1.0, 0.25])
BINARY_LABELS = Arg(("N", 5), "int64", 0, 2)

ROWS: list[Row] = [
    row("cross_entropy", F.cross_entropy, (LOGITS, LABELS), cross_entropy),
    row("cross_entropy_sum", F.cross_entropy, (LOGITS, LABELS), cross_entropy, "sum"),
    row("cross_entropy_none", F.cross_entropy, (IMAGE, IMAGE_LABELS), cross_entropy, "none"),
    row("cross_entropy_one", F.cross_entropy, (Arg((4,)), Arg((), "uint8", 0, 4)), lambda x, t: cross_entropy(x, t, 0)),
    row("cross_entropy_large", F.cross_entropy, (LARGE, Arg((2,), "int64", 0, 4)), cross_entropy, "none", wrt=()),
    row("cross_entropy_soft", F.cross_entropy, (LOGITS, PROBABILITIES), soft_cross_entropy),
    row("nll_loss", F.nll_loss, (LOGITS, LABELS), picked),
    row("mse_loss", F.mse_loss, (LOGITS, LOGITS), lambda x, t: np.square(x - t)),
    row("l1_loss", F.l1_loss, (LOGITS, LOGITS), lambda x, t: np.abs(x - t), "sum"),
    row("binary_cross_entropy", F.binary_cross_entropy, (PROBABILITIES, PROBABILITIES), binary, "none"),
    row("binary_cross_entropy_labels", F.binary_cross_entropy, (PROBABILITIES, BINARY_LABELS), binary),
    row("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, (LOGITS, PROBABILITIES),
        binary_with_logits, "none"),
    row("binary_cross_entropy_with_large_logits", F.binary_cross_entropy_with_logits, (EXTREME, TRUTHS),
        binary_with_logits, "none", wrt=()),
]  # fmt: skip
