"""Layout: the order of the axes in which the values of a program lie in memory.

Types stay logical, images are (N, C, H, W); where the target computes convolutions and pools best with the
channels as the fastest axis, their results and what is made from those element by element are stored so.
What the caller sees (feeds, states, outputs) is row-major, and so is every other result.
"""

from __future__ import annotations

from collections.abc import Set

from staticnet.compiler import dims
from staticnet.compiler.ir import Graph, Node, leaves
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.fused import Fused
from staticnet.compiler.ops.leaf import Item
from staticnet.compiler.target import Target

Order = tuple[int, ...]

CHANNELS_LAST: Order = (0, 2, 3, 1)


def assign_orders(graph: Graph, target: Target) -> dict[Node, tuple[Order | None, ...]]:
    """For each node that is not row-major the axes of each of its values from slowest to fastest, or None."""
    chosen: set[Node] = set()
    for node in graph.nodes if target.channels_last else ():
        if _is_channels_last(node, target, chosen):
            chosen.add(node)
    roots = set(graph.roots)
    fixed = {(node.inputs[0], node.op.index) for node in graph.roots if isinstance(node.op, Item)}
    return {
        node: tuple(
            CHANNELS_LAST if type.ndim == 4 and (node, number) not in fixed else None
            for number, type in enumerate(leaves(node.type))
        )
        for node in chosen
        if node not in roots
    }


def _is_channels_last(node: Node, target: Target, chosen: Set[Node]) -> bool:
    if isinstance(node.op, Item):
        return node.inputs[0] in chosen
    op = node.op.anchor.op if isinstance(node.op, Fused) and node.op.anchor is not None else node.op
    if op.name == "conv2d_weight_grad":
        return False
    if op.name in target.channels_last:
        return _channels(node) > 1
    return isinstance(op, (Fused, Pointwise)) and any(source in chosen for source in node.inputs)


def _channels(node: Node) -> int:
    counts = [type.shape[1] for type in leaves(node.type) if type.ndim == 4]
    return max((int(count) for count in counts if dims.is_static(count)), default=2)
