"""Lines of an operand copied so that a vector takes the same place of neighbouring lines: (panel, place, line)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticnet.compiler.codegen.loops.form import Affine, Array, For, Register, Set, Statement, Store, affine, const
from staticnet.compiler.codegen.loops.products_parts import Side
from staticnet.compiler.codegen.loops.tiles import Names, blocks, each_piece
from staticnet.compiler.dtypes import DType

#: element sizes of which a square of numbers is turned over in registers
_TURNED = (4, 8)
#: so many squares beside each other are turned over before those below them
_RUN = 8


def packed_size(side: Side, depth: int, width: int) -> int:
    """Elements of the copy: whole panels of `width` lines."""
    return -(-side.count // width) * width * depth


def turns(side: Side, dtype: DType) -> bool:
    """Whether lines are contiguous, so that squares are read along lines and written across."""
    return side.step == 1 and side.line != 1 and dtype.itemsize in _TURNED


def pack(names: Names, side: Side, depth: int, target: Array, width: int, lanes: int) -> For:
    """The loop over panels that copies all lines into `target`."""

    def panel(number: Affine, first: Affine, size: int) -> Sequence[Statement]:
        lines = replace(side, start=side.start + first * side.line)
        return pack_panel(names, lines, depth, target, number * (width * depth), width, size, lanes)

    return each_piece(blocks(side.count, width), names("panel"), panel)


def pack_panel(
    names: Names, side: Side, depth: int, target: Array, to: Affine, width: int, size: int, lanes: int
) -> list[Statement]:
    """Statements that copy the first `size` lines to `target` from `to` on, places `width` apart.

    Whole vectors of `lanes` lines are written; lines that are not there are zero.
    """
    copied = _turned if turns(side, target.dtype) else _gathered
    return copied(names, side, depth, target, to, width, size, lanes)


def pad(names: Names, side: Side, depth: int, name: str, dtype: DType, lanes: int, gap: int) -> tuple[For, Side]:
    """The loop that copies lines so that each is contiguous and at least `gap` away from the next, and the copy."""
    pitch = -(-depth // lanes) * lanes + gap
    target = Array(name, dtype, side.count * pitch, "shared")
    across = replace(side, count=depth, line=side.step, step=side.line)
    if turns(across, dtype):

        def some(_: Affine, first: Affine, count: int) -> Sequence[Statement]:
            lines = replace(across, start=across.start + first)
            return pack_panel(names, lines, count, target, first * pitch, pitch, depth, lanes)

        copying = each_piece(blocks(side.count, _RUN * lanes), names("lines"), some)
    else:
        line, k = names("line"), names("k")
        body = For(k, depth, (Store(target, line * pitch + k, side.load(line, k, dtype)),), "vector")
        copying = For(line, side.count, (body,))
    return copying, Side(target, affine(0), side.count, pitch, 1)


def _gathered(
    names: Names, side: Side, depth: int, target: Array, to: Affine, width: int, size: int, lanes: int
) -> list[Statement]:
    """Place by place, as many lines at a time as there are."""
    k, line, rest = names("k"), names("line"), names("rest")
    missing, at = -size % lanes, to + k * width
    body = [For(line, size, (Store(target, at + line, side.load(line, k, target.dtype)),), "vector")]
    if missing:
        body.append(For(rest, missing, (Store(target, at + size + rest, const(0, target.dtype)),), "vector"))
    return [For(k, depth, tuple(body))]


def _turned(
    names: Names, side: Side, depth: int, target: Array, to: Affine, width: int, size: int, lanes: int
) -> list[Statement]:
    """Square by square: rows of it are read along the lines, and what stands below one another is written."""
    dtype = target.dtype

    def square(first: Affine, lines: int, k: Affine, long: int) -> list[Statement]:
        numbers = Register(f"square{lines}_{long}", dtype, (lanes, lanes))
        line, place, lane = names("line"), names("place"), names("lane")
        read = Set(numbers, side.load(first + line, k + lane, dtype), (affine(line), affine(lane)))
        body: list[Statement] = [For(line, lines, (For(lane, long, (read,), "lanes"),), "unroll")]
        if lines < lanes:
            line, lane = names("line"), names("lane")
            index = affine(line) + lines, affine(lane)
            fill = For(lane, long, (Set(numbers, const(0, dtype), index),), "lanes")
            body.append(For(line, lanes - lines, (fill,), "unroll"))
        lane = names("lane")
        at = to + (k + place) * width + first + lane
        written = For(lane, lanes, (Store(target, at, numbers[lane, place]),), "lanes")
        return [*body, For(place, long, (written,), "unroll")]

    return [
        each_piece(
            blocks(size, lanes), names("part"),
            lambda _, first, lines: [
                each_piece(
                    blocks(depth, lanes), names("square"), lambda _, k, long: square(first, lines, k, long)
                )
            ],
        )
    ]  # fmt: skip
