"""The sum behind convolutions and their input gradients: results of some pixels and output channels at a time.

    result[n, oh, ow, o] = sum over taps and channels c of source[n, pixel(oh, ow, tap), c] * weight[tap, c, o]

Weights are packed first, so that the output channels of a block lie side by side. A tile of pixels times
vectors of output channels is then kept in registers: a step of the reduction loads the vectors of one
(tap, channel), and each pixel's number multiplies them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from staticnet.compiler.codegen.loops.convolution_parts import (
    Axis,
    Frame,
    Names,
    Source,
    accumulator,
    copy_frame,
    image_of,
    is_planar,
    loop,
)
from staticnet.compiler.codegen.loops.convolution_piece import Phase, Piece
from staticnet.compiler.codegen.loops.convolution_tiles import (
    CLIPPED_CHANNELS,
    CLIPPED_TAPS,
    Segment,
    Tile,
    blocks,
    choose_depthwise_tile,
    choose_tile,
    row_major,
    split,
)
from staticnet.compiler.codegen.loops.describe import Finish
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    If,
    Index,
    Kernel,
    Load,
    Routine,
    Statement,
    Store,
    View,
    affine,
    within,
)
from staticnet.compiler.codegen.loops.operations import cast
from staticnet.compiler.codegen.machine import Machine

#: with fewer images than this, workers share out the rows of each
FEW_IMAGES = 8


@dataclass
class Core:
    """One such sum, of one result at least: views of the source and the result, its phases, and where a weight lies.

    `weight(group, channel, output, row, column)` is the weight between a channel and an output of a group,
    both counted inside it, for an element of the kernel.

    With `depthwise` the parts change places: output o of `group` g has channel o alone behind it (`channels` of
    them, o * channels + c), and is number o * groups + g of the result. Vectors then run over source channels too.
    """

    name: str
    source: View
    result: View
    weights: View
    weight: Callable[[Index, Index, Index, Index, Index], Affine]
    phases: Sequence[Phase]
    groups: int
    finish: Finish
    machine: Machine
    depthwise: bool = False

    def __post_init__(self) -> None:
        self.dtype = accumulator(self.result.dtype)
        self.lanes = self.machine.lanes(self.dtype.itemsize)
        self.images, self.all_channels, self.height, self.width = self.source.shape
        self.outputs = self.result.shape[1] // self.groups
        self.channels = self.all_channels // (self.outputs if self.depthwise else self.groups)
        self.planar = is_planar(self.source) and not self.depthwise
        self.tile, self.clips = self.choose()
        self.block = self.tile.vectors * self.lanes
        self.block_count = -(-self.outputs // self.block)

    def choose(self) -> tuple[Tile, bool]:
        """The tile, and whether its taps outside the image are left out: else they multiply zeros of a copy."""
        main = max(self.phases, key=lambda phase: phase.taps)
        height, width = main.height, main.width
        extents = min(height.count, self.block_rows), width.count, self.outputs
        more = max(main.taps * self.channels, 1), self.lanes, self.machine
        clips = self.pads and self.source.dtype == self.dtype and width.taps <= CLIPPED_TAPS
        if self.depthwise:
            tile = choose_depthwise_tile(width.count, self.outputs, width.taps, self.lanes, self.machine.registers)
            return tile, clips and self.channels == 1 and not is_planar(self.source)
        tile, cost = choose_tile(*extents, *more)
        if not clips or self.planar or self.channels < CLIPPED_CHANNELS:
            return tile, False
        clipped, other = choose_tile(*extents, *more, most_rows=1)
        useful = height.useful(self.height) * width.useful(self.width)
        return (clipped, True) if other * useful < cost else (tile, False)

    def routine(self) -> Routine:
        """Pack the weights, then the sum."""
        if not self.packed.size:
            return Routine((self.main(),))
        return Routine((self.pack(), self.main()))

    # -- weights ----------------------------------------------------------------------------------

    @cached_property
    def packed(self) -> Array:
        """Weights as the sum reads them: for each phase (group, block, reduction in the source's order, output)."""
        total = sum(phase.taps for phase in self.phases)
        size = total * self.channels * self.groups * self.block_count * self.block
        return Array("packed", self.dtype, size, "shared")

    def packed_at(self, phase: Phase, group: Index, block: Index) -> Affine:
        before = self.phases[: self.phases.index(phase)]
        depth = phase.taps * self.channels
        start = sum(each.taps for each in before) * self.channels * self.groups * self.block_count
        return ((affine(group) * self.block_count + block) * depth + start) * self.block

    def reduction(self, phase: Phase) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """The extents of (rows, columns, channels) of a phase's reduction, and their strides among its weights."""
        extents = (phase.height.taps, phase.width.taps, self.channels)
        return extents, row_major(extents, (2, 0, 1) if self.planar else (0, 1, 2), self.block)  # type: ignore[return-value]

    def pack(self) -> Kernel:
        """The kernel that packs the weights, channel by channel."""
        names = Names()
        channel = names("channel")

        def place(phase: Phase, group: Affine, block: Affine) -> list[Statement]:
            (rows, columns, _), strides = self.reduction(phase)
            row, column, lane = names("row"), names("column"), names("lane")
            output = block * self.block + lane
            source = self.weight(
                group, channel, output,
                row * phase.height.element_step + phase.height.element,
                column * phase.width.element_step + phase.width.element,
            )  # fmt: skip
            guard = () if self.outputs % self.block == 0 else (within(output, 0, self.outputs),)
            value = cast(Load(self.weights.dtype, self.weights.array, source, None, guard), self.dtype)
            at = self.packed_at(phase, group, block) + row * strides[0] + column * strides[1]
            store = Store(self.packed, at + channel * strides[2] + lane, value)
            return [For(row, rows, (For(column, columns, (For(lane, self.block, (store,), "vector"),)),))]

        def of_group(phase: Phase, group: Affine) -> list[Statement]:
            return loop(names, "block", self.block_count, partial(place, phase, group))

        body: list[Statement] = []
        for phase in self.phases:
            if phase.taps:
                body += loop(names, "group", self.groups, partial(of_group, phase))
        return Kernel(f"{self.name}_weights", For(channel, self.channels, tuple(body)))

    # -- rows -------------------------------------------------------------------------------------

    @cached_property
    def by_rows(self) -> bool:
        """Whether workers share out blocks of rows instead of images."""
        return self.images < FEW_IMAGES and max(phase.height.count for phase in self.phases) > 1

    @cached_property
    def low(self) -> int:
        """The first source row that the results of rows 0 see."""
        return min(phase.height.offset for phase in self.phases)

    @cached_property
    def high(self) -> int:
        return max(phase.height.end for phase in self.phases)

    @cached_property
    def block_rows(self) -> int:
        """Rows of results of each phase in one block: what the block sees should stay in the nearer cache."""
        height, stride = max(phase.height.count for phase in self.phases), self.phases[0].height.stride
        row_bytes = max(1, self.width * self.all_channels * self.dtype.itemsize)
        most = (self.machine.l2_bytes // 3 // row_bytes - (self.high - self.low)) // stride + 1
        if self.by_rows:
            most = min(most, max(1, height // FEW_IMAGES))
        return max(1, split(height, max(1, most))[0].size)

    @cached_property
    def row_blocks(self) -> int:
        return -(-max(phase.height.count for phase in self.phases) // self.block_rows)

    # -- the sum ----------------------------------------------------------------------------------

    @cached_property
    def pads(self) -> bool:
        """Whether results see pixels outside the image."""
        return not all(
            phase.height.is_inside(self.height) and phase.width.is_inside(self.width) for phase in self.phases
        )

    @cached_property
    def copies(self) -> bool:
        """Whether blocks of the source are copied: with padding around them, in another dtype, or channels last."""
        if self.depthwise and is_planar(self.source):
            return True
        return (self.pads and not self.clips) or self.source.dtype != self.dtype

    def main(self) -> Kernel:
        """The kernel of the sum: a loop over images or over blocks of rows."""
        names = Names()
        image, rows = names("image"), names("rows")
        if self.by_rows:
            inner = For(image, self.images, tuple(self.part(names, affine(image), affine(rows))))
            return Kernel(self.name, For(rows, self.row_blocks, (inner,)))
        body = loop(names, "rows", self.row_blocks, lambda number: self.part(names, affine(image), number))
        return Kernel(self.name, For(image, self.images, tuple(body)))

    def part(self, names: Names, image: Affine, number: Affine) -> list[Statement]:
        """A block of rows of one image."""
        source = image_of(self.source, image)
        body: list[Statement] = []
        if self.copies and self.channels and any(phase.taps for phase in self.phases):
            body, source = self.copy(names, source, number)
        for phase in self.phases:
            full, rest = divmod(phase.height.count, self.block_rows)
            if self.row_blocks == 1:
                body += self.rows(names, phase, source, image, affine(0), phase.height.count)
                continue
            whole = self.rows(names, phase, source, image, number * self.block_rows, self.block_rows) if full else []
            if full == self.row_blocks:
                body += whole
                continue
            last = self.rows(names, phase, source, image, affine(full * self.block_rows), rest)
            if last:
                last = [If((within(number, full, full + 1),), tuple(last))]
            body.append(If((within(number, 0, full),), tuple(whole), tuple(last)))
        return body

    def copy(self, names: Names, source: Source, number: Affine) -> tuple[list[Statement], Source]:
        widths = [phase.width for phase in self.phases]
        stride = self.phases[0].height.stride
        rows = (self.block_rows - 1) * stride + self.high - self.low
        left = min(axis.offset for axis in widths)
        right = max((axis.count - 1) * axis.stride + axis.end for axis in widths)
        least, most = self.low, (self.row_blocks - 1) * self.block_rows * stride + self.low
        frame = Frame(number * (self.block_rows * stride) + self.low, least, most, rows, left, right - left)
        array = Array("frame", self.dtype, rows * (right - left) * self.all_channels, "local")
        size = self.height, self.width, self.all_channels
        return copy_frame(names, source, size, frame, array, 0, self.planar)

    def rows(
        self, names: Names, phase: Phase, source: Source, image: Affine, start: Affine, count: int
    ) -> list[Statement]:
        """Rows `start` ... `start + count - 1` of one phase, in all groups and blocks of outputs."""

        def of_block(group: Affine, segment: Segment, block: Affine) -> list[Statement]:
            block = block + segment.start // self.block
            return self.tiles(names, phase, source, image, start, count, group, block, segment.size)

        def of_group(group: Affine) -> list[Statement]:
            body: list[Statement] = []
            for segment in blocks(self.outputs, self.block):
                body += loop(names, "block", segment.count, partial(of_block, group, segment))
            return body

        return loop(names, "group", self.groups, of_group)

    def tiles(
        self, names: Names, phase: Phase, source: Source, image: Affine, start: Affine, count: int,
        group: Affine, block: Affine, outputs: int,
    ) -> list[Statement]:  # fmt: skip
        """All pixels of those rows for one block of outputs."""

        def one(down: Segment, across: Segment, row: Affine, column: Affine) -> list[Statement]:
            corner = start + down.start + row * down.size, column * across.size + across.start
            size = down.size, across.size
            return Piece(self, names, phase, source, image, corner, size, group, block, outputs).statements()

        def of_row(down: Segment, across: Segment, row: Affine) -> list[Statement]:
            return loop(names, "across", across.count, partial(one, down, across, row))

        body: list[Statement] = []
        for down in split(count, self.tile.rows):
            for across in self.across(phase.width):
                body += loop(names, "down", down.count, partial(of_row, down, across))
        return body

    def across(self, axis: Axis) -> list[Segment]:
        """How rows of results are split, those that see beyond the edge by themselves if pieces are clipped."""
        segments = split(axis.count, self.tile.columns)
        if not self.clips:
            return segments
        joined: list[Segment] = []
        for piece in (piece for segment in segments for piece in segment.pieces()):
            before = joined[-1] if joined else None
            if (
                before
                and before.size == piece.size
                and all(axis.clipped(each.start, each.size, self.width) is None for each in (before, piece))
            ):
                piece = Segment(joined.pop().start, piece.size, before.count + 1)
            joined.append(piece)
        return joined
