"""Stabilisation: expressions that overflow or cancel become their stable forms."""

from __future__ import annotations

from staticnet.compiler.ir import Graph
from staticnet.compiler.rewrite.engine import rewrite
from staticnet.compiler.rewrite.stable import STABLE


def stabilise(graph: Graph) -> Graph:
    """log(sum(exp(x))), log(softmax(x)), 1 / (1 + exp(-x)) and the like in their stable forms.

    Runs before differentiation and before composites are expanded: the stable forms' own expansions
    are not to be matched again.
    """
    return rewrite(graph, STABLE)
