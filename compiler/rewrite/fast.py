"""Rules that may change the rounding or the sign of a zero, but never turn a finite value into NaN."""

from __future__ import annotations

from staticnet.compiler.ir import Node
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import scalar_value
from staticnet.compiler.rewrite.engine import RuleSet

FAST = RuleSet("fast")
rule, helper = FAST.rule, FAST.helper


@helper
def number(node: Node) -> float:
    """The number that a constant holds."""
    return scalar_value(node).item()


@helper
def is_finite_product(a: Node, b: Node) -> bool:
    """Whether two constants have a product that neither overflows nor vanishes."""
    import math

    import numpy as np

    product = number(a) * number(b)
    limits = np.finfo(a.dtype.numpy) if a.dtype.is_float else None
    return limits is not None and math.isfinite(product) and float(limits.tiny) <= abs(product) <= float(limits.max)


@helper
def scaled(x: Node, factor: float) -> Node:
    """x * factor, the factor in x's dtype."""
    return F.multiply(x, F.constant(factor, x.dtype))


rule("x + 0 = x")
rule("power(x, 2) = square(x)")
rule("power(x, -1) = reciprocal(x)", where="x.dtype.is_float")
rule("power(x, 0.5) = sqrt(x)", where="x.dtype.is_float")
rule("power(x, 3) = square(x) * x")
rule("x * A * B = scaled(x, number(A) * number(B))", where="is_finite_product(A, B)")
rule("x / A * B = scaled(x, number(B) / number(A))", where="number(A) and is_finite_product(reciprocal_of(A), B)")
rule("-x * A = scaled(x, -number(A))")
rule("-(x * A) = scaled(x, -number(A))")


@helper
def reciprocal_of(node: Node) -> Node:
    """The constant 1 / node."""
    return F.constant(1 / number(node), node.dtype)
