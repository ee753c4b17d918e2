"""Symbolic gradients of rows held against finite differences along random directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticnet.compiler.autodiff import gradients
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Node, bind_shape
from staticnet.compiler.ops.exceptions import NOT_DIFFERENTIABLE
from staticnet.compiler.ops.leaf import make_input
from tests.ops.harness import Case
from tests.ops.table import Row

#: step of the finite differences, and what is lost to rounding when numbers of size 1 are divided by it
STEP, ROUNDING = 1e-3, 2e-12


def why_no_gradient(row: Row, case: Case) -> str | None:
    """The reason why a row has no gradient to check, or None; a missing rule is no reason."""
    if row.wrt == () or not any(node.dtype.is_float for node in case.inputs):
        return "the row has no operand to differentiate with respect to"
    if row.ops[0] in NOT_DIFFERENTIABLE:
        return NOT_DIFFERENTIABLE[row.ops[0]]
    return None


class Gradient:
    """The gradient of sum(result * seed) over the float results of a case, with the seeds as inputs of their own."""

    def __init__(self, row: Row, case: Case):
        self.case = case
        floats = [i for i, node in enumerate(case.inputs) if node.dtype.is_float]
        self.xs = [case.inputs[i] for i in (floats if row.wrt is None else row.wrt)]
        self.ys = [node for node in case.results if node.dtype.is_float]
        assert self.ys, f"{row.ops[0]} has no float result; give the reason in NOT_DIFFERENTIABLE"
        self.seed_nodes = [make_input(f"seed{i}", y.aval) for i, y in enumerate(self.ys)]
        self.nodes = gradients(self.ys, self.xs, self.seed_nodes, unconnected="zero")
        assert [g.aval for g in self.nodes] == [x.aval for x in self.xs], "a gradient has not the type of its operand"

    def value(self, arrays: Sequence[np.ndarray], binding: Any, seeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        known = dict(zip((*self.case.inputs, *self.seed_nodes), (*arrays, *seeds), strict=True))
        return evaluate(self.nodes, known, binding)


def uniform(rng: np.random.Generator, nodes: Sequence[Node]) -> list[np.ndarray]:
    return [rng.uniform(-1, 1, bind_shape(node.shape, {})) for node in nodes]


def compare_slopes(
    ys: Sequence[Node],
    weights: Sequence[np.ndarray],
    xs: Sequence[Node],
    slopes: Sequence[Node],
    values: Mapping[Node, np.ndarray],
    rng: np.random.Generator,
    rtol: float,
) -> None:
    """Each of `slopes` against central differences of sum(ys * weights) by one of `xs`, extrapolated to step 0.

    `values` holds all that the nodes depend on. The extrapolation is Richardson's, of order 4.
    """

    def terms(values: Mapping[Node, np.ndarray]) -> list[np.ndarray]:
        return [y * weight for y, weight in zip(evaluate(ys, values), weights, strict=True)]

    def difference(x: Node, move: np.ndarray) -> float:
        ahead, behind = (sum(map(np.sum, terms({**values, x: values[x] + step}))) for step in (move, -move))
        return float(ahead - behind) / 2

    size = float(sum(np.abs(term).sum() for term in terms(values)))
    for x, slope in zip(xs, evaluate(slopes, values), strict=True):
        direction = rng.normal(size=slope.shape)
        direction *= STEP / (np.linalg.norm(direction) or 1.0)
        wanted = (8 * difference(x, direction / 2) - difference(x, direction)) / (3 * STEP)
        found = float(np.sum(slope * direction)) / STEP
        # A slope is judged by the length of the whole gradient, and no better than its difference is rounded.
        allowed = rtol * (abs(wanted) + float(np.linalg.norm(slope))) + ROUNDING * size
        label = x.op.attributes["label"]
        assert abs(found - wanted) <= allowed, f"by {label}: slope {found!r}, finite differences {wanted!r}"
