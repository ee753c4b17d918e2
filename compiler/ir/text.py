"""The text form of a graph: one line a node, the same bytes in every process."""

from __future__ import annotations

from staticnet.compiler.ir.graph import Graph
from staticnet.compiler.ir.node import Node
from staticnet.compiler.ir.op import format_attribute


def graph_text(graph: Graph, *, origins: bool = True) -> str:
    """One line a node: name, op, operands, attributes, type, then module and source line.

    Feeds stand in the head, states marked; outputs and updates stand in the last lines.
    """
    labels, inputs = label_nodes(graph), set(graph.inputs)
    heads = [f"{'state ' if is_state(node) else ''}{labels[node]}: {node.type}" for node in graph.inputs]
    head = ", ".join(heads) if len(heads) <= 4 else "".join(f"\n    {each}," for each in heads) + "\n"
    rows = [
        (f"  {labels[node]} = {call_text(node, labels)}", f": {node.type}", origin_text(graph, node) if origins else "")
        for node in graph.nodes
        if node not in inputs
    ]
    left = min(max((len(row[0]) for row in rows), default=0), 76)
    middle = min(max((len(row[1]) for row in rows), default=0), 32)
    lines = [f"{a:<{left}} {b:<{middle}} {c}".rstrip() for a, b, c in rows]
    results = [
        f"  return {', '.join(f'{n}={labels[v]}' for n, v in zip(graph.output_names, graph.outputs, strict=True))}"
    ]
    results += [f"  update {labels[state]} <- {labels[value]}" for state, value in graph.updates.items()]
    return "\n".join([f"graph {graph.name}({head})", *lines, *results]) + "\n"


def label_nodes(graph: Graph) -> dict[Node, str]:
    """A unique label for each node: `%name` for inputs and named nodes, else `%0`, `%1`, ..."""
    inputs = set(graph.inputs)
    labels: dict[Node, str] = {}
    taken: set[str] = set()
    count = 0
    for node in (*graph.inputs, *graph.nodes):
        if node in labels:
            continue
        text = graph.names.get(node)
        if text is None and node in inputs:
            text = getattr(node.op, "label", None)
        if text is None or text in taken:
            while str(count) in taken:
                count += 1
            text = str(count)
        taken.add(text)
        labels[node] = f"%{text}"
    return labels


def call_text(node: Node, labels: dict[Node, str]) -> str:
    """`op(%a, %b, attribute=value)`."""
    attributes = [f"{name}={format_attribute(value)}" for name, value in node.op.attributes.items()]
    return f"{node.op.name}({', '.join([*(labels[source] for source in node.inputs), *attributes])})"


def origin_text(graph: Graph, node: Node) -> str:
    """`# features.0 script.py:12`, or nothing when the origin is not known."""
    places = graph.origins.get(node, ())
    if not places:
        return ""
    first = places[0]
    more = f" +{len(places) - 1}" if len(places) > 1 else ""
    return f"# {first.module + ' ' if first.module else ''}{first.short}{more}"


def is_state(node: Node) -> bool:
    return getattr(node.op, "kind", "") == "state"
