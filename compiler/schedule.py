"""Scheduling: an order of the groups that keeps the peak of live memory low.

Three orders are tried and the lowest kept: as written, as soon as possible by least growth, and depth
first. A state is written late: after what reads its old value, where no circle comes of it, and after
everything that may still refuse a value.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

from staticnet.compiler.dims import evaluate as size_of
from staticnet.compiler.fusion import Group
from staticnet.compiler.ir import Graph, Node, has_rule, leaves


class _Units:
    """Groups as a dependency graph of integers, with the bytes that each makes and frees."""

    def __init__(self, graph: Graph, groups: Sequence[Group], binding: Mapping[str, int]):
        self.count = len(groups)
        home = {node: index for index, group in enumerate(groups) for node in group}
        self.reads: list[dict[int, None]] = [{} for _ in groups]
        self.users: list[dict[int, None]] = [{} for _ in groups]
        for index, group in enumerate(groups):
            for node in group:
                for source in node.inputs:
                    if source in home and home[source] != index:
                        self.reads[index][home[source]] = None
                        self.users[home[source]][index] = None
        self.owner = self._owners(groups, home)
        self.bytes = [node_bytes(group[-1], binding) for group in groups]
        kept = {self.owner[home[root]] for root in graph.roots if root in home}
        self.is_kept = [index in kept for index in range(self.count)]
        self.holds = [
            dict.fromkeys(owner for source in reads if (owner := self.owner[source]) is not None)
            for reads in self.reads
        ]
        for unit in range(self.count):
            if self.owner[unit] != unit:
                self.bytes[unit] = 0
        self.holders: list[list[int]] = [[] for _ in groups]
        for unit, held in enumerate(self.holds):
            for owner in held:
                if owner != unit:
                    self.holders[owner].append(unit)
        self.soft: list[set[int]] = [set() for _ in groups]  # unit -> units it should wait for
        self._add_state_order(graph, groups, home)

    def _owners(self, groups: Sequence[Group], home: Mapping[Node, int]) -> list[int | None]:
        """The unit whose memory each unit's result lies in: its own, or for a view that of what it looks at."""
        owner: list[int | None] = []
        for index, group in enumerate(groups):
            is_view = (len(group) == 1 and has_rule(group[0].op, "view")) or group[0].op.name in {"item", "pack"}
            source = home.get(group[0].inputs[0]) if is_view else index
            owner.append(index if source == index else None if source is None else owner[source])
        return owner

    def _add_state_order(self, graph: Graph, groups: Sequence[Group], home: Mapping[Node, int]) -> None:
        may_fail = [i for i, group in enumerate(groups) if any(node.can_fail for node in group)]
        for state, value in graph.updates.items():
            writer = home.get(value)
            if writer is None:
                continue
            readers = {home[user] for user in graph.users[state] if user in home}
            self.soft[writer] |= (readers | set(may_fail)) - {writer}


def node_bytes(node: Node, binding: Mapping[str, int]) -> int:
    """Bytes of a node's values under a binding."""
    return sum(size_of(type.bytes, binding) for type in leaves(node.type))


def schedule(graph: Graph, groups: Sequence[Group], binding: Mapping[str, int]) -> list[Group]:
    """The groups in the order of least peak memory among those tried."""
    units = _Units(graph, groups, binding)
    depth = _depth_first(units)
    candidates = [
        _order(units, lambda unit, growth: (unit,)),
        _order(units, lambda unit, growth: (growth, unit)),
        _order(units, lambda unit, growth: (depth[unit],)),
    ]
    best = min(candidates, key=lambda order: peak(units, order))
    return [groups[index] for index in best]


def _order(units: _Units, priority: Callable[[int, int], tuple]) -> list[int]:
    """List scheduling: of what is ready, the unit of least priority goes next.

    The wishes in `soft` are waited for as long as something else is ready.
    """
    waiting = [len(reads) for reads in units.reads]
    remaining = [len(holders) for holders in units.holders]
    wished = [set(wishes) for wishes in units.soft]
    wishers: list[list[int]] = [[] for _ in range(units.count)]
    for unit, wishes in enumerate(units.soft):
        for other in wishes:
            wishers[other].append(unit)
    ready: list[tuple] = []
    held: list[tuple] = []
    done = [False] * units.count

    def growth(unit: int) -> int:
        freed = sum(units.bytes[s] for s in units.holds[unit] if remaining[s] == 1 and not units.is_kept[s])
        return units.bytes[unit] - freed

    def offer(unit: int) -> None:
        heapq.heappush(ready if not wished[unit] else held, (*priority(unit, growth(unit)), unit))

    for unit in range(units.count):
        if not waiting[unit]:
            offer(unit)
    order: list[int] = []
    while ready or held:
        entry = heapq.heappop(ready if ready else held)
        unit = entry[-1]
        if done[unit]:
            continue
        current = (*priority(unit, growth(unit)), unit)
        if ready and current > entry and current > ready[0]:
            heapq.heappush(ready, current)
            continue
        done[unit] = True
        order.append(unit)
        for source in units.holds[unit]:
            remaining[source] -= 1
            if remaining[source] == 1:
                for user in units.holders[source]:
                    if not done[user] and not waiting[user]:
                        offer(user)
        for user in units.users[unit]:
            waiting[user] -= 1
            if not waiting[user]:
                offer(user)
        for wisher in wishers[unit]:
            wished[wisher].discard(unit)
            if not wished[wisher] and not waiting[wisher] and not done[wisher]:
                offer(wisher)
    return order


def _depth_first(units: _Units) -> list[int]:
    """Each unit's place in a post-order walk from the last units, the heaviest operand first."""
    place = [-1] * units.count
    count = 0
    stack = [(unit, False) for unit in range(units.count) if not units.users[unit]]
    while stack:
        unit, is_ready = stack.pop()
        if place[unit] >= 0:
            continue
        if is_ready:
            place[unit] = count
            count += 1
            continue
        stack.append((unit, True))
        sources = sorted(units.reads[unit], key=lambda source: units.bytes[source])
        stack.extend((source, False) for source in sources if place[source] < 0)
    return place


def peak(units: _Units, order: Sequence[int]) -> int:
    """The largest sum of live bytes when units run in `order`, members of a group and views not counted."""
    remaining = [len(holders) for holders in units.holders]
    live = most = 0
    for unit in order:
        live += units.bytes[unit]
        most = max(most, live)
        for source in units.holds[unit]:
            remaining[source] -= 1
            if not remaining[source] and not units.is_kept[source]:
                live -= units.bytes[source]
    return most
