"""The verifier: what must hold of every graph, checked after each pass."""

from __future__ import annotations

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import REGISTRY, Graph, Node


def verify(graph: Graph) -> Graph:
    """The graph itself; raises CompilerError naming the node that breaks a rule.

    Types agree with the shape rules, operands come before their users, inputs are inputs and distinct,
    every other leaf is a constant, updates keep the type of their state.
    """
    inputs = set(graph.inputs)
    if len(inputs) != len(graph.inputs):
        raise CompilerError(f"graph {graph.name} lists an input twice")
    seen: set[Node] = set()
    for node in graph.nodes:
        _verify_node(graph, node, inputs, seen)
        seen.add(node)
    for state, value in graph.updates.items():
        if state not in inputs or getattr(state.op, "kind", "") != "state":
            raise _broken(graph, state, "is updated but is no state of the graph")
        if state.type != value.type:
            raise _broken(graph, value, f"has type {value.type} but updates a state of type {state.type}")
    return graph


def _verify_node(graph: Graph, node: Node, inputs: set[Node], seen: set[Node]) -> None:
    if REGISTRY.get(node.op.name) is not type(node.op):
        raise _broken(graph, node, "is of an op that is not registered")
    for source in node.inputs:
        if source not in seen:
            raise _broken(graph, node, f"reads {source.op} before it is computed")
    if (node.op.name == "input") != (node in inputs):
        raise _broken(graph, node, "is an input that the graph does not list, or lists something that is none")
    inferred = node.op.infer(*(source.type for source in node.inputs))  # type: ignore[arg-type]
    if inferred != node.type:
        raise _broken(graph, node, f"has type {node.type}, its shape rule says {inferred}")


def _broken(graph: Graph, node: Node, what: str) -> CompilerError:
    places = graph.origins.get(node)
    name = graph.names.get(node)
    return CompilerError(f"{node.op}{f' ({name})' if name else ''} {what}", origin=places[0] if places else None)
