"""Rows of batch and layer normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row

CHANNELS = Arg((3,))
SCALE = Arg((3,), low=0.5, high=2.0)
PARAMETERS = (SCALE, CHANNELS, CHANNELS, SCALE)
# A mean far from zero and a small deviation: the case that a one-pass variance gets wrong.
OFFSET = Arg(("N", 3, "H"), low=1000.0, high=1001.0)
EPSILON = 1e-3


def axes(x: np.ndarray) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.ndim) if axis != 1)


def along(vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    return vector.astype(np.float64).reshape([-1 if axis == 1 else 1 for axis in range(x.ndim)])


def normalised(x: np.ndarray, scale: Any, bias: Any, mean: Any, var: Any) -> np.ndarray:
    y = (x.astype(np.float64) - along(mean, x)) / np.sqrt(along(var, x) + EPSILON)
    return (y * along(scale, x) + along(bias, x)).astype(x.dtype)


def trained(x: np.ndarray, scale: Any, bias: Any, mean: Any, var: Any) -> np.ndarray:
    wide = x.astype(np.float64)
    return normalised(x, scale, bias, wide.mean(axes(x)), wide.var(axes(x)))


def next_mean(x: np.ndarray, scale: Any, bias: Any, mean: Any, var: Any) -> np.ndarray:
    return (0.75 * mean + 0.25 * x.astype(np.float64).mean(axes(x))).astype(x.dtype)


def next_var(x: np.ndarray, scale: Any, bias: Any, mean: Any, var: Any) -> np.ndarray:
    return (0.75 * var + 0.25 * x.astype(np.float64).var(axes(x), ddof=1)).astype(x.dtype)


def row(id: str, x: Arg, reference: Callable, index: int = 0, training: bool = True, **options: Any) -> Row:
    def build(x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
        return F.batch_norm(x, mean, var, scale, bias, training, momentum=0.25, eps=EPSILON)[index]

    return Row(id, ("batch_norm",), build, (x, *PARAMETERS), reference, **options)


def layer_norm(x: np.ndarray, count: int) -> np.ndarray:
    wide, last = x.astype(np.float64), tuple(range(-count, 0))
    return (wide - wide.mean(last, keepdims=True)) / np.sqrt(wide.var(last, keepdims=True) + EPSILON)


IMAGE = Arg(("N", 3, "H", 4))
TRAINING = {"rtol": 1e-5, "atol": 1e-5}

ROWS: list[Row] = [
    row("batch_norm", IMAGE, normalised, training=False, rtol=1e-5),
    row("batch_norm_flat", Arg(("N", 3)), normalised, training=False, rtol=1e-5),
    row("batch_norm_volume", Arg(("N", 3, 2, "M", 2)), normalised, training=False, rtol=1e-5),
    row("batch_norm_training", IMAGE, trained, wrt=(0, 1, 2), **TRAINING),
    row("batch_norm_training_flat", Arg(("M", 3)), trained, wrt=(0, 1, 2), **TRAINING),
    row("batch_norm_training_offset", OFFSET, trained, wrt=(), **(TRAINING | {"rtol": 2e-3, "atol": 2e-3})),
    row("batch_norm_next_mean", IMAGE, next_mean, index=1, wrt=(3,), **TRAINING),
    row("batch_norm_next_var", IMAGE, next_var, index=2, wrt=(4,), **TRAINING),
    Row("layer_norm", ("mean",), lambda x, w, b: F.layer_norm(x, 4, w, b, eps=EPSILON), (IMAGE, Arg((4,)), Arg((4,))),
        lambda x, w, b: (layer_norm(x, 1) * w + b).astype(x.dtype), rtol=1e-5, atol=1e-5),
    Row("layer_norm_axes", ("mean",), lambda x: F.layer_norm(x, (3, 4), eps=EPSILON), (Arg(("N", 3, 4)),),
        lambda x: layer_norm(x, 2).astype(x.dtype), rtol=1e-5, atol=1e-5),
]  # fmt: skip
