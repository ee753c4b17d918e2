"""Parameters and buffers: what they take, how they change, and what they are called."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn
from staticnet.compiler.errors import DTypeError, HabitError, StateError, TraceError


def test_parameters():
    p = nn.Parameter([[1.0, 2.0]])
    assert (p.shape, p.dtype.name, p.requires_grad) == ((1, 2), "float32", True)
    assert repr(p) == "Parameter([[1., 2.]], dtype=float32)"
    np.testing.assert_array_equal((p * 2 + np.ones(2)).numpy(), [[3, 5]])
    p.requires_grad = False
    assert nn.Parameter([1.0], requires_grad=False).requires_grad is False
    assert nn.Buffer([1.0]).requires_grad is False
    assert nn.Parameter(sn.tensor([1.0]) * 2).item() == 2
    with pytest.raises(DTypeError, match="Buffer"):
        nn.Parameter([1, 2])
    assert nn.Parameter([1, 2], requires_grad=False).dtype.name == "int64"
    with pytest.raises(HabitError, match="named by the attribute"):
        p.name = "weight"


def test_assign_and_set():
    b = nn.Buffer([1.0, 2.0])
    b.assign(b * 3)
    np.testing.assert_array_equal(b.numpy(), [3, 6])
    b.set([0, 1])
    np.testing.assert_array_equal(b.numpy(), [0, 1])
    b.set(np.array([2.0, 3.0]))
    assert b.numpy().dtype == np.float32
    for wrong in ([1.0], np.zeros((2, 1)), 1.0, np.array([1j, 2]), [[1.0], 2.0]):
        with pytest.raises(StateError):
            b.set(wrong)
    np.testing.assert_array_equal(b.numpy(), [2, 3])
    count = nn.Buffer(0)
    for use in (lambda: count.set(1.5), lambda: sn.trace(lambda x: count.assign(1.5), sn.TensorSpec(()))):
        with pytest.raises(StateError, match="lose its meaning"):
            use()
    precise = nn.Buffer(0.0, dtype="float64")
    precise.set(0.1)
    assert precise.item() == 0.1


def test_set_is_not_for_traces():
    b = nn.Buffer([1.0])
    with pytest.raises(TraceError, match=r"assign\(value\)"):
        sn.trace(lambda x: b.set([2.0]), sn.TensorSpec((1,)))
    with pytest.raises(TraceError, match=r"sn\.where"):
        sn.trace(lambda x: x + 1 if b else x, sn.TensorSpec((1,)))
    with pytest.raises(TraceError, match="numpy"):
        sn.trace(lambda x: x + b.numpy(), sn.TensorSpec((1,)))


def test_parameters_are_named_by_their_module():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert net[1].weight.name is None
    sn.trace(net, sn.TensorSpec((2, 3)))
    assert net[1].weight.name == "1.weight"
    sn.trace(net[1], sn.TensorSpec((2, 4)))
    assert net[1].weight.name == "weight"


def test_gradients_of_parameters():
    net = nn.Linear(3, 1, bias=False)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (g,) = sn.grad(net(sn.tensor(x)).sum(), list(net.parameters()))
    np.testing.assert_allclose(g.numpy(), x.sum(axis=0, keepdims=True), rtol=1e-6)
