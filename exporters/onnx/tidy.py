"""What a simplifier of ONNX files would remove is removed before anything is written: rules as equations."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.dtypes import DType
from staticnet.compiler.ir import Graph, Node
from staticnet.compiler.rewrite.engine import RuleSet, rewrite
from staticnet.compiler.rewrite.exact import compose, is_integer, read_through_broadcasts

#: all bit-equal, and none that changes what the user wrote into something else as long
TIDY = RuleSet("tidy")
rule, helper = TIDY.rule, TIDY.helper


helper(compose)
helper(is_integer)


@helper
def keeps_every_value(x: Node, middle: DType) -> bool:
    """Whether a cast of `x` to `middle` loses nothing."""
    return np.can_cast(x.dtype.numpy, middle.numpy, "safe")


rule("transpose(transpose(x, axes=p), axes=q) = transpose(x, compose(p, q))", p=(1, 0), q=(1, 0))
rule("reshape(reshape(x, shape=s), shape=t) = reshape(x, t)", s=(6,), t=(3, 2))
rule("broadcast(broadcast(x, shape=s), shape=t) = broadcast_to(x, t)", s=(2, 3), t=(4, 2, 3))
rule("cast(cast(x, dtype=m), dtype=d) = cast(x, d)", where="keeps_every_value(x, m)", m="float64", d="float32")
rule("negative(negative(x)) = x")
rule("logical_not(logical_not(x)) = x")
rule("relu(relu(x)) = relu(x)")
rule("x * 1 = x")
rule("x / 1 = x")
rule("x - 0 = x")
rule("x + 0 = x", where="is_integer(x)")
rule("power(x, 1) = x")


def tidy(graph: Graph) -> Graph:
    """The same values with fewer moves, casts and units; elementwise ops broadcast by themselves."""
    return rewrite(read_through_broadcasts(graph), TIDY)
