"""Max pooling, and the two linear maps between windows and the largest elements in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import DTypeError, ShapeError
from staticnet.compiler.ir import Node, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, function
from staticnet.compiler.ops.pool import Pool, at, block_steps, blocks, pooling_arguments
from staticnet.compiler.ops.windows import carve, require_images, shaped, workspace_bytes


class MaxPool2d(Pool):
    """The largest element of each window, padding being smaller than anything; NaN where a window holds one.

    Equal largest elements of a window share its gradient evenly; a window of NaN passes none.
    """

    onnx = "MaxPool"

    def infer(self, x: Type) -> Type:
        return x.with_shape(self.pooled(x.shape))

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        out.fill(-np.inf if out.dtype.kind == "f" else np.iinfo(out.dtype).min)
        taps = self.taps(x, out)
        for block in blocks(out.shape, out.itemsize):
            for tap in taps:
                best = out[block][at(tap.windows)]
                xp.maximum(best, x[block][at(tap.pixels)], out=best)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (self.apply_as(MaxPool2dGrad, x, y, g),)

    def flops(self, out: Any, *types: Type) -> Size:
        return out.size * self.reach


class _AmongLargest(Pool, abstract=True):
    """Base of the two maps, transposes of each other: operands are the images x, y = max_pool2d(x) and a direction."""

    def scratch(self, x: Type, y: Type, z: Type) -> int:
        return workspace_bytes(self._parts(y.shape, y.dtype.numpy)) if y.size else 0

    def flops(self, out: Any, x: Type, y: Type, z: Type) -> Size:
        return 3 * y.size * self.reach

    def _check_types(self, x: Type, y: Type, z: Type) -> None:
        self.check("the result", y.shape, x.shape)
        if not x.dtype == y.dtype == z.dtype:
            raise DTypeError(f"{self.name}: {x!r}, {y!r} and {z!r} have different dtypes; cast them to one")

    def _parts(self, y: Sequence[Any], dtype: Any) -> list[tuple[int, Any]]:
        """Room for two values, a count and as many flags as there are pixels in a window, for each window."""
        images, channels = block_steps(y, dtype.itemsize)
        windows = images * channels * int(y[2]) * int(y[3])
        count = np.uint8 if self.reach < 256 else np.uint32
        return [(windows, dtype), (windows, dtype), (windows, count), (windows * self.reach, np.bool_)]

    def _marked_blocks(self, xp: Any, x: Any, y: Any, scratch: Any) -> Iterator[tuple]:
        """Block by block: its index, two buffers for values, the number of largest pixels of each window,
        and with each tap the flags that say where its pixel is one of them.
        """
        first, second, count, flags = carve(scratch, self._parts(y.shape, y.dtype))
        taps = self.taps(x, y)
        for block in blocks(y.shape, y.dtype.itemsize):
            largest, image = y[block], x[block]
            shape = largest.shape
            counts = shaped(count, shape)
            marked = list(zip(taps, shaped(flags, (self.reach, *shape)), strict=False))
            counts.fill(0)
            for tap, flag in marked:
                here = at(tap.windows)
                xp.equal(image[at(tap.pixels)], largest[here], out=flag[here])
                xp.add(counts[here], flag[here].view(np.uint8), out=counts[here])
            yield block, shaped(first, shape), shaped(second, shape), counts, marked


class MaxPool2dGrad(_AmongLargest):
    """The gradient of y = max_pool2d(x) to x: g of each window, shared evenly among its largest elements."""

    def infer(self, x: Type, y: Type, g: Type) -> Type:
        self._check_types(x, y, g)
        self.check("its gradient", g.shape, x.shape)
        return x

    def kernel(self, xp: Any, x: Any, y: Any, g: Any, *, out: Any, scratch: Any) -> None:
        out.fill(0)
        if g.size == 0:
            return
        for block, share, picked, counts, marked in self._marked_blocks(xp, x, y, scratch):
            xp.divide(g[block], counts, out=share)
            for tap, flag in marked:
                here, target = at(tap.windows), out[block][at(tap.pixels)]
                if self.windows.is_disjoint:
                    _select(xp, share[here], flag[here], target)
                    continue
                _select(xp, share[here], flag[here], picked[here])
                xp.add(target, picked[here], out=target)

    def grad(self, h: Node, z: Node, x: Node, y: Node, g: Node) -> tuple:
        return None, None, self.apply_as(MaxPool2dPick, x, y, h)


class MaxPool2dPick(_AmongLargest):
    """The mean of h over the largest elements of each window of x: the slope of y = max_pool2d(x) along h."""

    def infer(self, x: Type, y: Type, h: Type) -> Type:
        self._check_types(x, y, h)
        if not dims.same_shape(h.shape, x.shape):
            raise ShapeError(
                f"{self.name}: the direction has the shape {format_shape(h.shape)}, the images {format_shape(x.shape)}"
            )
        return y

    def kernel(self, xp: Any, x: Any, y: Any, h: Any, *, out: Any, scratch: Any) -> None:
        out.fill(0)
        if out.size == 0:
            return
        for block, dense, picked, counts, marked in self._marked_blocks(xp, x, y, scratch):
            sums = out[block]
            for tap, flag in marked:
                here = at(tap.windows)
                xp.copyto(dense[here], h[block][at(tap.pixels)])
                _select(xp, dense[here], flag[here], picked[here])
                xp.add(sums[here], picked[here], out=sums[here])
            xp.maximum(counts, 1, out=counts)
            xp.divide(sums, counts, out=sums)

    def grad(self, k: Node, z: Node, x: Node, y: Node, h: Node) -> tuple:
        return None, None, self.apply_as(MaxPool2dGrad, x, y, k)


def _select(xp: Any, values: Any, flags: Any, out: Any) -> None:
    """`values` where flagged, else 0, even of values that are not finite: their bits, as integers, times 1 or 0."""
    bits = np.dtype(f"i{values.dtype.itemsize}")
    xp.multiply(values.view(bits), flags.view(np.int8), out=out.view(bits))


# -- functions --------------------------------------------------------------------------------


@function("max_pool2d")
def max_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Node:
    """The largest element of each window of the images `x` (N, C, H, W), floats or integers.

    Sizes are one number or a pair (height, width), padding also ((top, bottom), (left, right)); `stride` is the
    kernel's size by default. The result is (N, C, OH, OW), OH = (H + padding - dilation * (kh - 1) - 1) // stride
    + 1. Equal largest elements share the gradient evenly. Raises ShapeError for another rank and images smaller
    than a window, ArgumentError for other sizes, and for a padding not smaller than the kernel.
    """
    x, attributes = pooling_arguments("max_pool2d", x, kernel_size, stride, padding, dilation, "float", "integer")
    return apply(MaxPool2d(**attributes), x)


@function("global_max_pool2d")
def global_max_pool2d(x: Any) -> Node:
    """The largest element of each channel of the images `x` (N, C, H, W), as (N, C, 1, 1)."""
    x = as_node(x)
    require_images("global_max_pool2d", "x", x)
    return F.max(x, axis=(2, 3), keepdims=True)
