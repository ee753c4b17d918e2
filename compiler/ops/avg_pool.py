"""Average pooling and its gradient, each the transpose of the other; adaptive and global averages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import ArgumentError, ShapeError, UndecidableSizeError
from staticnet.compiler.ir import Node, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, function, require_dtype
from staticnet.compiler.ops.pool import Pool, at, block_steps, blocks, pooling_arguments
from staticnet.compiler.ops.windows import Tap, as_pair, carve, require_images, shaped, workspace_bytes


class _Average(Pool, abstract=True):
    """Base of the mean over windows and its transpose."""

    count_include_pad: bool

    @property
    def _counts_pixels(self) -> bool:
        """Whether windows at the border are divided by fewer elements than others."""
        return not self.count_include_pad and self.padding != ((0, 0), (0, 0))

    def _divisors(self, xp: Any, taps: Sequence[Tap], buffer: Any, shape: Sequence[int]) -> Any:
        """What the sum of a window is divided by: a number, or for each window the pixels it sees."""
        if not self._counts_pixels:
            return self.reach
        counts = shaped(buffer, shape)
        counts.fill(0)
        for tap in taps:
            xp.add(counts[tap.windows], 1, out=counts[tap.windows])
        return counts

    def apply_as(self, card: type[Pool], *inputs: Node, **more: Any) -> Node:
        return super().apply_as(card, *inputs, count_include_pad=self.count_include_pad, **more)


class AvgPool2d(_Average):
    """The mean of each window; padding counts as zeros, or not at all without `count_include_pad`."""

    onnx = "AveragePool"

    def infer(self, x: Type) -> Type:
        return x.with_shape(self.pooled(x.shape))

    def scratch(self, x: Type) -> int:
        return workspace_bytes(self._parts(self.pooled(x.shape), x.dtype.numpy))

    def _parts(self, y: Sequence[Any], dtype: Any) -> list[tuple[int, Any]]:
        return [(int(y[2]) * int(y[3]) if self._counts_pixels else 0, dtype)]

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        out.fill(0)
        if out.size == 0:
            return
        taps = self.taps(x, out)
        (counts,) = carve(scratch, self._parts(out.shape, out.dtype))
        divisors = self._divisors(xp, taps, counts, out.shape[2:])
        for block in blocks(out.shape, out.itemsize):
            for tap in taps:
                sums = out[block][at(tap.windows)]
                xp.add(sums, x[block][at(tap.pixels)], out=sums)
            xp.divide(out[block], divisors, out=out[block])

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (self.apply_as(AvgPool2dGrad, g, size=x.shape[2:]),)

    def flops(self, out: Any, *types: Type) -> Size:
        return out.size * self.reach


class AvgPool2dGrad(_Average):
    """The gradient of avg_pool2d(x) to x, of height and width `size`: g of each window, spread over its pixels."""

    size: tuple[Size, Size]

    def infer(self, g: Type) -> Type:
        if g.ndim != 4:
            raise ShapeError(
                f"{self.name}: {format_shape(g.shape)} must have four axes, (images, channels, height, width)"
            )
        x = (*g.shape[:2], *self.size)
        self.check("the result's gradient", g.shape, x)
        return g.with_shape(x)

    def scratch(self, g: Type) -> int:
        return workspace_bytes(self._parts(g.shape, g.dtype.numpy))

    def _parts(self, g: Sequence[Any], dtype: Any) -> list[tuple[int, Any]]:
        """Room for the shares of one block, and for the divisors."""
        images, channels = block_steps(g, dtype.itemsize)
        plane = int(g[2]) * int(g[3])
        return [(images * channels * plane, dtype), (plane if self._counts_pixels else 0, dtype)]

    def kernel(self, xp: Any, g: Any, *, out: Any, scratch: Any) -> None:
        out.fill(0)
        if g.size == 0:
            return
        shares, counts = carve(scratch, self._parts(g.shape, g.dtype))
        taps = self.taps(out, g)
        divisors = self._divisors(xp, taps, counts, g.shape[2:])
        for block in blocks(g.shape, g.dtype.itemsize):
            share = shaped(shares, g[block].shape)
            xp.divide(g[block], divisors, out=share)
            for tap in taps:
                target = out[block][at(tap.pixels)]
                xp.add(target, share[at(tap.windows)], out=target)

    def grad(self, h: Node, z: Node, g: Node) -> tuple:
        return (self.apply_as(AvgPool2d, h),)

    def flops(self, out: Any, g: Type) -> Size:
        return g.size * self.reach


# -- functions --------------------------------------------------------------------------------


@function("avg_pool2d")
def avg_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *, count_include_pad: bool = True
) -> Node:
    """The mean of each window of the float images `x` (N, C, H, W).

    Sizes are one number or a pair (height, width), padding also ((top, bottom), (left, right)); `stride` is the
    kernel's size by default. The result is (N, C, OH, OW), OH = (H + padding - kh) // stride + 1. Padding counts
    as zeros, or, with `count_include_pad=False`, not at all. Raises ShapeError for another rank and images smaller
    than a window, ArgumentError for other sizes, and for a padding not smaller than the kernel.
    """
    x, attributes = pooling_arguments("avg_pool2d", x, kernel_size, stride, padding, 1, "float")
    return apply(AvgPool2d(**attributes, count_include_pad=bool(count_include_pad)), x)


@function("global_avg_pool2d")
def global_avg_pool2d(x: Any) -> Node:
    """The mean of each channel of the images `x` (N, C, H, W), as (N, C, 1, 1)."""
    x = as_node(x)
    require_images("global_avg_pool2d", "x", x)
    require_dtype("global_avg_pool2d", "x", x, "float")
    return F.mean(x, axis=(2, 3), keepdims=True)


@function("adaptive_avg_pool2d")
def adaptive_avg_pool2d(x: Any, output_size: Any) -> Node:
    """The float images `x` (N, C, H, W) averaged down to `output_size`, a number or a pair, None keeping an axis.

    Element i of n along an axis of size s is the mean of elements floor(i s / n) to ceil((i + 1) s / n), as in
    PyTorch. A symbolic size must be known to be a multiple of n; else UndecidableSizeError.
    """
    x = as_node(x)
    require_images("adaptive_avg_pool2d", "x", x)
    require_dtype("adaptive_avg_pool2d", "x", x, "float")
    wanted = _output_size(output_size, x.shape[2:])
    if dims.same_shape(wanted, (1, 1)):
        return global_avg_pool2d(x)
    factors = [dims.divide_exact(size, n) for size, n in zip(x.shape[2:], wanted, strict=True)]
    if all(isinstance(factor, int) and factor for factor in factors):
        return x if factors == [1, 1] else avg_pool2d(x, tuple(factors))
    for axis, n in zip((2, 3), wanted, strict=True):
        x = _average_axis(x, axis, n)
    return x


def _output_size(given: Any, image: Sequence[Size]) -> tuple[Size, Size]:
    """The (height, width) asked for; None stands for the image's own."""
    items = tuple(given) if isinstance(given, (tuple, list)) else (given, given)
    if len(items) != 2:
        raise ArgumentError(
            f"adaptive_avg_pool2d: output_size is one number or a pair (height, width), not {given!r}"
        )
    height, width = as_pair("adaptive_avg_pool2d", "output_size", tuple(1 if item is None else item for item in items))
    return image[0] if items[0] is None else height, image[1] if items[1] is None else width


def _average_axis(x: Node, axis: int, n: Size) -> Node:
    """The mean over `n` stretches of one axis, which overlap where n does not divide its size."""
    size = x.shape[axis]
    if dims.same(size, n):
        return x
    factor = dims.divide_exact(size, n)
    if factor is not None:
        stretched = F.reshape(x, (*x.shape[:axis], n, factor, *x.shape[axis + 1 :]))
        return F.mean(stretched, axis=axis + 1)
    if not isinstance(size, int) or not isinstance(n, int):
        raise UndecidableSizeError(
            f"adaptive_avg_pool2d: which of `{size}` elements each of {n} averages takes is not known before the run: "
            "give the axis a fixed size in the TensorSpec, or take an output_size that divides it"
        )
    weights = np.zeros((n, size), x.dtype.numpy)
    for row in range(n):
        start, stop = row * size // n, -(-(row + 1) * size // n)
        weights[row, start:stop] = 1 / (stop - start)
    return F.matmul(weights, x) if axis == 2 else F.matmul(x, weights.T)
