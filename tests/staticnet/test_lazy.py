"""Tensors outside a trace: when they are computed, how often, how many programs that takes, and what is kept."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import staticnet as sn
from staticnet import lazy, nn, prompt
from staticnet.compiler.errors import RunError, TraceError
from staticnet.compiler.ir import Node


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """The number of ops of each program that is run from now on."""
    sizes: list[int] = []
    run_graph = prompt.run_graph

    def counted(graph, arrays):
        sizes.append(sum(node.op.name not in ("input", "constant") for node in graph.nodes))
        return run_graph(graph, arrays)

    monkeypatch.setattr(prompt, "run_graph", counted)
    return sizes


def test_nothing_runs_before_a_value_is_asked_for(runs):
    y = sn.exp(sn.tensor([0.0, 1.0])) * 3 + 1
    assert runs == []
    assert (y.shape, y.dtype.name) == ((2,), "float32")
    np.testing.assert_allclose(y.numpy(), np.exp([0.0, 1.0]) * 3 + 1, rtol=1e-6)
    assert len(runs) == 1


def test_a_value_is_computed_once(runs):
    x = sn.tensor([1.0, 2.0])
    y = x.exp()
    z = y * 2
    y.numpy()
    y.numpy()
    z.numpy()
    float(y.sum())
    assert runs == [2, 1]


def test_what_is_held_on_the_way_is_kept(runs):
    x = sn.tensor([1.0, 2.0])
    y = x.exp()
    z = sn.cos(sn.sin(y))
    z.numpy()
    y.numpy()
    assert runs == [3]


def test_what_is_held_and_builds_on_it_is_computed_along(runs):
    x = sn.tensor([1.0, 2.0])
    y = x.exp()
    on_top, apart = y * 2 + 1, sn.sin(x)
    y.numpy()
    on_top.numpy()
    assert runs == [3]
    apart.numpy()
    assert runs == [3, 1]


def test_equal_structures_share_a_program():
    x = sn.tensor(np.arange(5.0))
    (x * 2.0 + 3.0).sum().numpy()
    before = prompt.prompt_program_count()
    for factor in (0.5, 4.0, -7.0):
        np.testing.assert_allclose((x * factor + 5.0).sum().numpy(), (np.arange(5.0) * factor + 5.0).sum())
    other = sn.tensor(np.ones(5))
    np.testing.assert_allclose((other * 3.0 + 2.0).sum().numpy(), 25.0)
    assert prompt.prompt_program_count() == before


def test_arrays_are_no_part_of_the_program():
    w = sn.tensor(np.ones((3, 2)))
    (np.zeros((4, 3)) @ w).numpy()
    before = prompt.prompt_program_count()
    for value in (1.0, 2.0):
        np.testing.assert_array_equal((np.full((4, 3), value) @ w).numpy(), np.full((4, 2), 3 * value))
    assert prompt.prompt_program_count() == before


def test_exponents_are_part_of_the_program():
    x = sn.tensor(np.array([1.0, 2.0, 3.0]))
    for exponent in (2, 3, 2.5):
        np.testing.assert_allclose((x**exponent).numpy(), np.array([1.0, 2.0, 3.0]) ** exponent)


def test_the_same_tensor_comes_back():
    x = sn.tensor([1.0])
    assert x.astype("float32") is x
    assert sn.tensor(x) is x


def test_a_long_chain():
    x = sn.tensor(np.float64(1.0))
    for _ in range(10_000):
        x = x * 1.0001
    assert float(x) == pytest.approx(1.0001**10_000, rel=1e-9)


def test_a_long_history_goes_away_without_recursion():
    x = start = sn.tensor(np.float64(1.0))
    for _ in range(200):
        for _ in range(50):
            x = x * 1.0001
        x.numpy()
    assert float(sn.grad(x, start)) == pytest.approx(1.0001**10_000, rel=1e-9)
    del x


def test_nothing_is_kept_that_nobody_holds():
    def work():
        x = sn.tensor(np.ones(4))
        y = (x * 2).exp().sum()
        y.numpy()
        _ = (x + 1) * 3
        model = nn.Linear(3, 2)
        model(sn.tensor(np.ones((1, 3), np.float32))).numpy()

    work()
    gc.collect()
    before = sum(isinstance(o, Node) for o in gc.get_objects())
    for _ in range(20):
        work()
    gc.collect()
    after = sum(isinstance(o, Node) for o in gc.get_objects())
    assert after <= before + 20
    assert len(lazy._known) <= before + 20


def test_detached_values_forget_where_they_came_from():
    w = sn.tensor(np.ones(3))
    first = weakref.ref(w._node)
    for _ in range(3):
        w = (w * 0.5).detach()
        w.numpy()
    gc.collect()
    assert first() is None
    np.testing.assert_allclose(w.numpy(), 0.125)


def test_threads_compute_at_the_same_time():
    shared = sn.tensor(np.arange(4.0)) * 2
    results: dict[int, list[float]] = {}

    def work(number):
        results[number] = [float((shared * number + step).sum()) for step in range(25)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [12.0 * number + 4 * step for step in range(25)] for number in range(4)}


# ---- looking at a value changes no gradient


def test_gradients_of_values_that_were_looked_at():
    w = sn.tensor(2.0)
    y = w**4 - 2 * w**2
    assert float(y) == 8
    (g,) = sn.grad(y, [w])
    assert float(g) == 24
    (h,) = sn.grad(g, [w])
    assert float(h) == 44


@pytest.mark.parametrize("look", ["before", "after", "never"])
def test_gradients_through_a_value_that_was_looked_at(look):
    w = sn.tensor(2.0)
    middle = w * 3
    if look == "before":
        middle.numpy()
    y = middle**2 + w
    if look == "after":
        middle.numpy()
    by_w, by_middle = sn.grad(y, [w, middle])
    assert float(by_w) == 37
    assert float(by_middle) == 12


def test_pictures_of_values_that_were_looked_at():
    w = sn.tensor(2.0)
    w.name = "w"
    middle = w * 3
    middle.name = "middle"
    y = middle**2 + w
    before = sn.draw(y)
    middle.numpy(), y.numpy()
    assert sn.draw(y) == before
    assert "middle" in before


def test_gradients_through_a_value_whose_tensor_is_gone():
    def loss(w):
        hidden = w * 3
        repr(hidden)
        return hidden**2

    w = sn.tensor(2.0)
    assert float(sn.grad(loss(w), w)) == 36


def test_descent_at_the_prompt_takes_a_few_programs():
    x = sn.tensor(np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]))
    target = x @ sn.tensor(np.array([[2.0], [-3.0]]))
    w = sn.tensor(np.zeros((2, 1)))
    counts = []
    for _ in range(60):
        loss = ((x @ w - target) ** 2).mean()
        (g,) = sn.grad(loss, [w])
        w = w - 0.1 * g
        loss.numpy()
        counts.append(prompt.prompt_program_count())
    np.testing.assert_allclose(w.numpy(), [[2.0], [-3.0]], atol=1e-3)
    assert counts[-1] == counts[5]


# ---- parameters, random draws, failures


def test_parameters_are_read_when_evaluated():
    p = nn.Parameter([1.0, 2.0])
    y = p * 2
    p.set([5.0, 6.0])
    np.testing.assert_array_equal(y.numpy(), [10.0, 12.0])
    p.set([0.0, 0.0])
    np.testing.assert_array_equal(y.numpy(), [10.0, 12.0])


def test_draws_are_fixed_when_made():
    sn.manual_seed(3)
    a = sn.random.rand(4)
    b = sn.random.rand(4)
    late = b.numpy()
    early = a.numpy()
    sn.manual_seed(3)
    np.testing.assert_array_equal(sn.random.rand(4).numpy(), early)
    np.testing.assert_array_equal(sn.random.rand(4).numpy(), late)
    assert not np.array_equal(early, late)


def test_a_failed_run_names_the_line_and_can_be_repeated():
    loss = sn.cross_entropy(sn.tensor(np.zeros((2, 3), np.float32)), sn.tensor([0, 5]))
    for _ in range(2):
        with pytest.raises(RunError, match="5"):
            loss.numpy()
    assert float(sn.tensor(1.0) + 1) == 2


def test_a_failure_elsewhere_hides_no_value():
    logits = sn.tensor(np.zeros((2, 3), np.float32)) + 1
    loss = sn.cross_entropy(logits, sn.tensor([0, 5]))
    assert logits.tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(RunError, match="5"):
        loss.numpy()


def test_nan_is_not_folded_away():
    x = sn.tensor([np.nan, np.inf, 1.0])
    np.testing.assert_array_equal((x * 0).numpy(), np.array([np.nan, np.nan, 0.0], np.float32))
    np.testing.assert_array_equal((x - x).numpy(), np.array([np.nan, np.nan, 0.0], np.float32))


def test_empty_and_scalar_values():
    empty = sn.tensor(np.zeros((0, 3), np.float32))
    assert float((empty * 2).sum()) == 0
    assert (empty + 1).numpy().shape == (0, 3)
    assert sn.exp(0.0).numpy().shape == ()


def test_functions_take_plain_arrays():
    result = sn.exp(np.ones(3))
    assert isinstance(result, sn.Tensor)
    np.testing.assert_allclose(result.numpy(), np.exp(np.ones(3)))
    np.testing.assert_array_equal(sn.concatenate([sn.tensor([1.0]), sn.tensor([2.0])]).numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(sn.where(sn.tensor([True, False]), 1.0, 2.0).numpy(), [1.0, 2.0])


def test_a_lazy_tensor_is_a_constant_in_a_trace():
    scale = sn.tensor([2.0, 3.0]) + 1
    graph = sn.trace(lambda x: x * scale + scale, sn.TensorSpec((2,)))
    constants = [node for node in graph.nodes if node.op.name == "constant"]
    assert len(constants) == 1
    np.testing.assert_array_equal(constants[0].op.value, [3.0, 4.0])


def test_a_tensor_does_not_leave_its_trace():
    leaked = []

    def leaking(x):
        leaked.append(x * 2)
        return x

    sn.trace(leaking, sn.TensorSpec((2,)))
    with pytest.raises(TraceError, match="trace of leaking and is used outside any trace"):
        leaked[0] + 1

    def other(x):
        return x + leaked[0]

    with pytest.raises(TraceError, match="belongs to the trace of leaking and is used in the trace of other"):
        sn.trace(other, sn.TensorSpec((2,)))
