"""Reductions: dtypes, special values, nothing to reduce, ties, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler.autodiff import gradients
from staticnet.compiler.errors import DTypeError, RunError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Node, Type
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.ops.reduce import Mean

N = dims.symbol("N")
nan, inf = np.nan, np.inf


def value(shape: Any, dtype: str = "float32") -> Node:
    return make_input("x", Type(shape, dtype))


def run(name: str, array: Any, **options: Any) -> np.ndarray:
    array = np.asarray(array)
    x = value(array.shape, array.dtype)
    return evaluate([getattr(F, name)(x, **options)], {x: array})[0]


def slope(name: str, array: Any, **options: Any) -> np.ndarray:
    array = np.asarray(array, np.float64)
    x = value(array.shape, "float64")
    return evaluate(gradients([F.sum(getattr(F, name)(x, **options))], [x]), {x: array})[0]


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "int64", "uint8", "uint32", "float16", "float32"])
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "max", "min", "argmax", "any"])
def test_results_have_numpys_dtype(name: str, dtype: str):
    array = np.array([[1, 0, 3], [1, 1, 2]]).astype(dtype)
    expected = getattr(np, name)(array, axis=1)
    result = run(name, array, axis=1)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=1e-3)


def test_half_floats_are_summed_in_single_precision():
    array = np.full(5000, 1.0, np.float16)
    assert run("sum", array) == 5000
    assert run("mean", array) == 1
    assert run("mean", np.full((2, 4096), 100.0, np.float16), axis=1).tolist() == [100.0, 100.0]
    assert run("sum", np.full((4096, 2), 10.0, np.float16), axis=0).tolist() == [40960.0, 40960.0]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
def test_nan_and_infinity_go_through(name: str):
    array = np.array([[nan, 1, 2], [inf, 1, 2], [-inf, inf, 1], [0.0, inf, 1]], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(name, array, axis=1), getattr(np, name)(array, axis=1))


def test_positions_of_equals_and_of_nan():
    array = np.array([[2, 5, 5, 1, 1], [nan, 9, nan, 0, 0]], np.float32)
    assert run("argmax", array, axis=1).tolist() == [1, 0]
    assert run("argmin", array, axis=1).tolist() == [3, 0]
    assert run("argmax", array) == 5
    assert run("argmax", array, keepdims=True).tolist() == [[5]]


def test_positions_in_a_transposed_value():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4) % 7
    x = value(array.shape)
    for axis in (0, 1, 2, None):
        (result,) = evaluate([F.argmax(x.T, axis=axis)], {x: array})
        np.testing.assert_array_equal(result, np.argmax(array.T, axis=axis))


def test_truth_of_numbers():
    array = np.array([[0.0, nan], [0.0, -0.0], [1.0, 2.0]], np.float32)
    assert run("any", array, axis=1).tolist() == [True, False, True]
    assert run("all", array, axis=1).tolist() == [False, False, True]


def test_a_scalar_is_its_own_reduction():
    for name in ("sum", "mean", "max", "min", "prod"):
        assert run(name, np.float32(2.5)) == 2.5
    assert run("argmax", np.float32(2.5)) == 0
    x = value((2, 3))
    assert F.sum(x, axis=()) is x
    assert F.max(x, axis=()) is x
    assert F.sum(value((2,), "int8"), axis=()).dtype.name == "int64"


def test_reducing_nothing():
    empty = np.zeros((2, 0), np.float32)
    assert run("sum", empty, axis=1).tolist() == [0, 0]
    assert run("prod", empty, axis=1).tolist() == [1, 1]
    assert np.isnan(run("mean", empty, axis=1)).all()
    assert run("any", empty) == np.False_
    assert run("all", empty) == np.True_
    assert run("max", empty, axis=0).shape == (0,)
    assert run("argmax", empty, axis=0).shape == (0,)


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_an_extreme_of_nothing_does_not_exist(name: str):
    message = rf"{name} of no elements does not exist: an axis reduced in"
    with pytest.raises(ShapeError, match=rf"{message} \(2, 0\) is empty"):
        getattr(F, name)(value((2, 0)), axis=1)
    x = value((N, 3))
    y = getattr(F, name)(x, axis=0)
    with pytest.raises(RunError, match=rf"{message} \(0, 3\) is empty"):
        evaluate([y], {x: np.zeros((0, 3), np.float32)}, {"N": 0})


def test_ties_share_the_gradient_evenly():
    array = [[3.0, 1.0, 3.0, 3.0], [1.0, 2.0, 0.0, 0.0]]
    np.testing.assert_allclose(slope("max", array, axis=1), [[1 / 3, 0, 1 / 3, 1 / 3], [0, 1, 0, 0]])
    np.testing.assert_allclose(slope("min", array, axis=1), [[0, 1, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(slope("max", array), [[1 / 3, 0, 1 / 3, 1 / 3], [0, 0, 0, 0]])


def test_the_gradient_of_a_nan_maximum_is_nan():
    assert np.isnan(slope("max", [nan, 1.0])).all()


def test_the_gradient_of_a_product_knows_zeros():
    np.testing.assert_allclose(slope("prod", [2.0, 0.0, 3.0]), [0, 6, 0])
    np.testing.assert_allclose(slope("prod", [0.0, 0.0, 3.0]), [0, 0, 0])
    np.testing.assert_allclose(slope("prod", [2.0]), [1])
    np.testing.assert_allclose(slope("prod", np.zeros((2, 0)), axis=1), np.zeros((2, 0)))


def test_the_mean_of_a_symbolic_axis_divides_by_its_size():
    x = value((N, 2), "float64")
    y = F.mean(x, axis=0)
    for size in (1, 5):
        array = np.arange(2.0 * size).reshape(size, 2)
        result, grad = evaluate([y, *gradients([F.sum(y)], [x])], {x: array}, {"N": size})
        np.testing.assert_allclose(result, array.mean(0))
        np.testing.assert_allclose(grad, np.full((size, 2), 1 / size))


def test_variance_counts_degrees_of_freedom():
    array = np.array([[1.0, 2, 4], [3, 3, 3]])
    for ddof in (0, 1):
        np.testing.assert_allclose(run("var", array, axis=1, ddof=ddof), array.var(axis=1, ddof=ddof))
        np.testing.assert_allclose(run("std", array, ddof=ddof), array.std(ddof=ddof))
    assert np.isnan(run("var", np.array([3.0]), ddof=1))


def test_a_dtype_is_cast_to_first():
    assert run("sum", np.array([200, 100], np.uint8), dtype="float32").dtype == "float32"
    assert run("mean", np.array([1, 2], np.int32), dtype="float32") == np.float32(1.5)


def test_axes_that_do_not_exist():
    x = value((2, 3))
    with pytest.raises(ShapeError, match="sum: axis 2 is out of range for 2 axes"):
        F.sum(x, axis=2)
    with pytest.raises(ShapeError, match=r"max: axes \(0, -2\) name an axis twice"):
        F.max(x, axis=(0, -2))
    with pytest.raises(ShapeError, match="argmax: axis -3 is out of range for 2 axes"):
        F.argmax(x, axis=-3)


def test_the_mean_card_takes_floats_only():
    with pytest.raises(DTypeError, match="mean does not take int32"):
        Mean(axes=(0,)).infer(Type((3,), "int32"))


def test_reductions_of_broadcast_and_reversed_views():
    array = np.arange(3, dtype=np.float32)
    x = value((3,))
    for view in (F.broadcast_to(x, (4, 3)), F.flip(F.broadcast_to(x, (4, 3)), 1)):
        results = evaluate([F.sum(view), F.max(view, 0), F.argmax(view, 1), F.mean(view, (0, 1))], {x: array})
        assert results[0] == 12
        assert results[1].max() == 2
        assert len(set(results[2].tolist())) == 1
        assert results[3] == 1
