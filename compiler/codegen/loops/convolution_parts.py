"""What the loop descriptions of convolutions share: how windows meet pixels, images copied with their padding.

A *source* is what windows slide over: the image of a convolution, the output's gradient of its input
gradient. Its pixels may lie in memory channels last or channels first; the kernels read it as it lies.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    If,
    Index,
    Load,
    Statement,
    Store,
    Value,
    Var,
    View,
    affine,
    const,
    within,
)
from staticnet.compiler.codegen.loops.operations import cast
from staticnet.compiler.dtypes import DType, as_dtype


class Names:
    """Loop variables of one kernel, all of different names."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __call__(self, name: str) -> Var:
        return Var(f"{name}{next(self._numbers)}")


def accumulator(dtype: DType) -> DType:
    """What sums are kept in: integers wrap around as their own type does."""
    return as_dtype(dtype.accumulator) if dtype.is_float else dtype


Body = Callable[[Affine], Iterable[Statement]]


def loop(names: Names, name: str, extent: int, body: Body) -> list[Statement]:
    """A loop around what `body` gives for its variable; without a loop where there is one round only."""
    if extent == 1:
        return list(body(affine(0)))
    variable = names(name)
    return [For(variable, extent, tuple(body(affine(variable))))]


# -- windows ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """How results meet source pixels along height or width.

    Result i of `count` is number `first + i * spacing` of the axis. Its tap t of `taps` multiplies the pixel
    `i * stride + offset + t * step` by element `element + t * element_step` of the kernel.
    """

    count: int
    stride: int
    offset: int
    step: int
    taps: int
    first: int = 0
    spacing: int = 1
    element: int = 0
    element_step: int = 1

    @property
    def end(self) -> int:
        """One past the last pixel that result 0 sees."""
        return self.offset + max(self.taps - 1, 0) * self.step + 1

    def is_inside(self, size: int) -> bool:
        """Whether all results see pixels 0 ... size - 1 alone."""
        if not self.taps or not self.count:
            return True
        return self.offset >= 0 and (self.count - 1) * self.stride + self.end <= size

    def clipped(self, start: int, count: int, size: int) -> list[tuple[int, int]] | None:
        """For each tap, which of `count` results from `start` on see a pixel of 0 ... size - 1; None if all do."""
        found = []
        for tap in range(self.taps):
            pixel = start * self.stride + self.offset + tap * self.step
            first, end = max(0, -(pixel // self.stride)), min(count, (size - 1 - pixel) // self.stride + 1)
            found.append((first, max(first, end)))
        return None if all(each == (0, count) for each in found) else found

    def useful(self, size: int) -> float:
        """Which part of all taps sees pixels 0 ... size - 1."""
        found = self.clipped(0, self.count, size)
        return sum(end - first for first, end in found) / (self.taps * self.count) if found else 1.0

    def result(self, number: Index) -> Affine:
        """Where on the axis a result lies."""
        return affine(number) * self.spacing + self.first


def forward_axis(count: int, kernel: int, stride: int, before: int, dilation: int) -> Axis:
    """The windows of a convolution."""
    return Axis(count, stride, -before, dilation, kernel)


def gradient_axes(size: int, kernel: int, stride: int, before: int, dilation: int) -> list[Axis]:
    """The pixels of an input gradient as results: one axis for each remainder of the pixel's number by the stride.

    Pixel h receives w[k] * g[o] wherever h = o * stride + k * dilation - before.
    """
    axes = []
    for first in range(min(stride, size)):
        elements = [k for k in reversed(range(kernel)) if (first + before - k * dilation) % stride == 0]
        offsets = [(first + before - k * dilation) // stride for k in elements]
        step, element_step = (offsets[1] - offsets[0], elements[1] - elements[0]) if len(elements) > 1 else (1, 1)
        offset, element = (offsets[0], elements[0]) if elements else (0, 0)
        count = -((first - size) // stride)
        axes.append(Axis(count, 1, offset, step, len(elements), first, stride, element, element_step))
    return axes


# -- sources ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One image in memory: pixel (0, 0) of channel 0 lies at `start`; strides are those of row, column and channel."""

    array: Array
    start: Affine
    strides: tuple[int, int, int]

    def at(self, row: Index, column: Index, channel: Index) -> Affine:
        """The place of a pixel."""
        parts = zip((row, column, channel), self.strides, strict=True)
        return sum((affine(part) * stride for part, stride in parts), self.start)

    def load(self, row: Index, column: Index, channel: Index, dtype: DType) -> Value:
        """A pixel in the given dtype."""
        return cast(Load(self.array.dtype, self.array, self.at(row, column, channel)), dtype)


def image_of(view: View, image: Index) -> Source:
    """One image of a view (images, channels, height, width)."""
    channel, row, column = view.strides[1:]
    return Source(view.array, view.at(image, 0, 0, 0), (row, column, channel))


@dataclass(frozen=True)
class Frame:
    """A rectangle of an image with what surrounds it: rows from `low` (of `least` ... `most`), `rows` of them."""

    low: Affine
    least: int
    most: int
    rows: int
    left: int
    columns: int


def is_planar(view: View) -> bool:
    """Whether the channels of a view (images, channels, height, width) lie apart, as planes."""
    return view.shape[1] > 1 and abs(view.strides[1]) != 1


def is_depthwise(groups: int, channels: int) -> bool:
    """Whether every group has one channel: vectors then run over the groups."""
    return groups > 1 and groups == channels


def copy_frame(
    names: Names, source: Source, size: tuple[int, int, int], frame: Frame, array: Array, start: Index, planar: bool
) -> tuple[list[Statement], Source]:
    """Statements that copy a frame into `array` from `start` on, zero outside the image, and the copy as a source.

    `size` is the (height, width, channels) of the image. The copy has its channels last, or as planes. Its rows
    and columns are numbered as those of the image.
    """
    height, width, channels = size
    dtype = array.dtype
    pixels = (frame.columns * channels, channels, 1)
    strides = (frame.columns, 1, frame.rows * frame.columns) if planar else pixels
    copy = Source(array, affine(start) - frame.low * strides[0] - frame.left * strides[1], strides)
    first, last = max(frame.left, 0), max(min(frame.left + frame.columns, width), max(frame.left, 0))
    row = names("row")
    at = frame.low + row

    def fill(begin: int, end: int, channel: Index, wide: int) -> list[Statement]:
        if end <= begin:
            return []
        lane = names("lane")
        zero = const(0, dtype)
        return [For(lane, (end - begin) * wide, (Store(array, copy.at(at, begin, channel) + lane, zero),), "vector")]

    def move(channel: Index) -> list[Statement]:
        if last <= first:
            return []
        lane = names("lane")
        if planar:
            value = source.load(at, lane + first, channel, dtype)
            return [For(lane, last - first, (Store(array, copy.at(at, lane + first, channel), value),), "vector")]
        if source.strides[1] == channels * source.strides[2]:
            run = source.at(at, first, 0) + lane * source.strides[2]
            value = cast(Load(source.array.dtype, source.array, run), dtype)
            place = copy.at(at, first, 0) + lane
            return [For(lane, (last - first) * channels, (Store(array, place, value),), "vector")]
        column = names("column")
        value = source.load(at, column + first, lane, dtype)
        inner = For(lane, channels, (Store(array, copy.at(at, column + first, lane), value),), "vector")
        return [For(column, last - first, (inner,))]

    def line(channel: Index) -> list[Statement]:
        wide = 1 if planar else channels
        end = frame.left + frame.columns
        inside = [*fill(frame.left, first, channel, wide), *move(channel), *fill(last, end, channel, wide)]
        if frame.least >= 0 and frame.most + frame.rows <= height:
            return inside
        return [If((within(at, 0, height),), tuple(inside), tuple(fill(frame.left, end, channel, wide)))]

    if not planar:
        return [For(row, frame.rows, tuple(line(0)))], copy
    channel = names("channel")
    return [For(channel, channels, (For(row, frame.rows, tuple(line(channel))),))], copy
