"""Elimination: nodes that do no work, and updates that change nothing."""

from __future__ import annotations

from staticnet.compiler.ir import Graph, Node, Type
from staticnet.compiler.ops.leaf import Item, Pack


def eliminate(graph: Graph) -> Graph:
    """Drop identities, gradient stops, casts and moves to the type a value has, and items of packed tuples.

    What nothing needs is gone by construction: a graph holds only what its results reach. A state
    whose new value is itself is no longer an update.
    """

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op.name in {"identity", "stop_gradient"}:
            return inputs[0]
        if isinstance(node.op, Item) and isinstance(inputs[0].op, Pack):
            return inputs[0].inputs[node.op.index]
        if node.op.name in {"cast", "reshape", "broadcast"} and _same_type(inputs[0], node):
            return inputs[0]
        return None

    done = graph.rebuild(visit)
    updates = {state: value for state, value in done.updates.items() if state is not value}
    return done if len(updates) == len(done.updates) else done.with_roots(done.outputs, done.output_names, updates)


def _same_type(source: Node, node: Node) -> bool:
    return isinstance(source.type, Type) and source.type == node.type
