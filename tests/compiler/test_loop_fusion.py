"""Clusters for loop nests: what becomes one step, which results leave it, and where no circle may come of it."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.ir import Graph
from staticnet.compiler.loop_fusion import cluster, with_fused_nodes
from staticnet.compiler.lowering import lower
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.fused import Fused
from staticnet.compiler.passes import LOWERED_PASSES, PASSES
from staticnet.compiler.passes.verify import verify
from staticnet.compiler.pipeline import run_passes
from staticnet.compiler.target import NATIVE
from staticnet.differential import differential
from tests.compiler.graphs import growth, make_graph


def titles(build, **shapes) -> list[str]:
    """Titles of the computed nodes after fusion; the fused graph is sound and computes the same."""
    graph = run_passes(lower(run_passes(make_graph(build, **shapes), PASSES), NATIVE), LOWERED_PASSES)
    fused = verify(with_fused_nodes(graph, cluster(graph, NATIVE)))
    random = np.random.default_rng(0)
    feeds = [random.standard_normal(node.aval.shape).astype(node.aval.dtype.numpy) for node in graph.inputs]
    differential(fused, feeds, passes=[]).raise_for_status()
    return [node.op.title for node in fused.nodes if node.op.name not in {"input", "item", "constant"}]


def test_several_results_of_one_cluster():
    def moments(g, m, v):
        m = m * 0.9 + g * 0.1
        v = v * 0.99 + F.square(g) * 0.01
        return m, v, m / (F.sqrt(v) + 1e-8)

    assert len(titles(moments, g=(4, 5), m=(4, 5), v=(4, 5))) == 1


def test_softmax_is_one_cluster():
    assert len(titles(lambda x: F.softmax(x), x=(3, 7))) == 1


def test_a_reduction_of_leading_axes_that_is_read_again_stays_apart():
    assert titles(lambda x: x - F.sum(x, 0, keepdims=True), x=(3, 7)) == ["sum", "subtract"]


def test_reductions_join_what_makes_their_operand():
    def build(x, m):
        g = F.where(m > 0.0, x, 0.0)
        return g, F.sum(g, 0), F.sum(g * m, 0)

    assert titles(build, x=(4, 3), m=(4, 3)) == ["fused[greater masked sum multiply sum]", "reshape", "reshape"]


def test_an_anchor_takes_what_is_done_to_its_results():
    assert titles(lambda x, w, b: F.relu(F.matmul(x, w) + b), x=(4, 3), w=(3, 5), b=(5,)) == ["fused[matmul add relu]"]


def test_what_feeds_an_anchor_does_not_join_it():
    assert titles(lambda x, w: F.relu(F.matmul(F.exp(x), w)), x=(4, 3), w=(3, 5)) == ["exp", "fused[matmul relu]"]


def test_of_two_anchors_one_heads_the_cluster():
    found = titles(lambda x, w: F.matmul(x, w) + F.matmul(w, x), x=(4, 4), w=(4, 4))
    assert sorted(found) == ["fused[matmul add]", "matmul"]


def test_costly_narrow_values_are_computed_once():
    assert titles(lambda x, s: x * F.exp(s), x=(8, 3), s=(3,)) == ["exp", "multiply"]
    assert titles(lambda x, s: x * F.exp(s), x=(8, 3), s=(8, 1)) == ["fused[exp multiply]"]


def test_merging_makes_no_circle():
    # The second sum reads what is computed from the first, through a product that cannot join.
    def build(x, w):
        total = F.sum(x, 0)
        scaled = x * 2.0 + F.matmul(F.reshape(total, (1, 3)), w)
        return F.sum(x * scaled, 0), F.sum(scaled, 0)

    assert titles(build, x=(4, 3), w=(3, 3))


@pytest.mark.parametrize("count", [3])
def test_batch_normalisation_backwards(count):
    def build(x, s, b, g):
        y, _, _ = F.batch_norm(x, s, b, s, b, training=True)
        return y, F.sum(y * g)

    found = titles(build, x=(count, 4, 2, 2), s=(4,), b=(4,), g=(count, 4, 2, 2))
    assert len(found) < 12


def test_a_body_is_closed_and_deterministic():
    def fused() -> Fused:
        graph = lower(make_graph(lambda x: F.tanh(x * 2.0) + 1.0, x=("N", 3)), NATIVE)
        (node,) = [n for n in with_fused_nodes(graph, cluster(graph, NATIVE)).nodes if isinstance(n.op, Fused)]
        return node.op

    assert fused() == fused() and fused().key == fused().key
    bound = fused().bind({"N": 5})
    assert bound.body.outputs[0].aval.shape == (5, 3) and bound.body.inputs[0].aval.shape == (5, 3)
    assert bound.in_place == (0,)


def test_clusters_grow_in_linear_time():
    def chain(count: int) -> Graph:
        def build(x):
            for _ in range(count):
                x = F.sum(F.tanh(x), 0, keepdims=True) + x
            return x

        return lower(make_graph(build, x=(3, 4)), NATIVE)

    assert growth(lambda graph: with_fused_nodes(graph, cluster(graph, NATIVE)), chain, 300) < 2.6
