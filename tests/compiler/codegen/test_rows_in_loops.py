"""Every row of the op table whose ops move, pick, pool or draw: their loop descriptions against their kernels."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.describers  # noqa: F401
from staticnet.compiler.codegen.loops.describe import DESCRIBERS
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Type, bind_shape, leaves, topological
from staticnet.compiler.ir.op import REGISTRY
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.leaf import Constant
from staticnet.compiler.ops.matmul import MatMul
from staticnet.compiler.ops.reduce import Reduction
from tests.compiler.codegen.placed import assert_equal, dense, described, execute, kernel_results
from tests.ops.harness import SIZES, all_rows, build, draw

#: cards whose sums are made in an order of their own, tested elsewhere
ELSEWHERE = (Pointwise, Reduction, MatMul, *(card for name, card in REGISTRY.items() if name.startswith("conv2d")))
CARDS = [card for card in REGISTRY.values() if hasattr(card, "kernel") and not issubclass(card, ELSEWHERE)]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_other_card_with_a_kernel_has_a_description(card):
    assert card in DESCRIBERS


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.id)
def test_row(row):
    case = build(row)
    values = dict(zip(case.inputs, draw(row, np.random.default_rng(0)), strict=True))
    for node in topological(case.results):
        if isinstance(node.op, tuple(CARDS)):
            check(node, values)


def check(node, values):
    op = node.op.bind(SIZES)
    operands = [np.asarray(value) for value in evaluate(node.inputs, values, SIZES)]
    results = [Type(bind_shape(type.shape, SIZES), type.dtype) for type in leaves(node.type)]
    at = [dense(array.ndim) for array in operands] + [dense(len(type.shape)) for type in results]
    run = described(op, operands, at, results=results)
    if run is None:
        assert isinstance(op, Constant) and op.value.size > 1, f"{op} has no description"
        return
    execute(run)
    for actual, expected in zip(run.results, kernel_results(op, operands), strict=True):
        assert_equal(actual, expected, str(op), ulp=4 if op.name == "random_normal" else 0)
