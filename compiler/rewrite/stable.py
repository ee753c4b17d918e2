"""Rules that put the stable form of an expression for one that overflows or cancels.

They change rounding for the better, and give finite results where the naive form gives inf or NaN.
"""

from __future__ import annotations

from staticnet.compiler.ir import Node
from staticnet.compiler.rewrite.engine import RuleSet

STABLE = RuleSet("stable")
rule, helper = STABLE.rule, STABLE.helper


@helper
def is_single(axes: tuple[int, ...]) -> bool:
    return len(axes) == 1


@helper
def is_plain(x: Node) -> bool:
    """Whether `x` is not already shifted by its maximum, as the stable forms themselves are written."""
    return not (x.op.name == "subtract" and _is_maximum(x.inputs[1]))


def _is_maximum(x: Node) -> bool:
    while x.op.name in {"stop_gradient", "broadcast", "where", "reshape"}:
        x = x.inputs[-1] if x.op.name == "where" else x.inputs[0]
    return x.op.name == "max"


rule("log(softmax(x, axis=a)) = log_softmax(x, axis=a)", a=1)
rule("exp(log_softmax(x, axis=a)) = softmax(x, axis=a)", a=1)
rule(
    "log(sum(exp(x), axes=a, keepdims=k)) = logsumexp(x, axis=a, keepdims=k)",
    where="is_plain(x)",
    a=(1,),
    k=True,
)
rule(
    "exp(x) / sum(exp(x), axes=a, keepdims=True) = softmax(x, axis=a[0])",
    where="is_single(a) and is_plain(x)",
    a=(1,),
)
rule("x - log_sum_exp(x, axes=a, keepdims=True) = log_softmax(x, axis=a[0])", where="is_single(a)", a=(1,))
rule("1 / (1 + exp(-x)) = sigmoid(x)")
rule("reciprocal(1 + exp(-x)) = sigmoid(x)")
rule("log(sigmoid(x)) = -softplus(-x)")
rule("log(1 - sigmoid(x)) = -softplus(x)")
rule("log(1 + exp(x)) = softplus(x)")
rule("log1p(exp(x)) = softplus(x)", where="not is_bounded(x)")
rule("log(1 + x) = log1p(x)", x_low=0.0)
rule("exp(x) - 1 = expm1(x)")
rule("sqrt(square(x)) = absolute(x)")
rule("log(exp(x)) = x")


@helper
def is_bounded(x: Node) -> bool:
    """Whether `x` is -|y|, whose exponential cannot overflow."""
    return x.op.name == "negative" and x.inputs[0].op.name == "absolute"
