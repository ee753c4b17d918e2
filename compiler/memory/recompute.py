"""Recomputation: values that wait long for their last readers are dropped and computed again just before them.

What a training step keeps from its forward part for its backward part is most of its memory. Under a budget
the plan gives up, one after the other, those values that free most at the fullest time for the least work,
convolutions and products last. It works on the order of the steps, after the last rebuild of the graph, which
would merge what is computed twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from staticnet.compiler.dims import evaluate as size_of
from staticnet.compiler.fusion import Group
from staticnet.compiler.ir import Builder, Graph, Node, building, has_rule, leaves
from staticnet.compiler.ops.leaf import Constant, Item, SizeOf, item

#: operations, and bytes moved, of a nanosecond: only their ratio counts
_FLOPS, _BYTES = 100.0, 10.0
_ALIGNMENT = 64


@dataclass(eq=False)
class _Unit:
    """A step: its nodes, the units whose values it reads, and the bytes of its own results."""

    group: Group
    reads: list[_Unit]
    nbytes: int
    cost: float
    is_view: bool
    is_kept: bool
    is_pure: bool
    position: int = 0
    #: steps that read its value, or a view of it
    users: list[_Unit] = field(default_factory=list)

    @property
    def owner(self) -> _Unit:
        """The unit whose memory its value lies in."""
        unit = self
        while unit.is_view and unit.reads:
            unit = unit.reads[0]
        return unit


@dataclass(frozen=True)
class Recomputed:
    """The graph and the order of its steps after some values are computed more than once."""

    graph: Graph
    groups: list[Group]
    count: int


def recompute(graph: Graph, groups: Sequence[Group], binding: Mapping[str, int], limit: int) -> Recomputed:
    """Compute values again until at most `limit` bytes are live at a time, or nothing more can be gained."""
    order = _units(graph, groups, binding)
    count = 0
    while True:
        live = _live_bytes(order)
        fullest = max(range(len(order)), key=live.__getitem__, default=0)
        if not order or live[fullest] <= limit:
            break
        choice = _best(order, fullest)
        if choice is None:
            break
        order = _again(order, *choice)
        count += 1
    return _rebuilt(graph, order, count) if count else Recomputed(graph, list(groups), 0)


# -- the order as units ---------------------------------------------------------------------------


def _units(graph: Graph, groups: Sequence[Group], binding: Mapping[str, int]) -> list[_Unit]:
    home: dict[Node, _Unit] = {}
    roots = set(graph.roots)
    found: list[_Unit] = []
    for group in groups:
        inside = set(group)
        sources = dict.fromkeys(s for node in group for s in node.inputs if s not in inside and s in home)
        results = [n for n in group if n in roots or any(user not in inside for user in graph.users[n])] or [group[-1]]
        first = group[0]
        is_view = isinstance(first.op, Item) or (len(group) == 1 and has_rule(first.op, "view"))
        nbytes = 0 if is_view else sum(_aligned(size_of(t.bytes, binding)) for n in results for t in leaves(n.type))
        moved = nbytes + sum(home[source].nbytes for source in sources)
        flops = sum(_flops(node, binding) for node in group)
        unit = _Unit(
            group,
            list(dict.fromkeys(home[source] for source in sources)),
            nbytes,
            flops / _FLOPS + moved / _BYTES,
            is_view and bool(sources),
            any(node in roots for node in group),
            not any(node.can_fail or isinstance(node.op, (Constant, SizeOf)) for node in group),
        )
        found.append(unit)
        home.update(dict.fromkeys(group, unit))
    return _numbered(found)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _flops(node: Node, binding: Mapping[str, int]) -> float:
    return float(size_of(node.op.flops(node.type, *(source.type for source in node.inputs)), binding))  # type: ignore[arg-type]


def _numbered(order: list[_Unit]) -> list[_Unit]:
    for position, unit in enumerate(order):
        unit.position, unit.users = position, []
    for unit in order:
        for source in unit.reads:
            owner = source.owner
            if unit not in owner.users and not unit.is_view:
                owner.users.append(unit)
            if unit.is_kept and unit.is_view:
                owner.is_kept = True
    return order


def _last(unit: _Unit, end: int) -> int:
    return end if unit.is_kept else max((user.position for user in unit.users), default=unit.position)


def _live_bytes(order: Sequence[_Unit]) -> list[int]:
    """Bytes in use while each step runs."""
    changes = [0] * (len(order) + 1)
    for unit in order:
        changes[unit.position] += unit.nbytes
        changes[_last(unit, len(order) - 1) + 1] -= unit.nbytes
    live, running = [], 0
    for change in changes[:-1]:
        running += change
        live.append(running)
    return live


# -- what to give up --------------------------------------------------------------------------------


def _best(order: Sequence[_Unit], fullest: int) -> tuple[_Unit, int] | None:
    """The value to drop before the fullest time, and the position of its first reader after it."""
    best, most = None, 0.0
    for unit in order:
        if unit.position >= fullest or not unit.nbytes or unit.is_view or unit.is_kept or not unit.is_pure:
            continue
        later = [user.position for user in unit.users if user.position > fullest]
        if not later or any(user.position == fullest for user in unit.users):
            continue
        when = min(later)
        gain = unit.nbytes - _extended(unit, when, fullest, len(order) - 1)
        if gain > 0 and gain / (unit.cost + 1) > most:
            best, most = (unit, when), gain / (unit.cost + 1)
    return best


def _extended(unit: _Unit, when: int, fullest: int, end: int) -> int:
    """Bytes that must be kept over the fullest time only so that the unit can be computed again."""
    owners = dict.fromkeys(source.owner for source in unit.reads)
    return sum(owner.nbytes for owner in owners if _last(owner, end) <= min(fullest, when - 1))


def _again(order: list[_Unit], unit: _Unit, when: int) -> list[_Unit]:
    """The order with the unit computed once more before position `when`, for all its readers from there on."""
    views = [u for u in order if u.is_view and u.owner is unit]
    clones: dict[_Unit, _Unit] = {}
    for each in (unit, *views):
        reads = [clones.get(source, source) for source in each.reads]
        clones[each] = _Unit(each.group, reads, each.nbytes, each.cost, each.is_view, False, each.is_pure)
    for other in order[when:]:
        if other not in clones:
            other.reads = [clones.get(source, source) for source in other.reads]
    # Views that stood behind `when` had readers there alone: their clones take their place.
    late = [other for other in order[when:] if other not in clones]
    return _numbered(_needed([*order[:when], *clones.values(), *late]))


def _needed(order: list[_Unit]) -> list[_Unit]:
    """The order without what nobody reads any more: a value that had only late readers has just moved."""
    read = {source for unit in order for source in unit.reads}
    needed = [unit for unit in order if unit in read or unit.is_kept]
    return needed if len(needed) == len(order) else _needed(needed)


# -- the graph anew -----------------------------------------------------------------------------------


def _rebuilt(graph: Graph, order: Sequence[_Unit], count: int) -> Recomputed:
    """Nodes for every unit, those of clones made anew and nothing merged."""
    made: dict[_Unit, dict[Node, Node]] = {}
    groups: list[Group] = []
    origins, names = dict(graph.origins), dict(graph.names)
    final: dict[Node, Node] = {node: node for node in graph.inputs}
    with building(Builder()) as builder:
        for unit in order:
            known: dict[Node, Node] = {node: node for node in graph.inputs}
            for source in unit.reads:
                known.update(made[source])
            own: dict[Node, Node] = {}
            for node in unit.group:
                inputs = tuple(own[source] if source in own else known[source] for source in node.inputs)
                builder.origin = graph.origins.get(node, ())
                is_item = isinstance(node.op, Item)
                own[node] = item(inputs[0], node.op.index) if is_item else builder.make(node.op, inputs, node.type)  # type: ignore[attr-defined]
                if node in graph.origins:
                    origins[own[node]] = graph.origins[node]
                if node in graph.names and node not in final:
                    names[own[node]] = graph.names[node]
                final.setdefault(node, own[node])
            made[unit] = own
            groups.append(tuple(own.values()))
    result = Graph(
        graph.inputs,
        [final[node] for node in graph.outputs],
        output_names=graph.output_names,
        updates={state: final[value] for state, value in graph.updates.items()},
        names=names,
        origins=origins,
        name=graph.name,
    )
    return Recomputed(result, groups, count)
