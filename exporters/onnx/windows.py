"""Convolution, pooling and their gradients in smaller ops, for where ONNX or onnxruntime has no operator.

A tap is one element of the kernel: the pixels that it sees are a slice of the padded images with one
pixel per window. Everything here is said by taps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.ir import Node, Op, Shape, Type, apply, current_builder
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.conv import Conv2d
from staticnet.compiler.ops.slice import Pad, Slice, SliceScatter, slice_axes


class Taps:
    """The taps of windows with the attributes of a card, over images of one shape."""

    def __init__(self, op: Op, kernel: tuple[Size, Size], images: Shape, windows: Shape):
        attributes = op.attributes
        self.images, self.windows = images, windows
        self.stride, self.dilation = attributes["stride"], attributes["dilation"]
        self.padding = attributes["padding"]
        self.offsets = list(itertools.product(*map(range, kernel)))  # type: ignore[arg-type]
        self.padded = (*images[:2], *(n + sum(edge) for n, edge in zip(images[2:], self.padding, strict=True)))

    def of(self, x: Node, fill: Any) -> list[Node]:
        """For each tap the pixel it sees in each window; `fill` lies around the images."""
        if any(map(any, self.padding)):
            low, high = zip((0, 0), (0, 0), *self.padding, strict=True)
            x = apply(Pad(low=low, high=high, value=fill), x)
        # The type is given, for a window is known to exist where a slice may be empty as far as types tell.
        type = Type((*x.shape[:2], *self.windows[2:]), x.dtype)
        return [current_builder().make(Slice(**self._bounds(x.shape, offset)), (x,), type) for offset in self.offsets]

    def back(self, parts: list[Node]) -> Node:
        """The sum of what each tap gives back to the pixels it sees: the transpose of `of`."""
        total = None
        for offset, part in zip(self.offsets, parts, strict=True):
            op = SliceScatter(shape=self.padded, **self._bounds(self.padded, offset))
            placed = current_builder().make(op, (part,), Type(self.padded, part.dtype))
            total = placed if total is None else total + placed
        assert total is not None
        inside = [
            (edge[0], edge[0] + n, 1) for edge, n in zip(((0, 0), (0, 0), *self.padding), self.images, strict=True)
        ]
        return slice_axes(total, inside)

    def _bounds(self, padded: Shape, offset: tuple[int, ...]) -> dict[str, Any]:
        starts = [k * d for k, d in zip(offset, self.dilation, strict=True)]
        stops = [k + s * (n - 1) + 1 for k, s, n in zip(starts, self.stride, self.windows[2:], strict=True)]
        return {"starts": (0, 0, *starts), "stops": (*padded[:2], *stops), "steps": (1, 1, *self.stride)}


def _conv_taps(node: Node, x: Shape, w: Shape, y: Shape) -> Taps:
    return Taps(node.op, (w[2], w[3]), x, y)


def _pool_taps(node: Node, x: Shape, y: Shape) -> Taps:
    return Taps(node.op, node.op.attributes["kernel_size"], x, y)


# -- convolution ------------------------------------------------------------------------------


def conv2d(node: Node, x: Node, w: Node) -> Node:
    """One matrix product with the pixels of all taps side by side."""
    groups = node.op.attributes["groups"]
    columns = _columns(_conv_taps(node, x.shape, w.shape, node.shape), x, groups)
    rows = F.reshape(w, (groups, dims.divide_exact(w.shape[0], groups), dims.product(w.shape[1:])))
    return F.reshape(F.matmul(rows, columns), node.shape)


def _columns(taps: Taps, x: Node, groups: int) -> Node:
    """(images, groups, channels of a group * taps, windows)"""
    channels = dims.divide_exact(x.shape[1], groups)
    assert channels is not None
    count = dims.product(taps.windows[2:])
    parts = [F.reshape(tap, (x.shape[0], groups, channels, 1, count)) for tap in taps.of(x, 0)]
    return F.reshape(F.concat(parts, axis=3), (x.shape[0], groups, channels * len(parts), count))


def conv2d_input_grad(node: Node, g: Node, w: Node) -> Node:
    """The matrix product transposed, and each tap's part back where it came from."""
    groups = node.op.attributes["groups"]
    taps = _conv_taps(node, node.shape, w.shape, g.shape)
    outputs, count = dims.divide_exact(w.shape[0], groups), len(taps.offsets)
    rows = F.reshape(w, (groups, outputs, w.shape[1] * count))
    windows = F.reshape(g, (g.shape[0], groups, outputs, dims.product(g.shape[2:])))
    columns = F.matmul(F.swapaxes(rows, -1, -2), windows)
    apart = F.reshape(columns, (g.shape[0], node.shape[1], count, *g.shape[2:]))
    return taps.back([apart[:, :, k] for k in range(count)])


def conv2d_weight_grad(node: Node, x: Node, g: Node) -> Node:
    """A convolution in which images and channels change places, and stride and dilation too."""
    attributes = node.op.attributes
    groups = attributes["groups"]
    count, channels, height, width = x.shape
    within = dims.divide_exact(channels, groups)
    by_group = F.transpose(F.reshape(x, (count, groups, within, height, width)), (2, 1, 0, 3, 4))
    images = F.reshape(by_group, (within, groups * count, height, width))
    swapped = Conv2d(
        stride=attributes["dilation"], dilation=attributes["stride"], padding=attributes["padding"], groups=groups
    )
    found = apply(swapped, images, F.swapaxes(g, 0, 1))
    # Pixels beyond the last window would make a kernel of more elements.
    kernel = attributes["kernel_size"]
    cut = found if dims.same_shape(found.shape[2:], kernel) else found[:, :, : kernel[0], : kernel[1]]
    return _with_shape(F.swapaxes(cut, 0, 1), node.shape)


def _with_shape(x: Node, shape: Shape) -> Node:
    """The same value where types cannot prove what its shape is known to be."""
    if dims.same_shape(x.shape, shape):
        return x
    return current_builder().make(x.op, x.inputs, x.aval.with_shape(shape))


# -- pooling ----------------------------------------------------------------------------------


def max_pool2d(node: Node, x: Node) -> Node:
    """The larger of all taps."""
    lowest = -math.inf if x.dtype.is_float else dtype_minimum(x)
    best, *rest = _pool_taps(node, x.shape, node.shape).of(x, lowest)
    for tap in rest:
        best = F.maximum(best, tap)
    return best


def dtype_minimum(x: Node) -> int:
    """The smallest integer of the value's dtype."""
    bits = 8 * x.dtype.itemsize
    return 0 if x.dtype.name.startswith("u") else -(2 ** (bits - 1))


def avg_pool2d(node: Node, x: Node) -> Node:
    """The sum of all taps over their number."""
    taps = _pool_taps(node, x.shape, node.shape)
    return _sum(taps.of(x, 0)) / _divisor(node, taps, x)


def avg_pool2d_grad(node: Node, g: Node) -> Node:
    """The same share for each pixel of a window."""
    taps = _pool_taps(node, node.shape, g.shape)
    return taps.back([g / _divisor(node, taps, g)] * len(taps.offsets))


def _divisor(node: Node, taps: Taps, like: Node) -> Any:
    """The number of pixels of a window, or of those that are no padding."""
    if node.op.attributes["count_include_pad"]:
        return len(taps.offsets)
    plane = (1, 1, *taps.images[2:])
    return _sum(taps.of(F.ones(plane, like.dtype), 0))


def max_pool2d_grad(node: Node, x: Node, y: Node, g: Node) -> Node:
    """The gradient of each window, shared evenly among its largest pixels."""
    taps = _pool_taps(node, x.shape, y.shape)
    flags, count = _largest(taps, x, y)
    share = g / count
    return taps.back([F.where(flag, share, 0) for flag in flags])


def max_pool2d_pick(node: Node, x: Node, y: Node, h: Node) -> Node:
    """The mean of h over the largest pixels of each window."""
    taps = _pool_taps(node, x.shape, y.shape)
    flags, count = _largest(taps, x, y)
    picked = _sum([F.where(flag, tap, 0) for flag, tap in zip(flags, taps.of(h, 0), strict=True)])
    return picked / F.maximum(count, 1)


def _largest(taps: Taps, x: Node, y: Node) -> tuple[list[Node], Node]:
    """Where each tap sees a largest pixel, and how many of a window's taps do."""
    # NaN equals nothing, so padding is never among them.
    flags = [F.equal(tap, y) for tap in taps.of(x, math.nan)]
    return flags, _sum([F.cast(flag, x.dtype) for flag in flags])


def _sum(parts: list[Node]) -> Node:
    total, *rest = parts
    for part in rest:
        total = total + part
    return total


#: op -> its meaning in smaller ops, of the node and its new operands
EXPANSIONS: dict[str, Callable[..., Node]] = {
    "conv2d": conv2d,
    "conv2d_input_grad": conv2d_input_grad,
    "conv2d_weight_grad": conv2d_weight_grad,
    "max_pool2d": max_pool2d,
    "max_pool2d_grad": max_pool2d_grad,
    "max_pool2d_pick": max_pool2d_pick,
    "avg_pool2d": avg_pool2d,
    "avg_pool2d_grad": avg_pool2d_grad,
}
