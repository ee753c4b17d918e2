"""Rows of softmax and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row

X = Arg(("N", 5))
IMAGE = Arg(("N", 4, 3))
LARGE = Arg((2, 4), low=-3e4, high=3e4)
MASKED = Arg((2, 3), values=[[0.5, -np.inf, -1.0], [-np.inf, 2.0, -np.inf]])


def logsumexp(x: np.ndarray, axis: int | tuple[int, ...] | None, keepdims: bool = False) -> np.ndarray:
    wide = x.astype(np.float64)
    return np.logaddexp.reduce(wide, axis=axis, keepdims=keepdims).astype(x.dtype)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    wide = x.astype(np.float64)
    return (wide - logsumexp(wide, axis, keepdims=True)).astype(x.dtype)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return np.exp(log_softmax(x.astype(np.float64), axis)).astype(x.dtype)


def logsumexp_all(x: np.ndarray) -> np.ndarray:
    return logsumexp(x.reshape(-1), 0)


def logsumexp_outer(x: np.ndarray) -> np.ndarray:
    return logsumexp(logsumexp(x.astype(np.float64), 2), 0).astype(x.dtype)[None, :, None]


def row(id: str, function: Callable, arg: Arg, options: dict[str, Any], reference: Callable, **more: Any) -> Row:
    """A row of `function(x, **options)`, tested against `reference(x)`."""
    name = "log_sum_exp" if function is F.logsumexp else function.__name__
    return Row(id, (name,), partial(function, **options), (arg,), reference, **more)


ROWS: list[Row] = [
    row("softmax", F.softmax, X, {}, lambda x: softmax(x, -1)),
    row("softmax_axis", F.softmax, IMAGE, {"axis": 1}, lambda x: softmax(x, 1)),
    row("softmax_first", F.softmax, IMAGE, {"axis": 0}, lambda x: softmax(x, 0)),
    row("softmax_large", F.softmax, LARGE, {}, lambda x: softmax(x, -1), wrt=()),
    row("softmax_masked", F.softmax, MASKED, {}, lambda x: softmax(x, -1), wrt=()),
    row("log_softmax", F.log_softmax, X, {}, lambda x: log_softmax(x, -1)),
    row("log_softmax_axis", F.log_softmax, IMAGE, {"axis": -2}, lambda x: log_softmax(x, 1)),
    row("log_softmax_large", F.log_softmax, LARGE, {}, lambda x: log_softmax(x, -1), wrt=()),
    row("log_softmax_masked", F.log_softmax, MASKED, {}, lambda x: log_softmax(x, -1), wrt=()),
    row("logsumexp", F.logsumexp, IMAGE, {}, logsumexp_all),
    row("logsumexp_axis", F.logsumexp, X, {"axis": 1}, lambda x: logsumexp(x, 1)),
    row("logsumexp_axes", F.logsumexp, IMAGE, {"axis": (0, 2), "keepdims": True}, logsumexp_outer),
    row("logsumexp_large", F.logsumexp, LARGE, {"axis": 1}, lambda x: logsumexp(x, 1), wrt=()),
    row("logsumexp_masked", F.logsumexp, MASKED, {"axis": 0}, lambda x: logsumexp(x, 0), wrt=()),
]
