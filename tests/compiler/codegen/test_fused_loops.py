"""Pointwise groups, reductions and anchored groups as loops, against the cards' kernels."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import NATIVE
from tests.compiler.codegen.interpreted import step_through
from tests.compiler.codegen.native import host, run_native
from tests.compiler.graphs import make_graph

RANDOM = np.random.default_rng(7)


def check(build, **shapes) -> list[str]:
    """Titles of the steps of the native program; every step is described and right."""
    graph = make_graph(build, **shapes)
    program = check_plan(pipeline(graph, {}, NATIVE))
    feeds = [RANDOM.standard_normal(node.aval.shape).astype(node.aval.dtype.numpy) for node in graph.inputs]
    assert step_through(program, feeds) == len(program.instructions)
    assert step_through(program, feeds, machine=host(), run=run_native) == len(program.instructions)
    return [instruction.op.title for instruction in program.instructions]


def test_a_chain_with_broadcast_operands_is_one_step():
    titles = check(lambda x, b: F.relu(F.tanh(x * 2.0 + b) - 1.0), x=(3, 5, 7), b=(5, 1))
    assert titles == ["fused[multiply add tanh subtract relu]"]


def test_results_needed_elsewhere_leave_the_group():
    titles = check(lambda x: ((y := F.exp(x)) * 2.0, y), x=(4, 4))
    assert titles == ["fused[exp multiply]"]


@pytest.mark.parametrize("size", [0, 1, 3, 16, 17, 33, 2048, 2049, 5000])
def test_softmax_is_one_step(size):
    titles = check(lambda x: F.softmax(x), x=(3, size))
    assert len(titles) == 1 or not size


def test_layer_normalisation_is_one_step():
    titles = check(lambda x, w, b: F.layer_norm(x, (20,), w, b), x=(3, 4, 20), w=(20,), b=(20,))
    assert len(titles) == 1


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_of_any_axes(name, axes, keepdims):
    check(lambda x: getattr(F, name)(F.tanh(x), axes, keepdims), x=(3, 4, 5))


@pytest.mark.parametrize("shape", [(700, 6), (6, 700), (5000,), (40000,), (33001,), (2, 4100), (100, 5, 60), (1500, 1)])
@pytest.mark.parametrize("axis", [0, -1])
def test_long_reductions_are_cut_into_chunks(shape, axis):
    check(lambda x: (F.sum(F.square(x), axis), F.max(x, axis)), x=shape)
    check(lambda x: F.mean(x), x=shape)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (8, 16, 12, 12)])
def test_a_sum_joins_what_makes_its_operand(shape):
    def build(x, m):
        g = F.where(m > 0.0, x, 0.0)
        return g, F.sum(g, (0, 2, 3)), F.sum(g * m, (0, 2, 3))

    assert len(check(build, x=shape, m=shape)) == 1


def test_reductions_of_other_views():
    check(lambda x: F.sum(F.transpose(x) * 2.0, 0), x=(30, 7))
    check(lambda x: F.sum(x[:, ::-2], 1), x=(3, 9))
    check(lambda x: F.softmax(F.transpose(x)), x=(30, 7))
    check(lambda x: F.max(x[::-1] + x, 0), x=(9, 17))


def test_logic_is_reduced():
    check(lambda x: (F.any(x > 1.0, 0), F.all(x > -3.0, 1)), x=(5, 40))
