"""What compiled calls return: plain NumPy values that explain `backward`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.errors import HabitError


def test_a_loss_is_an_ndarray_that_explains_backward() -> None:
    model = nn.Linear(2, 3)
    images, labels = np.ones((4, 2), "f4"), np.array([0, 1, 2, 0])
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    for loss in (step(images, labels), nn.CrossEntropyLoss()(model(images), labels)):
        assert isinstance(loss, np.ndarray) and loss.shape == () and loss.dtype == np.float32
        assert f"{loss:.1f}" == f"{float(loss):.1f}"
        assert float(pickle.loads(pickle.dumps(loss))) == float(loss)
        with pytest.raises(HabitError, match="compile_train_step"):
            loss.backward()


def test_arrays_with_axes_are_plain() -> None:
    assert type(nn.Linear(2, 3)(np.ones((4, 2), "f4"))) is np.ndarray
