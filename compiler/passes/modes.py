"""Training and inference: both graphs from one trace, by rewriting the cards that differ."""

from __future__ import annotations

import dataclasses

from staticnet.compiler.ir import Graph, Node, apply
from staticnet.compiler.passes.eliminate import eliminate


def to_inference(graph: Graph) -> Graph:
    """The graph as it runs after training: no dropout, batch statistics from the running values, no updates.

    A batch norm whose running values are constants has never kept any, so it goes on with those of the batch.
    Inputs that nothing needs any more (the random key, say) are dropped, feeds excepted.
    """
    done = eliminate(_with_training(graph, False))
    done = done.with_roots(done.outputs, done.output_names, {})
    return _without_unused_states(done)


def to_training(graph: Graph) -> Graph:
    """The graph with the cards that differ in training mode, as far as they are still there."""
    return _with_training(graph, True)


def _with_training(graph: Graph, training: bool) -> Graph:
    varying: set[Node] = set(graph.inputs)

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not varying.isdisjoint(node.inputs):
            varying.add(node)
        if getattr(node.op, "training", training) == training:
            return None
        if not training and node.op.name == "dropout":
            return inputs[0]
        if not training and node.op.name == "batch_norm" and varying.isdisjoint(node.inputs[3:]):
            return None
        return apply(dataclasses.replace(node.op, training=training), *inputs)  # type: ignore[type-var]

    return graph.rebuild(visit)


def _without_unused_states(graph: Graph) -> Graph:
    used = {source for node in graph.nodes for source in node.inputs} | set(graph.outputs)
    inputs = [node for node in graph.inputs if node in used or getattr(node.op, "kind", "feed") == "feed"]
    return Graph(
        inputs,
        graph.outputs,
        output_names=graph.output_names,
        names=graph.names,
        origins=graph.origins,
        name=graph.name,
    )
