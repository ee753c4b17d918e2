"""Convolutions with 3x3 kernels and their input gradients by Winograd's minimal filtering.

Tiles of the source are transformed, multiplied place by place with the transformed weights, summed over the
channels (a product of matrices for each place of a tile), and transformed back: a fraction of the
multiplications of the sum itself. Winograd's sums mix neighbouring pixels, so that one NaN or infinity would reach
results that do not see it: a block of results that are not all finite is made anew as the plain sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from staticnet.compiler.codegen.loops.convolution_parts import Axis, Frame, Source, copy_frame, image_of, is_planar
from staticnet.compiler.codegen.loops.convolution_parts import Names as ConvolutionNames
from staticnet.compiler.codegen.loops.convolution_piece import Phase
from staticnet.compiler.codegen.loops.describe import Finish
from staticnet.compiler.codegen.loops.form import (
    Accumulate,
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
    Value,
    View,
    When,
    affine,
    const,
    within,
)
from staticnet.compiler.codegen.loops.operations import apply, multiply_add
from staticnet.compiler.codegen.loops.tiles import Tile, blocks, choose_tile, each_piece, split
from staticnet.compiler.codegen.loops.winograd_parts import FOUR, TWO, Scheme, Transform
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import float32, float64

#: with fewer channels on either side the transforms take what the products save
_CHANNELS = 16
#: tiles in a block that make the products worth their loops
_TILES = 48
#: with fewer groups of images than this, workers share out the rows of each
_FEW_IMAGES = 8
_LINE_BYTES = 64

Weight = Callable[[Index, Index, Index, Index, Index], Affine]


def winograd(
    name: str, source: View, result: View, weights: View, weight: Weight, phase: Phase, finish: Finish, machine: Machine
) -> Routine | None:
    """The sum that `convolution_core.Core` makes of these for one group, or None where that is better made directly."""
    if not _fits(source, result, weights, phase):
        return None
    ways = [Winograd(name, source, result, weights, weight, phase, finish, machine, scheme) for scheme in (FOUR, TWO)]
    return min(ways, key=lambda way: way.products).routine()


def _fits(source: View, result: View, weights: View, phase: Phase) -> bool:
    dtypes = {source.dtype, result.dtype, weights.dtype}
    if len(dtypes) > 1 or result.dtype not in {float32, float64} or is_planar(source) or is_planar(result):
        return False
    if min(source.shape[1], result.shape[1]) < _CHANNELS or not source.shape[0]:
        return False
    return all(_is_plain(axis) for axis in (phase.height, phase.width))


def _is_plain(axis: Axis) -> bool:
    """Whether results next to each other see three pixels next to each other, shifted by one."""
    return (axis.taps, axis.stride, axis.step, axis.spacing) == (3, 1, 1, 1) and axis.count > 1


@dataclass
class Winograd:
    """One such sum with the tiles of a scheme, of one result at least."""

    name: str
    source: View
    result: View
    weights: View
    weight: Weight
    phase: Phase
    finish: Finish
    machine: Machine
    scheme: Scheme

    def __post_init__(self) -> None:
        self.dtype = self.result.dtype
        self.lanes = self.machine.lanes(self.dtype.itemsize)
        self.images, self.channels, self.height, self.width = self.source.shape
        self.outputs = self.result.shape[1]
        #: outputs in whole vectors
        self.wide = -(-self.outputs // self.lanes) * self.lanes
        self.rows, self.columns = self.phase.height.count, self.phase.width.count
        self.places = self.scheme.tile**2
        self.names = ConvolutionNames()

    # -- how it is cut ----------------------------------------------------------------------------

    @property
    def tile_rows(self) -> int:
        """Rows of tiles in an image."""
        return -(-self.rows // self.scheme.results)

    @property
    def tile_columns(self) -> int:
        return -(-self.columns // self.scheme.results)

    @property
    def products(self) -> int:
        """Multiplications for one image and a pair of channels."""
        return self.tile_rows * self.tile_columns * self.places

    @cached_property
    def most_tiles(self) -> int:
        """Tiles in a block: their numbers before and after the products should stay in the nearer cache."""
        each = (self.places * (self.channels + self.wide) + self.scheme.results**2 * self.wide) * self.dtype.itemsize
        return max(1, self.machine.l2_bytes // 3 // each)

    @cached_property
    def block_rows(self) -> int:
        """Rows of tiles in a block."""
        most = min(max(1, self.most_tiles // self.tile_columns), self.tile_rows)
        if self.images < _FEW_IMAGES:
            most = min(most, max(1, self.tile_rows // _FEW_IMAGES))
        return -(-self.tile_rows // -(-self.tile_rows // most))

    @property
    def row_blocks(self) -> int:
        return -(-self.tile_rows // self.block_rows)

    @cached_property
    def block_images(self) -> int:
        """Images in a block: more than one where they are small, but enough blocks for all workers."""
        each = self.block_rows * self.tile_columns
        most = min(max(1, min(_TILES, self.most_tiles) // each), max(1, self.images // _FEW_IMAGES))
        return next(count for count in range(most, 0, -1) if self.images % count == 0)

    @property
    def tiles(self) -> int:
        """Tiles in a block."""
        return self.block_images * self.block_rows * self.tile_columns

    @cached_property
    def tile(self) -> Tile:
        """The tile of the products that is kept in registers."""
        return choose_tile(self.tiles, self.wide, self.channels, self.lanes, self.machine.registers)

    @property
    def panel(self) -> int:
        """Outputs whose weights lie together."""
        return self.tile.vectors * self.lanes

    @property
    def panels(self) -> int:
        return -(-self.wide // self.panel)

    def plane(self, size: int) -> int:
        """Elements from one place of the tiles to the next: so that all places can be in the cache together."""
        line = _LINE_BYTES // self.dtype.itemsize
        return (-(-size // line) | 1) * line

    # -- workspace --------------------------------------------------------------------------------

    @cached_property
    def factors(self) -> Array:
        """Transformed weights (place, panel, channel, output), then the weights themselves (tap, channel, output)."""
        size = (self.places + 9) * self.panels * self.panel * self.channels
        return Array("factors", self.dtype, size, "shared")

    def factor_at(self, place: Index, panel: Index, channel: Index) -> Affine:
        return ((affine(place) * self.panels + panel) * self.channels + channel) * self.panel

    def plain_at(self, tap: Index, channel: Index) -> Affine:
        start = self.places * self.panels * self.panel * self.channels
        return (affine(tap) * self.channels + channel) * (self.panels * self.panel) + start

    @cached_property
    def numbers(self) -> Array:
        """Transformed tiles of the source: (place, tile, channel)."""
        return Array("tiles", self.dtype, self.places * self.plane(self.tiles * self.channels), "local")

    @cached_property
    def sums(self) -> Array:
        """Sums of products: (place, tile, output)."""
        return Array("sums", self.dtype, self.places * self.plane(self.tiles * self.wide), "local")

    @cached_property
    def pixels(self) -> Array:
        """Results: (row, column, output), rows of all images of a block."""
        size = self.tiles * self.scheme.results**2 * self.wide
        return Array("results", self.dtype, size, "local")

    def pixel_at(self, row: Index, column: Index) -> Affine:
        return (affine(row) * (self.tile_columns * self.scheme.results) + column) * self.wide

    # -- the routine ------------------------------------------------------------------------------

    def routine(self) -> Routine:
        """Transform the weights, then the sum."""
        return Routine((self.transform_weights(), self.main()))

    def transform_weights(self) -> Kernel:
        """The kernel of the weights, channel by channel."""
        channel, lane, panel = self.names("channel"), self.names("lane"), self.names("panel")
        output = panel * self.panel + lane
        guard = (within(output, 0, self.outputs),) if self.panels * self.panel > self.outputs else ()
        height, width = self.phase.height, self.phase.width
        body: list[Statement] = []
        weights = Register("weights", self.dtype, (3, 3))
        for row in range(3):
            for column in range(3):
                element = height.element + row * height.element_step, width.element + column * width.element_step
                source = self.weight(0, channel, output, *element)
                body.append(_set(weights, Load(self.dtype, self.weights.array, source, None, guard), row, column))
                at = self.plain_at(row * 3 + column, channel) + output
                body.append(Store(self.factors, at, weights[row, column]))
        found = self.transformed(self.scheme.filter, body, lambda row, column: weights[row, column], 3)
        for place, value in enumerate(found):
            body.append(Store(self.factors, self.factor_at(place, panel, channel) + lane, value))
        panels = For(panel, self.panels, (For(lane, self.panel, tuple(body), "vector"),))
        return Kernel(f"{self.name}_weights", For(channel, self.channels, (panels,)))

    def transformed(
        self, line: Transform, body: list[Statement], number: Callable[[int, int], Value], size: int
    ) -> list[Value]:
        """The values of a transformed tile, row by row; `body` first gets the statements for its columns."""
        columns = []
        for column in range(size):
            made = line([number(row, column) for row in range(size)])
            half = Register(self.names("half").name, self.dtype, (len(made),))
            body += [_set(half, value, row) for row, value in enumerate(made)]
            columns.append(half)
        return [value for row in range(len(made)) for value in line([half[row] for half in columns])]

    def main(self) -> Kernel:
        """The kernel of the sum: a loop over groups of images or over blocks of rows."""
        image, rows = self.names("image"), self.names("rows")
        groups = self.images // self.block_images
        body = tuple(self.block(affine(image) * self.block_images, affine(rows)))
        if groups < _FEW_IMAGES and self.row_blocks > 1:
            return Kernel(self.name, For(rows, self.row_blocks, (For(image, groups, body),)))
        return Kernel(self.name, For(image, groups, (For(rows, self.row_blocks, body),)))

    def block(self, image: Affine, number: Affine) -> list[Statement]:
        """Block of rows `number` of the images from `image` on."""
        first = number * (self.block_rows * self.scheme.results)
        check = Register(self.names("check").name, self.dtype, (self.scheme.results, self.lanes))
        part = self.names("image")
        copying, source = self.source_of(image, part, first)
        return [
            For(part, self.block_images, (*copying, *self.transform_source(source, part, first))),
            self.multiply(),
            *self.transform_back(check),
            *self.where_not_finite(check, self.plainly(image, first)),
            *self.results(image, first),
        ]

    # -- the source -------------------------------------------------------------------------------

    @cached_property
    def copies(self) -> bool:
        """Whether tiles reach beyond the image: it is then copied with zeros around it."""
        height, width, size = self.phase.height, self.phase.width, self.scheme.results
        rows, columns = self.row_blocks * self.block_rows * size + 2, self.tile_columns * size + 2
        inside = height.offset >= 0 and height.offset + rows <= self.height
        return not (inside and width.offset >= 0 and width.offset + columns <= self.width)

    def source_of(self, image: Affine, part: Index, first: Affine) -> tuple[list[Statement], Source]:
        """What a block sees of image `part` of its images: the image itself, or a copy and how it is made."""
        source = image_of(self.source, image + part)
        if not self.copies:
            return [], source
        size, height, width = self.scheme.results, self.phase.height, self.phase.width
        rows, columns = self.block_rows * size + 2, self.tile_columns * size + 2
        most = (self.row_blocks - 1) * self.block_rows * size + height.offset
        frame = Frame(first + height.offset, height.offset, most, rows, width.offset, columns)
        each = rows * columns * self.channels
        array = Array("frame", self.dtype, each * self.block_images, "local")
        shape = self.height, self.width, self.channels
        return copy_frame(self.names, source, shape, frame, array, affine(part) * each, False)

    def transform_source(self, source: Source, part: Index, first: Affine) -> list[Statement]:
        """All tiles of one image."""
        down, across, channel = self.names("down"), self.names("across"), self.names("channel")
        size, phase, body = self.scheme.results, self.phase, list[Statement]()

        def number(row: int, column: int) -> Value:
            at = first + down * size + (row + phase.height.offset), across * size + (column + phase.width.offset)
            return source.load(*at, channel, self.dtype)

        tile = (affine(part) * self.block_rows + down) * self.tile_columns + across
        plane = self.plane(self.tiles * self.channels)
        for place, value in enumerate(self.transformed(self.scheme.source, body, number, self.scheme.tile)):
            body.append(Store(self.numbers, tile * self.channels + channel + place * plane, value))
        line = For(channel, self.channels, tuple(body), "vector")
        return [For(down, self.block_rows, (For(across, self.tile_columns, (line,)),))]

    # -- the products -----------------------------------------------------------------------------

    def multiply(self) -> Statement:
        """A product of matrices for each place."""
        place = self.names("place")
        numbers = place * self.plane(self.tiles * self.channels)
        sums = place * self.plane(self.tiles * self.wide)

        def panel(number: Affine, output: Affine, width: int) -> list[Statement]:
            factors = self.factor_at(place, number, 0)
            return [
                each_piece(
                    split(self.tiles, self.tile.rows), self.names("some"),
                    lambda _, tile, count: self.product(
                        numbers + tile * self.channels, factors, sums + tile * self.wide + output, count, width
                    ),
                )
            ]  # fmt: skip

        return For(place, self.places, (each_piece(blocks(self.wide, self.panel), self.names("panel"), panel),))

    def product(self, numbers: Affine, factors: Affine, target: Affine, count: int, width: int) -> list[Statement]:
        """`count` tiles times `width` outputs, all channels."""
        total = Register(self.names("total").name, self.dtype, (count, width))
        step = self.names("step")

        def every(body: Callable[[Affine, Affine], Statement]) -> Statement:
            line, lane = self.names("line"), self.names("lane")
            return For(line, count, (For(lane, width, (body(affine(line), affine(lane)),), "lanes"),), "unroll")

        def one(channel: Affine) -> Statement:
            def add(line: Affine, lane: Affine) -> Statement:
                x = Load(self.dtype, self.numbers, numbers + line * self.channels + channel)
                w = Load(self.dtype, self.factors, factors + channel * self.panel + lane)
                return Set(total, multiply_add(x, w, total[line, lane]), (line, lane))

            return every(add)

        rounds, rest = divmod(self.channels, 2)
        return [
            every(lambda line, lane: Set(total, const(0, self.dtype), (line, lane))),
            For(step, rounds, (one(step * 2), one(step * 2 + 1))),
            *(one(affine(rounds * 2)) for _ in range(rest)),
            every(lambda line, lane: Store(self.sums, target + line * self.wide + lane, total[line, lane])),
        ]

    # -- the results ------------------------------------------------------------------------------

    def transform_back(self, check: Register) -> list[Statement]:
        """The results of all tiles; `check` becomes zero, or NaN where one is not finite."""
        down, across, block = self.names("down"), self.names("across"), self.names("block")
        clear, lane = self.names("lane"), self.names("lane")
        size, zero, body = self.scheme.results, const(0, self.dtype), list[Statement]()
        plane = self.plane(self.tiles * self.wide)
        start = (down * self.tile_columns + across) * self.wide + block * self.lanes + lane

        def number(row: int, column: int) -> Value:
            return Load(self.dtype, self.sums, start + (row * self.scheme.tile + column) * plane)

        found = self.transformed(self.scheme.result, body, number, self.scheme.tile)
        for place, value in enumerate(found):
            row, column = divmod(place, size)
            index = affine(column), affine(lane)
            at = self.pixel_at(down * size + row, across * size + column) + block * self.lanes + lane
            body.append(Store(self.pixels, at, value))
            body.append(Set(check, multiply_add(value, zero, check[index]), index))
        line = For(block, self.wide // self.lanes, (For(lane, self.lanes, tuple(body), "lanes"),))
        return [
            For(clear, self.lanes, tuple(_set(check, zero, part, clear) for part in range(size)), "lanes"),
            For(down, self.block_images * self.block_rows, (For(across, self.tile_columns, (line,)),)),
        ]

    def where_not_finite(self, check: Register, then: Sequence[Statement]) -> list[Statement]:
        """Statements done where `check` holds a NaN."""
        put, take = self.names("lane"), self.names("lane")
        size = self.scheme.results
        held = Array("checks", self.dtype, size * self.lanes, "local")
        total = Register(self.names("total").name, self.dtype)
        stores = tuple(Store(held, put + part * self.lanes, check[part, put]) for part in range(size))
        gather = Accumulate(total, "add", Load(self.dtype, held, affine(take)))
        return [
            For(put, self.lanes, stores, "lanes"),
            Set(total, const(0, self.dtype)),
            For(take, held.size, (gather,), "vector"),
            When(apply("isnan", total.value), tuple(then)),
        ]

    def plainly(self, image: Affine, first: Affine) -> list[Statement]:
        """All results of a block as plain sums."""
        part, row, across, block = (self.names(name) for name in ("image", "row", "across", "block"))
        down, tap, channel = self.names("down"), self.names("tap"), self.names("channel")
        _, source = self.source_of(image, part, first)
        size, phase = self.scheme.results, self.phase
        total = Register(self.names("total").name, self.dtype, (size, self.lanes))

        def every(body: Callable[[int, Affine], Statement]) -> Statement:
            lane = self.names("lane")
            return For(lane, self.lanes, tuple(body(column, affine(lane)) for column in range(size)), "lanes")

        def add(column: int, lane: Affine) -> Statement:
            at = first + row + down + phase.height.offset, across * size + tap + (column + phase.width.offset)
            w = Load(self.dtype, self.factors, self.plain_at(down * 3 + tap, channel) + block * self.lanes + lane)
            x = source.load(*at, channel, self.dtype)
            return Set(total, multiply_add(x, w, total[column, lane]), (affine(column), lane))

        def put(column: int, lane: Affine) -> Statement:
            at = self.pixel_at(part * (self.block_rows * size) + row, across * size + column)
            return Store(self.pixels, at + block * self.lanes + lane, total[column, lane])

        clear = every(lambda column, lane: Set(total, const(0, self.dtype), (affine(column), lane)))
        taps = For(down, 3, (For(tap, 3, (For(channel, self.channels, (every(add),)),)),))
        blocks_of = For(block, self.wide // self.lanes, (clear, taps, every(put)))
        rows = For(row, self.block_rows * size, (For(across, self.tile_columns, (blocks_of,)),))
        return [For(part, self.block_images, (rows,))]

    def results(self, image: Affine, first: Affine) -> list[Statement]:
        """What becomes of the results, those beyond the edge left out."""
        part, row, column, output = (self.names(name) for name in ("image", "row", "column", "output"))
        phase, count = self.phase, self.block_rows * self.scheme.results
        value = Load(self.dtype, self.pixels, self.pixel_at(part * count + row, column) + output)
        index = image + part, affine(output), phase.height.result(first + row), phase.width.result(affine(column))
        inside: Statement = For(output, self.outputs, tuple(self.finish(index, value)), "vector")
        inside = For(column, self.columns, (inside,))
        if self.row_blocks * count > self.rows:
            inside = If((within(first + row, 0, self.rows),), (inside,))
        return [For(part, self.block_images, (For(row, count, (inside,)),))]


def _set(register: Register, value: Value, *index: Index) -> Set:
    return Set(register, value, tuple(map(affine, index)))
