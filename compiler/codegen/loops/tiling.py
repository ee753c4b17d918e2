"""Copies between arrays that lie in different orders: tile by tile, each turned over in registers."""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.loops.form import (
    Affine,
    For,
    Index,
    Load,
    Register,
    Set,
    Store,
    Value,
    Var,
    View,
    affine,
    const,
    load,
    position,
    store,
)
from staticnet.compiler.codegen.loops.nest import Nest, around, emit, plan_nest
from staticnet.compiler.codegen.loops.operations import apply, multiply
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import int64

#: the longest side of a tile: two of them must fit into the registers
_SIDE = 16


def copy_loop(x: View, out: View, machine: Machine, prefix: str = "i") -> For:
    """out = x, of one shape; they share no memory, unless they lie in the same order."""
    nest = plan_nest(out.shape, [out.strides, x.strides])
    cross = crossing(nest)
    if cross is None:
        return emit(nest, lambda index: [store(out, index, load(x, *index))], prefix)
    return _turned(x, out, nest, cross, min(machine.lanes(max(x.dtype.itemsize, 4)), _SIDE), prefix)


def crossing(nest: Nest) -> int | None:
    """The loop along which an array is contiguous that is not so along the innermost one, if there is one."""
    for strides in zip(*(loop.strides for loop in nest.loops), strict=True):
        if strides[-1] not in (0, 1, -1):
            for number, stride in enumerate(strides[:-1]):
                if stride == 1:
                    return number
    return None


def _turned(x: View, out: View, nest: Nest, cross: int, side: int, prefix: str) -> For:
    """Tiles of rows, along the innermost loop, by columns, along the one where x is contiguous.

    The last tile of a line that is no multiple of the side begins early, and writes some elements again.
    """
    last = len(nest.loops) - 1
    variables = list(nest.variables(prefix))
    tiles = {number: _Tiles(nest.extents[number], side, variables[number]) for number in (last, cross)}
    rows, columns = tiles[last], tiles[cross]
    tile = Register(f"{prefix}_tile", x.dtype, (rows.side, columns.side))

    def place(view: View, number: int, row: Index, column: Index) -> tuple[Affine, Value | None]:
        """Where an element of the tile lies: an index, and by how much the last tiles begin early."""
        inside: list[Index] = list(variables)
        inside[last], inside[cross] = rows.start + row, columns.start + column
        early = [each.early(nest.loops[k].strides[number]) for k, each in tiles.items()]
        return view.at(*nest.index(inside)), _sum([offset for offset in early if offset is not None])

    def line(name: str) -> tuple[Var, Var]:
        return Var(f"{prefix}_{name}_row"), Var(f"{prefix}_{name}_column")

    row, column = line("in")
    index, early = place(x, 1, row, column)
    read = Set(tile, Load(x.dtype, x.array, index, early), (affine(row), affine(column)))
    take = For(row, rows.side, (For(column, columns.side, (read,), "lanes"),), "unroll")
    row, column = line("out")
    index, early = place(out, 0, row, column)
    write = Store(out.array, index, tile[row, column], early)
    give = For(column, columns.side, (For(row, rows.side, (write,), "lanes"),), "unroll")
    order = [number for number in range(last) if number != cross]
    order += [number for number in (last, cross) if tiles[number].count > 1]
    counts = [tiles[number].count if number in tiles else nest.extents[number] for number in order]
    return around([variables[number] for number in order], counts, (take, give))


class _Tiles:
    """A line of `extent` elements cut into tiles of `side`; the last begins where it ends with the line."""

    def __init__(self, extent: int, side: int, variable: Var):
        self.side = min(extent, side)
        self.count = -(-extent // self.side)
        self.start = affine(variable) * self.side if self.count > 1 else Affine()
        self._most = extent - self.side

    def early(self, stride: int) -> Value | None:
        """How far the start must be moved, None where no tile is cut short."""
        if self._most % self.side == 0:
            return None
        start = position(self.start)
        moved = apply("subtract", apply("minimum", start, const(self._most, int64)), start)
        return multiply(moved, const(stride, int64))


def _sum(values: Sequence[Value]) -> Value | None:
    total: Value | None = None
    for value in values:
        total = value if total is None else apply("add", total, value)
    return total
