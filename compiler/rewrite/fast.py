"""Rules that may change the rounding or the sign of a zero, but never turn a finite value into NaN."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.ir import Node
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import scalar_value
from staticnet.compiler.rewrite.engine import RuleSet
from staticnet.compiler.rewrite.exact import is_one_everywhere, shape_without

FAST = RuleSet("fast")
rule, helper = FAST.rule, FAST.helper
helper(is_one_everywhere)
helper(shape_without)


@helper
def number(node: Node) -> float:
    """The number that a constant holds."""
    return scalar_value(node).item()


@helper
def is_normal(factor: float, x: Node) -> bool:
    """Whether a number neither overflows nor vanishes in the dtype of `x`, a float type."""
    if not x.dtype.is_float:
        return False
    limits = np.finfo(x.dtype.numpy)
    return float(limits.tiny) <= abs(factor) <= float(limits.max)


@helper
def scaled(x: Node, factor: float) -> Node:
    """x * factor, the factor in x's dtype."""
    return F.multiply(x, F.constant(factor, x.dtype))


rule("x + 0 = x")
rule("power(x, 2) = square(x)")
rule("power(x, -1) = reciprocal(x)", where="x.dtype.is_float")
rule("power(x, 0.5) = sqrt(x)", where="x.dtype.is_float")
rule("power(x, 3) = square(x) * x")
rule("x * A * B = scaled(x, number(A) * number(B))", where="is_normal(number(A) * number(B), x)")
rule("x / A * B = scaled(x, number(B) / number(A))", where="number(A) and is_normal(number(B) / number(A), x)")
rule("-x * A = scaled(x, -number(A))", where="x.dtype.is_float")
rule("-(x * A) = scaled(x, -number(A))", where="x.dtype.is_float")
rule(
    "sum(x, axes=a, keepdims=k) = reshape(x, shape_without(x, a, k))",
    where="is_one_everywhere(x, a) and x.dtype.is_float",
    a=(0,),
    k=False,
    x_shape=(1, 3),
)
