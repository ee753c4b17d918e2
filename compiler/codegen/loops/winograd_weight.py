"""Winograd's minimal filtering for the gradient of a 3x3 convolution to its weight.

    result[o, c] = G^T (sum over images and tiles of (B^T x[n, tile, c] B) * (A g[n, tile, o] A^T)) G

Each tile of 2x2 windows takes 16 products instead of 36. Blocks of images (of rows of tiles where images are
big) are transformed, then added to the sums of their chunk as one product of matrices for each of the 16
places. How many chunks there are does not depend on the workers; a second kernel adds them in order.

What is not finite spreads over the taps that a tile is made of: a channel with such a result is summed again
directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from staticnet.compiler.codegen.loops.convolution_parts import (
    Frame,
    Names,
    Source,
    copy_frame,
    image_of,
    loop,
)
from staticnet.compiler.codegen.loops.convolution_tiles import RowTile, Segment, blocks, choose_rows, split
from staticnet.compiler.codegen.loops.describe import Finish
from staticnet.compiler.codegen.loops.form import (
    Accumulate,
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
    When,
    affine,
    const,
    within,
)
from staticnet.compiler.codegen.loops.operations import add, apply, multiply, multiply_add
from staticnet.compiler.codegen.loops.winograd_parts import (
    RESULTS,
    TAPS,
    TILE,
    Grid,
    filter_gradient_tile,
    gradient_tile,
    input_tile,
)
from staticnet.compiler.codegen.machine import Machine

#: sums that are kept apart, at the most, and the least number of tiles that is worth one
MOST_CHUNKS, LEAST_TILES = 8, 128
_WORKSPACE_BYTES = 16 << 20
_PLACES = TILE * TILE
_LINE_BYTES = 64


@dataclass
class WinogradGradient:
    """One such sum: views of x (N, C, H, W), g (N, O, OH, OW) and the result (O, C, 3, 3), all of one dtype.

    `before` is how many rows and columns of zeros stand before the image.
    """

    x: View
    g: View
    result: View
    before: tuple[int, int]
    finish: Finish
    machine: Machine

    def __post_init__(self) -> None:
        self.dtype = self.result.dtype
        self.lanes = self.machine.lanes(self.dtype.itemsize)
        self.images, self.channels, self.height, self.width = self.x.shape
        _, self.outputs, self.down, self.across = self.g.shape
        self.wide = -(-self.outputs // self.lanes) * self.lanes
        self.rows, self.columns = -(-self.down // RESULTS), -(-self.across // RESULTS)

    def routine(self) -> Routine:
        """The sums of all chunks, then their sum."""
        return Routine((self.main(), self.combine()))

    # -- how it is cut ----------------------------------------------------------------------------

    @cached_property
    def tile_bytes(self) -> int:
        """What the transformed numbers of one tile take."""
        return _PLACES * (self.channels + self.outputs) * self.dtype.itemsize

    @cached_property
    def most_tiles(self) -> int:
        """Tiles of a block: its numbers and the sums should stay in the nearer cache together."""
        return max(1, self.machine.l2_bytes // 2 // self.tile_bytes)

    @cached_property
    def block_rows(self) -> int:
        """Rows of tiles in a block."""
        most = max(1, self.most_tiles // self.columns)
        if self.by_rows:
            most = min(most, -(-self.rows // MOST_CHUNKS))
        return split(self.rows, most)[0].size

    @cached_property
    def bands(self) -> int:
        """Blocks of rows of an image."""
        return -(-self.rows // self.block_rows)

    @cached_property
    def by_rows(self) -> bool:
        """Whether a chunk is a block of rows of each image, instead of some images."""
        return self.images < MOST_CHUNKS and self.rows * self.columns >= MOST_CHUNKS * LEAST_TILES

    @cached_property
    def chunks(self) -> int:
        if self.by_rows:
            return self.bands
        most = min(MOST_CHUNKS, self.images, max(1, self.images * self.rows * self.columns // LEAST_TILES))
        most = max(1, min(most, _WORKSPACE_BYTES // (self.size * self.dtype.itemsize)))
        even = max(count for count in range(1, most + 1) if self.images % count == 0)
        return even if 2 * even > most else -(-self.images // -(-self.images // most))

    @cached_property
    def chunk_images(self) -> int:
        """Images of a chunk; the last ones may not be there."""
        return self.images if self.by_rows else -(-self.images // self.chunks)

    @cached_property
    def block_images(self) -> int:
        """Images of a block."""
        if self.bands > 1 or self.by_rows:
            return 1
        return split(self.chunk_images, max(1, self.most_tiles // (self.rows * self.columns)))[0].size

    @cached_property
    def tiles(self) -> int:
        """Tiles of a block."""
        return self.block_images * self.block_rows * self.columns

    @cached_property
    def size(self) -> int:
        """Sums of a chunk."""
        return _PLACES * self.channels * self.wide

    @cached_property
    def tile(self) -> RowTile:
        return choose_rows((self.channels,), self.outputs, self.tiles, self.lanes, self.machine.registers)[0]

    # -- workspace --------------------------------------------------------------------------------

    @cached_property
    def sums(self) -> Array:
        """(chunk, place, channel, output), the outputs padded to whole vectors."""
        return Array("sums", self.dtype, self.chunks * self.size, "shared")

    def pitch(self, channels: int) -> int:
        """From one place to the next in transformed numbers: not all at the same place in a cache."""
        line = max(1, _LINE_BYTES // self.dtype.itemsize)
        return (-(-self.tiles * channels // line) + 1) * line

    @cached_property
    def pixels(self) -> Array:
        """(place, tile, channel) of x."""
        return Array("pixels", self.dtype, _PLACES * self.pitch(self.channels), "local")

    @cached_property
    def slopes(self) -> Array:
        """(place, tile, output) of g."""
        return Array("slopes", self.dtype, _PLACES * self.pitch(self.outputs), "local")

    # -- sums -------------------------------------------------------------------------------------

    def main(self) -> Kernel:
        """The sums of every chunk."""
        names = Names()
        chunk = names("chunk")
        place = chunk * self.size
        count = -(-self.chunk_images // self.block_images)

        def of_images(number: Affine) -> list[Statement]:
            first = number * self.block_images
            if self.by_rows:
                return self.block(names, place, first, self.images, affine(chunk), (number,))
            image = chunk * self.chunk_images + first
            end = self.images

            def band(row: Affine) -> list[Statement]:
                return self.block(names, place, image, end, row, (number, row), first)

            inside = loop(names, "band", self.bands, band)
            if self.chunks * self.chunk_images == self.images:
                return inside
            return [If((within(image, 0, self.images),), tuple(inside))]

        body = loop(names, "block", count, of_images)
        return Kernel("winograd_weight", For(chunk, self.chunks, tuple(body)))

    def block(
        self,
        names: Names,
        place: Affine,
        image: Affine,
        end: int,
        band: Affine,
        numbers: tuple[Affine, ...],
        within_chunk: Affine | None = None,
    ) -> list[Statement]:
        """Add a block: some images from `image` on, or a band of rows of one."""
        body: list[Statement] = []

        def one(number: Affine) -> list[Statement]:
            at = image + number
            first = number * (self.block_rows * self.columns)
            there = [*self.transform_x(names, at, band, first), *self.transform_g(names, at, band, first)]
            bounds = []
            if within_chunk is not None and self.chunk_images % self.block_images:
                bounds.append(within(within_chunk + number, 0, self.chunk_images))
            if self.chunks * self.chunk_images != self.images and self.block_images > 1:
                bounds.append(within(at, 0, end))
            if not bounds:
                return there
            return [If(tuple(bounds), tuple(there), tuple(self.nothing(names, first)))]

        body += loop(names, "image", self.block_images, one)
        first = tuple(within(number, 0, 1) for number in numbers if number.terms)
        return body + self.products(names, place, first)

    def nothing(self, names: Names, first: Affine) -> list[Statement]:
        """Zeros for an image that is not there."""
        body: list[Statement] = []
        count = self.block_rows * self.columns
        for array, channels in ((self.pixels, self.channels), (self.slopes, self.outputs)):
            where, lane = names("place"), names("lane")
            at = where * self.pitch(channels) + first * channels + lane
            zero = Store(array, at, const(0, self.dtype))
            body.append(For(where, _PLACES, (For(lane, count * channels, (zero,), "vector"),)))
        return body

    # -- transforms -------------------------------------------------------------------------------

    def transform_x(self, names: Names, image: Affine, band: Affine, first: Affine) -> list[Statement]:
        """Tiles of 4x4 pixels of some rows of an image."""
        corner = tuple(-zeros for zeros in self.before)
        source, size = image_of(self.x, image), (self.height, self.width, self.channels)
        copied, pixels = self.framed(names, "padded", source, size, band, corner, TILE)
        return copied + self.transform(names, input_tile, pixels, self.pixels, band, corner, TILE, first, self.channels)

    def transform_g(self, names: Names, image: Affine, band: Affine, first: Affine) -> list[Statement]:
        """Tiles of 2x2 gradients of some rows of an image."""
        source, size = image_of(self.g, image), (self.down, self.across, self.outputs)
        copied, slopes = self.framed(names, "framed", source, size, band, (0, 0), RESULTS)
        return copied + self.transform(
            names, gradient_tile, slopes, self.slopes, band, (0, 0), RESULTS, first, self.outputs
        )

    def framed(
        self,
        names: Names,
        name: str,
        source: Source,
        size: tuple[int, int, int],
        band: Affine,
        corner: tuple[int, ...],
        seen: int,
    ) -> tuple[list[Statement], Source]:
        """An image of `size` as tiles can read it: copied where they see what is outside, or channels lie apart."""
        height, width, channels = size
        rows, columns = ((count - 1) * RESULTS + seen for count in (self.block_rows, self.columns))
        step = self.block_rows * RESULTS
        least, most = corner[0], corner[0] + (self.bands - 1) * step
        inside = least >= 0 and most + rows <= height and corner[1] >= 0 and corner[1] + columns <= width
        if inside and (source.strides[2] == 1 or channels == 1):
            return [], source
        frame = Frame(band * step + corner[0], least, most, rows, corner[1], columns)
        array = Array(name, self.dtype, rows * columns * channels, "local")
        return copy_frame(names, source, size, frame, array, 0, False)

    def transform(
        self,
        names: Names,
        transform: Callable[[Grid], list[list[Value]]],
        source: Source,
        target: Array,
        band: Affine,
        corner: tuple[int, ...],
        seen: int,
        first: Affine,
        channels: int,
    ) -> list[Statement]:
        """Tiles of `seen` x `seen` numbers to 4x4, written from tile `first` on."""
        row, column, lane = names("row"), names("column"), names("lane")
        up = (band * self.block_rows + row) * RESULTS + corner[0]
        left = column * RESULTS + corner[1]
        numbers = [[source.load(up + i, left + j, lane, self.dtype) for j in range(seen)] for i in range(seen)]
        at = (first + row * self.columns + column) * channels + lane
        body = tuple(
            Store(target, at + (i * TILE + j) * self.pitch(channels), value)
            for i, line in enumerate(transform(numbers))
            for j, value in enumerate(line)
        )
        inside = For(column, self.columns, (For(lane, channels, body, "vector"),))
        return [For(row, self.block_rows, (inside,))]

    # -- products ---------------------------------------------------------------------------------

    def products(self, names: Names, place: Affine, first: tuple) -> list[Statement]:
        """Add the products of all tiles of a block to the sums; `first` holds in the first block of a chunk."""

        def of_place(number: Affine) -> list[Statement]:
            def of_block(block: Segment, step: Affine) -> list[Statement]:
                output = step * block.size + block.start

                def cut(segment: Segment, step: Affine) -> list[Statement]:
                    channel = step * segment.size + segment.start
                    pixel = number * self.pitch(self.channels) + channel
                    slope = number * self.pitch(self.outputs) + output
                    total = place + number * (self.channels * self.wide) + channel * self.wide + output
                    return self.piece(names, total, pixel, slope, segment.size, block.size, first)

                body: list[Statement] = []
                for segment in split(self.channels, self.tile.rows):
                    body += loop(names, "cut", segment.count, partial(cut, segment))
                return body

            body: list[Statement] = []
            for block in blocks(self.outputs, self.tile.vectors * self.lanes):
                body += loop(names, "outputs", block.count, partial(of_block, block))
            return body

        return loop(names, "place", _PLACES, of_place)

    def piece(
        self, names: Names, place: Affine, pixel: Affine, slope: Affine, rows: int, outputs: int, first: tuple
    ) -> list[Statement]:
        """One tile of sums kept in registers while all tiles of the block pass."""
        sums = Register(names("sums").name, self.dtype, (rows, outputs))

        def every(body: Callable[[Affine, Affine], Statement]) -> Statement:
            row, lane = names("row"), names("lane")
            return For(row, rows, (For(lane, outputs, (body(affine(row), affine(lane)),), "lanes"),), "unroll")

        def take(row: Affine, lane: Affine) -> Statement:
            return Set(sums, Load(self.dtype, self.sums, place + row * self.wide + lane), (row, lane))

        tile = names("tile")

        def step(row: Affine, lane: Affine) -> Statement:
            left = Load(self.dtype, self.pixels, pixel + tile * self.channels + row)
            right = Load(self.dtype, self.slopes, slope + tile * self.outputs + lane)
            return Set(sums, multiply_add(left, right, sums[row, lane]), (row, lane))

        zero = every(lambda row, lane: Set(sums, const(0, self.dtype), (row, lane)))
        begin = If(first, (zero,), (every(take),)) if first else zero
        end = every(lambda row, lane: Store(self.sums, place + row * self.wide + lane, sums[row, lane]))
        return [begin, For(tile, self.tiles, (every(step),)), end]

    # -- the result -------------------------------------------------------------------------------

    def combine(self) -> Kernel:
        """The kernel that adds the chunks and turns 4x4 places into 3x3 taps, channel by channel."""
        names = Names()
        channel, lane = names("channel"), names("lane")
        taps = Array("taps", self.dtype, TAPS * TAPS * self.wide, "local")
        wrong = Register("wrong", self.dtype)

        def total(place: int) -> Value:
            at = place * (self.channels * self.wide) + channel * self.wide + lane
            found: Value = Load(self.dtype, self.sums, at)
            for chunk in range(1, self.chunks):
                found = add(found, Load(self.dtype, self.sums, at + chunk * self.size))
            return found

        values = filter_gradient_tile([[total(i * TILE + j) for j in range(TILE)] for i in range(TILE)])
        stored: list[Statement] = []
        for number, value in enumerate(value for line in values for value in line):
            stored.append(Store(taps, lane + number * self.wide, value))
            stored.append(Accumulate(wrong, "add", multiply(value, const(0, self.dtype))))
        row, column, output = names("row"), names("column"), names("output")
        number = Load(self.dtype, taps, row * (TAPS * self.wide) + column * self.wide + output)
        index = (affine(output), affine(channel), affine(row), affine(column))
        finish = For(output, self.outputs, tuple(self.finish(index, number)), "vector")
        body = (
            Set(wrong, const(0, self.dtype)),
            For(lane, self.outputs, tuple(stored), "vector"),
            When(apply("isnan", wrong.value), tuple(self.direct(names, taps, affine(channel)))),
            For(row, TAPS, (For(column, TAPS, (finish,)),)),
        )
        return Kernel("winograd_weight_sum", For(channel, self.channels, body))

    def direct(self, names: Names, taps: Array, channel: Affine) -> list[Statement]:
        """All results of a channel, window by window: pixels outside the image are zeros."""
        most = max(1, min(3, (self.machine.registers - 4) // (TAPS * TAPS)))

        def of_block(block: Segment, step: Affine) -> list[Statement]:
            output = step * block.size + block.start
            sums = Register(names("sums").name, self.dtype, (TAPS * TAPS, block.size))
            image, down, across = names("image"), names("down"), names("across")
            x, g = image_of(self.x, affine(image)), image_of(self.g, affine(image))

            def every(body: Callable[[int, Affine], Statement]) -> list[Statement]:
                lanes = [names("lane") for _ in range(TAPS * TAPS)]
                return [For(lane, block.size, (body(tap, affine(lane)),), "lanes") for tap, lane in enumerate(lanes)]

            def step_of(tap: int, lane: Affine) -> Statement:
                row = down + (tap // TAPS - self.before[0])
                column = across + (tap % TAPS - self.before[1])
                inside = within(row, 0, self.height), within(column, 0, self.width)
                pixel = Load(self.dtype, x.array, x.at(row, column, channel), guard=inside)
                slope = Load(self.dtype, g.array, g.at(down, across, output + lane))
                return Set(sums, multiply_add(pixel, slope, sums[tap, lane]), (affine(tap), lane))

            windows = For(down, self.down, (For(across, self.across, tuple(every(step_of))),))
            return [
                *every(lambda tap, lane: Set(sums, const(0, self.dtype), (affine(tap), lane))),
                For(image, self.images, (windows,)),
                *every(lambda tap, lane: Store(taps, output + lane + tap * self.wide, sums[tap, lane])),
            ]

        body: list[Statement] = []
        for block in blocks(self.outputs, most * self.lanes):
            body += loop(names, "outputs", block.count, partial(of_block, block))
        return body


def winograd_gradient(
    inputs: Sequence[View], result: View, before: tuple[int, int], finish: Finish, machine: Machine
) -> WinogradGradient:
    """The gradient of a 3x3 convolution of stride 1."""
    x, g = inputs
    return WinogradGradient(x, g, result, before, finish, machine)
