"""Offsets in one arena for blocks with lifetimes: best fit, tried in two orders.

Largest first packs tightest but compares every pair; in order of birth, with a list of free ranges,
costs n log n. Programs of ordinary size get the better of both, very long ones the second alone.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np

#: up to this many blocks the quadratic order is tried too
PAIRWISE_LIMIT = 2048

Block = tuple[int, int, int]  # first time, last time, bytes


def allocate(blocks: Sequence[Block], alignment: int) -> tuple[list[int], int]:
    """An offset per block such that blocks alive at the same time do not overlap, and the arena's size."""
    sized = [(first, last, _round_up(size, alignment)) for first, last, size in blocks]
    offsets, total = _by_birth(sized)
    if len(sized) <= PAIRWISE_LIMIT and total > live_peak(sized):
        other, other_total = _largest_first(sized)
        if other_total < total:
            return other, other_total
    return offsets, total


def live_peak(blocks: Sequence[Block]) -> int:
    """The largest sum of bytes alive at one time."""
    changes: dict[int, int] = {}
    for first, last, size in blocks:
        changes[first] = changes.get(first, 0) + size
        changes[last + 1] = changes.get(last + 1, 0) - size
    live = most = 0
    for time in sorted(changes):
        live += changes[time]
        most = max(most, live)
    return most


def _round_up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _largest_first(blocks: Sequence[Block]) -> tuple[list[int], int]:
    order = sorted(range(len(blocks)), key=lambda i: (-blocks[i][2], blocks[i][0], i))
    offsets = [0] * len(blocks)
    firsts, lasts, starts, ends = (np.empty(len(blocks), np.int64) for _ in range(4))
    total = 0
    for count, index in enumerate(order):
        first, last, size = blocks[index]
        rivals = np.nonzero((firsts[:count] <= last) & (lasts[:count] >= first))[0]
        rivals = rivals[np.argsort(starts[rivals], kind="stable")]
        offset = _best_gap(starts[rivals].tolist(), ends[rivals].tolist(), size)
        offsets[index] = offset
        firsts[count], lasts[count], starts[count], ends[count] = first, last, offset, offset + size
        total = max(total, offset + size)
    return offsets, total


def _best_gap(starts: Sequence[int], ends: Sequence[int], size: int) -> int:
    """The start of the smallest gap that holds `size`, or the end of all rivals."""
    best = best_room = None
    reach = 0
    for start, end in zip(starts, ends, strict=True):
        room = start - reach
        if room >= size and (best_room is None or room < best_room):
            best, best_room = reach, room
        reach = max(reach, end)
    return reach if best is None else best


def _by_birth(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Best fit over a list of free ranges, the blocks in order of birth."""
    births = sorted(range(len(blocks)), key=lambda i: (blocks[i][0], -blocks[i][2], i))
    deaths = sorted(range(len(blocks)), key=lambda i: (blocks[i][1], i))
    offsets = [0] * len(blocks)
    free: list[tuple[int, int]] = []  # (offset, bytes), sorted, never adjacent
    top = total = dead = 0
    for index in births:
        first, _, size = blocks[index]
        while dead < len(deaths) and blocks[deaths[dead]][1] < first:
            top = _release(free, offsets[deaths[dead]], blocks[deaths[dead]][2], top)
            dead += 1
        if not size:
            continue
        fits = [(room, place) for place, (_, room) in enumerate(free) if room >= size]
        if fits:
            room, place = min(fits)
            offsets[index] = free[place][0]
            free[place : place + 1] = [] if room == size else [(free[place][0] + size, room - size)]
        else:
            offsets[index], top = top, top + size
        total = max(total, top)
    return offsets, total


def _release(free: list[tuple[int, int]], offset: int, size: int, top: int) -> int:
    """Give a range back, joined with free neighbours; returns the new top of what is in use."""
    if not size:
        return top
    place = bisect.bisect(free, (offset, 0))
    if place < len(free) and free[place][0] == offset + size:
        size += free.pop(place)[1]
    if place and sum(free[place - 1]) == offset:
        place -= 1
        offset, size = free[place][0], free[place][1] + size
        free.pop(place)
    if offset + size == top:
        return offset
    free.insert(place, (offset, size))
    return top
