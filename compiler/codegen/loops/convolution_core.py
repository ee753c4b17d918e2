"""The sum behind convolutions and their input gradients: results of some pixels and output channels at a time.

    result[n, oh, ow, o] = sum over taps and channels c of source[n, pixel(oh, ow, tap), c] * weight[tap, c, o]

Weights are packed first, so that the output channels of a block lie side by side. A tile of pixels times
vectors of output channels is then kept in registers: a step of the reduction loads the vectors of one
(tap, channel), and each pixel's number multiplies them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

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
from staticnet.compiler.codegen.loops.convolution_tiles import (
    Segment,
    Step,
    blocks,
    choose_tile,
    merge,
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
    Register,
    Routine,
    Set,
    Statement,
    Store,
    View,
    affine,
    const,
    within,
)
from staticnet.compiler.codegen.loops.operations import cast, multiply_add
from staticnet.compiler.codegen.machine import Machine

#: multiply-adds that the body of a reduction has, printed out, at the most
UNROLLED = 480
#: with fewer images than this, workers share out the rows of each
FEW_IMAGES = 8


@dataclass(frozen=True)
class Phase:
    """A set of results that all have the same taps."""

    height: Axis
    width: Axis

    @property
    def taps(self) -> int:
        return self.height.taps * self.width.taps


@dataclass
class Core:
    """One such sum: views of the source and the result, the phases of the result, and where a weight lies.

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
        main = max(self.phases, key=lambda phase: phase.taps)
        self.tile = choose_tile(
            min(main.height.count, self.block_rows), main.width.count, self.outputs,
            max(main.taps * self.channels, 1), self.lanes, self.machine.registers,
        )  # fmt: skip
        self.block = self.tile.vectors * self.lanes
        self.block_count = -(-self.outputs // self.block)

    def routine(self) -> Routine:
        """Pack the weights, then the sum."""
        if 0 in self.result.shape:
            return Routine()
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
        body: list[Statement] = []
        for phase in self.phases:
            (rows, columns, _), strides = self.reduction(phase)

            def place(group: Affine, block: Affine, phase: Phase = phase, rows=rows, columns=columns, strides=strides):
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

            if phase.taps:
                body += loop(
                    names, "group", self.groups,
                    lambda group, place=place: loop(
                        names, "block", self.block_count, lambda block: place(group, block)
                    ),
                )  # fmt: skip
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
    def copies(self) -> bool:
        """Whether blocks of the source are copied: with padding around them, in another dtype, or channels last."""
        if self.depthwise and is_planar(self.source):
            return True
        inside = all(
            phase.height.is_inside(self.height) and phase.width.is_inside(self.width) for phase in self.phases
        )
        return not inside or self.source.dtype != self.dtype

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
        source, body = image_of(self.source, image), []
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

        def group_body(group: Affine) -> list[Statement]:
            return [
                statement
                for segment in blocks(self.outputs, self.block)
                for statement in loop(
                    names, "block", segment.count,
                    lambda block, segment=segment: self.tiles(
                        names, phase, source, image, start, count, group,
                        block + segment.start // self.block, segment.size,
                    ),
                )
            ]  # fmt: skip

        return loop(names, "group", self.groups, group_body)

    def tiles(
        self, names: Names, phase: Phase, source: Source, image: Affine, start: Affine, count: int,
        group: Affine, block: Affine, outputs: int,
    ) -> list[Statement]:  # fmt: skip
        """All pixels of those rows for one block of outputs."""
        body: list[Statement] = []
        for down in split(count, self.tile.rows):
            for across in split(phase.width.count, self.tile.columns):
                def at(row: Affine, column: Affine, down: Segment = down, across: Segment = across):
                    corner = start + down.start + row * down.size, column * across.size + across.start
                    return self.one(
                        names, phase, source, image, corner, (down.size, across.size), group, block, outputs
                    )

                body += loop(
                    names, "down", down.count,
                    lambda row, at=at, across=across: loop(
                        names, "across", across.count, lambda column: at(row, column)
                    ),
                )  # fmt: skip
        return body

    def one(
        self, names: Names, phase: Phase, source: Source, image: Affine, corner: tuple[Affine, Affine],
        size: tuple[int, int], group: Affine, block: Affine, outputs: int,
    ) -> list[Statement]:  # fmt: skip
        """One tile."""
        sums = Register(str(names("sums").name), self.dtype, (size[0] * size[1], outputs))
        height, width = phase.height, phase.width

        def every_pixel(body) -> Statement:
            row, column, lane = names("row"), names("column"), names("lane")
            pixel = row * size[1] + column
            inner = For(lane, outputs, tuple(body(row, column, pixel, affine(lane))), "lanes")
            return For(row, size[0], (For(column, size[1], (inner,), "unroll"),), "unroll")

        along = self.channels * source.strides[2] if self.depthwise else 0
        channel = block * (self.block * self.channels) if self.depthwise else group * self.channels
        first = source.at(
            corner[0] * height.stride + height.offset, corner[1] * width.stride + width.offset, channel
        )  # fmt: skip

        def product(row, column, pixel, lane, at: Affine, weight: Affine) -> list[Statement]:
            place = at + row * (height.stride * source.strides[0]) + column * (width.stride * source.strides[1])
            x = cast(Load(source.array.dtype, source.array, place + lane * along), self.dtype)
            w = Load(self.dtype, self.packed, weight + lane)
            return [Set(sums, multiply_add(x, w, sums[pixel, lane]), (pixel, lane))]

        def result(row, column, pixel, lane) -> list[Statement]:
            output = block * self.block + lane
            output = output * self.groups + group if self.depthwise else group * self.outputs + output
            index = (image, output, height.result(corner[0] + row), width.result(corner[1] + column))
            return self.finish(index, cast(sums[pixel, lane], self.result.dtype))

        zero = const(0, self.dtype)
        body = [every_pixel(lambda row, column, pixel, lane: [Set(sums, zero, (pixel, lane))])]
        if phase.taps * self.channels:
            steps = self.steps(phase, source)
            unrolled = size[0] * size[1] * -(-outputs // self.lanes)

            def nest(steps: Sequence[Step], at: Affine, weight: Affine, budget: int) -> list[Statement]:
                if not steps:
                    return [every_pixel(lambda *where: product(*where, at, weight))]
                step, variable = steps[0], names("step")
                inside = nest(steps[1:], at + variable * step.strides[0], weight + variable * step.strides[1], budget)
                below = unrolled
                for inner in steps:
                    below *= inner.extent
                return [For(variable, step.extent, tuple(inside), "unroll" if below <= budget else "serial")]

            body += nest(steps, first, self.packed_at(phase, group, block), UNROLLED)
        return [*body, every_pixel(result)]

    def steps(self, phase: Phase, source: Source) -> list[Step]:
        """The loops of the reduction, outermost first."""
        extents, packed = self.reduction(phase)
        strides = (
            source.strides[0] * phase.height.step, source.strides[1] * phase.width.step, source.strides[2]
        )  # fmt: skip
        order = sorted(range(3), key=lambda axis: -packed[axis])
        return merge([Step(extents[axis], (strides[axis], packed[axis])) for axis in order])
