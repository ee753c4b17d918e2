"""What can be refused is refused before any state is written: values met at run time, sizes met at binding."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.errors import RunError, ShapeError


def test_an_exponent_that_is_refused_leaves_the_state() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.total = nn.Buffer(np.zeros(3, "f4"))

        def forward(self, x, exponent):
            self.total.assign(self.total + x)
            return exponent**exponent

    module = Counting()
    run = sn.compile(module)
    run(np.ones(3, "f4"), np.array([1, 2, 3]))
    with pytest.raises(RunError, match="power -1"):
        run(np.ones(3, "f4"), np.array([1, -1, 3]))
    assert module.total.numpy().tolist() == [1, 1, 1]


def test_batch_norm_does_not_train_on_a_batch_of_one() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    step = sn.compile_train_step(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    step(np.ones((4, 2), "f4"), np.ones((4, 3), "f4"))
    before = model.state_dict()
    with pytest.raises(ShapeError, match="more than one value per channel") as caught:
        step(np.ones((1, 2), "f4"), np.ones((1, 3), "f4"))
    assert caught.value.origin is not None
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())
    model.eval()
    assert model(np.ones((1, 2), "f4")).shape == (1, 3)
