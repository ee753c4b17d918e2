"""What a graph goes through before its nodes are written one by one: each step a function Graph -> Graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from staticnet.compiler.dims import Dim
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Graph, Node, Type, apply, current_builder, has_rule
from staticnet.compiler.ops.leaf import Constant, Pack
from staticnet.compiler.passes.eliminate import eliminate
from staticnet.compiler.passes.fold import fold
from staticnet.exporters.onnx.activations import recognise
from staticnet.exporters.onnx.emitter import is_small
from staticnet.exporters.onnx.fusions import fuse
from staticnet.exporters.onnx.tidy import tidy
from staticnet.exporters.onnx.windows import EXPANSIONS

States = Mapping[Node, np.ndarray]


def prepare(graph: Graph, states: States, has_form: Callable[[Node], bool], opset: int) -> tuple[Graph, States]:
    """The graph as it is written: outputs only, in ops that have a form, with nothing left to simplify.

    `has_form` says whether a node can be written as it stands at this opset. Also returns the arrays of the tensors
    that take the place of computations on states.
    """
    graph = graph.with_roots(graph.outputs, graph.output_names, {})
    graph = expand(drop_checks(graph), has_form)
    graph = fold(tidy(eliminate(graph)))
    return freeze(fuse(recognise(graph, opset)), states)


def drop_checks(graph: Graph) -> Graph:
    """A file checks no labels: what is out of range is refused, or not, by who runs it."""
    return graph.rebuild(lambda node, inputs: inputs[0] if node.op.name == "check_labels" else None)


def expand(graph: Graph, has_form: Callable[[Node], bool]) -> Graph:
    """Every op without a form as its expansion, and that as its own, to the end.

    An op that has neither stays: refusing it, with its place in the script, is the writer's part.
    """
    while True:
        changed = False

        def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            nonlocal changed
            if has_form(node):
                return None
            if node.op.name in EXPANSIONS:
                changed = True
                return EXPANSIONS[node.op.name](node, *inputs)
            if not has_rule(node.op, "expand"):
                return None
            changed = True
            parts = node.op.expand(*inputs)
            return apply(Pack(), *parts) if isinstance(parts, tuple) else parts

        graph = graph.rebuild(visit)
        if not changed:
            return graph
        graph = eliminate(graph)


def freeze(graph: Graph, states: States) -> tuple[Graph, States]:
    """What depends on states and constants alone becomes a tensor: a transposed weight, say.

    Only where that leaves one copy: a state that is read elsewhere too is not stored a second time in
    another form, unless that is small.
    """
    known = _known(graph, states)
    computed = [node for node in graph.nodes if node in known and node.inputs]
    if not computed:
        return graph, states
    outputs = set(graph.outputs)
    frontier = [node for node in computed if node in outputs or any(u not in known for u in graph.users[node])]
    chosen = [node for node in frontier if is_small(node.aval) or _is_only_form(graph, node, known)]
    arrays = evaluate(chosen, {node: array for node, array in states.items() if node in known})
    frozen = dict(zip(chosen, arrays, strict=True))
    values = dict(states)

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node not in frozen:
            return None
        array = np.ascontiguousarray(frozen[node]).reshape(frozen[node].shape)
        array.flags.writeable = False
        made = apply(Constant(value=array))
        sources = [source for source in _sources(node) if source in states]
        if len(sources) == 1:
            label = graph.names.get(sources[0], sources[0].op.label)  # type: ignore[attr-defined]
            current_builder().names.setdefault(made, f"{label}.{node.op.name}")
        return made

    return graph.rebuild(visit), values


def _known(graph: Graph, states: States) -> set[Node]:
    """The nodes whose values follow from states and constants."""
    known: set[Node] = set()
    for node in graph.nodes:
        is_given = node in states or isinstance(node.op, Constant)
        if is_given or (node.inputs and all(source in known for source in node.inputs) and _can_evaluate(node)):
            known.add(node)
    return known


def _can_evaluate(node: Node) -> bool:
    is_fixed = isinstance(node.type, Type) and node.type.is_static and not node.can_fail
    return is_fixed and has_rule(node.op, "kernel") and not any(map(_is_symbolic, node.op.attributes.values()))


def _is_symbolic(attribute: Any) -> bool:
    return any(map(_is_symbolic, attribute)) if isinstance(attribute, tuple) else isinstance(attribute, Dim)


def _is_only_form(graph: Graph, node: Node, known: set[Node]) -> bool:
    """Whether the large tensors that a node is computed from are in the file for its sake alone, and larger."""
    sources = [source for source in _sources(node) if not is_small(source.aval)]
    room = sum(int(source.aval.bytes) for source in sources)  # type: ignore[arg-type]
    return int(node.aval.bytes) <= room and not any(  # type: ignore[arg-type]
        _is_read_elsewhere(graph, source, node, known) for source in sources
    )


def _sources(node: Node) -> list[Node]:
    """The leaves that a node depends on."""
    found: dict[Node, None] = {}
    stack = [node]
    while stack:
        top = stack.pop()
        if top in found:
            continue
        found[top] = None
        stack.extend(top.inputs)
    return [leaf for leaf in found if not leaf.inputs]


def _is_read_elsewhere(graph: Graph, source: Node, node: Node, known: set[Node]) -> bool:
    """Whether an output, or a value that cannot be computed beforehand, needs `source` otherwise than by `node`."""
    outputs = set(graph.outputs)
    stack, seen = [source], {source}
    while stack:
        top = stack.pop()
        if top is node:
            continue
        if top in outputs or top not in known:
            return True
        for user in graph.users[top]:
            if user not in seen:
                seen.add(user)
                stack.append(user)
    return False
