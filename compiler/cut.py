"""The newest part of a graph, cut off from its past: work on it costs what it costs, however long that past is."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from staticnet.compiler.ir import Node, current_builder
from staticnet.compiler.ops.leaf import make_input

#: nodes of the past that stay in sight, so that rewrite rules see whole patterns
MOST_PAST = 64


class Cut:
    """`roots` with stand-ins, which are inputs, for what is older than all of `targets` and far away.

    Nothing older than the oldest target can depend on one, so gradients do not go there. `restore` puts
    what was cut away back; nodes that nobody has changed meanwhile come back as the very nodes they were.
    """

    def __init__(self, roots: Sequence[Node], targets: Sequence[Node]):
        kept, past = _newest((*roots, *targets), min((node.serial for node in targets), default=0))
        self._originals: dict[Node, Node] = {}
        builder = current_builder()
        new: dict[Node, Node] = {}
        with builder.at(()):
            for node in past:
                new[node] = make_input("past", node.type)  # type: ignore[arg-type]
        self._first = min((node.serial for node in new.values()), default=None)
        for node in kept:
            inputs = tuple([new[source] for source in node.inputs])
            new[node] = node if inputs == node.inputs else _again(node, inputs)
        self._originals = {twin: node for node, twin in new.items() if twin is not node}
        self.roots, self.targets = [new[node] for node in roots], [new[node] for node in targets]

    def restore(self, nodes: Sequence[Node]) -> list[Node]:
        """Nodes computed from those of the cut, as computed from the whole graph."""
        if self._first is None:
            return list(nodes)
        new: dict[Node, Node] = {}
        for node in _since(nodes, self._first):
            inputs = tuple([new.get(source, source) for source in node.inputs])
            original = self._originals.get(node)
            if original is not None and (not node.inputs or original.inputs == inputs):
                new[node] = original
            else:
                new[node] = node if inputs == node.inputs else _again(node, inputs)
        return [new.get(node, node) for node in nodes]


def _newest(roots: Sequence[Node], oldest: int) -> tuple[list[Node], list[Node]]:
    """Everything that `roots` need back to `oldest` and a little further; and the nodes that come before that."""
    seen = set(roots)
    heap = [(-node.serial, node) for node in seen]
    heapq.heapify(heap)
    kept: list[Node] = []
    past_kept = 0
    while heap and (-heap[0][0] >= oldest or past_kept < MOST_PAST):
        _, node = heapq.heappop(heap)
        kept.append(node)
        past_kept += node.serial < oldest
        for source in node.inputs:
            if source not in seen:
                seen.add(source)
                heapq.heappush(heap, (-source.serial, source))
    rest = sorted((node for _, node in heap), key=lambda node: node.serial)
    leaves = [node for node in rest if not node.inputs]
    return [*leaves, *reversed(kept)], [node for node in rest if node.inputs]


def _since(roots: Sequence[Node], first: int) -> list[Node]:
    """The nodes made since `first` that `roots` need, each after what it reads."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node.serial >= first and node not in seen:
            seen.add(node)
            stack.extend(node.inputs)
    return sorted(seen, key=lambda node: node.serial)


def _again(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The same op on other inputs of the same types."""
    builder = current_builder()
    with builder.at(builder.origins.get(node, ())):
        result = builder.make(node.op, inputs, node.type)
    if node in builder.names:
        builder.names.setdefault(result, builder.names[node])
    return result
