"""The global random key and the draws that follow from it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiler.errors import ArgumentError, DTypeError, TraceError


@pytest.fixture(autouse=True)
def _seed():
    sn.manual_seed(1234)


def test_the_seed_decides():
    def draws():
        return [sn.random.rand(5).numpy(), sn.random.randn(5).numpy(), sn.random.randint(9, size=5).numpy()]

    sn.manual_seed(42)
    first = draws()
    sn.manual_seed(42)
    for a, b in zip(first, draws(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first, draws(), strict=True):
        assert not np.array_equal(a, b)
    sn.manual_seed(2**64 - 1)
    assert sn.random.rand(5).numpy().tolist() != first[0].tolist()


def test_the_state_can_be_kept():
    sn.random.rand(3)
    state = sn.random.get_state()
    a = sn.random.rand(5).numpy()
    assert state.tolist() == [1234, 1]
    sn.random.set_state(state)
    np.testing.assert_array_equal(sn.random.rand(5).numpy(), a)
    state[:] = 0
    assert sn.random.get_state().tolist() == [1234, 2]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "a", None])
def test_seeds_that_make_no_sense(seed):
    with pytest.raises(ArgumentError, match="0 to 2"):
        sn.manual_seed(seed)


@pytest.mark.parametrize("state", [[1, 2], np.zeros(3, np.uint64), np.zeros(2)])
def test_states_that_make_no_sense(state):
    with pytest.raises(ArgumentError, match="uint64"):
        sn.random.set_state(state)


@pytest.mark.parametrize(
    ("draw", "dtype", "mean", "variance", "low", "high"),
    [
        (lambda: sn.random.rand(200, 100), "float32", 0.5, 1 / 12, 0, 1),
        (lambda: sn.random.rand((200, 100), dtype="float64"), "float64", 0.5, 1 / 12, 0, 1),
        (lambda: sn.random.randn(200, 100), "float32", 0, 1, -7, 7),
        (lambda: sn.random.uniform(-2, 4, (200, 100)), "float32", 1, 3, -2, 4),
        (lambda: sn.random.normal(3, 0.5, size=(200, 100)), "float32", 3, 0.25, 0, 7),
        (lambda: sn.random.randint(-2, 3, size=(200, 100)), "int64", 0, 2, -2, 2),
        (lambda: sn.random.bernoulli(0.2, (200, 100)), "bool", 0.2, 0.16, 0, 1),
        (lambda: sn.random.bernoulli(sn.tensor(np.full((200, 100), 0.2, np.float32))), "bool", 0.2, 0.16, 0, 1),
    ],
)
def test_distributions(draw, dtype, mean, variance, low, high):
    tensor = draw()
    assert (tensor.shape, tensor.dtype.name) == ((200, 100), dtype)
    values = tensor.numpy().astype(np.float64)
    assert values.mean() == pytest.approx(mean, abs=0.03)
    assert values.var() == pytest.approx(variance, rel=0.05)
    assert values.min() >= low
    assert values.max() <= high


def test_all_integers_come():
    assert set(sn.random.randint(3, 8, size=1000).tolist()) == {3, 4, 5, 6, 7}


def test_single_numbers():
    assert sn.random.rand().shape == ()
    assert sn.random.normal().shape == ()
    assert sn.random.bernoulli(0.5).shape == ()
    assert 0 <= int(sn.random.randint(4)) < 4


def test_permutations():
    order = sn.random.permutation(50).numpy()
    assert sorted(order) == list(range(50))
    assert order.tolist() != list(range(50))
    rows = np.arange(20.0).reshape(10, 2)
    shuffled = sn.random.permutation(rows).numpy()
    assert sorted(shuffled[:, 0]) == rows[:, 0].tolist()
    np.testing.assert_array_equal(shuffled[:, 1], shuffled[:, 0] + 1)
    assert sn.random.permutation(0).shape == (0,)
    with pytest.raises(TraceError, match="outside"):
        sn.trace(lambda x: x[sn.random.permutation(3)], sn.TensorSpec((3,)))


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (lambda: sn.random.randint(5, 5), ArgumentError, "from 5 up to"),
        (lambda: sn.random.randint(0.5), DTypeError, "0.5"),
        (lambda: sn.random.bernoulli(1.5, (2,)), ArgumentError, "probability"),
        (lambda: sn.random.rand(-1), ValueError, "negative"),
        (lambda: sn.random.permutation("abc"), ArgumentError, "abc"),
        (lambda: sn.dropout(sn.tensor([1.0]), p=2.0), ArgumentError, "probability"),
    ],
)
def test_draws_that_make_no_sense(draw, error, words):
    with pytest.raises(error, match=words):
        draw()


def test_symbolic_sizes():
    graph = sn.trace(lambda x: x + sn.random.rand(*x.shape), sn.TensorSpec(("batch", 3)))
    assert repr(graph.outputs[0].type) == "f32[batch, 3]"


def test_threads_never_draw_the_same():
    seen: list[float] = []

    def work():
        seen.extend(float(sn.random.rand(dtype="float64")) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 80
