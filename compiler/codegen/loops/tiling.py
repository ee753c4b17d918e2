"""Loop nests over arrays that do not lie in the same order: worked off in tiles, so that all share cache lines."""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.loops.form import Affine, For, If, Index, Statement, Var, within
from staticnet.compiler.codegen.loops.nest import Body, Nest, around, emit


def emit_tiled(nest: Nest, body: Body, lanes: int, prefix: str = "i") -> For:
    """As `nest.emit`, but in tiles of `lanes` x `lanes` elements where an array is contiguous along another loop
    than the innermost one; `body` may then be asked for twice.
    """
    cross = crossing(nest)
    if cross is None:
        return emit(nest, body, prefix)
    variables, extents = list(nest.variables(prefix)), nest.extents
    last = len(extents) - 1
    outer = [number for number in range(last) if number != cross]

    def at(column: Index, row: Index) -> Sequence[Statement]:
        places: list[Index] = list(variables)
        places[cross], places[last] = column, row
        return body(nest.index(places))

    if extents[last] < min(lanes, _SHORT) < extents[cross]:
        rows = For(variables[last], extents[last], tuple(at(variables[cross], variables[last])), "unroll")
        inside = For(variables[cross], extents[cross], (rows,), "vector")
    else:
        inside = _tiles(at, extents[cross], extents[last], lanes, prefix)
    if not outer:
        return inside
    return around([variables[number] for number in outer], [extents[number] for number in outer], (inside,))


#: fewer elements than this are no vector: then the other axis becomes one
_SHORT = 8


def crossing(nest: Nest) -> int | None:
    """The number of a loop, not the innermost, along which an array is contiguous that is not so along that one."""
    for strides in zip(*(loop.strides for loop in nest.loops), strict=True):
        if strides[-1] not in (0, 1, -1):
            for number, stride in enumerate(strides[:-1]):
                if abs(stride) == 1:
                    return number
    return None


def _tiles(at, columns: int, rows: int, lanes: int, prefix: str) -> For:
    """Tiles of `lanes` rows, as vectors, by as many columns, one after another."""
    tile = Var(f"{prefix}_rows")

    def block(name: str, start: Affine | int, count: int) -> For:
        outer, inner, row = Var(f"{prefix}_{name}_tile"), Var(f"{prefix}_{name}_column"), Var(f"{prefix}_{name}_row")
        width = min(lanes, columns)
        column = outer * width + inner
        vector: Statement = For(row, count, tuple(at(column, row + start)), "vector")
        if columns % width:
            vector = If((within(column, 0, columns),), (vector,))
        return around((outer, inner), (-(-columns // width), width), (vector,))

    whole, rest = divmod(rows, lanes)
    if not whole:
        return For(tile, 1, (block("rest", 0, rest),))
    inside: Statement = block("whole", tile * lanes, lanes)
    if rest:
        inside = If((within(tile, 0, whole),), (inside,), (block("rest", whole * lanes, rest),))
    return For(tile, whole + bool(rest), (inside,))
