"""An integer to a negative power is an error of ours at the user's line, not one of NumPy's."""

import numpy as np
import pytest

import staticnet as sn


@pytest.mark.parametrize(
    "make",
    [
        lambda: sn.tensor([2]) ** -1,
        lambda: 2 ** sn.tensor([-1, 2]),
        lambda: sn.tensor([2, 3]) ** sn.tensor([1, -4]),
        lambda: sn.compile(lambda x, y: x**y)(np.arange(2), np.arange(2) - 1),
    ],
)
def test_negative_exponents(make):
    with pytest.raises(
        sn.errors.RunError, match=r"(?s)power: an integer to the power -\d.*float32.*test_integer_powers\.py"
    ):
        str(make())


def test_those_that_have_a_value():
    assert (sn.tensor([-2, 3, 0]) ** sn.tensor([3, 0, 2])).tolist() == [-8, 1, 0]
    assert (sn.tensor(np.array([2, 3], "u1")) ** 2).tolist() == [4, 9]
    assert (sn.zeros(0, "int64") ** sn.zeros(0, "int64")).tolist() == []
    assert (sn.tensor([2.0]) ** -1).tolist() == [0.5]
