"""Fused groups as loops: pointwise nests, and pointwise work on what an anchor makes element by element.

Groups with reductions go on to `reductions`. An op of unknown meaning leaves its whole group without a description.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from staticnet.compiler.codegen.loops.describe import ANCHORS, describes
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Fail,
    Index,
    Kernel,
    Load,
    Routine,
    Statement,
    Value,
    View,
    const,
    store,
)
from staticnet.compiler.codegen.loops.nest import emit, plan_nest
from staticnet.compiler.codegen.loops.operations import apply, multiply
from staticnet.compiler.codegen.loops.pointwise import meaning, refusals
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ir import Builder, Graph, Node, Op, Type, building
from staticnet.compiler.ops.arithmetic import Divide, Masked, Subtract, Where
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.fused import Fused
from staticnet.compiler.ops.leaf import Constant, Input, make_input
from staticnet.compiler.ops.reduce import Max, Reduction, Sum
from staticnet.compiler.ops.shape import Broadcast
from staticnet.compiler.ops.transcendental import Exp


class Unknown(Exception):
    """The body has an op whose meaning in the loop form is not known."""


class Body:
    """The body of a Fused node with the views that its inputs and outputs stand for."""

    def __init__(self, op: Fused, inputs: Sequence[View], outputs: Sequence[View]):
        self.op, self.graph = op, op.body
        self.views = dict(zip(self.graph.inputs, inputs, strict=True))
        self.results = list(zip(self.graph.outputs, outputs, strict=True))

    def value(self, node: Node, index: Sequence[Index], known: dict[Node, Value]) -> Value:
        """The value of a node at an index of the iteration space; `known` remembers what was computed there."""
        found = known.get(node)
        if found is not None:
            return found
        if isinstance(node.op, Input):
            view = self.views[node]
            found = Load(view.dtype, view.array, view.broadcast_at(*index))
        elif isinstance(node.op, Constant):
            found = const(node.op.value.reshape(())[()], node.aval.dtype)
        else:
            operands = [self.value(source, index, known) for source in node.inputs]
            if _is_share_of_sum(node):
                # One reciprocal a line for a division an element: at most an ulp apart, as the sum is at least 1.
                return known.setdefault(node, multiply(operands[0], apply("reciprocal", operands[1])))
            made = meaning(node.op, *operands) if isinstance(node.op, (Pointwise, Broadcast)) else None
            if made is None:
                raise Unknown(node.op.name)
            found = made
        known[node] = found
        return found

    def refusals(self, nodes: Iterable[Node], index: Sequence[Index], known: dict[Node, Value]) -> list[Statement]:
        """Fail statements for pointwise nodes that may refuse their operands."""
        found: list[Statement] = []
        for node in nodes:
            if isinstance(node.op, Pointwise):
                operands = [self.value(source, index, known) for source in node.inputs] if node.can_fail else []
                found += [Fail(condition) for condition in (refusals(node.op, operands) if operands else [])]
        return found

    def strides(self, view: View, rank: int) -> tuple[int, ...]:
        """The strides of a view along the axes of the space: 0 where it is broadcast."""
        own = [0 if size == 1 else stride for size, stride in zip(view.shape, view.strides, strict=True)]
        return (*(0,) * (rank - view.ndim), *own)


def _is_share_of_sum(node: Node) -> bool:
    """Whether a node is e / sum(e) with e = exp(x - max x): a softmax, whose largest e is 1."""
    if not isinstance(node.op, Divide):
        return False
    share, total = node.inputs
    if not isinstance(total.op, Sum) or total.inputs[0] is not share or not isinstance(share.op, Exp):
        return False
    shifted = share.inputs[0]
    return isinstance(shifted.op, Subtract) and _follows_maximum(shifted.inputs[1])


def _follows_maximum(node: Node) -> bool:
    """Whether a value is a largest element, infinities replaced."""
    while isinstance(node.op, (Masked, Where)):
        node = node.inputs[0] if isinstance(node.op, Masked) else node.inputs[-1]
    return isinstance(node.op, Max)


@describes(Fused)
def fused(op: Fused, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """A group of nodes on one iteration space."""
    from staticnet.compiler.codegen.loops.reductions import reduced

    body = Body(op, inputs, outputs)
    try:
        if op.anchor is not None:
            return _anchored(body, op.anchor, machine)
        return reduced(body, machine) if op.reductions else _mapped(body)
    except Unknown:
        return None


@describes(Pointwise, Broadcast, Reduction)
def alone(op: Op, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """One pointwise, broadcasting or reducing op: a group of its own."""
    with building(Builder()) as builder:
        operands = [make_input(f"x{i}", Type(view.shape, view.dtype)) for i, view in enumerate(inputs)]
        node = builder.make(op, tuple(operands))
    return fused(Fused(body=Graph(operands, [node])), inputs, outputs, machine)


def _mapped(body: Body) -> Routine:
    """Every result at every index from the operands there."""
    space = body.results[0][1].shape
    rank = len(space)
    views = [*(view for _, view in body.results), *body.views.values()]
    nest = plan_nest(space, [body.strides(view, rank) for view in views])

    def statements(index: tuple[Affine, ...]) -> list[Statement]:
        known: dict[Node, Value] = {}
        # All is read before anything is written: a result may lie where an operand does.
        stores = [store(view, index, body.value(node, index, known)) for node, view in body.results]
        return [*body.refusals(body.op.members, index, known), *stores]

    return Routine((Kernel("map", emit(nest, statements)),))


def _anchored(body: Body, anchor: Node, machine: Machine) -> Routine | None:
    describe = ANCHORS.get(type(anchor.op))
    if describe is None:
        return None
    members = [node for node in body.op.members if node is not anchor]

    def finish(index: Sequence[Index], value: Value) -> list[Statement]:
        known: dict[Node, Value] = {anchor: value}
        stores = [store(view, index, body.value(node, index, known)) for node, view in body.results]
        return [*body.refusals(members, index, known), *stores]

    result = body.results[0][1]
    # Sums are made in the anchor's type, whatever becomes of them.
    made = View(replace(result.array, dtype=anchor.aval.dtype), result.layout)
    return describe(anchor.op, [body.views[source] for source in anchor.inputs], made, finish, machine)
