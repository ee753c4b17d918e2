"""Pooling of images: the largest or the mean element of each window, and what flows back through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, function, require_dtype
from staticnet.compiler.ops.windows import (
    Padding,
    Pair,
    Tap,
    Windows,
    as_padding,
    as_pair,
    carve,
    require_images,
    shaped,
    spans,
    workspace_bytes,
)

#: what the windows of one block may take: the nearer caches
_BLOCK_BYTES = 1 << 18


class _Pool(Op, abstract=True):
    """What the cards share: their windows, which lie in each channel of each image by itself."""

    kernel_size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair

    @property
    def _windows(self) -> Windows:
        return Windows(self.kernel_size, self.stride, self.padding, self.dilation)

    def _pooled(self, x: Shape) -> Shape:
        """The shape of the pooled images; raises ShapeError where the windows do not fit."""
        if len(x) != 4:
            raise ShapeError(
                f"{self.name}: {format_shape(x)} must have four axes, (images, channels, height, width)"
            )
        return *x[:2], *self._windows.counts(self.name, x[2:])

    def _check(self, what: str, given: Shape, x: Shape) -> None:
        if not dims.same_shape(given, self._pooled(x)):
            raise ShapeError(
                f"{self.name}: {what} has the shape {format_shape(given)}, but pooling {format_shape(x)} gives "
                f"{format_shape(self._pooled(x))}"
            )

    def _taps(self, x: Any, y: Any) -> list[Tap]:
        return self._windows.taps(x.shape[2:], (0, y.shape[2]), (0, y.shape[3]))

    @property
    def _reach(self) -> int:
        """The number of pixels in a window."""
        return self.kernel_size[0] * self.kernel_size[1]

    def _apply(self, card: type[_Pool], *inputs: Node, **more: Any) -> Node:
        """Another card of the family with the same attributes."""
        common = {name: getattr(self, name) for name in ("kernel_size", "stride", "padding", "dilation")}
        return apply(card(**common, **more), *inputs)


def _at(index: Sequence[slice]) -> tuple:
    return (..., *index)


# -- the largest element ----------------------------------------------------------------------


class MaxPool2d(_Pool):
    """The largest element of each window, padding being smaller than anything; NaN where a window holds one.

    Equal largest elements of a window share its gradient evenly; a window of NaN passes none.
    """

    onnx = "MaxPool"

    def infer(self, x: Type) -> Type:
        return x.with_shape(self._pooled(x.shape))

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        out.fill(-np.inf if out.dtype.kind == "f" else np.iinfo(out.dtype).min)
        for tap in self._taps(x, out):
            best = out[_at(tap.windows)]
            xp.maximum(best, x[_at(tap.pixels)], out=best)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (self._apply(MaxPool2dGrad, x, y, g),)

    def flops(self, out: Any, *types: Type) -> Size:
        return out.size * self._reach


class _AmongTheLargest(_Pool, abstract=True):
    """Base of the two linear maps between windows and the largest elements in them, transposes of each other."""

    def _blocks(self, y: Sequence[int]) -> Iterator[tuple[slice, slice]]:
        images, channels = self._steps(y)
        for image in spans(y[0], images):
            for channel in spans(y[1], channels):
                yield slice(*image), slice(*channel)

    @staticmethod
    def _steps(y: Sequence[Any]) -> Pair:
        """The most images and channels in one block."""
        plane = max(1, 4 * int(y[2]) * int(y[3]))
        planes = max(1, _BLOCK_BYTES // plane)
        channels = max(1, min(planes, int(y[1])))
        return max(1, min(planes // channels, int(y[0]))), channels

    def _parts(self, y: Sequence[Any], dtype: Any) -> list[tuple[int, Any]]:
        """Room for two values, a count and as many flags as there are pixels in a window, for each window."""
        images, channels = self._steps(y)
        windows = images * channels * int(y[2]) * int(y[3])
        count = np.uint8 if self._reach < 256 else np.uint32
        return [(windows, dtype), (windows, dtype), (windows, count), (windows * self._reach, np.bool_)]

    def scratch(self, x: Type, y: Type, g: Type) -> int:  # type: ignore[override]
        return workspace_bytes(self._parts(y.shape, y.dtype.numpy)) if y.size else 0

    def flops(self, out: Any, x: Type, y: Type, g: Type) -> Size:  # type: ignore[override]
        return 3 * y.size * self._reach


def _mark_largest(xp: Any, x: Any, y: Any, taps: Sequence[Tap], count: Any, flags: Any) -> None:
    """Flag, tap by tap, where a window's pixel equals its largest, and count these."""
    count.fill(0)
    for tap, flag in zip(taps, flags, strict=False):
        flag = flag[_at(tap.windows)]
        xp.equal(x[_at(tap.pixels)], y[_at(tap.windows)], out=flag)
        counted = count[_at(tap.windows)]
        xp.add(counted, flag.view(np.uint8), out=counted)


def _select(xp: Any, values: Any, flags: Any, out: Any) -> None:
    """`values` where flagged, else 0, even of values that are not finite: their bits, as integers, times 1 or 0."""
    bits = np.dtype(f"i{values.dtype.itemsize}")
    xp.multiply(values.view(bits), flags.view(np.int8), out=out.view(bits))


class MaxPool2dGrad(_AmongTheLargest):
    """The gradient of y = max_pool2d(x) to x: g of each window, shared evenly among its largest elements."""

    def infer(self, x: Type, y: Type, g: Type) -> Type:
        self._check("the result", y.shape, x.shape)
        self._check("its gradient", g.shape, x.shape)
        if not x.dtype == y.dtype == g.dtype:
            raise DTypeError(f"{self.name}: {x!r}, {y!r} and {g!r} have different dtypes")
        return x

    def kernel(self, xp: Any, x: Any, y: Any, g: Any, *, out: Any, scratch: Any) -> None:
        out.fill(0)
        if g.size == 0:
            return
        parts, taps = carve(scratch, self._parts(y.shape, y.dtype)), self._taps(x, y)
        for block in self._blocks(y.shape):
            shape = y[block].shape
            share, picked, count = (shaped(part, shape) for part in parts[:3])
            flags = shaped(parts[3], (self._reach, *shape))
            _mark_largest(xp, x[block], y[block], taps, count, flags)
            xp.divide(g[block], count, out=share)
            for tap, flag in zip(taps, flags, strict=False):
                here, target = _at(tap.windows), out[block][_at(tap.pixels)]
                if self._windows.is_disjoint:
                    _select(xp, share[here], flag[here], target)
                    continue
                _select(xp, share[here], flag[here], picked[here])
                xp.add(target, picked[here], out=target)

    def grad(self, h: Node, z: Node, x: Node, y: Node, g: Node) -> tuple:
        return None, None, self._apply(MaxPool2dPick, x, y, h)


class MaxPool2dPick(_AmongTheLargest):
    """The mean of h over the largest elements of each window of x, y = max_pool2d(x): the slope along h."""

    def infer(self, x: Type, y: Type, h: Type) -> Type:
        self._check("the result", y.shape, x.shape)
        if not dims.same_shape(h.shape, x.shape) or not x.dtype == y.dtype == h.dtype:
            raise ShapeError(f"{self.name}: {h!r} must be of the type of the images, {x!r}")
        return y

    def kernel(self, xp: Any, x: Any, y: Any, h: Any, *, out: Any, scratch: Any) -> None:
        out.fill(0)
        if out.size == 0:
            return
        parts, taps = carve(scratch, self._parts(y.shape, y.dtype)), self._taps(x, y)
        for block in self._blocks(y.shape):
            shape = y[block].shape
            dense, picked, count = (shaped(part, shape) for part in parts[:3])
            flags = shaped(parts[3], (self._reach, *shape))
            _mark_largest(xp, x[block], y[block], taps, count, flags)
            for tap, flag in zip(taps, flags, strict=False):
                here = _at(tap.windows)
                xp.copyto(dense[here], h[block][_at(tap.pixels)])
                _select(xp, dense[here], flag[here], picked[here])
                xp.add(out[block][here], picked[here], out=out[block][here])
            xp.maximum(count, 1, out=count)
            xp.divide(out[block], count, out=out[block])

    def grad(self, k: Node, z: Node, x: Node, y: Node, h: Node) -> tuple:
        return None, None, self._apply(MaxPool2dGrad, x, y, k)


# -- the mean ---------------------------------------------------------------------------------


class _Average(_Pool, abstract=True):
    """Base of the mean over windows and its transpose."""

    count_include_pad: bool

    def _divisors(self, xp: Any, dtype: Any, image: Pair, taps: Sequence[Tap], counts: Pair) -> Any:
        """The number of elements that a window's sum is divided by: one number, or one for each window."""
        if self.count_include_pad or self.padding == ((0, 0), (0, 0)):
            return dtype.type(self._reach)
        seen = np.zeros(counts, dtype)
        for tap in taps:
            seen[tap.windows] += 1
        return xp.asarray(seen)

    def _apply(self, card: type[_Pool], *inputs: Node, **more: Any) -> Node:
        return super()._apply(card, *inputs, count_include_pad=self.count_include_pad, **more)


class AvgPool2d(_Average):
    """The mean of each window; padding counts as zeros, or not at all without `count_include_pad`."""

    onnx = "AveragePool"

    def infer(self, x: Type) -> Type:
        return x.with_shape(self._pooled(x.shape))

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        taps = self._taps(x, out)
        out.fill(0)
        for tap in taps:
            sums = out[_at(tap.windows)]
            xp.add(sums, x[_at(tap.pixels)], out=sums)
        xp.divide(out, self._divisors(xp, out.dtype, x.shape[2:], taps, out.shape[2:]), out=out)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (self._apply(AvgPool2dGrad, g, size=x.shape[2:]),)

    def flops(self, out: Any, *types: Type) -> Size:
        return out.size * self._reach


class AvgPool2dGrad(_Average):
    """The gradient of avg_pool2d(x) to x, of height and width `size`: g of each window, divided among its pixels."""

    size: tuple[Size, Size]

    def infer(self, g: Type) -> Type:
        if g.ndim != 4:
            raise ShapeError(f"{self.name}: {format_shape(g.shape)} must have four axes")
        x = (*g.shape[:2], *self.size)
        self._check("the result's gradient", g.shape, x)
        return g.with_shape(x)

    def scratch(self, g: Type) -> int:  # type: ignore[override]
        return workspace_bytes(self._parts(g.shape, g.dtype.numpy))

    @staticmethod
    def _parts(g: Sequence[Any], dtype: Any) -> list[tuple[int, Any]]:
        """Room for the shares of the windows of one channel of all images that a block holds."""
        plane = int(g[2]) * int(g[3])
        most = max(1, _BLOCK_BYTES // max(1, plane * dtype.itemsize))
        return [(min(int(g[0]), most) * plane, dtype)]

    def kernel(self, xp: Any, g: Any, *, out: Any, scratch: Any) -> None:
        out.fill(0)
        if g.size == 0:
            return
        taps = self._taps(out, g)
        divisors = self._divisors(xp, g.dtype, out.shape[2:], taps, g.shape[2:])
        raise NotImplementedError

    def grad(self, h: Node, z: Node, g: Node) -> tuple:
        return (self._apply(AvgPool2d, h),)

    def flops(self, out: Any, g: Type) -> Size:  # type: ignore[override]
        return g.size * self._reach
