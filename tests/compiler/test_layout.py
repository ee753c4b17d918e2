"""Layout: which values lie with their channels last, which products lie as they are read, and what stays row-major."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.program import Program
from staticnet.compiler.target import NATIVE, REFERENCE
from staticnet.runtime.executor import Executor
from staticnet.runtime.numpy_backend import NUMPY
from tests.compiler.graphs import make_graph

RANDOM = np.random.default_rng(0)


def native(build, **shapes) -> Program:
    """The native program, whose plan is sound and whose results are those of the reference."""
    graph = make_graph(build, **shapes)
    program = check_plan(pipeline(graph, {}, NATIVE))
    feeds = [RANDOM.standard_normal(node.aval.shape).astype(node.aval.dtype.numpy) for node in graph.inputs]
    got = Executor(program, NUMPY, ())(feeds)
    expected = Executor(pipeline(graph, {}, REFERENCE), NUMPY, ())(feeds)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    return program


def strides(program: Program, name: str) -> list[tuple[int, ...]]:
    """Element strides of the results of every step with a word in its title."""
    found = [i for i in program.instructions if name in i.op.title]
    return [program.buffers[index].layout.strides for i in found for index in i.outputs]


def test_convolutions_and_what_follows_lie_channels_last():
    program = native(lambda x, w: F.max_pool2d(F.tanh(F.conv2d(x, w)), 2) * 2.0 + 1.0, x=(2, 3, 8, 8), w=(4, 3, 3, 3))
    (convolved,) = strides(program, "conv2d")
    assert convolved == (4 * 36, 1, 4 * 6, 4)


def test_what_leaves_the_program_is_row_major():
    program = native(lambda x, w: F.conv2d(x, w), x=(2, 3, 8, 8), w=(4, 3, 3, 3))
    assert strides(program, "conv2d") == [(4 * 36, 36, 6, 1)]


def test_one_channel_is_as_it_is():
    program = native(lambda x, w: F.exp(F.exp(F.conv2d(x, w)) + 1.0), x=(2, 1, 8, 8), w=(1, 1, 3, 3))
    assert all(each[-1] == 1 for each in strides(program, "conv2d"))


def test_several_results_keep_their_order_but_for_outputs():
    def build(x, w):
        y = F.conv2d(x, w)
        z = F.tanh(y)
        return z, F.max_pool2d(z * y, 2) * 1.0

    assert native(build, x=(2, 3, 8, 8), w=(4, 3, 3, 3))


def test_a_product_lies_as_it_is_read():
    program = native(lambda x, g, w: w - F.transpose(F.matmul(F.transpose(x), g)) * 0.1, x=(5, 3), g=(5, 4), w=(4, 3))
    assert strides(program, "matmul") == [(1, 3)]


def test_a_matrix_turned_for_many_products_is_stored_turned():
    def build(x, w):
        for _ in range(5):
            x = F.tanh(F.matmul(x, F.transpose(w)))
        return x

    assert strides(native(build, x=(2, 6), w=(6, 6)), "transpose") == [(6, 1)]
    assert not strides(native(lambda x, w: F.matmul(x, F.transpose(w)), x=(2, 6), w=(6, 6)), "transpose")


def test_it_can_be_left_out(monkeypatch):
    monkeypatch.setenv("STATICNET_SKIP", "layout")
    program = native(lambda x, w: F.max_pool2d(F.conv2d(x, w), 2), x=(2, 3, 8, 8), w=(4, 3, 3, 3))
    assert strides(program, "conv2d") == [(4 * 36, 36, 6, 1)]
