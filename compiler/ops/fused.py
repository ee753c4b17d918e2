"""Several ops computed as one step: the card whose body is a closed graph of their nodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import AnyType, Builder, Graph, Node, Op, TupleType, Type, bind_shape, building, leaves
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.leaf import Constant, Input
from staticnet.compiler.ops.reduce import Reduction
from staticnet.compiler.ops.shape import Broadcast

_ALIGNMENT = 64


class Fused(Op):
    """What its body computes: operands are the body's inputs, results its outputs.

    Fusion makes it, for targets that run a group of nodes as one loop nest; nothing before sees it.
    """

    body: Graph

    def infer(self, *types: Type) -> AnyType:
        expected = [node.type for node in self.body.inputs]
        if list(types) != expected:
            raise CompilerError(f"{self.title} takes operands of types {expected}, not {list(types)}")
        results = tuple(node.aval for node in self.body.outputs)
        return results[0] if len(results) == 1 else TupleType(results)

    @property
    def title(self) -> str:
        return f"fused[{' '.join(node.op.name for node in self.members)}]"

    @cached_property
    def members(self) -> tuple[Node, ...]:
        """The nodes of the body that compute something, each after what it reads."""
        return tuple(node for node in self.body.nodes if not isinstance(node.op, (Input, Constant)))

    @cached_property
    def anchor(self) -> Node | None:
        """The member that is neither pointwise, broadcast nor reduction, if there is one."""
        return next((n for n in self.members if not isinstance(n.op, (Pointwise, Broadcast, Reduction))), None)

    @cached_property
    def reductions(self) -> tuple[Node, ...]:
        return tuple(node for node in self.members if isinstance(node.op, Reduction))

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_place", self._overwritable())

    def _overwritable(self) -> tuple[int, ...]:
        """Operands that are read place by place as the result is written.

        Not after a reduction: its operands may be read again when results are written already. Nor what the
        anchor reads, which it does in an order of its own.
        """
        if any(not set(self.body.users[node]).isdisjoint(self.members) for node in self.reductions):
            return ()
        shapes = [node.aval.shape for node in self.body.outputs]
        kept = self.anchor.inputs if self.anchor is not None else ()
        return tuple(
            number
            for number, node in enumerate(self.body.inputs)
            if node not in kept and any(dims.same_shape(node.aval.shape, shape) for shape in shapes)
        )

    def can_fail(self, *types: Any) -> bool:
        return any(node.can_fail for node in self.members)

    def bind(self, binding: Mapping[str, int]) -> Fused:
        if all(type.is_static for node in self.body.nodes for type in leaves(node.type)):
            return self
        bound: dict[Node, Node] = {}
        with building(Builder()) as builder:
            for node in self.body.nodes:
                op = node.op.bind(binding)
                types = tuple(Type(bind_shape(type.shape, binding), type.dtype) for type in leaves(node.type))
                type = types[0] if isinstance(node.type, Type) else TupleType(types)
                bound[node] = builder.make(op, tuple(bound[source] for source in node.inputs), type)
        return Fused(body=Graph([bound[n] for n in self.body.inputs], [bound[n] for n in self.body.outputs]))

    def flops(self, out: Any, *types: Type) -> Size:
        return sum(n.op.flops(n.type, *(source.aval for source in n.inputs)) for n in self.members)

    # -- the plain meaning: every member's kernel in turn ---------------------------------------

    def scratch(self, *types: Type) -> int:
        values = sum(_aligned(_bytes(type)) for node in self._computed for type in leaves(node.type))
        return values + max(map(_scratch_of, self._computed), default=0)

    @cached_property
    def _computed(self) -> tuple[Node, ...]:
        return tuple(node for node in self.body.nodes if not isinstance(node.op, Input))

    def kernel(self, xp: Any, *arrays: Any, out: Any, scratch: Any) -> None:
        known: dict[Node, Any] = dict(zip(self.body.inputs, arrays, strict=True))
        start, scratch = 0, xp.empty(0, "uint8") if scratch is None else scratch
        for node in self._computed:
            (type,) = leaves(node.type)
            size = _bytes(type)
            known[node] = scratch[start : start + size].view(type.dtype.numpy).reshape(type.shape)
            start += _aligned(size)
        workspace = scratch[start:]
        for node in self._computed:
            inputs = [known[source] for source in node.inputs]
            need = _scratch_of(node)
            node.op.kernel(xp, *inputs, out=known[node], scratch=workspace[:need] if need else None)
        # Last, for a result may take the place of an operand.
        for target, node in zip(out if isinstance(out, tuple) else (out,), self.body.outputs, strict=True):
            xp.copyto(target, known[node])


def _bytes(type: Type) -> int:
    assert isinstance(type.bytes, int)
    return type.bytes


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _scratch_of(node: Node) -> int:
    return _aligned(node.op.scratch(*(source.aval for source in node.inputs)))
