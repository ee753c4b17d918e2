"""Constant folding: what depends on constants alone is computed once, by the ops' own kernels."""

from __future__ import annotations

from staticnet.compiler.dims import Dim
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Graph, Node, Type, apply, has_rule
from staticnet.compiler.ops.leaf import Constant, Pack

#: results larger than this many bytes are kept as ops when they are larger than what they are computed from
KEEP_BYTES = 4096


def fold(graph: Graph) -> Graph:
    """Every op whose operands are all constants becomes the constant of its value.

    Nothing else is folded: x * 0 and x - x are not 0 when x is NaN. An expansion of a small constant
    to a large one stays an op, and so does what may fail, for its error belongs to the run.
    """

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not inputs or not all(isinstance(source.op, Constant) for source in inputs):
            return None
        if not _worth_folding(node, inputs):
            return None
        made = apply(node.op, *inputs)
        (value,) = evaluate([made], {source: source.op.value for source in inputs})  # type: ignore[attr-defined]
        value = value.copy(order="C")
        value.flags.writeable = False
        return apply(Constant(value=value))

    return graph.rebuild(visit)


def _worth_folding(node: Node, inputs: tuple[Node, ...]) -> bool:
    if not isinstance(node.type, Type) or not node.type.is_static or isinstance(node.op, Pack) or node.can_fail:
        return False
    if not (has_rule(node.op, "kernel") or has_rule(node.op, "expand")):
        return False
    if any(isinstance(value, Dim) for value in node.op.attributes.values()):
        return False
    result = node.type.bytes
    assert isinstance(result, int)
    return result <= max(KEEP_BYTES, sum(source.op.value.nbytes for source in inputs))  # type: ignore[attr-defined]
