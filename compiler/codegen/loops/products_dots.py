"""Products whose lines are contiguous in both operands: vectors along the lines, brought together at the end.

Nothing is packed, so this is the way where one operand has few lines: each number of the other is read once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from staticnet.compiler.codegen.loops.form import (
    Affine,
    For,
    Kernel,
    Load,
    Register,
    Routine,
    Set,
    Statement,
    Value,
    affine,
    const,
    within,
)
from staticnet.compiler.codegen.loops.operations import add, cast, multiply_add
from staticnet.compiler.codegen.loops.products_parts import Product, Side, clashes
from staticnet.compiler.codegen.loops.tiles import each_piece, split

#: lines that are best read side by side where their numbers come from afar, or share places in the cache
_STREAMS = 9


@dataclass(frozen=True)
class Dots:
    """One way to make a product."""

    product: Product

    @property
    def applies(self) -> bool:
        """Whether lines are contiguous."""
        p = self.product
        return p.x.step == 1 and p.y.step == 1 and p.depth > 0 and p.dtype.itemsize >= 4

    @cached_property
    def shape(self) -> tuple[float, int, int]:
        """What a product takes in half cycles, and how many lines of x and of y a tile has."""
        p = self.product
        best: tuple[float, int, int] | None = None
        most = _STREAMS if p.x.count == 1 or clashes(p.y, p.machine) else p.machine.registers
        length = p.depth * p.y.array.dtype.itemsize
        for rows in range(1, min(4, p.x.count) + 1):
            for columns in range(1, min(p.lanes, p.y.count) + 1):
                if rows * columns + min(rows, columns) + 2 > p.machine.registers or rows + columns > most:
                    continue
                slots = 0.0
                for down in split(p.x.count, rows):
                    for across in split(p.y.count, columns):
                        size = down.size * across.size
                        again = across.size if down.count > 1 and across.size * length > p.machine.l1_bytes // 2 else 0
                        step = max(size, down.size + across.size + again, 8) + 1.5
                        slots += (-(-p.depth // p.lanes) * step + 4 * size + 10) * down.count * across.count
                if best is None or slots < best[0]:
                    best = slots, rows, columns
        assert best is not None
        return best

    @property
    def slots(self) -> float:
        """Roughly half cycles that all products take."""
        p = self.product
        scattered = 2.5 * p.x.count * p.y.count if p.dense != "y" else 0
        bytes_x = p.x.count * p.depth * p.x.array.dtype.itemsize
        fetched = 0.03 * bytes_x * (-(-p.y.count // self.shape[2]) - 1) if bytes_x > p.machine.l2_bytes // 2 else 0
        return (self.shape[0] + scattered + fetched) * p.stacked

    def routine(self) -> Routine:
        """One kernel: the stack, panels of y, tiles of x."""
        p = self.product
        _, rows, columns = self.shape

        def panel(_: Affine, column: Affine, width: int) -> list[Statement]:
            return [
                each_piece(
                    split(p.x.count, rows), p.names("tile"),
                    lambda _, row, size: self.one(row, size, column, width),
                )
            ]  # fmt: skip

        body = each_piece(split(p.y.count, columns), p.names("panel"), panel)
        for axis in reversed(p.stack):
            body = For(axis.loop, axis.extent, (body,))
        return Routine((Kernel(p.name, body),))

    def one(self, row: Affine, rows: int, column: Affine, columns: int) -> list[Statement]:
        """`rows` lines of x times `columns` lines of y."""
        p = self.product
        sums = Register(f"sums{rows}_{columns}", p.dtype, (rows, columns, p.lanes))
        whole, rest = divmod(p.depth, p.lanes)

        def every(body) -> Statement:
            m, n, lane = p.names("row"), p.names("column"), p.names("lane")
            inner = For(lane, p.lanes, tuple(body(affine(m), affine(n), affine(lane))), "lanes")
            return For(n, columns, (For(m, rows, (inner,), "unroll"),), "unroll")

        def number(side: Side, line: Affine, k: Affine, ends: bool) -> Value:
            guard = (within(k, 0, p.depth),) if ends else ()
            return cast(Load(side.array.dtype, side.array, side.start + line * side.line + k, None, guard), p.dtype)

        def step(k: Affine, ends: bool) -> Statement:
            def product(m: Affine, n: Affine, lane: Affine) -> list[Statement]:
                x, y = number(p.x, row + m, k + lane, ends), number(p.y, column + n, k + lane, ends)
                return [Set(sums, multiply_add(x, y, sums[m, n, lane]), (m, n, lane))]

            return every(product)

        k = p.names("k")
        body = [every(lambda m, n, lane: [Set(sums, const(0, p.dtype), (m, n, lane))])]
        if whole:
            body.append(For(k, whole, (step(k * p.lanes, False),)))
        if rest:
            body.append(step(affine(whole * p.lanes), True))
        m, n = p.names("row"), p.names("column")

        def total(m: Affine, n: Affine) -> Value:
            found: list[Value] = [sums[m, n, place] for place in range(p.lanes)]
            while len(found) > 1:
                found = [add(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
            return found[0]

        made = p.finish(row + m, column + n, total(affine(m), affine(n)))
        return [*body, For(m, rows, (For(n, columns, tuple(made), "lanes"),), "unroll")]
