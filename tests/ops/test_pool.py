"""Pooling: ties, special values, blocks of every size, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError, UndecidableSizeError
from staticnet.compiler.ops import pool
from staticnet.compiler.ops.base import F
from tests.ops.helpers import node, run, slope
from tests.ops.rows_pool import average, largest

inf, nan = np.inf, np.nan


def image(*rows: Any, dtype: str = "float32") -> np.ndarray:
    return np.array(rows, dtype)[None, None]


def test_ties_share_evenly() -> None:
    x = image([1, 1, 0, 3], [1, 0, 3, 3])
    assert slope(lambda x: F.max_pool2d(x, 2) * 6, x)[0, 0].tolist() == [[2, 2, 0, 2], [2, 0, 2, 2]]


def test_ties_share_evenly_in_each_of_overlapping_windows() -> None:
    x = image([2, 2, 2])
    assert slope(lambda x: F.max_pool2d(x, (1, 2), stride=1), x)[0, 0].tolist() == [[0.5, 1, 0.5]]


def test_padding_takes_no_share() -> None:
    x = np.full((1, 1, 2, 2), -inf, np.float32)
    assert run(lambda x: F.max_pool2d(x, 2, padding=1), x).tolist() == np.full((1, 1, 2, 2), -inf).tolist()
    assert slope(lambda x: F.max_pool2d(x, 2, padding=1), x).tolist() == np.ones((1, 1, 2, 2)).tolist()


def test_nan_wins_and_passes_nothing() -> None:
    x = image([nan, 5, 1, 2], [3, inf, 4, 0])
    np.testing.assert_array_equal(run(lambda x: F.max_pool2d(x, 2), x), image([nan, 4]))
    assert slope(lambda x: F.max_pool2d(x, 2), x)[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("stride", "g", "wanted"), [(1, [inf, nan, 1], [0, inf, nan, 0]), (2, [inf, 1], [0, inf, 1, 0])]
)
def test_gradients_that_are_not_finite_stay_at_the_largest(stride: int, g: list, wanted: list) -> None:
    weights = np.array(g, np.float32)
    found = slope(lambda x: F.max_pool2d(x, (1, 2), stride=stride) * weights, image([1, 2, 5, 4]))
    np.testing.assert_array_equal(found, image(wanted))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_whole_numbers_are_padded_with_the_least(dtype: str) -> None:
    least = np.iinfo(dtype).min
    x = np.full((1, 1, 2, 2), least, dtype)
    result = run(lambda x: F.max_pool2d(x, 2, padding=1), x)
    assert result.dtype == dtype and (result == least).all()


def test_windows_of_more_than_255_pixels() -> None:
    x = np.zeros((1, 1, 20, 20), np.float32)
    assert slope(lambda x: F.max_pool2d(x, 20), x).tolist() == np.full((1, 1, 20, 20), np.float32(1 / 400)).tolist()


@pytest.mark.parametrize("block_bytes", [1, 200, 1 << 20])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_way_to_cut_the_work_gives_the_same(
    block_bytes: int, dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_BLOCK_BYTES", block_bytes)
    x = rng.integers(0, 4, (3, 5, 6, 7)).astype(dtype)
    padding = ((1, 0), (1, 1))
    np.testing.assert_array_equal(
        run(lambda x: F.max_pool2d(x, (2, 3), stride=2, padding=padding), x), largest(x, (2, 3), (2, 2), padding)
    )
    np.testing.assert_allclose(
        run(lambda x: F.avg_pool2d(x, (2, 3), stride=2, padding=padding, count_include_pad=False), x),
        average(x, (2, 3), (2, 2), padding, False),
        rtol=2e-3 if dtype == "float16" else 1e-6,
    )
    for function in (F.max_pool2d, F.avg_pool2d):
        total = slope(lambda x, f=function: f(x, (2, 3), stride=2, padding=((0, 0), (0, 0))), x).astype("float64").sum()
        np.testing.assert_allclose(total, 3 * 5 * 3 * 3, rtol=2e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 0, 4, 4)])
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    for function in (F.max_pool2d, F.avg_pool2d):
        assert run(lambda x, f=function: f(x, 2), x).shape == (*shape[:2], 2, 2)
        assert slope(lambda x, f=function: f(x, 2), x).shape == shape


def test_pixels_behind_the_last_window_have_no_gradient() -> None:
    x = np.arange(25, dtype="float32").reshape(1, 1, 5, 5)
    assert not slope(lambda x: F.max_pool2d(x, 2), x)[..., 4].any()
    assert not slope(lambda x: F.avg_pool2d(x, 2), x)[..., 4, :].any()


def test_symbolic_sizes_in_the_shape() -> None:
    y = F.max_pool2d(node("N", 3, "H", "W"), 2)
    assert [str(size) for size in y.shape] == ["N", "3", "H//2", "W//2"]
    assert F.adaptive_avg_pool2d(node("N", 3, "H", "W"), 1).shape[1:] == (3, 1, 1)


def test_adaptive_averages_are_those_ops_that_runtimes_know() -> None:
    assert F.adaptive_avg_pool2d(node("N", 3, 6, 9), 3).op.name == "avg_pool2d"
    assert F.adaptive_avg_pool2d(node("N", 3, "H", "W"), (1, 1)).op.name == "mean"
    x = node("N", 3, 6, 6)
    assert F.adaptive_avg_pool2d(x, (None, 6)) is x


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_bad_arguments_are_named(name: str) -> None:
    function = getattr(F, name)
    with pytest.raises(ShapeError, match=rf"{name}: x has the shape \(3, 8, 8\)"):
        function(node(3, 8, 8), 2)
    with pytest.raises(ShapeError, match=rf"{name}: a kernel of width 9.* more than the input's width 8"):
        function(node(1, 3, 8, 8), (2, 9))
    for kernel in (0, -1, (2, 0), 2.0, (1, 2, 3), None):
        with pytest.raises(ArgumentError, match=f"{name}: kernel_size"):
            function(node(1, 3, 8, 8), kernel)
    for stride in (0, (1, -1), 1.5):
        with pytest.raises(ArgumentError, match=f"{name}: stride"):
            function(node(1, 3, 8, 8), 2, stride)
    for padding in (2, (0, 2), -1, ((0, 0), (0, 3))):
        with pytest.raises(ArgumentError, match=f"{name}: padding"):
            function(node(1, 3, 8, 8), 2, padding=padding)


def test_dtypes_are_checked() -> None:
    with pytest.raises(DTypeError, match="max_pool2d: x must be float or integer, not bool"):
        F.max_pool2d(node(1, 1, 4, 4, dtype="bool"), 2)
    with pytest.raises(DTypeError, match="avg_pool2d: x must be float, not int32"):
        F.avg_pool2d(node(1, 1, 4, 4, dtype="int32"), 2)


def test_adaptive_sizes_are_checked() -> None:
    with pytest.raises(UndecidableSizeError, match="which of `H` elements each of 3"):
        F.adaptive_avg_pool2d(node("N", 1, "H", 6), 3)
    for output in (0, -1, (1, 2, 3), 1.5):
        with pytest.raises(ArgumentError, match="output_size"):
            F.adaptive_avg_pool2d(node(1, 1, 4, 4), output)
