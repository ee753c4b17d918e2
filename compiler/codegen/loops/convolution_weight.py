"""The gradient of a convolution to its weight as a loop description.

    result[o, c, kh, kw] = sum over images and windows of x[n, pixel(oh, ow, kh, kw), c] * g[n, oh, ow, o]

A tile of rows, which are (tap, channel) pairs, times vectors of output channels is kept in registers while
all windows of an image pass. Chunks of images (of rows of windows where images are few) have sums of their
own, how many does not depend on the workers; a second kernel adds them in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
    Segment,
    Step,
    blocks,
    choose_rows,
    merge,
    row_major,
    split,
)
from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    If,
    Kernel,
    Load,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    View,
    affine,
    const,
    within,
)
from staticnet.compiler.codegen.loops.operations import add, cast, multiply_add
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
    """One such sum: views of x, g and the result, and the windows along both axes.

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
        if 0 in self.result.shape:
            return Routine()
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
            body += loop(names, "image", self.images, lambda image: self.part(names, chunk * size, image, affine(chunk)))
            return Kernel("weight_gradient", For(chunk, self.chunks, tuple(body)))
        each = -(-self.images // self.chunks)
        count = -(-self.down.count // self.block_rows)

        def one(number: Affine) -> list[Statement]:
            image = chunk * each + number
            inside = loop(names, "rows", count, lambda rows: self.part(names, chunk * size, image, rows))
            return inside if each * self.chunks == self.images else [If((within(image, 0, self.images),), tuple(inside))]

        body += loop(names, "image", each, one)
        return Kernel("weight_gradient", For(chunk, self.chunks, tuple(body)))

    def part(self, names: Names, sums: Affine, image: Affine, number: Affine) -> list[Statement]:
        """Add a block of rows of windows of one image."""
        x, g = image_of(self.x, image), image_of(self.g, image)
        body: list[Statement] = []
        full, rest = divmod(self.down.count, self.block_rows)
        count = full + (rest > 0)
        inside = self.down.is_inside(self.height) and self.across.is_inside(self.width)
        if not inside or self.x.dtype != self.dtype or (self.depthwise and is_planar(self.x)):
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

    def tiles(
        self, names: Names, sums: Affine, x: Source, g: Source, start: Affine, count: int
    ) -> list[Statement]:
        """Add those rows of windows to all sums, tile by tile."""
        strides = (x.strides[0] * self.down.step, x.strides[1] * self.across.step, x.strides[2])
        order = sorted(range(3), key=lambda axis: -self.strides[axis])
        steps = merge([Step(self.extents[axis], (strides[axis], self.strides[axis])) for axis in order])
        tile = choose_rows(steps, self.outputs, self.windows, self.lanes, self.machine.registers)
        *around, cut = tile.outer
        first = x.at(start * self.down.stride + self.down.offset, self.across.offset, 0)

        def of_group(group: Affine) -> list[Statement]:
            body: list[Statement] = []
            for block in blocks(self.outputs, tile.vectors * self.lanes):
                body += loop(names, "block", block.count, lambda number, block=block: of_block(group, block, number))
            return body

        def of_block(group: Affine, block: Segment, number: Affine) -> list[Statement]:
            output = number * block.size + block.start
            place = sums + group * (self.rows * self.wide) + output
            at = first + group * (self.channels * x.strides[2])
            if self.depthwise:
                at = first + output * x.strides[2]
            factor = g.at(start, 0, output * self.groups + group if self.depthwise else group * self.outputs + output)
            return outer(around, place, at, lambda place, at: cuts(place, at, factor, block.size))

        def outer(steps: Sequence[Step], place: Affine, at: Affine, body) -> list[Statement]:
            if not steps:
                return body(place, at)
            return loop(
                names, "step", steps[0].extent,
                lambda number: outer(
                    steps[1:], place + number * steps[0].strides[1], at + number * steps[0].strides[0], body
                ),
            )  # fmt: skip

        def cuts(place: Affine, at: Affine, factor: Affine, outputs: int) -> list[Statement]:
            body: list[Statement] = []
            for segment in split(cut.extent, tile.rows):
                inner = (Step(segment.size, cut.strides), *tile.inner)

                def one(number: Affine, segment: Segment = segment, inner: tuple[Step, ...] = inner):
                    begin = number * segment.size + segment.start
                    return self.one(
                        names, inner, place + begin * cut.strides[1], at + begin * cut.strides[0], factor, outputs,
                        (x, g), count,
                    )  # fmt: skip

                body += loop(names, "cut", segment.count, one)
            return body

        return loop(names, "group", self.groups, of_group)

    def one(
        self, names: Names, steps: Sequence[Step], place: Affine, at: Affine, factor: Affine, outputs: int,
        sources: tuple[Source, Source], count: int,
    ) -> list[Statement]:  # fmt: skip
        """One tile: its sums loaded, the windows added, stored."""
        x, g = sources
        along, each = (x.strides[2], self.groups) if self.depthwise else (0, 1)
        rows = 1
        for step in steps:
            rows *= step.extent
        sums = Register(names("sums").name, self.dtype, (rows, outputs))

        def every_row(body) -> Statement:
            lane = names("lane")
            variables = [names("row") for _ in steps]
            number, offsets = affine(0), (affine(0), affine(0))
            for variable, step in zip(variables, steps, strict=True):
                number = number * step.extent + variable
                offsets = (offsets[0] + variable * step.strides[0], offsets[1] + variable * step.strides[1])
            inside: Statement = For(lane, outputs, (body(number, lane, *offsets),), "lanes")
            for variable, step in zip(reversed(variables), reversed(steps), strict=True):
                inside = For(variable, step.extent, (inside,), "unroll")
            return inside

        def begin(number: Affine, lane, pixel: Affine, row: Affine) -> Statement:
            return Set(sums, Load(self.dtype, self.sums, place + row + lane), (number, affine(lane)))

        def end(number: Affine, lane, pixel: Affine, row: Affine) -> Statement:
            return Store(self.sums, place + row + lane, sums[number, lane])

        def windows(down: Affine, across: Affine) -> list[Statement]:
            def product(number: Affine, lane, pixel: Affine, row: Affine) -> Statement:
                corner = at + down * (self.down.stride * x.strides[0]) + across * (self.across.stride * x.strides[1])
                left = cast(Load(x.array.dtype, x.array, corner + pixel + lane * along), self.dtype)
                opposite = factor + down * g.strides[0] + across * g.strides[1] + lane * (each * g.strides[2])
                right = Load(self.dtype, g.array, opposite)
                return Set(sums, multiply_add(left, right, sums[number, lane]), (number, affine(lane)))

            return [every_row(product)]

        passing = loop(
            names, "down", count,
            lambda down: loop(names, "across", self.across.count, lambda across: windows(down, across)),
        )  # fmt: skip
        return [every_row(begin), *passing, every_row(end)]

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
