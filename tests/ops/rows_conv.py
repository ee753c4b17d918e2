"""Rows of the convolution and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticnet.compiler.ir import Node, apply
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.conv import Conv2dInputGrad, Conv2dWeightGrad
from tests.ops.table import Arg, Row

Pair = tuple[int, int]
NO_PADDING = ((0, 0), (0, 0))


def pixels(image: np.ndarray, offset: Pair, counts: Pair, stride: Pair, dilation: Pair) -> np.ndarray:
    """What one element of the kernel sees in a padded image."""
    (i, j), (rows, columns) = offset, counts
    top, left = i * dilation[0], j * dilation[1]
    return image[:, :, top : top + rows * stride[0] : stride[0], left : left + columns * stride[1] : stride[1]]


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = (1, 1),
    padding: Any = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """The sum over the kernel's elements of pixels times weights, group by group."""
    image = np.pad(x, ((0, 0), (0, 0), *padding))
    rows, columns = (
        (image.shape[2 + axis] - dilation[axis] * (w.shape[2 + axis] - 1) - 1) // stride[axis] + 1 for axis in (0, 1)
    )
    parts = []
    for channels, weights in zip(np.split(image, groups, axis=1), np.split(w, groups), strict=True):
        part = np.zeros((x.shape[0], weights.shape[0], rows, columns), x.dtype)
        for i, j in np.ndindex(w.shape[2:]):
            seen = pixels(channels, (i, j), (rows, columns), stride, dilation)[:, :, :rows, :columns]
            part += np.einsum("nchw,oc->nohw", seen, weights[:, :, i, j]).astype(x.dtype)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def slopes(x: np.ndarray, w: np.ndarray, g: np.ndarray, **attributes: Any) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of sum(convolve(x, w) * g), one unit vector after the other, for it is linear in both."""

    def along(array: np.ndarray, value: Any) -> np.ndarray:
        units = np.eye(array.size, dtype=array.dtype).reshape(-1, *array.shape)
        return np.array([np.sum(value(unit) * g) for unit in units], array.dtype).reshape(array.shape)

    to_x = along(x, lambda unit: convolve(unit, w, **attributes))
    to_w = along(w, lambda unit: convolve(x, unit, **attributes))
    return to_x, to_w


def row(id: str, x: tuple, w: tuple, **options: Any) -> Row:
    named = ("stride", "padding", "dilation", "groups")
    attributes = {name: options.pop(name) for name in named if name in options}
    return Row(
        f"conv2d-{id}",
        ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"),
        lambda x, w: F.conv2d(x, w, **attributes),
        (Arg(x), Arg(w)),
        lambda x, w: convolve(x, w, **attributes),
        **{"rtol": 1e-5, "atol": 1e-5, **options},
    )


STRIDED: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 0), (1, 2)), "dilation": (1, 2), "groups": 2}


def input_grad(g: Node, w: Node) -> Node:
    return apply(Conv2dInputGrad(**STRIDED, size=(6, 5)), g, w)


def weight_grad(x: Node, g: Node) -> Node:
    return apply(Conv2dWeightGrad(**STRIDED, kernel_size=(3, 2)), x, g)


ROWS: list[Row] = [
    row("plain", ("N", 2, "H", "W"), (3, 2, 3, 3)),
    row("padded", ("N", 2, "H", "W"), (3, 2, 3, 3), padding=((1, 1), (1, 1))),
    row("strided", ("N", 2, "H", "W"), (3, 2, 2, 3), stride=(2, 3), padding=((1, 0), (0, 2))),
    row("dilated", ("N", 2, "H", "W"), (2, 2, 2, 2), dilation=(2, 3)),
    row("groups", ("N", 4, "H", "W"), (6, 2, 3, 2), groups=2),
    row("depthwise", ("N", 3, "H", "W"), (3, 1, 3, 3), padding=((1, 1), (1, 1)), groups=3),
    row("everything", ("N", 4, "H", "W"), (4, 2, 3, 2), **STRIDED),
    row("pointwise", ("N", 3, "H", "W"), (4, 3, 1, 1)),
    row("pointwise-strided", ("N", 3, "H", "W"), (4, 3, 1, 1), stride=(2, 2)),
    row("pointwise-large", (2, 3, 9, 8), (4, 3, 1, 1), symbolic=False),
    row("one-image", (1, 2, "H", "W"), (3, 2, 3, 3), padding=((1, 1), (1, 1))),
    row("whole-image", ("N", 2, 4, 5), (3, 2, 4, 5)),
    row("skipping-pixels", ("N", 1, "H", "W"), (2, 1, 1, 2), stride=(3, 3)),
    row("wide-padding", ("N", 1, 3, 3), (2, 1, 2, 2), padding=((3, 3), (3, 3)), stride=(3, 3)),
    row("symbolic-channels", ("N", "K", 5, 4), ("M", "K", 2, 3)),
    row("no-images", (0, 2, 4, 4), (3, 2, 3, 3), wrt=(), symbolic=False),
    Row(
        "conv2d-bias",
        ("conv2d", "add"),
        lambda x, w, b: F.conv2d(x, w, b, padding="same"),
        (Arg(("N", 2, "H", "W")), Arg((3, 2, 3, 2)), Arg((3,))),
        lambda x, w, b: convolve(x, w, padding=((1, 1), (0, 1))) + b[:, None, None],
        rtol=1e-5,
        atol=1e-5,
    ),
    Row(
        "conv2d-integers",
        ("conv2d",),
        F.conv2d,
        (Arg(("N", 2, "H", "W"), "int32", -9, 9), Arg((3, 2, 3, 3), "int32", -9, 9)),
        convolve,
    ),
    Row(
        "conv2d-input-grad",
        ("conv2d_input_grad",),
        input_grad,
        (Arg(("N", 4, 3, 6)), Arg((4, 2, 3, 2))),
        lambda g, w: slopes(np.zeros((len(g), 4, 6, 5), g.dtype), w, g, **STRIDED)[0],
        rtol=1e-5,
        atol=1e-5,
    ),
    Row(
        "conv2d-weight-grad",
        ("conv2d_weight_grad",),
        weight_grad,
        (Arg(("N", 4, 6, 5)), Arg(("N", 4, 3, 6))),
        lambda x, g: slopes(x, np.zeros((4, 2, 3, 2), g.dtype), g, **STRIDED)[1],
        rtol=1e-5,
        atol=1e-5,
    ),
]
