"""Common subexpressions: equal ops on the same operands become one node."""

from __future__ import annotations

from staticnet.compiler.ir import Graph, Node, apply


def cse(graph: Graph) -> Graph:
    """Merge equal nodes. A commutative op counts as equal with its operands swapped."""
    order: dict[Node, int] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        for source in inputs:
            order.setdefault(source, len(order))
        if node.op.name not in COMMUTATIVE or order[inputs[0]] <= order[inputs[1]]:
            return None
        return apply(node.op, inputs[1], inputs[0])

    return graph.rebuild(visit)


COMMUTATIVE = frozenset({"add", "multiply", "equal", "not_equal", "logical_and", "logical_or", "logical_xor"})
