"""How convolutions are cut: loops of reductions merged, extents split, and the tile of sums kept in registers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from staticnet.compiler.codegen.machine import Machine

#: pieces at the edge of an image are clipped if there are that many channels, and no more taps across
CLIPPED_CHANNELS, CLIPPED_TAPS = 8, 7

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

    def pieces(self) -> Iterator[Segment]:
        """Each piece as a segment of its own."""
        for number in range(self.count):
            yield Segment(self.start + number * self.size, self.size, 1)


def split(total: int, most: int) -> list[Segment]:
    """Pieces of nearly equal size, at most `most`."""
    if total <= 0:
        return []
    pieces = -(-total // most)
    size, longer = divmod(total, pieces)
    found = [Segment(0, size + 1, longer), Segment(longer * (size + 1), size, pieces - longer)]
    return [segment for segment in found if segment.count]


def runs(items: Sequence[object]) -> Iterator[tuple[int, int]]:
    """From where to where equal items stand one behind the other."""
    start = 0
    for _, group in itertools.groupby(items):
        end = start + len(list(group))
        yield start, end
        start = end


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
    height: int, width: int, channels: int, depth: int, lanes: int, machine: Machine, most_rows: int = 1 << 30
) -> tuple[Tile, float]:
    """The tile that takes the fewest slots for a `height` x `width` x `channels` result, and how many it takes.

    A slot is half a cycle of a core with two multiply-add units and two load ports: a tile takes as many as it
    has products or loads in each of `depth` steps, and at least the eight that hide the latency of an addition.
    The weights of a block of channels should stay in the cache: the part of it that they take costs something.
    """
    best: tuple[float, Tile] | None = None
    registers = machine.registers
    spare = 1 if registers >= 32 else 2
    for vectors in range(1, min(4, -(-channels // lanes)) + 1):
        most = (registers - vectors - spare) // vectors
        for columns in reversed(range(1, min(width, most) + 1)):
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
                weights = depth * vectors * machine.vector_bytes
                cost *= 1 + 0.01 * (copies + rows) + 0.2 * weights / machine.l2_bytes
                if best is None or cost < best[0]:
                    best = cost, Tile(rows, columns, vectors)
    assert best is not None
    return best[1], best[0]


def choose_depthwise_tile(width: int, channels: int, taps: int, lanes: int, registers: int) -> Tile:
    """The tile of a depthwise sum: besides the sums of its pixels a row of weights and one of pixels are held."""
    vectors = 2 if channels > lanes and registers - 4 * taps >= 16 else 1
    most = max(4, (registers - 2) // vectors - 2 * taps)
    return Tile(1, min(width, most), vectors)


@dataclass(frozen=True)
class RowTile:
    """`rows` sums (never more than `most`) of as many vectors of output channels as are kept in registers."""

    rows: int
    most: int
    vectors: int


def innermost(extents: Sequence[int], most: int) -> tuple[int, int]:
    """The innermost loop that does not fit into `most` rows with those in it (-1 if all do), and the rows of these."""
    depth, inside = len(extents) - 1, 1
    while depth >= 0 and extents[depth] * inside <= most:
        inside *= extents[depth]
        depth -= 1
    return depth, inside


def choose_rows(
    extents: Sequence[int], channels: int, windows: int, lanes: int, registers: int
) -> tuple[RowTile, float]:
    """The tile that takes the fewest slots, as `choose_tile` counts them, for loops of these extents over rows."""
    best: tuple[float, RowTile] | None = None
    spare = 1 if registers >= 32 else 2
    for vectors in range(1, min(4, -(-channels // lanes)) + 1):
        most = (registers - vectors - spare) // vectors
        depth, inside = innermost(extents, most)
        outside, cut = 1, 1
        if depth >= 0:
            cut = extents[depth]
            for extent in extents[:depth]:
                outside *= extent
        for rows in range(1, min(most // inside, cut) + 1):
            cost, copies = 0.0, 0
            for block in blocks(channels, vectors * lanes):
                wide = -(-block.size // lanes)
                for segment in split(cut, rows):
                    size = segment.size * inside
                    slots = max(size * wide, size + wide, 8) + 1.5
                    cost += (windows * slots + 10 + 4 * size * wide) * segment.count * outside * block.count
                    copies += 1
            cost *= 1 + 0.01 * copies
            if best is None or cost < best[0]:
                best = cost, RowTile(rows * inside, most, vectors)
    assert best is not None
    return best[1], best[0]
