"""Products by tiles of results in registers: a number of x times vectors of neighbouring lines of y.

The lines of y are cut into panels, those of x into tiles of rows. Where lines of y do not lie side by side in
memory they are packed first, all at once or, where they change with the stack, for each product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    Index,
    Kernel,
    Load,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    affine,
    const,
)
from staticnet.compiler.codegen.loops.operations import add, multiply_add
from staticnet.compiler.codegen.loops.packing import pack, pack_panel, packed_size, pad, turns
from staticnet.compiler.codegen.loops.products_parts import Product, Side, Stack, clashes
from staticnet.compiler.codegen.loops.tiles import Tile, blocks, choose_tile, each_piece, split, tile_slots

#: products of one step of a tile that hide the latency of an addition
_ENOUGH = 6
#: with so many panels each worker finds some
_MANY = 8
#: what a kernel more costs, in slots
_KERNEL = 400
#: rows of y as far apart as this are not fetched ahead of their use
_FAR = 1024
#: numbers as far apart as this lie in different pages
_PAGE = 4096
#: lines of x that share places in the cache are moved so much apart
_GAP_BYTES = 64
#: operations on all results of a tile that may be printed out
_PRINTED = 200

Body = Callable[[Affine, Affine], list[Statement]]


@dataclass(frozen=True)
class Outer:
    """One way to make a product; `packs` says whether y is packed."""

    product: Product
    packs: bool

    # -- how it is cut ----------------------------------------------------------------------------

    @cached_property
    def tile(self) -> Tile:
        p = self.product
        if not self.crosses:
            return choose_tile(p.x.count, p.y.count, p.depth, p.lanes, p.machine.registers)
        # Results are turned over before they are stored: of the tiles with whole vectors of rows the best.
        wide = p.machine.registers >= 32
        rows = min(p.lanes if wide else 4, p.x.count)
        sizes = [1] if wide and rows * 2 > p.machine.registers - 3 else [2, 3]
        slots = {n: tile_slots(p.x.count, p.y.count, p.depth, p.lanes, rows, n) for n in sizes}
        vectors = min(slots, key=lambda n: slots[n])
        return Tile(rows, vectors, slots[vectors])

    @property
    def crosses(self) -> bool:
        """Whether results are contiguous along the lines of x."""
        return self.product.dense == "x" and self.product.y.count > 1

    @property
    def width(self) -> int:
        """Lines of y in a panel."""
        return self.tile.vectors * self.product.lanes

    @property
    def row_tiles(self) -> int:
        return -(-self.product.x.count // self.tile.rows)

    @property
    def panels(self) -> int:
        return -(-self.product.y.count // self.width)

    @property
    def by_rows(self) -> bool:
        """Whether workers share out tiles of rows rather than panels, so that all of y is read by each."""
        p = self.product
        stays = p.y.count * p.depth * p.dtype.itemsize <= p.machine.l2_bytes // 2
        return stays and self.panels < _MANY and self.row_tiles >= self.panels

    @property
    def pads(self) -> bool:
        """Whether lines of x are copied first: where they would push each other out of the cache, or are converted."""
        p = self.product
        if not p.depth or any(axis.moves_x for axis in p.stack) or self.panels < 2:
            return False
        return p.x.array.dtype != p.dtype or (self.panels > 3 and self.is_scattered)

    @property
    def is_scattered(self) -> bool:
        """Whether numbers of x that are used one after another push each other out of the cache."""
        p = self.product
        if p.x.step == 1:
            return self.tile.rows > 4 and clashes(p.x, p.machine)
        return self.bytes_x > p.machine.l2_bytes // 2 and abs(p.x.step) * p.x.array.dtype.itemsize >= _PAGE

    @property
    def bytes_x(self) -> int:
        return self.product.x.count * self.product.depth * self.product.x.array.dtype.itemsize

    # -- what it costs ----------------------------------------------------------------------------

    @cached_property
    def slots(self) -> float:
        """Roughly half cycles that all products take."""
        p = self.product
        total = self.tile.slots * p.stacked
        if self.packs:
            each = 1.0 if turns(p.y, p.dtype) else 0.6 if p.y.line == 1 else 3.0
            total += each * p.y.count * p.depth * self.repeats + (_KERNEL if self.by_rows else 40)
        elif p.y.line != 1 and p.y.count > 1:
            total += 2.5 * p.y.count * p.depth * self.row_tiles * p.stacked
        elif p.y.step * p.y.array.dtype.itemsize >= _FAR:
            total *= 1.1 if clashes(replace(p.y, line=p.y.step), p.machine) else 1.03
        if self.crosses:
            total += 1.0 * p.x.count * p.y.count * p.stacked
        elif p.dense != "y":
            total += 2.5 * p.x.count * p.y.count * p.stacked
        if self.bytes_x > p.machine.l2_bytes // 2 and not self.by_rows:
            total += 0.02 * self.bytes_x * self.panels * p.stacked
        if self.pads:
            total += (0.6 if p.x.step == 1 else 1.2 if p.x.line == 1 else 3.0) * p.x.count * p.depth + _KERNEL
        elif self.is_scattered:
            total *= 1.3
        return total

    @property
    def repeats(self) -> int:
        """How often y is packed."""
        total = 1
        for axis in self.product.stack:
            total *= axis.extent if axis.moves_y else 1
        return total

    # -- the routine ------------------------------------------------------------------------------

    def routine(self) -> Routine:
        """The kernels: copies that serve all workers, then the sums."""
        p = self.product
        if not self.pads:
            return Routine(tuple(self.kernels()))
        gap = _GAP_BYTES // p.dtype.itemsize
        copying, x = pad(p.names, p.x, p.depth, "lines", p.dtype, p.lanes, gap)
        padded = replace(self, product=replace(p, x=x))
        return Routine((Kernel(f"{p.name}_lines", copying), *padded.kernels()))

    def kernels(self) -> list[Kernel]:
        """Packing of y is a kernel of its own where each worker takes rows; else it is done panel by panel."""
        p = self.product
        moving = [axis for axis in p.stack if axis.moves_y]
        others = [axis for axis in p.stack if not axis.moves_y]
        if not self.packs or not p.depth:
            body = self.rows_first(p.y, self.width * p.y.line) if self.by_rows else self.panels_first(p.stack)
            return [self.main(self.around(p.stack, body) if self.by_rows else body)]
        if not self.by_rows:
            return [self.main(self.panels_first(p.stack))]
        size = packed_size(p.y, p.depth, self.width)
        target = Array("packed", p.dtype, size, "local" if moving else "shared")
        packing = pack(p.names, p.y, p.depth, target, self.width, p.lanes)
        copy = Side(target, affine(0), p.y.count, 1, self.width)
        inside = self.around(others, self.rows_first(copy, self.width * p.depth))
        if moving:
            return [self.main(self.around(moving, [packing, *inside]))]
        return [Kernel(f"{p.name}_pack", packing), self.main(inside)]

    def main(self, body: list[Statement]) -> Kernel:
        """The kernel of the sums."""
        (loop,) = body
        assert isinstance(loop, For)
        return Kernel(self.product.name, loop)

    @staticmethod
    def around(stack: Sequence[Stack], body: list[Statement]) -> list[Statement]:
        """Loops over the stack."""
        for axis in reversed(stack):
            body = [For(axis.loop, axis.extent, tuple(body))]
        return body

    def rows_first(self, y: Side, pitch: int) -> list[Statement]:
        """Tiles of rows, and in each all panels of y, which lie `pitch` elements apart."""
        p = self.product

        def tile(_: Affine, row: Affine, rows: int) -> list[Statement]:
            def panel(number: Affine, column: Affine, width: int) -> list[Statement]:
                return self.one(replace(y, start=y.start + number * pitch), row, rows, column, width)

            return [each_piece(blocks(p.y.count, self.width), p.names("panel"), panel)]

        return [each_piece(split(p.x.count, self.tile.rows), p.names("tile"), tile)]

    def panels_first(self, stack: Sequence[Stack]) -> list[Statement]:
        """Panels of y, and in each all tiles of rows; a panel is packed when it is come to."""
        p = self.product
        packs = self.packs and p.depth > 0
        moving = [axis for axis in stack if axis.moves_y or not packs]
        others = [axis for axis in stack if axis not in moving]
        target = Array("packed", p.dtype, p.depth * self.width, "local")
        copy = Side(target, affine(0), p.y.count, 1, self.width)

        def panel(_: Affine, column: Affine, width: int) -> list[Statement]:
            lines = replace(p.y, start=p.y.start + column * p.y.line)
            y = copy if packs else lines
            tiles: list[Statement] = [
                each_piece(
                    split(p.x.count, self.tile.rows), p.names("tile"),
                    lambda _, row, rows: self.one(y, row, rows, column, width),
                )
            ]  # fmt: skip
            if not packs:
                return tiles
            packing = pack_panel(p.names, lines, p.depth, target, affine(0), self.width, width, p.lanes)
            return [*packing, *self.around(others, tiles)]

        return self.around(moving, [each_piece(blocks(p.y.count, self.width), p.names("panel"), panel)])

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

        def every(body: Body, extent: int = wide, outer: int = rows) -> Statement:
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
        outer, inner = (width, rows) if self.crosses else (rows, width)

        def result(line: Index, lane: Index) -> Value:
            return total(lane, line) if self.crosses else total(line, lane)

        def finish(line: Index, lane: Index, value: Value) -> list[Statement]:
            m, n = (lane, line) if self.crosses else (line, lane)
            return p.finish(row + m, column + n, value)

        if rows * vectors * p.weight() <= _PRINTED:
            return [*body, every(lambda line, lane: finish(line, lane, result(line, lane)), inner, outer)]
        # Put aside and taken up again by a loop, which is shorter than to print all that is done with results.
        pitch = -(-inner // p.lanes) * p.lanes
        aside = Array("aside", p.dtype, self.width * max(p.lanes * 2, self.tile.rows), "local")
        line, lane = p.names("row"), p.names("lane")
        take = For(lane, inner, tuple(finish(line, lane, Load(p.dtype, aside, line * pitch + lane))), "vector")
        put = every(lambda line, lane: [Store(aside, line * pitch + lane, result(line, lane))], inner, outer)
        return [*body, put, For(line, outer, (take,))]
