"""The gradient of a convolution to its weight as a loop description.

    result[o, c, kh, kw] = sum over images and windows of x[n, pixel(oh, ow, kh, kw), c] * g[n, oh, ow, o]

A tile of rows, which are (tap, channel) pairs, times vectors of output channels is kept in registers while
all windows of an image pass. Chunks of images (of rows of windows where images are few) have sums of their
own, how many does not depend on the workers; a second kernel adds them in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from staticnet.compiler.codegen.loops.convolution_parts import (
    Axis,
    Frame,
    Names,
    Source,
    accumulator,
    copy_frame,
    forward_axis,
    image_of,
    is_depthwise,
    is_planar,
    loop,
)
from staticnet.compiler.codegen.loops.convolution_tiles import (
    CLIPPED_CHANNELS,
    CLIPPED_TAPS,
    RowTile,
    Segment,
    Step,
    blocks,
    choose_rows,
    innermost,
    merge,
    row_major,
    runs,
    split,
)
from staticnet.compiler.codegen.loops.convolution_weight_piece import WeightPiece
from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    If,
    Kernel,
    Load,
    Routine,
    Statement,
    Store,
    Value,
    View,
    affine,
    const,
    within,
)
from staticnet.compiler.codegen.loops.operations import add, cast
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ops.conv import Conv2dWeightGrad

#: sums that are kept apart, at the most, and the least number of windows that is worth one
MOST_CHUNKS, LEAST_WINDOWS = 8, 128
_WORKSPACE_BYTES = 16 << 20


@anchors(Conv2dWeightGrad)
def weight_gradient(
    op: Conv2dWeightGrad, inputs: Sequence[View], result: View, finish: Finish, machine: Machine
) -> Routine | None:
    """The gradient to w of conv(x, w): x (N, C, H, W) and g (N, O, OH, OW), result (O, C / groups, kh, kw)."""
    x, g = inputs
    if 0 in result.shape:
        return Routine()
    axes = [
        forward_axis(g.shape[axis], result.shape[axis], op.stride[axis - 2], op.padding[axis - 2][0],
                     op.dilation[axis - 2])
        for axis in (2, 3)
    ]  # fmt: skip
    if is_depthwise(op.groups, x.shape[1]):
        multiplier = result.shape[0] // op.groups
        return Gradient(x, g, result, axes[0], axes[1], multiplier, finish, machine, depthwise=True).routine()
    return Gradient(x, g, result, axes[0], axes[1], op.groups, finish, machine).routine()


@dataclass
class Gradient:
    """One such sum, of one result at least: views of x, g and the result, and the windows along both axes.

    With `depthwise` output o of group g has channel o alone behind it, and is number o * groups + g of the result.
    Vectors then run over the channels of x too.
    """

    x: View
    g: View
    result: View
    down: Axis
    across: Axis
    groups: int
    finish: Finish
    machine: Machine
    depthwise: bool = False

    def __post_init__(self) -> None:
        self.dtype = accumulator(self.result.dtype)
        self.lanes = self.machine.lanes(self.dtype.itemsize)
        self.images, _, self.height, self.width = self.x.shape
        self.channels, self.outputs = self.result.shape[1], self.result.shape[0] // self.groups
        self.planar = is_planar(self.x) and not self.depthwise
        self.wide = -(-self.outputs // self.lanes) * self.lanes
        self.extents = (self.down.taps, self.across.taps, self.channels)
        self.windows = self.down.count * self.across.count

    def routine(self) -> Routine:
        """The sums of all chunks, then their sum."""
        if not self.images or not self.windows:
            return Routine((self.combine(0),))
        return Routine((self.main(), self.combine(self.chunks)))

    # -- chunks -----------------------------------------------------------------------------------

    @cached_property
    def by_rows(self) -> bool:
        """Whether a chunk is a block of rows of each image, instead of some images."""
        return self.images < MOST_CHUNKS and self.windows >= MOST_CHUNKS * LEAST_WINDOWS

    @cached_property
    def chunks(self) -> int:
        if self.by_rows:
            return -(-self.down.count // self.block_rows)
        most = min(MOST_CHUNKS, self.images, max(1, self.images * self.windows // LEAST_WINDOWS))
        most = max(1, min(most, _WORKSPACE_BYTES // (self.groups * self.rows * self.wide * self.dtype.itemsize)))
        even = max(count for count in range(1, most + 1) if self.images % count == 0)
        return even if 2 * even > most else -(-self.images // -(-self.images // most))

    @cached_property
    def block_rows(self) -> int:
        """Rows of windows whose pixels and gradients stay in the nearer cache together."""
        row = self.width * self.x.shape[1] * self.down.stride + self.across.count * self.g.shape[1]
        most = self.machine.l2_bytes // 2 // max(1, row * self.dtype.itemsize)
        if self.by_rows:
            most = min(most, max(1, self.down.count // MOST_CHUNKS))
        return split(self.down.count, max(1, most))[0].size

    # -- tiles ------------------------------------------------------------------------------------

    @cached_property
    def pads(self) -> bool:
        """Whether windows see pixels outside the image."""
        return not (self.down.is_inside(self.height) and self.across.is_inside(self.width))

    @cached_property
    def copies(self) -> bool:
        """Whether blocks of x are copied: with padding around them, in another dtype, or channels last."""
        planar = self.depthwise and is_planar(self.x)
        return planar or self.x.dtype != self.dtype or (self.pads and not self.tile[1])

    @cached_property
    def tile(self) -> tuple[RowTile, bool]:
        """The tile, and whether windows of a tap outside the image are left out: else they see zeros of a copy."""
        more = self.outputs, self.windows, self.lanes, self.machine.registers
        if self.planar:
            order = (self.channels, self.down.taps * self.across.taps)
        else:
            order = (self.down.taps, self.across.taps * self.channels)
        tile, cost = choose_rows(order, *more)
        if not self.pads or is_planar(self.x) or self.x.dtype != self.dtype or self.across.taps > CLIPPED_TAPS:
            return tile, False
        if self.depthwise:
            most = max(1, (self.machine.registers - 2) // (self.across.taps + 1))
            return RowTile(self.across.taps, self.across.taps, min(4, most, self.wide // self.lanes)), True
        if self.channels < CLIPPED_CHANNELS:
            return tile, False
        clipped, other = choose_rows((self.down.taps, self.across.taps, self.channels), *more)
        useful = self.down.useful(self.height) * self.across.useful(self.width)
        return (clipped, True) if other * useful < cost else (tile, False)

    def shares(self, clipped: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Ranges of taps of a row with ranges of windows that they all lie inside the image for.

        Tap by tap; depthwise, where taps are all rows that there are, as many of them together as can be.
        """
        if not self.depthwise:
            return [((tap, tap + 1), columns) for tap, columns in enumerate(clipped) if columns[0] < columns[1]]
        seen = [[tap for tap, (first, end) in enumerate(clipped) if first <= i < end] for i in range(self.across.count)]
        return [((seen[i][0], seen[i][-1] + 1), (i, end)) for i, end in runs(seen) if seen[i]]

    @property
    def whole(self) -> tuple[int, int]:
        """All windows of a row."""
        return 0, self.across.count

    # -- sums -------------------------------------------------------------------------------------

    @cached_property
    def rows(self) -> int:
        return self.extents[0] * self.extents[1] * self.extents[2]

    @cached_property
    def sums(self) -> Array:
        """(chunk, group, row, output), the outputs padded to whole vectors, the rows in the order of x."""
        return Array("sums", self.dtype, self.chunks * self.groups * self.rows * self.wide, "shared")

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Those of (kernel row, kernel column, channel) among the sums of a group."""
        return row_major(self.extents, (2, 0, 1) if self.planar else (0, 1, 2), self.wide)

    def main(self) -> Kernel:
        """The sums of every chunk."""
        names = Names()
        chunk = names("chunk")
        size = self.groups * self.rows * self.wide
        lane = names("lane")
        zero = Store(self.sums, chunk * size + lane, const(0, self.dtype))
        body: list[Statement] = [For(lane, size, (zero,), "vector")]
        if self.by_rows:
            rows = affine(chunk)
            body += loop(names, "image", self.images, lambda image: self.part(names, chunk * size, image, rows))
            return Kernel("weight_gradient", For(chunk, self.chunks, tuple(body)))
        each = -(-self.images // self.chunks)
        count = -(-self.down.count // self.block_rows)

        def one(number: Affine) -> list[Statement]:
            image = chunk * each + number
            inside = loop(names, "rows", count, lambda rows: self.part(names, chunk * size, image, rows))
            if each * self.chunks == self.images:
                return inside
            return [If((within(image, 0, self.images),), tuple(inside))]

        body += loop(names, "image", each, one)
        return Kernel("weight_gradient", For(chunk, self.chunks, tuple(body)))

    def part(self, names: Names, sums: Affine, image: Affine, number: Affine) -> list[Statement]:
        """Add a block of rows of windows of one image."""
        x, g = image_of(self.x, image), image_of(self.g, image)
        body: list[Statement] = []
        full, rest = divmod(self.down.count, self.block_rows)
        count = full + (rest > 0)
        if self.copies:
            step = self.block_rows * self.down.stride
            rows = (self.block_rows - 1) * self.down.stride + self.down.end - self.down.offset
            columns = (self.across.count - 1) * self.across.stride + self.across.end - self.across.offset
            frame = Frame(
                number * step + self.down.offset, self.down.offset, self.down.offset + (count - 1) * step, rows,
                self.across.offset, columns,
            )  # fmt: skip
            array = Array("pixels", self.dtype, rows * columns * self.x.shape[1], "local")
            size = self.height, self.width, self.x.shape[1]
            copied, x = copy_frame(names, x, size, frame, array, 0, self.planar)
            body += copied
        if (self.g.strides[1] != 1 and self.g.shape[1] > 1) or self.g.dtype != self.dtype:
            low, most = number * self.block_rows, (count - 1) * self.block_rows
            frame = Frame(low, 0, most, self.block_rows, 0, self.across.count)
            array = Array("gradients", self.dtype, self.block_rows * self.across.count * self.g.shape[1], "local")
            size = self.down.count, self.across.count, self.g.shape[1]
            copied, g = copy_frame(names, g, size, frame, array, 0, False)
            body += copied
        start = number * self.block_rows
        if not rest:
            return body + self.tiles(names, sums, x, g, start, self.block_rows)
        last = self.tiles(names, sums, x, g, affine(full * self.block_rows), rest)
        if not full:
            return body + last
        whole = self.tiles(names, sums, x, g, start, self.block_rows)
        return [*body, If((within(number, 0, full),), tuple(whole), tuple(last))]

    def tiles(self, names: Names, sums: Affine, x: Source, g: Source, start: Affine, count: int) -> list[Statement]:
        """Add those rows of windows to all sums, tile by tile."""
        strides = (x.strides[0] * self.down.step, x.strides[1] * self.across.step, x.strides[2])
        steps = [Step(*each) for each in zip(self.extents, zip(strides, self.strides, strict=True), strict=True)]
        tile, clips = self.tile
        first_row = start * self.down.stride + self.down.offset
        first = x.at(first_row, self.across.offset, 0)

        def of_block(group: Affine, block: Segment, number: Affine) -> list[Statement]:
            output = number * block.size + block.start
            place = sums + group * (self.rows * self.wide) + output
            pixel = first + (output if self.depthwise else group * self.channels) * x.strides[2]
            output = output * self.groups + group if self.depthwise else group * self.outputs + output
            piece = WeightPiece(self, names, x, g, place, pixel, g.at(start, 0, output), block.size, count, self.whole)
            if not clips:
                return self.cuts(piece, merge(sorted(steps, key=lambda step: -step.strides[1])))
            clipped = self.across.clipped(0, self.across.count, self.width)

            def of_row(row: Affine) -> list[Statement]:
                guarded = piece.moved(steps[0], row)
                if not self.down.is_inside(self.height):
                    guarded = replace(guarded, row=first_row + row * self.down.step)
                if clipped is None:
                    return self.cuts(guarded, merge(steps[1:]))
                body: list[Statement] = []
                for taps, columns in self.shares(clipped):
                    shifted = replace(guarded.moved(steps[1], affine(taps[0])), columns=columns)
                    body += self.cuts(shifted, merge((Step(taps[1] - taps[0], steps[1].strides), steps[2])))
                return body

            return loop(names, "tap", self.down.taps, of_row)

        def of_group(group: Affine) -> list[Statement]:
            body: list[Statement] = []
            for block in blocks(self.outputs, tile.vectors * self.lanes):
                body += loop(names, "block", block.count, partial(of_block, group, block))
            return body

        return loop(names, "group", self.groups, of_group)

    def cuts(self, piece: WeightPiece, steps: Sequence[Step]) -> list[Statement]:
        """All rows that `steps` lead through from those of `piece` on, so many at a time as a tile has."""
        tile = self.tile[0]
        depth, inside = innermost([step.extent for step in steps], tile.most)
        if depth < 0:
            return piece.statements(steps)
        if depth:
            return loop(
                piece.names, "step", steps[0].extent, lambda number: self.cuts(piece.moved(steps[0], number), steps[1:])
            )

        def cut(segment: Segment, number: Affine) -> list[Statement]:
            rows = (Step(segment.size, steps[0].strides), *steps[1:])
            return piece.moved(steps[0], number * segment.size + segment.start).statements(rows)

        body: list[Statement] = []
        for segment in split(steps[0].extent, max(1, tile.rows // inside)):
            body += loop(piece.names, "cut", segment.count, partial(cut, segment))
        return body

    # -- the result -------------------------------------------------------------------------------

    def combine(self, chunks: int) -> Kernel:
        """The kernel that adds the chunks, channel by channel."""
        names = Names()
        channel, row, column, lane = names("channel"), names("row"), names("column"), names("lane")
        size = self.groups * self.rows * self.wide

        def of_group(group: Affine) -> list[Statement]:
            place = (
                group * (self.rows * self.wide) + row * self.strides[0] + column * self.strides[1]
                + channel * self.strides[2] + lane
            )  # fmt: skip
            total: Value = const(0, self.dtype)
            for chunk in range(chunks):
                part = Load(self.dtype, self.sums, place + chunk * size)
                total = part if chunk == 0 else add(total, part)
            output = lane * self.groups + group if self.depthwise else group * self.outputs + lane
            index = (output, affine(channel), affine(row), affine(column))
            body = tuple(self.finish(index, cast(total, self.result.dtype)))
            inner = For(column, self.extents[1], (For(lane, self.outputs, body, "vector"),))
            return [For(row, self.extents[0], (inner,))]

        body = loop(names, "group", self.groups, of_group)
        return Kernel("weight_gradient_sum", For(channel, self.channels, tuple(body)))
