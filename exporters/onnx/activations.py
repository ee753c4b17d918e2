"""Activation functions that are written out in the graph and have an operator of their own in ONNX."""

from __future__ import annotations

import math

from staticnet.compiler.ir import Graph, Node, Op, Type, apply
from staticnet.compiler.ops.leaf import scalar_value
from staticnet.compiler.rewrite.engine import RuleSet, rewrite
from staticnet.exporters.onnx.dtypes import route
from staticnet.exporters.onnx.emitter import has_operator


class _Activation(Op, abstract=True):
    """Base of cards that live only between preparation and writing, and are not in the registry."""

    def infer(self, x: Type) -> Type:  # type: ignore[override]
        return x


class LeakyRelu(_Activation, abstract=True):
    """x where positive, alpha * x elsewhere."""

    name, onnx = "leaky_relu", "LeakyRelu"
    alpha: float


class Elu(_Activation, abstract=True):
    """x where positive, alpha * (exp(x) - 1) elsewhere."""

    name, onnx = "elu", "Elu"
    alpha: float


class Gelu(_Activation, abstract=True):
    """x times the normal distribution function of x, or its approximation by tanh."""

    name, onnx = "gelu", "Gelu"
    approximate: str


OLD, GELU = RuleSet("activations"), RuleSet("gelu")


def _number(value: Node) -> float:
    return float(scalar_value(value))


@OLD.helper
def leaky_relu_of(x: Node, alpha: Node) -> Node:
    return apply(LeakyRelu(alpha=_number(alpha)), x)


@OLD.helper
def elu_of(x: Node, alpha: Node | None = None) -> Node:
    return apply(Elu(alpha=1.0 if alpha is None else _number(alpha)), x)


@OLD.helper
def runs(x: Node, operator: str) -> bool:
    """Whether onnxruntime runs `operator` in the dtype of `x`."""
    return route(operator, x.dtype) == x.dtype


@GELU.helper
def gelu_of(x: Node, approximate: str) -> Node:
    return apply(Gelu(approximate=approximate), x)


@GELU.helper
def is_near(constant: Node, value: float) -> bool:
    """Whether a constant is a number, to the precision of its dtype."""
    return math.isclose(_number(constant), value, rel_tol=1e-3 if constant.dtype.itemsize == 2 else 1e-6)


GELU.helper(runs)

OLD.rule("where(greater(x, 0), x, x * A) = leaky_relu_of(x, A)", where="runs(x, 'LeakyRelu')")
OLD.rule("where(greater(x, 0), x, expm1(where(greater(x, 0), 0, x))) = elu_of(x)", where="runs(x, 'Elu')")
OLD.rule("where(greater(x, 0), x, A * expm1(where(greater(x, 0), 0, x))) = elu_of(x, A)", where="runs(x, 'Elu')")
GELU.rule(
    "x * 0.5 * (1 + erf(x * A)) = gelu_of(x, 'none')",
    where=f"runs(x, 'Gelu') and is_near(A, {math.sqrt(0.5)})",
)
GELU.rule(
    "x * 0.5 * (1 + tanh((x + x * A * x * x) * B)) = gelu_of(x, 'tanh')",
    where=f"runs(x, 'Gelu') and is_near(A, 0.044715) and is_near(B, {math.sqrt(2 / math.pi)})",
)


def recognise(graph: Graph, opset: int) -> Graph:
    """The graph with LeakyRelu, Elu and, where the opset has it, Gelu as one node each."""
    return rewrite(graph, OLD, GELU) if has_operator("Gelu", opset) else rewrite(graph, OLD)
