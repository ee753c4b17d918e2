"""Windows sliding over images: how many there are, what they see, and how kernels cut their work into blocks."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import ArgumentError, ShapeError
from staticnet.compiler.ir import Node, format_shape

Pair = tuple[int, int]
#: ((top, bottom), (left, right))
Padding = tuple[Pair, Pair]

_ALIGNMENT = 64


class Tap(NamedTuple):
    """What one element of the kernel sees: `windows` whose pixel lies inside the image, and their `pixels`."""

    offset: Pair
    #: index into the last two axes of an array of windows
    windows: tuple[slice, slice]
    #: index into the last two axes of an image
    pixels: tuple[slice, slice]


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of a kernel over the last two axes (height, width) of images.

    Window number o starts at pixel `o * stride - padding before`; element i of the kernel
    lies `i * dilation` pixels behind the start.
    """

    kernel: tuple[Size, Size]
    stride: Pair
    padding: Padding
    dilation: Pair = (1, 1)

    @property
    def is_pointwise(self) -> bool:
        """Whether windows and pixels are the same thing."""
        return self.kernel == (1, 1) == self.stride and self.padding == ((0, 0), (0, 0))

    @property
    def is_disjoint(self) -> bool:
        """Whether no pixel lies in two windows."""
        return all(s >= d * (k - 1) + 1 for k, s, d in zip(self.kernel, self.stride, self.dilation, strict=True))

    def counts(self, op: str, image: Sequence[Size]) -> tuple[Size, Size]:
        """Number of windows along each axis of images of these (height, width), symbolic where a size is.

        Raises ShapeError where the image with its padding is known to be smaller than a window.
        """
        return self._count(op, 0, image[0]), self._count(op, 1, image[1])

    def taps(self, image: Pair, rows: tuple[int, int], columns: tuple[int, int]) -> list[Tap]:
        """The taps of the windows in a range of rows and of columns; `windows` count from the range's start.

        Elements that see only padding are left out.
        """
        found = []
        for offset in itertools.product(*map(range, self.kernel)):  # type: ignore[arg-type]
            ranges = [self._inside(axis, offset[axis], image[axis], span) for axis, span in enumerate((rows, columns))]
            if all(stop > start for start, stop in ranges):
                windows = tuple(
                    slice(start - span[0], stop - span[0])
                    for (start, stop), span in zip(ranges, (rows, columns), strict=True)
                )
                pixels = tuple(
                    slice(self._pixel(axis, start, offset[axis]), self._pixel(axis, stop - 1, offset[axis]) + 1, step)
                    for axis, ((start, stop), step) in enumerate(zip(ranges, self.stride, strict=True))
                )
                found.append(Tap(offset, windows, pixels))  # type: ignore[arg-type]
        return found

    def rows_seen(self, rows: tuple[int, int], height: int) -> tuple[int, int]:
        """The range of pixel rows that a range of window rows sees."""
        first, last = self._pixel(0, rows[0], 0), self._pixel(0, rows[1] - 1, int(self.kernel[0]) - 1)
        start = min(max(first, 0), height)
        return start, max(min(last + 1, height), start)

    def _count(self, op: str, axis: int, size: Size) -> Size:
        kernel, dilation, (before, after) = self.kernel[axis], self.dilation[axis], self.padding[axis]
        padded, extent = size + before + after, dilation * (kernel - 1) + 1
        if dims.at_least(padded, extent) is False:
            name = ("height", "width")[axis]
            raise ShapeError(
                f"{op}: a kernel of {name} {kernel} with dilation {dilation} spans {extent} pixels, more than the "
                f"input's {name} {size} with its padding {before} + {after}; take a smaller kernel or more padding"
            )
        return (padded - extent) // self.stride[axis] + 1

    def _pixel(self, axis: int, window: int, element: int) -> int:
        return window * self.stride[axis] + element * self.dilation[axis] - self.padding[axis][0]

    def _inside(self, axis: int, element: int, size: int, span: tuple[int, int]) -> tuple[int, int]:
        """The windows of `span` whose pixel for this element of the kernel lies inside the image."""
        first, stride = self._pixel(axis, 0, element), self.stride[axis]
        return max(span[0], -(first // stride)), min(span[1], (size - 1 - first) // stride + 1)


# -- arguments as users write them ------------------------------------------------------------


def as_pair(op: str, argument: str, value: Any, least: int = 1) -> Pair:
    """(height, width) from one number for both or a pair; raises ArgumentError below `least`."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(items) != 2 or any(isinstance(item, bool) or not hasattr(item, "__index__") for item in items):
        raise ArgumentError(f"{op}: {argument} is one whole number or a pair (height, width), not {value!r}")
    pair = tuple(int(item) for item in items)
    if min(pair) < least:
        raise ArgumentError(f"{op}: {argument} must be at least {least}, not {value!r}")
    return pair[0], pair[1]


def as_padding(op: str, value: Any) -> Padding:
    """((top, bottom), (left, right)) from one number, a pair (height, width), or itself."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(item, (tuple, list)) for item in value):
        return as_pair(op, "padding", value[0], 0), as_pair(op, "padding", value[1], 0)
    height, width = as_pair(op, "padding", value, 0)
    return (height, height), (width, width)


def require_images(op: str, argument: str, x: Node) -> None:
    """Raise ShapeError unless `x` has the axes (images, channels, height, width)."""
    if x.ndim != 4:
        raise ShapeError(
            f"{op}: {argument} has the shape {format_shape(x.shape)}, but needs the four axes (images, channels, "
            f"height, width){'; reshape a single image to (1, channels, height, width)' if x.ndim == 3 else ''}"
        )


# -- workspace --------------------------------------------------------------------------------


def workspace_bytes(parts: Sequence[tuple[int, Any]]) -> int:
    """Bytes of a workspace with room for these (number of elements, dtype), each aligned."""
    return sum(-(-count * np.dtype(dtype).itemsize // _ALIGNMENT) * _ALIGNMENT for count, dtype in parts)


def carve(scratch: Any, parts: Sequence[tuple[int, Any]]) -> list[Any]:
    """The workspace as flat arrays, one for each (number of elements, dtype)."""
    arrays, start = [], 0
    if scratch is None:
        scratch = np.empty(0, np.uint8)
    for count, dtype in parts:
        stop = start + count * np.dtype(dtype).itemsize
        arrays.append(scratch[start:stop].view(dtype))
        start = -(-stop // _ALIGNMENT) * _ALIGNMENT
    return arrays


def shaped(buffer: Any, shape: Sequence[int]) -> Any:
    """The first elements of a flat buffer in this shape."""
    return buffer[: math.prod(shape)].reshape(shape)


def spans(total: int, step: int) -> Iterator[tuple[int, int]]:
    """(start, stop) ranges of nearly equal length, at most `step`, that cover `total`."""
    if total <= 0:
        return
    pieces = -(-total // step)
    for piece in range(pieces):
        yield total * piece // pieces, total * (piece + 1) // pieces


