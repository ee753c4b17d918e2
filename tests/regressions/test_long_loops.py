"""Gradients in a loop cost what one step costs, however many steps came before and were never looked at."""

import numpy as np
import pytest

import staticnet as sn
from staticnet import gradients
from staticnet.compiler import cut


def descend(x, steps, rate=0.01):
    for _ in range(steps):
        y = x**4 - 2 * x**2
        x = x - rate * sn.grad(y, x)
    return x


def expected(x, steps, rate=0.01):
    """The end of the descent and its slope in the start, by hand."""
    slope = 1.0
    for _ in range(steps):
        x, slope = x - rate * (4 * x**3 - 4 * x), slope * (1 - rate * (12 * x**2 - 4))
    return x, slope


@pytest.mark.parametrize("most_past", [0, 1, 5, 64])
def test_long_histories_give_the_right_values_and_slopes(monkeypatch, most_past):
    monkeypatch.setattr(cut, "MOST_PAST", most_past)
    start = sn.tensor(2.0, dtype="float64")
    end = descend(start, 60)
    wanted, slope = expected(2.0, 60)
    assert np.isclose(float(sn.grad(end, start)), slope, rtol=1e-12)
    assert np.isclose(float(end), wanted, rtol=1e-12)


def test_the_graph_differentiated_does_not_grow_with_the_past(monkeypatch):
    sizes, original = [], gradients.cse

    def counted(graph):
        sizes.append(len(graph.nodes))
        return original(graph)

    monkeypatch.setattr(gradients, "cse", counted)
    descend(sn.tensor(2.0), 60)
    assert max(sizes) <= 2 * cut.MOST_PAST


def test_what_is_older_comes_back_as_it_was():
    """Inside a trace nothing is computed twice because a gradient was taken."""

    def unrolled(x):
        return descend(x, 40)

    graph = sn.trace(unrolled, sn.TensorSpec((), "float64", name="x"))
    assert [node.op.name for node in graph.nodes].count("input") == 1
    compiled = sn.compile(unrolled, sn.TensorSpec((), "float64"))
    assert np.isclose(compiled(np.float64(2.0)), expected(2.0, 40)[0], rtol=1e-12)


def test_patterns_across_the_cut_are_still_seen():
    """Constants made long before their use do not hide the sigmoid from the stable form."""
    one = sn.ones(3)
    other = sn.tensor(1.0)
    for _ in range(10):
        other = other * 1.5 + 1
    x = sn.tensor([-200.0, 0.0, 200.0])
    y = (1 / (one + sn.exp(-x)) * other).sum()
    assert np.isfinite(sn.grad(y, x).numpy()).all()
