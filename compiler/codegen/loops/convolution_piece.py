"""One tile of results of a convolution sum: pixels times vectors of output channels, kept in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from staticnet.compiler.codegen.loops.convolution_parts import Axis, Names, Source, loop
from staticnet.compiler.codegen.loops.convolution_tiles import CLIPPED_TAPS, Step, merge, runs
from staticnet.compiler.codegen.loops.form import Affine, For, If, Load, Register, Set, Statement, const, within
from staticnet.compiler.codegen.loops.operations import cast, multiply_add

if TYPE_CHECKING:
    from staticnet.compiler.codegen.loops.convolution_core import Core


@dataclass(frozen=True)
class Phase:
    """A set of results that all have the same taps."""

    height: Axis
    width: Axis

    @property
    def taps(self) -> int:
        return self.height.taps * self.width.taps


@dataclass(frozen=True)
class Piece:
    """The tile of `size` pixels from result (row, column) `corner` of a phase on, for `outputs` outputs of a block."""

    core: Core
    names: Names
    phase: Phase
    source: Source
    image: Affine
    corner: tuple[Affine, Affine]
    size: tuple[int, int]
    group: Affine
    block: Affine
    outputs: int

    def statements(self) -> list[Statement]:
        """The sums set to zero, the reduction, and what becomes of the results."""
        core, height, width = self.core, self.phase.height, self.phase.width
        sums = Register(self.names("sums").name, core.dtype, (self.size[0] * self.size[1], self.outputs))
        zero = const(0, core.dtype)

        def begin(row: Affine, column: Affine, lane: Affine) -> list[Statement]:
            return [Set(sums, zero, (row * self.size[1] + column, lane))]

        def result(row: Affine, column: Affine, lane: Affine) -> list[Statement]:
            output = self.block * core.block + lane
            output = output * core.groups + self.group if core.depthwise else self.group * core.outputs + output
            index = (
                self.image, output, height.result(self.corner[0] + row), width.result(self.corner[1] + column)
            )  # fmt: skip
            return core.finish(index, cast(sums[row * self.size[1] + column, lane], core.result.dtype))

        body = [self.pixels(begin)]
        if self.phase.taps * core.channels:
            body += self.reduction(sums)
        return [*body, self.pixels(result)]

    def pixels(
        self, body: Callable[[Affine, Affine, Affine], list[Statement]], first: int = 0, end: int | None = None
    ) -> Statement:
        """What `body` gives for every pixel, in columns `first` ... `end - 1`, and for all lanes of it."""
        row, column, lane = self.names("row"), self.names("column"), self.names("lane")
        inner = For(lane, self.outputs, tuple(body(row + 0, column + first, lane + 0)), "lanes")
        columns = (self.size[1] if end is None else end) - first
        return For(row, self.size[0], (For(column, columns, (inner,), "unroll"),), "unroll")

    def product(
        self, sums: Register, pixel: Affine, weight: Affine, row: Affine, column: Affine, lane: Affine
    ) -> list[Statement]:
        """A number times a vector of weights, added to the sums of a pixel; `pixel` is the place that pixel 0 sees."""
        core, source, phase = self.core, self.source, self.phase
        along = core.channels * source.strides[2] if core.depthwise else 0
        across = phase.width.stride * source.strides[1]
        place = pixel + row * (phase.height.stride * source.strides[0]) + column * across + lane * along
        x, w = Load(source.array.dtype, source.array, place), Load(core.dtype, core.packed, weight + lane)
        index = row * self.size[1] + column, lane
        return [Set(sums, multiply_add(cast(x, core.dtype), w, sums[index]), index)]

    def reduction(self, sums: Register) -> list[Statement]:
        """The loops over taps and channels."""
        core, source, height, width = self.core, self.source, self.phase.height, self.phase.width
        first_row = self.corner[0] * height.stride + height.offset
        first_column = self.corner[1] * width.stride + width.offset
        channel = self.block * (core.block * core.channels) if core.depthwise else self.group * core.channels
        pixel, weight = source.at(first_row, first_column, channel), core.packed_at(self.phase, self.group, self.block)

        def nest(steps: Sequence[Step], pixel: Affine, weight: Affine, first: int, end: int) -> list[Statement]:
            if not steps:
                return [self.pixels(lambda *index: self.product(sums, pixel, weight, *index), first, end)]
            return loop(
                self.names, "step", steps[0].extent,
                lambda number: nest(
                    steps[1:], pixel + number * steps[0].strides[0], weight + number * steps[0].strides[1], first, end
                ),
            )  # fmt: skip

        rows, columns, channels = steps = self.steps()
        slides = core.depthwise and core.channels == 1 and width.taps <= CLIPPED_TAPS
        if not core.clips and not slides:
            order = sorted(steps, key=lambda step: -step.strides[1])
            return nest(merge(order), pixel, weight, 0, self.size[1])
        clipped = None
        if core.clips and not self.corner[1].terms:
            clipped = width.clipped(self.corner[1].constant, self.size[1], core.width)

        def row(number: Affine) -> list[Statement]:
            at, factor = pixel + number * rows.strides[0], weight + number * rows.strides[1]
            inside: list[Statement] = []
            if slides:
                inside = self.slide(sums, columns, at, factor, clipped or [(0, self.size[1])] * width.taps)
            elif clipped is None:
                inside = nest(merge((columns, channels)), at, factor, 0, self.size[1])
            else:
                for tap, (first, end) in enumerate(clipped):
                    if first < end:
                        start = at + columns.strides[0] * tap, factor + columns.strides[1] * tap
                        inside += nest(merge((channels,)), *start, first, end)
            if not core.clips or height.is_inside(core.height):
                return inside
            return [If((within(first_row + number * height.step, 0, core.height),), tuple(inside))]

        return loop(self.names, "tap", rows.extent, row)

    def slide(
        self, sums: Register, step: Step, pixel: Affine, weight: Affine, clipped: Sequence[tuple[int, int]]
    ) -> list[Statement]:
        """All taps of a row, pixel by pixel: neighbours share what they see while it is in registers."""
        taps = [tuple(t for t, (first, end) in enumerate(clipped) if first <= i < end) for i in range(self.size[1])]
        body: list[Statement] = []
        for begin, end in runs(taps):

            def products(row: Affine, column: Affine, lane: Affine, begin: int = begin) -> list[Statement]:
                return [
                    statement
                    for tap in taps[begin]
                    for statement in self.product(
                        sums, pixel + step.strides[0] * tap, weight + step.strides[1] * tap, row, column, lane
                    )
                ]  # fmt: skip

            body.append(self.pixels(products, begin, end))
        return body

    def steps(self) -> tuple[Step, Step, Step]:
        """The loops over rows, columns and channels: how places in the source and among the weights grow."""
        extents, packed = self.core.reduction(self.phase)
        source = self.source.strides
        strides = source[0] * self.phase.height.step, source[1] * self.phase.width.step, source[2]
        first, second, third = (Step(*each) for each in zip(extents, zip(strides, packed, strict=True), strict=True))
        return first, second, third
