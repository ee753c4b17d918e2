"""NumPy's functions and operators on tensors: those of the same name here, a clear error, or the values."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet as sn
from staticnet.errors import HabitError, TraceError, UndecidableSizeError


def test_ufuncs_are_our_functions() -> None:
    t = sn.tensor([1.0, 4.0])
    assert isinstance(np.sqrt(t), sn.Tensor) and np.sqrt(t).numpy().tolist() == [1, 2]
    assert (np.ones(2, "f4") + t).numpy().tolist() == [2, 5]
    assert (np.float32(3) * t).numpy().tolist() == [3, 12]
    assert np.rint(sn.tensor([0.6])).numpy().tolist() == [1]
    graph = sn.trace(lambda x: np.exp(x), sn.TensorSpec((2,)))
    assert graph.outputs[0].op.name == "exp"


def test_functions_are_our_functions_or_get_the_values() -> None:
    t = sn.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert np.sum(t, axis=0).numpy().tolist() == [4, 6]
    assert np.allclose(t, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(t, [[1, 2], [3, 4]])


def test_what_has_no_meaning_says_so() -> None:
    t = sn.tensor([1.0, 2.0])
    array = np.zeros(2, "f4")
    with pytest.raises(HabitError, match=r"t \+ a"):
        array += t
    with pytest.raises(HabitError, match=r"np\.add\.reduce"):
        np.add.reduce(t)
    with pytest.raises((HabitError, TraceError), match="trac"):
        sn.trace(lambda x: np.fft.fft(x), sn.TensorSpec((2,)))


def test_squeezing_an_axis_that_may_have_size_one() -> None:
    with pytest.raises(UndecidableSizeError, match="axis=1"):
        sn.trace(lambda x: x.squeeze(), sn.TensorSpec(("batch", 1)))
    squeeze = sn.compile(lambda x: x.squeeze())
    assert squeeze(np.ones((1, 2), "f4")).shape == (2,)
    assert squeeze(np.ones((3, 1, 2), "f4")).shape == (3, 2)
