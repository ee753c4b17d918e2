"""Cutting extents into pieces, and how large a tile of results is best kept in registers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from staticnet.compiler.codegen.loops.form import Affine, For, If, Statement, Var, affine, within


class Names:
    """Loop variables of one kernel, all of different names."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __call__(self, name: str) -> Var:
        return Var(f"{name}{next(self._numbers)}")


@dataclass(frozen=True)
class Segment:
    """`count` pieces of `size` each, one behind the other from `start` on."""

    start: int
    size: int
    count: int


def split(total: int, most: int) -> list[Segment]:
    """As few pieces of at most `most` as there can be, none more than one longer than another, longer ones first."""
    if total <= 0:
        return []
    pieces = -(-total // most)
    size, longer = divmod(total, pieces)
    found = [Segment(0, size + 1, longer), Segment(longer * (size + 1), size, pieces - longer)]
    return [segment for segment in found if segment.count]


def blocks(total: int, width: int) -> list[Segment]:
    """Pieces of `width`, and one with what is left."""
    full, rest = divmod(total, width)
    found = [Segment(0, width, full), Segment(full * width, rest, 1)]
    return [segment for segment in found if segment.count and segment.size]


def each_piece(
    segments: Sequence[Segment], variable: Var, body: Callable[[Affine, Affine, int], Sequence[Statement]]
) -> For:
    """A loop over all pieces: `body` gets the number of a piece, where it starts, and its size."""
    inside: tuple[Statement, ...] = ()
    before = sum(segment.count for segment in segments)
    total = before
    for segment in reversed(segments):
        before -= segment.count
        start = variable * segment.size + (segment.start - before * segment.size)
        own = tuple(body(affine(variable), start, segment.size))
        inside = (If((within(variable, before, before + segment.count),), own, inside),) if inside else own
    return For(variable, total, inside)


@dataclass(frozen=True)
class Tile:
    """Results made together: `rows` times `vectors` of columns; `slots` is what all tiles take, in half cycles."""

    rows: int
    vectors: int
    slots: float


def tile_slots(rows: int, columns: int, depth: int, lanes: int, size: int, vectors: int) -> float:
    """What tiles of `size` rows and `vectors` take for `rows` x `columns` sums of `depth` products, in slots.

    A slot is half a cycle of a core with two multiply-add units and two load ports: each step of the depth
    takes as many as there are products or loads in it, and at least the eight that hide the latency of an addition.
    """
    slots = 0.0
    for down in split(rows, size):
        for across in blocks(columns, vectors * lanes):
            wide = -(-across.size // lanes)
            step = max(down.size * wide, down.size + wide, 8) + 1.5
            slots += (depth * step + 10 + 3 * down.size * wide) * down.count * across.count
    return slots


def choose_tile(rows: int, columns: int, depth: int, lanes: int, registers: int) -> Tile:
    """The tile that takes the fewest slots for `rows` x `columns` sums of `depth` products."""
    best: Tile | None = None
    spare = 1 if registers >= 32 else 2
    for vectors in range(1, min(registers // 2, -(-columns // lanes)) + 1):
        most = max(1, (registers - vectors - spare) // vectors)
        for size in range(1, min(rows, most) + 1):
            slots = tile_slots(rows, columns, depth, lanes, size, vectors)
            if best is None or slots < best.slots:
                best = Tile(size, vectors, slots)
    assert best is not None, (rows, columns)
    return best
