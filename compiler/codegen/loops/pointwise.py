"""What pointwise cards mean as scalar operations.

A card whose NumPy ufunc is one of the operations needs no entry; the others stand in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from staticnet.compiler.codegen.loops.form import Value, const
from staticnet.compiler.codegen.loops.operations import OPERATIONS, apply, cast, select
from staticnet.compiler.ir import Op
from staticnet.compiler.ops.arithmetic import Clip, Masked, Power, Where
from staticnet.compiler.ops.base import Elementwise
from staticnet.compiler.ops.leaf import Cast
from staticnet.compiler.ops.shape import Broadcast
from staticnet.compiler.ops.transcendental import Relu

Meaning = Callable[..., Value]


def meaning(op: Op, *operands: Value) -> Value | None:
    """The result of a pointwise card at one place from its operands there; None where it is not known."""
    if type(op) in MEANINGS:
        return MEANINGS[type(op)](op, *operands)
    if not isinstance(op, Elementwise):
        return None
    name = op.numpy or op.name
    if name not in OPERATIONS or OPERATIONS[name].arity != len(operands):
        return None
    return apply(name, *operands)


def has_meaning(op: Op) -> bool:
    """Whether the loop form can say what a pointwise or broadcasting card computes."""
    if type(op) in MEANINGS:
        return True
    name = op.numpy or op.name if isinstance(op, Elementwise) else ""
    return name in OPERATIONS and OPERATIONS[name].arity == op.arity  # type: ignore[attr-defined]


def refusals(op: Op, operands: Sequence[Value]) -> list[Value]:
    """Conditions under which a pointwise card refuses its operands."""
    if isinstance(op, Power) and operands[1].dtype.numpy.kind == "i":
        return [apply("less", operands[1], const(0, operands[1].dtype))]
    return []


def _clip(op: Clip, x: Value) -> Value:
    # NumPy clips from below first, so that of crossed bounds the upper one wins.
    if op.minimum is not None:
        x = apply("maximum", x, const(op.minimum, x.dtype))
    return x if op.maximum is None else apply("minimum", x, const(op.maximum, x.dtype))


MEANINGS: dict[type[Op], Meaning] = {
    Broadcast: lambda op, x: x,
    Cast: lambda op, x: cast(x, op.dtype),
    Clip: _clip,
    Masked: lambda op, x, mask: select(mask, x, const(0, x.dtype)),
    Relu: lambda op, x: apply("maximum", x, const(0, x.dtype)),
    Where: lambda op, condition, x, y: select(condition, x, y),
}
