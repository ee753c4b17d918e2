"""Layout: the order of the axes in which the values of a program lie in memory.

Types stay logical, images are (N, C, H, W); where the target computes convolutions and pools best with the
channels as the fastest axis, their results and what is made from those element by element are stored so.
What the caller sees (feeds, states, outputs) is row-major, and so is every other result.
"""

from __future__ import annotations

from collections.abc import Set

from staticnet.compiler import dims
from staticnet.compiler.ir import Graph, Node, Type, leaves
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.fused import Fused
from staticnet.compiler.ops.leaf import Item
from staticnet.compiler.ops.matmul import MatMul
from staticnet.compiler.ops.shape import Transpose
from staticnet.compiler.target import Target

Order = tuple[int, ...]

CHANNELS_LAST: Order = (0, 2, 3, 1)


def assign_orders(graph: Graph, target: Target) -> dict[Node, tuple[Order | None, ...]]:
    """For each node whose place in memory is chosen the axes of each of its values from slowest to fastest.

    None means row-major. A node that could be a view and is named here is not one: it is stored as it says.
    """
    chosen: set[Node] = set()
    for node in graph.nodes if target.channels_last else ():
        if _is_channels_last(node, target, chosen):
            chosen.add(node)
    roots = set(graph.roots)
    fixed = {(node.inputs[0], node.op.index) for node in graph.roots if isinstance(node.op, Item)}
    orders: dict[Node, tuple[Order | None, ...]] = {
        node: tuple(
            CHANNELS_LAST if type.ndim == 4 and (node, number) not in fixed else None
            for number, type in enumerate(leaves(node.type))
        )
        for node in chosen
        if node not in roots
    }
    for node in graph.nodes if target.fuses_loops else ():
        if _is_turned_often(node, graph):
            orders[node] = (None,)
        elif _is_read_turned(node, graph) and node not in roots:
            orders[node] = ((1, 0),)
    return orders


#: products with one transposed matrix from which it pays to turn it over once for all of them
_OFTEN = 4


def _is_turned_often(node: Node, graph: Graph) -> bool:
    """Whether a transpose is the right factor of many products, as the weights of an unrolled recurrence are."""
    if not isinstance(node.op, Transpose) or node.aval.ndim != 2:
        return False
    return sum(_right_factor(user) is node for user in graph.users[node]) >= _OFTEN


def _is_read_turned(node: Node, graph: Graph) -> bool:
    """Whether a product is only read transposed, as the gradient of a linear layer's weight is."""
    op = node.op.anchor.op if isinstance(node.op, Fused) and node.op.anchor is not None else node.op
    if not isinstance(op, MatMul) or not isinstance(node.type, Type) or node.type.ndim != 2:
        return False
    return all(isinstance(user.op, Transpose) for user in graph.users[node])


def _right_factor(node: Node) -> Node | None:
    if isinstance(node.op, MatMul):
        return node.inputs[1]
    if not isinstance(node.op, Fused) or node.op.anchor is None or not isinstance(node.op.anchor.op, MatMul):
        return None
    factor = node.op.anchor.inputs[1]
    places = [place for place, given in enumerate(node.op.body.inputs) if given is factor]
    return node.inputs[places[0]] if places else None


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
