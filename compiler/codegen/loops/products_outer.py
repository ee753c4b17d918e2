"""Products by tiles of results in registers: a number of x times vectors of neighbouring lines of y.

The lines of y are cut into panels, those of x into tiles of rows. Where lines of y do not lie side by side in
memory they are packed first, all at once or, where they change with the stack, for each product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    Index,
    Kernel,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    affine,
    const,
    Load,
)
from staticnet.compiler.codegen.loops.operations import add, multiply_add
from staticnet.compiler.codegen.loops.packing import pack, packed_size, turns
from staticnet.compiler.codegen.loops.products_parts import Product, Side, Stack
from staticnet.compiler.codegen.loops.tiles import Tile, blocks, choose_tile, each_piece, split

#: products of one step of a tile that hide the latency of an addition
_ENOUGH = 6
#: operations on all results of a tile that may be printed out
_PRINTED = 200


@dataclass(frozen=True)
class Outer:
    """One way to make a product; `packs` says whether y is packed, `flipped` is for names only."""

    product: Product
    packs: bool

    # -- what it costs ----------------------------------------------------------------------------

    @cached_property
    def tile(self) -> Tile:
        p = self.product
        tile = choose_tile(p.x.count, p.y.count, p.depth, p.lanes, p.machine.registers)
        if not self.crosses:
            return tile
        # Results are turned over before they are stored: squares of them lose least.
        rows = min(p.lanes, p.x.count, p.machine.registers - 4)
        return replace(tile, rows=rows, vectors=1 if rows * 3 > p.machine.registers - 4 else 2)

    @property
    def crosses(self) -> bool:
        """Whether results are contiguous along the lines of x."""
        return self.product.dense == "x" and self.product.y.count > 1

    @cached_property
    def slots(self) -> float:
        """Roughly half cycles that all products take."""
        p = self.product
        total = self.tile.slots * p.stacked
        if self.packs:
            each = 1.0 if turns(p.y, p.dtype) else 0.6 if p.y.line == 1 else 3.0
            total += each * p.y.count * p.depth * self.repeats + 40
        elif p.y.line != 1 and p.y.count > 1:
            total += 2.5 * p.y.count * p.depth * self.row_tiles * p.stacked
        if self.crosses:
            total += 1.0 * p.x.count * p.y.count * p.stacked
        elif p.dense != "y":
            total += 2.5 * p.x.count * p.y.count * p.stacked
        return total

    @property
    def repeats(self) -> int:
        """How often y is packed."""
        total = 1
        for axis in self.product.stack:
            total *= axis.extent if axis.moves_y else 1
        return total

    @property
    def row_tiles(self) -> int:
        return sum(segment.count for segment in split(self.product.x.count, self.tile.rows))

    # -- the routine ------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """Lines of y in a panel."""
        return self.tile.vectors * self.product.lanes

    def routine(self) -> Routine:
        """Packing in a kernel of its own where one copy serves all products."""
        p = self.product
        moved = [axis for axis in p.stack if axis.moves_y]
        others = [axis for axis in p.stack if not axis.moves_y]
        if not self.packs or not p.depth:
            return Routine((self.main(self.around(p.stack, self.tiles(p.y, self.width * p.y.line))),))
        size = packed_size(p.y, p.depth, self.width)
        target = Array("packed", p.dtype, size, "local" if moved else "shared")
        packing = pack(p.names, p.y, p.depth, target, affine(0), self.width, p.lanes)
        copy = Side(target, affine(0), p.y.count, 1, self.width)
        inside = self.around(others, self.tiles(copy, self.width * p.depth))
        if not moved:
            return Routine((Kernel(f"{p.name}_pack", packing), self.main(inside)))
        return Routine((self.main(self.around(moved, [packing, *inside])),))

    def main(self, body: list[Statement]) -> Kernel:
        """A kernel of statements; a single loop is its own."""
        if len(body) == 1 and isinstance(body[0], For) and body[0].kind == "serial":
            return Kernel(self.product.name, body[0])
        return Kernel(self.product.name, For(self.product.names("once"), 1, tuple(body)))

    @staticmethod
    def around(stack: tuple[Stack, ...] | list[Stack], body: list[Statement]) -> list[Statement]:
        """Loops over the stack."""
        for axis in reversed(stack):
            ((variable, _),) = axis.variable.terms
            body = [For(variable, axis.extent, tuple(body))]
        return body

    def tiles(self, y: Side, panel: int) -> list[Statement]:
        """All tiles of one product; the panels of y lie `panel` elements apart."""
        p = self.product
        across, down = blocks(p.y.count, self.width), split(p.x.count, self.tile.rows)
        panels = sum(segment.count for segment in across)

        def one(number: Affine, column: Affine, width: int, row: Affine, rows: int) -> list[Statement]:
            return self.one(replace(y, start=y.start + number * panel), row, rows, column, width)

        def by_panels(number: Affine, column: Affine, width: int) -> list[Statement]:
            return [
                each_piece(down, p.names("tile"), lambda _, row, rows: one(number, column, width, row, rows))
            ]

        def by_rows(_: Affine, row: Affine, rows: int) -> list[Statement]:
            return [
                each_piece(
                    across, p.names("panel"), lambda number, column, width: one(number, column, width, row, rows)
                )
            ]

        stays = p.y.count * p.depth * p.dtype.itemsize <= p.machine.l2_bytes // 2
        if stays and self.row_tiles >= panels:
            return [each_piece(down, p.names("tile"), by_rows)]
        return [each_piece(across, p.names("panel"), by_panels)]

    # -- one tile ---------------------------------------------------------------------------------

    def one(self, y: Side, row: Affine, rows: int, column: Affine, width: int) -> list[Statement]:
        """`rows` lines of x from `row` on times `width` lines of y; `y` starts at the first of these."""
        p = self.product
        wide = -(-width // p.lanes) * p.lanes if self.packs else width
        vectors = -(-width // p.lanes)
        parts = 1
        while parts * rows * vectors < _ENOUGH and parts * 2 <= min(4, p.depth // 4):
            parts *= 2
        sums = Register(f"sums{parts}_{rows}_{wide}", p.dtype, (parts, rows, wide))
        zero = const(0, p.dtype)

        def every(body, extent: int = wide, outer: int = rows) -> Statement:
            line, lane = p.names("row"), p.names("lane")
            return For(line, outer, (For(lane, extent, tuple(body(affine(line), affine(lane))), "lanes"),), "unroll")

        def clear(line: Affine, lane: Affine) -> list[Statement]:
            return [Set(sums, zero, (affine(part), line, lane)) for part in range(parts)]

        def step(k: Index, part: int) -> Statement:
            def product(line: Affine, lane: Affine) -> list[Statement]:
                at = affine(part), line, lane
                x, number = p.x.load(row + line, k, p.dtype), y.load(lane, k, p.dtype)
                return [Set(sums, multiply_add(x, number, sums[at]), at)]

            return every(product)

        def total(line: Index, lane: Index) -> Value:
            found: list[Value] = [sums[part, line, lane] for part in range(parts)]
            while len(found) > 1:
                found = [add(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
            return found[0]

        unrolled = parts * (2 if rows * vectors * parts < 2 * _ENOUGH else 1)
        rounds, rest = divmod(p.depth, unrolled)
        k = p.names("k")
        body: list[Statement] = [every(clear)]
        if rounds:
            body.append(For(k, rounds, tuple(step(k * unrolled + i, i % parts) for i in range(unrolled))))
        body += [step(rounds * unrolled + i, i % parts) for i in range(rest)]
        heavy = rows * vectors * p.weight() > _PRINTED
        if not self.crosses:
            if heavy:
                return [*body, *self.staged(rows, wide, total, row, column, width, across=False)]
            return [*body, every(lambda line, lane: p.finish(row + line, column + lane, total(line, lane)), width)]
        if heavy:
            return [*body, *self.staged(rows, wide, total, row, column, width, across=True)]
        return [
            *body,
            every(lambda line, lane: p.finish(row + lane, column + line, total(lane, line)), rows, width),
        ]

    def staged(self, rows, wide, total, row, column, width, across: bool) -> list[Statement]:
        """Results put aside and taken up again by a loop, which is shorter than to print all that is done with them."""
        p = self.product
        outer, inner, pitch = (width, rows, p.lanes * -(-rows // p.lanes)) if across else (rows, width, wide)
        aside = Array("aside", p.dtype, self.width * max(p.lanes * 2, self.tile.rows), "local")
        line, lane = p.names("row"), p.names("lane")
        value = total(lane, line) if across else total(line, lane)
        put = For(lane, inner, (Store(aside, line * pitch + lane, value),), "lanes")
        taken, place = p.names("row"), p.names("lane")
        number = Load(p.dtype, aside, taken * pitch + place)
        m, n = (row + place, column + taken) if across else (row + taken, column + place)
        take = For(place, inner, tuple(p.finish(m, n, number)), "vector")
        return [For(line, outer, (put,), "unroll"), For(taken, outer, (take,))]
