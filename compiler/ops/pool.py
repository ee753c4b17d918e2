"""What pooling ops share: windows that lie in each channel of each image by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.errors import ArgumentError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, apply, format_shape
from staticnet.compiler.ops.base import as_node, require_dtype
from staticnet.compiler.ops.windows import Padding, Pair, Tap, Windows, as_padding, as_pair, require_images, spans

#: what one value for each window of a block may take: the nearer caches
_BLOCK_BYTES = 1 << 17


class Pool(Op, abstract=True):
    """Base of the pooling cards and of their gradients."""

    kernel_size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair

    @property
    def windows(self) -> Windows:
        return Windows(self.kernel_size, self.stride, self.padding, self.dilation)

    @property
    def reach(self) -> int:
        """The number of pixels in a window."""
        return self.kernel_size[0] * self.kernel_size[1]

    def pooled(self, x: Shape) -> Shape:
        """The shape of the pooled images; raises ShapeError where the windows do not fit."""
        if len(x) != 4:
            raise ShapeError(f"{self.name}: {format_shape(x)} must have four axes, (images, channels, height, width)")
        return *x[:2], *self.windows.counts(self.name, x[2:])

    def check(self, what: str, given: Shape, x: Shape) -> None:
        """Raise ShapeError unless `given` is the shape of the pooled images."""
        if not dims.same_shape(given, self.pooled(x)):
            raise ShapeError(
                f"{self.name}: {what} has the shape {format_shape(given)}, but pooling {format_shape(x)} gives "
                f"{format_shape(self.pooled(x))}"
            )

    def taps(self, x: Any, y: Any) -> list[Tap]:
        """The taps of images x, pooled to y."""
        return self.windows.taps(x.shape[2:], (0, y.shape[2]), (0, y.shape[3]))

    def apply_as(self, card: type[Pool], *inputs: Node, **more: Any) -> Node:
        """Another card of the family with the same attributes."""
        common = {name: getattr(self, name) for name in ("kernel_size", "stride", "padding", "dilation")}
        return apply(card(**common, **more), *inputs)


def block_steps(y: Sequence[Any], itemsize: int) -> Pair:
    """The most images and channels of one block of pooled images."""
    images, channels, height, width = map(int, y)
    planes = max(1, _BLOCK_BYTES // max(1, height * width * itemsize))
    together = max(1, min(planes, channels))
    return max(1, min(planes // together, images)), together


def blocks(y: Sequence[int], itemsize: int) -> Iterator[tuple[slice, slice]]:
    """Index by index the ranges of images and channels that a kernel takes at a time."""
    images, channels = block_steps(y, itemsize)
    for image in spans(y[0], images):
        for channel in spans(y[1], channels):
            yield slice(*image), slice(*channel)


def at(index: Sequence[slice]) -> tuple:
    """A tap's windows or pixels as an index into all images."""
    return (..., *index)


def pooling_arguments(
    op: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, *kinds: str
) -> tuple[Node, dict[str, Any]]:
    """The images and the attributes of a pooling card from arguments as users write them.

    Raises ArgumentError for a padding that would leave windows without a pixel.
    """
    x = as_node(x)
    require_images(op, "x", x)
    require_dtype(op, "x", x, *kinds)
    kernel = as_pair(op, "kernel_size", kernel_size)
    edges = as_padding(op, padding)
    if any(max(edge) >= size for edge, size in zip(edges, kernel, strict=True)):
        raise ArgumentError(
            f"{op}: padding {padding} must be smaller than the kernel {kernel}, else windows see nothing but padding"
        )
    return x, {
        "kernel_size": kernel,
        "stride": kernel if stride is None else as_pair(op, "stride", stride),
        "padding": edges,
        "dilation": as_pair(op, "dilation", dilation),
    }
