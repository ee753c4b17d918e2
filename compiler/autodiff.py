"""Symbolic reverse mode: the gradient of values is more nodes of the same graph.

The driver walks backwards once, sums the cotangents of each value, and undoes what every rule would
repeat: broadcasting and casts. An op without a rule of its own is differentiated through its expansion.
Rules are written in graph ops, so gradients of gradients come by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticnet.compiler.errors import CompilerError, GradientError
from staticnet.compiler.ir import Graph, Node, Type, apply, current_builder, format_shape, has_rule, topological
from staticnet.compiler.ops.base import F, sum_to
from staticnet.compiler.ops.exceptions import NOT_DIFFERENTIABLE
from staticnet.compiler.ops.leaf import Item, Pack, item

Cotangent = Any  # a Node, a list of Node | None for a tuple value, or None


def gradients(
    ys: Sequence[Node],
    xs: Sequence[Node],
    seeds: Sequence[Node | None] | None = None,
    *,
    unconnected: str = "error",
) -> list[Node]:
    """The gradient of `sum(y * seed for y in ys)` with respect to each of `xs`, in the type of x.

    Without a seed `y` must be a float scalar. `unconnected="zero"` gives zeros for an x that no y
    depends on; otherwise that is a GradientError.
    """
    seeds = [None] * len(ys) if seeds is None else seeds
    if len(seeds) != len(ys):
        raise GradientError(f"{len(ys)} values but {len(seeds)} seeds; give one seed per value, or None for a scalar")
    for x in xs:
        if not x.dtype.is_float:
            raise GradientError(
                f"cannot differentiate with respect to {_describe(x)}: only float values have gradients"
            )
    ys, xs = _expand_composites(ys, xs)
    on_path = _between(ys, xs)
    cotangents: dict[Node, Cotangent] = {}
    for y, seed in zip(ys, seeds, strict=True):
        _add_to(cotangents, y, _checked_seed(y, seed))
    for node in reversed(topological(ys)):
        g = cotangents.get(node)
        if g is not None and any(source in on_path for source in node.inputs):
            _propagate(node, g, on_path, cotangents)
    return [_result(x, cotangents.get(x), unconnected) for x in xs]


def _expand_composites(ys: Sequence[Node], xs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Put the expansion in place of every node between xs and ys that has no gradient rule of its own."""
    builder = current_builder()
    while True:
        nodes, on_path = topological((*ys, *xs)), _between(ys, xs)
        if not any(node in on_path and _needs_expansion(node) for node in nodes):
            return list(ys), list(xs)
        new: dict[Node, Node] = {}
        for node in nodes:
            inputs = tuple([new[source] for source in node.inputs])
            with builder.at(builder.origins.get(node, ())):
                if node in on_path and _needs_expansion(node):
                    parts = node.op.expand(*inputs)
                    new[node] = apply(Pack(), *parts) if isinstance(parts, tuple) else parts
                elif isinstance(node.op, Item):
                    new[node] = item(inputs[0], node.op.index)
                else:
                    new[node] = node if inputs == node.inputs else apply(node.op, *inputs)
        ys, xs = [new[y] for y in ys], [new[x] for x in xs]


def _needs_expansion(node: Node) -> bool:
    return not has_rule(node.op, "grad") and has_rule(node.op, "expand") and node.op.name not in NOT_DIFFERENTIABLE


def _between(ys: Sequence[Node], xs: Sequence[Node]) -> set[Node]:
    """The nodes that depend on one of `xs`, those included: the only ones whose cotangent matters."""
    dependent: set[Node] = set()
    targets = set(xs)
    for node in topological(ys):
        if node in targets or any(source in dependent for source in node.inputs):
            dependent.add(node)
    return dependent


def _checked_seed(y: Node, seed: Node | None) -> Node:
    if not y.dtype.is_float:
        raise GradientError(f"cannot differentiate {_describe(y)}: only float values have gradients")
    if seed is None:
        if y.ndim:
            raise GradientError(
                f"the gradient of {_describe(y)} needs a seed of the same shape; reduce it to a scalar "
                f"(`.sum()`, `.mean()`) or give `seed=`"
            )
        return F.constant(1.0, y.dtype)
    seed = F.cast(seed, y.dtype)
    if seed.aval != y.aval:
        raise GradientError(
            f"the seed has shape {format_shape(seed.shape)}, the value {format_shape(y.shape)}; they must agree"
        )
    return seed


def _propagate(node: Node, g: Cotangent, on_path: set[Node], cotangents: dict[Node, Cotangent]) -> None:
    if isinstance(node.op, Item):
        source = node.inputs[0]
        parts = cotangents.setdefault(source, [None] * len(source.type.items))  # type: ignore[union-attr]
        parts[node.op.index] = _sum(parts[node.op.index], g)
        return
    if node.op.name in NOT_DIFFERENTIABLE:
        return
    if not has_rule(node.op, "grad"):
        raise CompilerError(f"op {node.op.name} has no gradient rule, no expansion and no reason for it")
    builder = current_builder()
    with builder.at(builder.origins.get(node) or builder.origin):
        if isinstance(g, list):
            g = tuple(
                F.zeros(type.shape, type.dtype) if part is None else part
                for part, type in zip(g, node.type.items, strict=True)  # type: ignore[union-attr]
            )
        parts = node.op.grad(g, node, *node.inputs)
        if len(parts) != len(node.inputs):
            raise CompilerError(
                f"the gradient rule of {node.op.name} gave {len(parts)} values for {len(node.inputs)} inputs"
            )
        for source, part in zip(node.inputs, parts, strict=True):
            if part is None or source not in on_path or not isinstance(source.type, Type):
                continue
            _add_to(cotangents, source, F.cast(sum_to(part, source.shape), source.dtype))


def _add_to(cotangents: dict[Node, Cotangent], node: Node, g: Node) -> None:
    cotangents[node] = _sum(cotangents.get(node), g)


def _sum(have: Node | None, more: Node) -> Node:
    return more if have is None else F.add(have, more)


def _result(x: Node, g: Cotangent, unconnected: str) -> Node:
    if g is not None:
        return g
    if unconnected != "zero":
        raise GradientError(
            f"the value does not depend on {_describe(x)} in a way that has a gradient; "
            f"drop it, or ask for zeros with unconnected='zero'"
        )
    return F.zeros(x.shape, x.dtype)


def _describe(node: Node) -> str:
    name = current_builder().names.get(node) or getattr(node.op, "label", None) or node.op.name
    return f"{name} : {node.type}"


def differentiate(graph: Graph, ys: Sequence[Node], xs: Sequence[Node]) -> Graph:
    """The graph with the gradients of scalar `ys` with respect to `xs` as further outputs."""
    from staticnet.compiler.ir import Builder, building

    builder = Builder()
    builder.names.update(graph.names)
    builder.origins.update(graph.origins)
    with building(builder):
        results = gradients(ys, xs)
    return Graph(
        graph.inputs,
        (*graph.outputs, *results),
        output_names=(*graph.output_names, *(f"grad{i}" for i in range(len(results)))),
        updates=graph.updates,
        names=builder.names,
        origins=builder.origins,
        name=graph.name,
    )
