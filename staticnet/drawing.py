"""`draw`: the picture of a graph, of what computes a tensor, of a compiled function at one of its stages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, MissingDependencyError
from staticnet.compiler.ir import Graph, Node, current_builder, topological
from staticnet.compiler.ops.leaf import Input

Groups = Sequence[Sequence[Node]]
Roles = Mapping[Node, str]

STAGES = ("forward", "backward", "optimised")


class Drawing(str):
    """DOT text that shows itself as a picture in a notebook."""

    def _repr_svg_(self) -> str | None:
        from staticnet.exporters.render import picture

        try:
            return picture(self, "svg").decode()
        except MissingDependencyError:  # the notebook then shows the text
            return None

    def _repr_png_(self) -> bytes | None:
        from staticnet.exporters.render import picture

        try:
            return picture(self, "png")
        except MissingDependencyError:
            return None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the drawing in the format of the path's suffix, as `draw(..., path)` does."""
        from staticnet.exporters.render import render

        return render(self, path)


@boundary
def draw(
    what: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    specs: Sequence[Any] = (),
    depth: int | None = None,
    stage: str = "forward",
    title: str | None = None,
    horizontal: bool = False,
    format: str | None = None,
) -> Path | Drawing:
    """Draw a graph, what computes a tensor, a compiled function or training step, or a module on `specs`.

    The suffix of `path` says the format: .png, .svg, .pdf, or .dot, which needs nothing installed;
    `format` overrides it. Without a path the DOT text is returned, which notebooks show as a picture.
    `depth` draws everything that lies that many modules deep as one box per module. `stage` of a
    compiled function is 'forward', 'backward' (the whole step, with its gradients and updates) or
    'optimised' (as it runs, fused groups framed); it must have been called or given specs before.

    Raises ArgumentError for what cannot be drawn, an unknown stage or format or a path that cannot be
    written, MissingDependencyError when nothing installed draws pictures.
    """
    from staticnet.exporters.dot import to_dot
    from staticnet.exporters.render import known_format, render

    if stage not in STAGES:
        raise ArgumentError(f"stage must be one of {', '.join(map(repr, STAGES))}, not {stage!r}")
    if path is not None:
        known_format(format or Path(path).suffix, f"'{path}'")  # before anything is traced
    graph, groups, roles = _subject(what, stage, specs)
    text = to_dot(
        graph,
        depth=depth,
        groups=groups,
        roles=roles,
        trainable=_parameters(graph, what),
        title=title,
        horizontal=horizontal,
    )
    return Drawing(text) if path is None else render(text, path, format)


def _subject(what: Any, stage: str, specs: Sequence[Any]) -> tuple[Graph, Groups, Roles | None]:
    """The graph to draw, its fused groups, and the roles of its nodes."""
    if hasattr(what, "graph_at"):
        graph = what.graph_at(stage)
        if stage == "backward":
            return graph, (), _told_apart(what.roles())
        return graph, what.fusion_groups() if stage == "optimised" else (), _roles_by_structure(graph)
    if stage != "forward":
        raise ArgumentError(
            f"a {type(what).__name__} has no stage {stage!r}: draw a compiled function or training step, "
            "as sn.compile and sn.compile_train_step make them"
        )
    if isinstance(what, Graph):
        return what, (), _roles_by_structure(what)
    return _graph_of(what, specs), (), None


def _graph_of(what: Any, specs: Sequence[Any]) -> Graph:
    from staticnet.nn.module import Module
    from staticnet.tensors import Tensor

    if isinstance(what, Tensor):
        return _graph_of_tensor(what)
    if isinstance(what, Module) and not specs:
        raise ArgumentError(
            f"{type(what).__name__} is drawn on inputs: give their specs, as in "
            'sn.draw(model, "model.png", specs=[sn.TensorSpec(("batch", 1, 8, 8))])'
        )
    if callable(what) and specs:
        from staticnet.tracing import trace

        return trace(what, *specs)
    raise ArgumentError(
        f"cannot draw a {type(what).__name__}: give a graph, a tensor, a compiled function, or a module and its specs"
    )


def _graph_of_tensor(tensor: Any) -> Graph:
    from staticnet import lazy
    from staticnet.tracer import current_tracer

    tracer = current_tracer()
    node = tensor.resolve(tracer)
    if tracer is None:
        node = lazy.with_history(node)
    nodes = topological([node])
    builder = current_builder() if tracer is None else tracer.builder
    names = {n: builder.names[n] for n in nodes if n in builder.names}
    inputs = [n for n in nodes if isinstance(n.op, Input)]
    if tracer is None:
        names.update({n: _leaf_name(n) for n in inputs if n not in names})
    return Graph(
        inputs,
        [node],
        output_names=[tensor.name or "tensor"],
        names=names,
        origins={n: builder.origins[n] for n in nodes if n in builder.origins},
        name=tensor.name or "tensor",
    )


def _leaf_name(node: Node) -> str:
    """What a leaf outside any trace is called: its parameter's name, else its value where it is one number."""
    from staticnet import lazy

    holder = lazy.held(node)
    if holder is not None and holder.name:
        return holder.name
    size = node.size
    return f"{lazy.value_of(node).reshape(()).item():.6g}" if isinstance(size, int) and size == 1 else "tensor"


def _told_apart(roles: Roles) -> Roles | None:
    """Roles, unless all nodes have the same one."""
    return roles if len(set(roles.values())) > 1 else None


def _roles_by_structure(graph: Graph) -> dict[Node, str] | None:
    """Roles in a training graph whose nodes have been rewritten, None in a graph without gradients.

    Forward is what the outputs need. Backward is what else the new values of trained states need (float
    ones that the forward half reads) without depending on a state that only the optimiser reads. The
    rest is update.
    """
    forward = set(topological(graph.outputs))
    trained = [value for state, value in graph.updates.items() if state in forward and state.dtype.is_float]
    training = set(topological(trained))
    roles: dict[Node, str] = {}
    for node in graph.nodes:
        if node in forward:
            roles[node] = "forward"
        elif (
            node not in training
            or getattr(node.op, "kind", "") == "state"
            or any(roles[source] == "update" for source in node.inputs)
        ):
            roles[node] = "update"
        else:
            roles[node] = "backward"
    return roles if any(role == "backward" and node.inputs for node, role in roles.items()) else None


def _parameters(graph: Graph, what: Any) -> list[Node] | None:
    """The states that count as parameters, None where nobody knows them."""
    traced = next((g for g in (graph, getattr(what, "graph", None)) if hasattr(g, "states")), None)
    if traced is None:
        return None
    from staticnet.summary import parameters_of

    return list(parameters_of(traced))
