"""The stand-in for CuPy refuses what CuPy refuses, and does the rest as NumPy does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests import standin as xp

MATRIX = np.arange(6.0).reshape(2, 3)


def matrix() -> xp.ndarray:
    return xp.asarray(MATRIX)


REFUSED: dict[str, tuple[type[Exception], Callable[[], object]]] = {
    "a ufunc of NumPy": (TypeError, lambda: np.add(matrix(), 1)),
    "a function of NumPy": (TypeError, lambda: np.sum(matrix())),
    "an array of the host on the right": (TypeError, lambda: matrix() + np.ones(3)),
    "an array of the host on the left": (TypeError, lambda: np.ones(3) + matrix()),
    "an array of the host as an operand": (TypeError, lambda: xp.add(matrix(), np.ones(3))),
    "an array of the host as out": (TypeError, lambda: xp.add(matrix(), 1, out=np.empty((2, 3)))),
    "an array of the host as a target": (TypeError, lambda: xp.copyto(np.empty((2, 3)), matrix())),
    "an array of the host as a source": (TypeError, lambda: xp.copyto(matrix(), MATRIX)),
    "an array of the host as an index": (IndexError, lambda: matrix()[np.array([0, 1])]),
    "silent conversion": (TypeError, lambda: np.asarray(matrix())),
    "reduce of a maximum": (NotImplementedError, lambda: xp.maximum.reduce(matrix())),
    "at of a division": (NotImplementedError, lambda: xp.divide.at(matrix(), 0, 2)),
    "at of int64": (TypeError, lambda: xp.add.at(xp.zeros(3, "int64"), xp.asarray([0]), 1)),
    "a masked sum": (TypeError, lambda: xp.sum(matrix(), where=matrix() > 0)),
    "a mode of take": (TypeError, lambda: xp.take(matrix(), xp.asarray([0]), mode="clip")),
    "take into another dtype": (TypeError, lambda: xp.take(matrix(), xp.asarray([0]), out=xp.empty(1, "float32"))),
    "an out that is too large": (ValueError, lambda: xp.add(xp.ones(3), 1, out=matrix())),
    "a mask of numbers": (TypeError, lambda: xp.copyto(matrix(), 0, where=matrix())),
    "an unaligned view": (ValueError, lambda: xp.zeros(24, "uint8")[1:9].view("float64")),
    "a function that CuPy lacks": (AttributeError, lambda: xp.fromiter),
    "error states": (AttributeError, lambda: xp.errstate),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    error, attempt = REFUSED[what]
    with pytest.raises(error):
        attempt()


def test_arrays_cross_by_copy():
    host = MATRIX.copy()
    device = xp.asarray(host)
    host[:] = 0
    back = xp.asnumpy(device)
    np.testing.assert_array_equal(back, MATRIX)
    back[:] = 0
    np.testing.assert_array_equal(device.get(), MATRIX)
    device.set(np.ones((2, 3)))
    assert (device.get() == 1).all()


def test_views_share_memory():
    device = matrix()
    device[0][...] = 7
    device.T[2] += 1
    device.reshape(-1)[4:5].fill(9)
    xp.lib.stride_tricks.as_strided(device, (2,), (24,))[1:] = -1
    np.testing.assert_array_equal(device.get(), [[7, 7, 8], [-1, 9, 6]])


def test_results_are_device_arrays_even_without_axes():
    for result in (matrix().sum(), xp.max(matrix()), matrix()[0, 0], xp.add.reduce(matrix(), axis=None), xp.add(1, 2)):
        assert isinstance(result, xp.ndarray) and result.shape == ()
    assert float(matrix().sum()) == 15.0


def test_functions_write_into_out():
    out = xp.empty((2, 3), "float64")
    assert xp.clip(matrix(), 1, None, out=out) is out
    assert xp.multiply(out, 2, out=out, where=matrix() > 2) is out
    np.testing.assert_array_equal(out.get(), [[1, 1, 2], [6, 8, 10]])
    total = xp.empty((2, 1), "float64")
    assert xp.sum(matrix(), axis=1, keepdims=True, out=total) is total
    product = xp.empty((2, 2), "float64")
    assert xp.matmul(matrix(), matrix().T, out=product) is product
    np.testing.assert_array_equal(product.get(), MATRIX @ MATRIX.T)
