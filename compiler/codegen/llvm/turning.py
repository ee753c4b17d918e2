"""A square of numbers turned over in registers: vectors of rows in, a vector of one column out.

Shuffles of two operands that every vector unit has as one instruction: first halves of 16-byte pieces are
interleaved, then whole pieces exchanged. Asked for all columns, n rows take n * log2(n) of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.llvm.block import Text
from staticnet.compiler.codegen.llvm.types import vector

_PIECE_BYTES = 16


class Turned:
    """Rows of `width` numbers each; their number is a power of two, and a row may be poison."""

    def __init__(self, text: Text, rows: Sequence[str], width: int, kind: str, itemsize: int):
        self.text, self.kind = text, kind
        self.rows, self.width, self.count = rows, width, len(rows)
        self.piece = min(self.count, max(1, _PIECE_BYTES // itemsize))

    def column(self, number: int) -> str:
        """The numbers at one place of all rows."""
        block, place = divmod(number, self.count)
        pieces = self.count // self.piece
        return self._exchanged(0, pieces, block, *divmod(place, self.piece))

    def _exchanged(self, group: int, groups: int, block: int, piece: int, place: int) -> str:
        """Of `groups` groups of rows, one after another, the pieces whose number ends in the same bits as `piece`."""
        if groups == 1:
            return self._interleaved(group * self.piece, self.piece, block, place)
        half = groups // 2
        x, y = (self._exchanged(first, half, block, piece, place) for first in (group, group + half))
        places = [
            source * self.count + number * self.piece + i
            for source in (0, 1)
            for number in range((piece // half) % 2, self.count // self.piece, 2)
            for i in range(self.piece)
        ]
        return self._shuffled(x, y, places)

    def _interleaved(self, row: int, rows: int, block: int, place: int) -> str:
        """In each piece, column by column, what `rows` rows hold in the columns whose number starts like `place`."""
        if rows == 1:
            return self._row(row, block)
        half = rows // 2
        x, y = (self._interleaved(first, half, block, place // 2) for first in (row, row + half))
        places = [
            source * self.count + piece + unit + i
            for piece in range(0, self.count, self.piece)
            for unit in range(place % 2 * self.piece // 2, (place % 2 + 1) * self.piece // 2, half)
            for source in (0, 1)
            for i in range(half)
        ]
        return self._shuffled(x, y, places)

    def _row(self, number: int, block: int) -> str:
        """As many numbers of a row as there are rows, those of a block of columns."""
        row = self.rows[number]
        if self.width == self.count or row == "poison":
            return row
        places = range(block * self.count, (block + 1) * self.count)
        return self._shuffle(row, "poison", self.width, [place if place < self.width else None for place in places])

    def _shuffled(self, x: str, y: str, places: Sequence[int]) -> str:
        return "poison" if x == y == "poison" else self._shuffle(x, y, self.count, places)

    def _shuffle(self, x: str, y: str, width: int, places: Sequence[int | None]) -> str:
        kind = vector(self.kind, width)
        wanted = ", ".join("i32 poison" if place is None else f"i32 {place}" for place in places)
        return self.text.do(f"shufflevector {kind} {x}, {kind} {y}, <{len(places)} x i32> <{wanted}>")
