"""Rows of the pooling ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticnet.compiler.ir import Node, apply
from staticnet.compiler.ops.avg_pool import AvgPool2dGrad
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.max_pool import MaxPool2dGrad, MaxPool2dPick
from tests.ops.table import Arg, Row

Pair = tuple[int, int]
X = Arg(("N", 2, "H", "W"))
WHOLE = Arg(("N", 2, "H", "W"), "int32", -9, 9)
# Many equal elements: which of them is largest is a matter of convention.
STEPS = Arg((2, 2, 5, 6), values=np.random.default_rng(3).integers(0, 3, (2, 2, 5, 6)))


def windows(x: np.ndarray, kernel: Pair, stride: Pair, padding: Any, dilation: Pair, fill: float) -> np.ndarray:
    """All windows of the padded images, as (N, C, OH, OW, kh * kw)."""
    image = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=fill)
    counts = [(image.shape[2 + a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
    rows, columns = (
        np.arange(counts[a])[:, None] * stride[a] + np.arange(kernel[a]) * dilation[a] for a in (0, 1)
    )
    seen = image[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return seen.reshape(*seen.shape[:4], -1)


def largest(
    x: np.ndarray, kernel: Pair, stride: Pair | None = None, padding: Any = ((0, 0), (0, 0)), dilation: Pair = (1, 1)
) -> np.ndarray:
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return windows(x, kernel, stride or kernel, padding, dilation, least).max(-1)


def average(
    x: np.ndarray,
    kernel: Pair,
    stride: Pair | None = None,
    padding: Any = ((0, 0), (0, 0)),
    count_include_pad: bool = True,
) -> np.ndarray:
    sums = windows(x, kernel, stride or kernel, padding, (1, 1), 0).sum(-1)
    seen = windows(np.ones_like(x), kernel, stride or kernel, padding, (1, 1), 1 if count_include_pad else 0).sum(-1)
    return sums / seen


def row(name: str, id: str, reference: Callable, arg: Arg, *ops: str, kernel: Pair, **attributes: Any) -> Row:
    return Row(
        f"{name}-{id}",
        (name, *ops),
        lambda x: getattr(F, name)(x, kernel, **attributes),
        (arg,),
        lambda x: reference(x, kernel, **attributes),
    )


def max_row(id: str, arg: Arg = X, **attributes: Any) -> Row:
    return row("max_pool2d", id, largest, arg, "max_pool2d_grad", "max_pool2d_pick", **attributes)


def avg_row(id: str, arg: Arg = X, **attributes: Any) -> Row:
    return row("avg_pool2d", id, average, arg, "avg_pool2d_grad", **attributes)


def window_at(i: int, j: int, kernel: Pair, stride: Pair) -> tuple[slice, slice]:
    top, left = i * stride[0], j * stride[1]
    return slice(top, top + kernel[0]), slice(left, left + kernel[1])


def spread_evenly(x: np.ndarray, y: np.ndarray, g: np.ndarray, kernel: Pair, stride: Pair) -> np.ndarray:
    """The gradient of max pooling window by window: g over the number of elements equal to y, at each of them."""
    gradient = np.zeros_like(x)
    for n, c, i, j in np.ndindex(y.shape):
        window = (n, c, *window_at(i, j, kernel, stride))
        hit = x[window] == y[n, c, i, j]
        gradient[window] += hit * (g[n, c, i, j] / max(hit.sum(), 1)).astype(x.dtype)
    return gradient


def pick_evenly(x: np.ndarray, y: np.ndarray, h: np.ndarray, kernel: Pair, stride: Pair) -> np.ndarray:
    """The mean of h over the elements of each window that equal y."""
    result = np.zeros_like(y)
    for n, c, i, j in np.ndindex(y.shape):
        window = (n, c, *window_at(i, j, kernel, stride))
        hit = x[window] == y[n, c, i, j]
        result[n, c, i, j] = (hit * h[window]).sum() / max(hit.sum(), 1)
    return result


def largest_map(card: Any, kernel: Pair, stride: Pair) -> Callable[[Node, Node, Node], Node]:
    return lambda x, y, z: apply(
        card(kernel_size=kernel, stride=stride, padding=((0, 0), (0, 0)), dilation=(1, 1)), x, y, z
    )


def adaptive(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mean of floor(i s / n) to ceil((i + 1) s / n) along both axes."""
    rows, columns = (
        [slice(i * size // n, -(-(i + 1) * size // n)) for i in range(n)]
        for size, n in zip(x.shape[2:], (height, width), strict=True)
    )
    return np.stack([np.stack([x[:, :, a, b].mean((2, 3)) for b in columns], -1) for a in rows], -2)


def adaptive_row(id: str, arg: Arg, output: Any, *ops: str, size: Pair, **options: Any) -> Row:
    return Row(
        f"adaptive_avg_pool2d-{id}",
        ops,
        lambda x: F.adaptive_avg_pool2d(x, output),
        (arg,),
        lambda x: adaptive(x, *(have if want is None else want for have, want in zip(x.shape[2:], size, strict=True))),
        **options,
    )


TIED = (Arg((2, 2, 5, 6), values=STEPS.values), Arg((2, 2, 2, 3), values=largest(STEPS.values, (3, 2), (2, 2))))
TIED_APART = (TIED[0], Arg((2, 2, 2, 2), values=largest(STEPS.values, (2, 3))))
MEAN_SPREAD = {"kernel_size": (2, 3), "stride": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 1)}


def spread_mean(g: np.ndarray) -> np.ndarray:
    x = np.zeros((*g.shape[:2], 6, 5), g.dtype)
    units = np.eye(30, dtype=g.dtype).reshape(30, 1, 1, 6, 5)
    means = [average(unit, (2, 3), (2, 1), ((1, 0), (0, 2)), False) for unit in units]
    return np.stack([(g * mean).sum((2, 3)) for mean in means], -1).reshape(x.shape).astype(g.dtype)


ROWS: list[Row] = [
    max_row("plain", kernel=(2, 2)),
    max_row("overlapping", kernel=(3, 2), stride=(1, 1)),
    max_row("padded", kernel=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1))),
    max_row("uneven", kernel=(2, 3), stride=(3, 2), padding=((1, 0), (0, 2))),
    max_row("dilated", kernel=(2, 2), stride=(1, 2), dilation=(2, 3)),
    max_row("single-pixels", kernel=(1, 1)),
    max_row("whole-image", Arg(("N", 3, 4, 5)), kernel=(4, 5)),
    row("max_pool2d", "integers", largest, WHOLE, kernel=(2, 2), padding=((1, 1), (0, 0))),
    row("max_pool2d", "bytes", largest, Arg((2, 1, 4, 4), "uint8", 0, 200), kernel=(2, 2)),
    Row(
        "max_pool2d-grad",
        ("max_pool2d_grad",),
        largest_map(MaxPool2dGrad, (3, 2), (2, 2)),
        (*TIED, Arg((2, 2, 2, 3))),
        lambda x, y, g: spread_evenly(x, y, g, (3, 2), (2, 2)),
        wrt=(2,),
    ),
    Row(
        "max_pool2d-grad-apart",
        ("max_pool2d_grad",),
        largest_map(MaxPool2dGrad, (2, 3), (2, 3)),
        (*TIED_APART, Arg((2, 2, 2, 2))),
        lambda x, y, g: spread_evenly(x, y, g, (2, 3), (2, 3)),
        wrt=(2,),
    ),
    Row(
        "max_pool2d-pick",
        ("max_pool2d_pick",),
        largest_map(MaxPool2dPick, (3, 2), (2, 2)),
        (*TIED, Arg((2, 2, 5, 6))),
        lambda x, y, h: pick_evenly(x, y, h, (3, 2), (2, 2)),
        wrt=(2,),
    ),
    Row("global_max_pool2d", ("max",), F.global_max_pool2d, (X,), lambda x: x.max((2, 3), keepdims=True)),
    avg_row("plain", kernel=(2, 2)),
    avg_row("overlapping", kernel=(3, 2), stride=(1, 2)),
    avg_row("padded", kernel=(3, 3), stride=(2, 2), padding=((1, 1), (1, 2))),
    avg_row("padding-apart", kernel=(3, 3), stride=(2, 1), padding=((1, 1), (1, 2)), count_include_pad=False),
    Row(
        "avg_pool2d-grad",
        ("avg_pool2d_grad",),
        lambda g: apply(AvgPool2dGrad(**MEAN_SPREAD, size=(6, 5), count_include_pad=False), g),
        (Arg(("N", 2, 3, 5)),),
        spread_mean,
    ),
    Row("global_avg_pool2d", ("mean",), F.global_avg_pool2d, (X,), lambda x: x.mean((2, 3), keepdims=True)),
    adaptive_row("global", X, 1, "mean", size=(1, 1)),
    adaptive_row("divided", Arg(("N", 2, 6, 8)), (3, 2), "avg_pool2d", size=(3, 2)),
    adaptive_row("uneven", Arg(("N", 2, 7, 5)), (3, 4), "matmul", size=(3, 4)),
    adaptive_row("enlarged", Arg(("N", 2, 2, 3)), (3, 5), "matmul", size=(3, 5)),
    adaptive_row("one-axis", Arg(("N", 2, "H", 5)), (None, 2), "matmul", size=(None, 2)),  # type: ignore[arg-type]
    adaptive_row("rows", Arg(("N", 2, "H", 5)), (1, 2), "matmul", size=(1, 2)),
]
