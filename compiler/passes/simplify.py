"""Simplification: the exact rules, and the fast ones where rounding may change."""

from __future__ import annotations

from staticnet.compiler.ir import Graph
from staticnet.compiler.rewrite.engine import rewrite
from staticnet.compiler.rewrite.exact import EXACT, keep_reduced_axes, read_through_broadcasts
from staticnet.compiler.rewrite.fast import FAST


def simplify(graph: Graph) -> Graph:
    """Apply the rules whose two sides are equal bit by bit."""
    return rewrite(read_through_broadcasts(keep_reduced_axes(graph)), EXACT)


def accelerate(graph: Graph) -> Graph:
    """Apply the rules that may change rounding, then what they open up."""
    return rewrite(graph, FAST, EXACT)
