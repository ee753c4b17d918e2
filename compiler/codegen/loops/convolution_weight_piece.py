"""One tile of the sums of a weight gradient: rows, which are (tap, channel) pairs, times vectors of output channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from staticnet.compiler.codegen.loops.convolution_parts import Names, Source, loop
from staticnet.compiler.codegen.loops.convolution_tiles import Step
from staticnet.compiler.codegen.loops.form import (
    Affine,
    For,
    If,
    Load,
    Register,
    Set,
    Statement,
    Store,
    affine,
    within,
)
from staticnet.compiler.codegen.loops.operations import cast, multiply_add

if TYPE_CHECKING:
    from staticnet.compiler.codegen.loops.convolution_weight import Gradient


@dataclass(frozen=True)
class WeightPiece:
    """Tiles from one row of the sums on, for `outputs` outputs, and the windows that are added to them.

    `sums`, `pixel` and `factor` are the places of the sum, of the pixel of x and of the number of g for the first
    row, output and window. Windows are `count` rows of the columns `columns[0]` ... `columns[1] - 1`; with `row`, the
    row of x that the first row of windows sees, those of its rows outside the image are left out.
    """

    core: Gradient
    names: Names
    x: Source
    g: Source
    sums: Affine
    pixel: Affine
    factor: Affine
    outputs: int
    count: int
    columns: tuple[int, int]
    row: Affine | None = None

    def moved(self, step: Step, number: Affine) -> WeightPiece:
        """The piece so many steps further."""
        return replace(self, pixel=self.pixel + number * step.strides[0], sums=self.sums + number * step.strides[1])

    def statements(self, rows: Sequence[Step]) -> list[Statement]:
        """One tile, of all rows that `rows` lead through: its sums loaded, the windows added, stored."""
        core, g = self.core, self.g
        size = 1
        for step in rows:
            size *= step.extent
        sums = Register(self.names("sums").name, core.dtype, (size, self.outputs))

        def every_row(body: Callable[[Affine, Affine, Affine, Affine], Statement]) -> Statement:
            """What `body` gives for each (number of a row, lane, place from the first row's in x, and in the sums)."""
            lane = self.names("lane")
            variables = [self.names("row") for _ in rows]
            number, pixel, place = affine(0), affine(0), affine(0)
            for variable, step in zip(variables, rows, strict=True):
                number = number * step.extent + variable
                pixel, place = pixel + variable * step.strides[0], place + variable * step.strides[1]
            inside: Statement = For(lane, self.outputs, (body(number, affine(lane), pixel, place),), "lanes")
            for variable, step in zip(reversed(variables), reversed(rows), strict=True):
                inside = For(variable, step.extent, (inside,), "unroll")
            return inside

        def begin(number: Affine, lane: Affine, pixel: Affine, place: Affine) -> Statement:
            return Set(sums, Load(core.dtype, core.sums, self.sums + place + lane), (number, lane))

        def end(number: Affine, lane: Affine, pixel: Affine, place: Affine) -> Statement:
            return Store(core.sums, self.sums + place + lane, sums[number, lane])

        def window(row: Affine, column: Affine) -> Statement:
            along, each = (self.x.strides[2], core.groups) if core.depthwise else (0, 1)
            down, across = core.down.stride * self.x.strides[0], core.across.stride * self.x.strides[1]
            corner = self.pixel + row * down + column * across
            opposite = self.factor + row * g.strides[0] + column * g.strides[1]

            def product(number: Affine, lane: Affine, pixel: Affine, place: Affine) -> Statement:
                left = cast(Load(self.x.array.dtype, self.x.array, corner + pixel + lane * along), core.dtype)
                right = Load(core.dtype, g.array, opposite + lane * (each * g.strides[2]))
                return Set(sums, multiply_add(left, right, sums[number, lane]), (number, lane))

            return every_row(product)

        def row_of_windows(row: Affine) -> list[Statement]:
            first, last = self.columns
            inside = loop(self.names, "across", last - first, lambda column: [window(row, column + first)])
            if self.row is None:
                return inside
            return [If((within(self.row + row * core.down.stride, 0, core.height),), tuple(inside))]

        return [every_row(begin), *loop(self.names, "down", self.count, row_of_windows), every_row(end)]
