"""How convolutions are cut: loops of reductions merged, extents split, and the tile of sums kept in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# -- loops ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One loop of a reduction: its extent and by how much the places of several arrays grow with it."""

    extent: int
    strides: tuple[int, ...]


def merge(steps: Sequence[Step]) -> list[Step]:
    """The loops with those of extent 1 left out, and those that go on where the next one ends joined with it."""
    merged: list[Step] = []
    for step in steps:
        if step.extent == 1:
            continue
        if merged and all(
            far == near * step.extent for far, near in zip(merged[-1].strides, step.strides, strict=True)
        ):
            step = Step(merged.pop().extent * step.extent, step.strides)
        merged.append(step)
    return merged


def row_major(extents: Sequence[int], order: Sequence[int], unit: int = 1) -> tuple[int, ...]:
    """The strides of a dense array whose axes lie in `order`, slowest first."""
    strides = [0] * len(extents)
    for axis in reversed(order):
        strides[axis] = unit
        unit *= extents[axis]
    return tuple(strides)


# -- splitting ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """`count` pieces of `size` each, one behind the other from `start` on."""

    start: int
    size: int
    count: int


def split(total: int, most: int) -> list[Segment]:
    """Pieces of nearly equal size, at most `most`."""
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


# -- tiles --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """Results made together: `rows` x `columns` pixels times `vectors` of output channels."""

    rows: int
    columns: int
    vectors: int


def choose_tile(
    height: int, width: int, channels: int, depth: int, lanes: int, registers: int, most_rows: int = 1 << 30
) -> tuple[Tile, float]:
    """The tile that takes the fewest slots for a `height` x `width` x `channels` result, and how many it takes.

    A slot is half a cycle of a core with two multiply-add units and two load ports: a tile takes as many as it
    has products or loads in each of `depth` steps, and at least the eight that hide the latency of an addition.
    """
    best: tuple[float, Tile] | None = None
    spare = 1 if registers >= 32 else 2
    for vectors in range(1, min(4, -(-channels // lanes)) + 1):
        most = (registers - vectors - spare) // vectors
        for columns in range(1, min(width, most) + 1):
            for rows in range(1, min(height, most_rows, most // columns) + 1):
                cost, copies = 0.0, 0
                for block in blocks(channels, vectors * lanes):
                    wide = -(-block.size // lanes)
                    for down in split(height, rows):
                        for across in split(width, columns):
                            pixels = down.size * across.size
                            steps = max(pixels * wide, pixels + wide, 8) + 1.5
                            ends = 10 + 3 * pixels * wide
                            cost += (depth * steps + ends) * block.count * down.count * across.count
                            copies += 1
                cost *= 1 + 0.01 * copies
                if best is None or cost < best[0]:
                    best = cost, Tile(rows, columns, vectors)
    assert best is not None
    return best[1], best[0]


@dataclass(frozen=True)
class RowTile:
    """`rows` of the innermost of `outer` loops and all of `inner` ones, times `vectors` of output channels."""

    outer: tuple[Step, ...]
    inner: tuple[Step, ...]
    rows: int
    vectors: int


def choose_rows(steps: Sequence[Step], channels: int, windows: int, lanes: int, registers: int) -> RowTile:
    """The tile that takes the fewest slots, as `choose_tile` counts them."""
    best: tuple[float, RowTile] | None = None
    spare = 1 if registers >= 32 else 2
    steps = tuple(steps) or (Step(1, (0, 0)),)
    for vectors in range(1, min(4, -(-channels // lanes)) + 1):
        most = (registers - vectors - spare) // vectors
        depth, inside = len(steps) - 1, 1
        while depth and steps[depth].extent * inside <= most:
            inside *= steps[depth].extent
            depth -= 1
        outside = 1
        for step in steps[:depth]:
            outside *= step.extent
        for rows in range(1, min(most // inside, steps[depth].extent) + 1):
            cost, copies = 0.0, 0
            for block in blocks(channels, vectors * lanes):
                wide = -(-block.size // lanes)
                for segment in split(steps[depth].extent, rows):
                    size = segment.size * inside
                    slots = max(size * wide, size + wide, 8) + 1.5
                    cost += (windows * slots + 10 + 4 * size * wide) * segment.count * outside * block.count
                    copies += 1
            cost *= 1 + 0.01 * copies
            if best is None or cost < best[0]:
                best = cost, RowTile(steps[: depth + 1], steps[depth + 1 :], rows, vectors)
    assert best is not None
    return best[1]
