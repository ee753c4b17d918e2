"""Lowering: composites become the primitives they stand for, unless the target computes them itself."""

from __future__ import annotations

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import Graph, Node, apply, has_rule
from staticnet.compiler.ops.leaf import Item, Pack, item
from staticnet.compiler.target import Target


def lower(graph: Graph, target: Target, *, sweeps: int = 20) -> Graph:
    """The graph in ops that the target runs. Raises CompilerError for an op that nobody can run."""
    for _ in range(sweeps):
        if not any(_needs_expansion(node, target) for node in graph.nodes):
            _check(graph)
            return graph

        def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            if isinstance(node.op, Item):
                return item(inputs[0], node.op.index)
            if not _needs_expansion(node, target):
                return None
            parts = node.op.expand(*inputs)
            return apply(Pack(), *parts) if isinstance(parts, tuple) else parts

        graph = graph.rebuild(visit)
    names = sorted({node.op.name for node in graph.nodes if _needs_expansion(node, target)})
    raise CompilerError(f"the expansions of {', '.join(names)} do not end after {sweeps} sweeps")


def _needs_expansion(node: Node, target: Target) -> bool:
    if not has_rule(node.op, "expand") or target.keeps(node.op.name):
        return False
    return not has_rule(node.op, "kernel")


def _check(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op.name in {"input", "item", "pack"} or has_rule(node.op, "kernel"):
            continue
        places = graph.origins.get(node)
        raise CompilerError(
            f"op {node.op.name} has neither a kernel nor an expansion", origin=places[0] if places else None
        )
