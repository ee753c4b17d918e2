"""Numbers at the ends of their types, empty arrays and refusals: compiled functions do natively what kernels do."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn
from staticnet.runtime.native import host

pytestmark = pytest.mark.skipif(not host.available(), reason="no native code on this machine")

SIGNED, UNSIGNED = ["int8", "int16", "int32", "int64"], ["uint8", "uint16", "uint32", "uint64"]
INTEGERS, FLOATS = [*SIGNED, *UNSIGNED], ["float16", "float32", "float64"]


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[np.ndarray]]:
    """Run a function natively and by the kernels: equal integers, floats within rounding, the same zeros and NaN."""

    def check(function: Callable[..., Any], *arrays: Any, rtol: float = 0.0) -> list[np.ndarray]:
        found = []
        for native in ("1", "0"):
            monkeypatch.setenv("STATICNET_NATIVE", native)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                result = sn.compile(function)(*arrays)
            found.append(list(result) if isinstance(result, (list, tuple)) else [result])
        for number, (have, want) in enumerate(zip(*found, strict=True)):
            np.testing.assert_allclose(have, want, rtol=rtol, atol=0, err_msg=f"result {number}", strict=True)
            if want.dtype.kind == "f":
                numbers = ~np.isnan(want)
                np.testing.assert_array_equal(np.signbit(have)[numbers], np.signbit(want)[numbers])
        return found[0]

    return check


def ends(dtype: str) -> np.ndarray:
    """The ends of an integer type, and small numbers."""
    info = np.iinfo(dtype)
    signed = [info.min, info.min + 1, -7, -2, -1] if info.min else []
    return np.array([*signed, 0, 1, 2, 3, 7, info.max - 1, info.max], dtype)


def pairs(values: np.ndarray) -> list[np.ndarray]:
    return [side.ravel() for side in np.meshgrid(values, values, indexing="ij")]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_and_divide_as_in_numpy(alike: Callable[..., list[np.ndarray]], dtype: str) -> None:
    """x // 0 and x % 0 are 0; INT_MIN // -1 is INT_MIN, INT_MIN % -1 is 0; quotients are rounded down."""

    def work(x: Any, y: Any) -> Any:
        return x // y, x % y, x + y, x - y, x * y, -x, abs(x), x / y, x // 3, x % 3, x // 0, x % 0, sn.sign(x)

    x, y = pairs(ends(dtype))
    quotients, remainders, *_ = alike(work, x, y)
    assert not quotients[y == 0].any() and not remainders[y == 0].any()
    if dtype in SIGNED:
        worst = (x == np.iinfo(dtype).min) & (y == -1)
        assert quotients[worst].tolist() == [np.iinfo(dtype).min] and remainders[worst].tolist() == [0]
        assert quotients[(x == -7) & (y == 3)].tolist() == [-3] and remainders[(x == -7) & (y == 3)].tolist() == [2]


@pytest.mark.parametrize("dtype", FLOATS[1:])
def test_floats_divide_as_in_numpy(alike: Callable[..., list[np.ndarray]], dtype: str) -> None:
    x, y = pairs(np.array([0.0, -0.0, 1, -1, 2.5, -7.5, 1e-30, np.inf, -np.inf, np.nan, 3e38], dtype))
    alike(lambda x, y: (x / y, x // y, x % y, x * y, x - y, sn.sign(x), sn.floor(x), sn.round(x)), x, y, rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [1, 80])
def test_floats_become_integers_as_in_numpy(
    alike: Callable[..., list[np.ndarray]], dtype: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN and what does not fit too, but for uint32, where NumPy's short and long arrays differ."""
    values = [0, -0.0, 0.9, -0.9, 127.5, 128, -129, 255, 256, 32768, -32769, 65536, np.nan, np.inf, -np.inf]
    values += [2.0**31 - 1, 2.0**31, -(2.0**31), -(2.0**32), 2.0**53, 2.0**63, -(2.0**63), 2.0**64, 1e30, -1e30]
    with np.errstate(all="ignore"):
        x = np.repeat(np.array(values).astype(dtype), count)
    targets = [target for target in (*INTEGERS, "bool") if target != "uint32"]
    alike(lambda x: tuple(sn.cast(x, target) for target in targets), x)
    inside = np.abs(x.astype(np.float64)) < 2.0**31
    alike(lambda x: sn.cast(x, "uint32"), x[inside])
    monkeypatch.setenv("STATICNET_NATIVE", "1")
    beyond = sn.compile(lambda x: sn.cast(x, "uint32"))(np.full(count, np.nan, dtype))
    assert not beyond.any()


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "bool"])
def test_reductions_of_nothing(alike: Callable[..., list[np.ndarray]], dtype: str) -> None:
    x = np.zeros((3, 0, 2), dtype)

    def work(x: Any) -> Any:
        sums = x.sum(axis=1), x.sum(axis=2), x.sum(), x.prod(axis=1), x.prod(axis=(0, 1)), x.any(axis=1), x.all(axis=1)
        return (*sums, sn.max(x, axis=2), sn.argmax(x, axis=2), sn.mean(sn.cast(x, "float32"), axis=1))

    alike(work, x)


def test_products_of_nothing(alike: Callable[..., list[np.ndarray]]) -> None:
    for m, n, k in ((2, 3, 0), (0, 3, 2), (2, 0, 3), (0, 0, 0)):
        x, y = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        alike(lambda x, y: (x @ y, sn.relu(x @ y + 1), (x @ y).sum(axis=0), sn.exp(x).sum(axis=0)), x, y, rtol=1e-6)
    x, w = np.ones((0, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
    alike(lambda x, w: (sn.conv2d(x, w), sn.relu(sn.conv2d(x, w)).sum(axis=0), sn.max_pool2d(x, 2)), x, w)


def test_a_result_that_is_spread_over_what_it_was_summed_from(alike: Callable[..., list[np.ndarray]]) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    spread = alike(lambda x: (sn.broadcast_to(x.sum(axis=1, keepdims=True), (3, 4)), x * 2.0), x)[0]
    np.testing.assert_array_equal(spread, np.repeat(x.sum(1, keepdims=True), 4, 1))
    alike(lambda x: sn.broadcast_to(sn.max(x, axis=0, keepdims=True), (3, 4)) + 1.0, x)


def test_nan_and_infinities_pass_through_reductions(alike: Callable[..., list[np.ndarray]]) -> None:
    x = np.array([[1, np.nan, 3, np.nan], [-np.inf] * 4, [np.inf, 1, 2, np.inf], [4, -1, 0, 2]], np.float32)

    def work(x: Any) -> Any:
        both = [f(x, axis=axis) for f in (sn.max, sn.min, sn.sum, sn.argmax, sn.argmin) for axis in (0, 1)]
        return (*both, sn.softmax(x), sn.logsumexp(x, axis=1), x.max(), (x > 0).any(axis=1), sn.isnan(x).all(axis=0))

    alike(work, x, rtol=1e-6)
    image = np.full((1, 2, 6, 6), -np.inf, np.float32)
    image[0, 0, 1, 1], image[0, 1, 2, 2] = np.nan, np.inf
    alike(lambda x: (sn.max_pool2d(x, 2), sn.avg_pool2d(x, 2), sn.max_pool2d(x, 3, 1, 1)), image)


# -- refusals -------------------------------------------------------------------------------------


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The message of a refusal, the same natively as by the kernel, user's line included; no state is written."""

    def check(function: Callable[..., Any], good: tuple, bad: tuple) -> str:
        messages = []
        for native in ("1", "0"):
            monkeypatch.setenv("STATICNET_NATIVE", native)
            count = nn.Buffer(np.zeros(300, np.float32))

            def counted(*arrays: Any, count: nn.Buffer = count) -> Any:
                count.assign(count + 1)
                return function(*arrays)

            run = sn.compile(counted)
            first = run(*good)
            with pytest.raises(sn.errors.RunError) as caught:
                run(*bad)
            messages.append(str(caught.value))
            assert count.numpy().tolist() == [1] * 300
            np.testing.assert_array_equal(run(*good), first)
        assert messages[0] == messages[1]
        return messages[0]

    return check


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8"])
@pytest.mark.parametrize("large", [True, False])
def test_an_index_out_of_range_is_named(refused: Callable[..., str], dtype: str, large: bool) -> None:
    table = np.arange(15, dtype=np.float32).reshape(5, 3)
    good = np.array([0, 4, 2, 1], dtype)
    info = np.iinfo(dtype)
    for index in (info.max, 5) if large else ([info.min, -6] if info.min else []):
        bad = good.copy()
        bad[2] = index
        message = refused(lambda t, i: sn.take(t, i, axis=0).sum(axis=1), (table, good), (table, bad))
        assert f"index {index} at position (2,) is out of range for axis 0 of size 5" in message
        assert "test_native_numbers.py" in message


def test_other_gathers_and_labels_out_of_range(refused: Callable[..., str]) -> None:
    x, i = np.arange(12.0).reshape(3, 4), np.array([[0, -4], [3, 1], [2, 2]])
    bad = i.copy()
    bad[1, 1] = 4
    message = refused(lambda x, i: sn.take_along_axis(x, i, 1) * 2, (x, i), (x, bad))
    assert "index 4 at position (1, 1) is out of range for axis 1 of size 4" in message
    rows, columns = np.array([0, -3, 2]), np.array([3, 0, -4])
    message = refused(lambda x, i, j: x[i, j], (x, rows, columns), (x, rows, np.array([0, -5, 1])))
    assert "index -5 at position (1,) is out of range for axis 1" in message
    message = refused(lambda x, t: sn.cross_entropy(x, t), (x, np.array([0, 3, 1])), (x, np.array([0, 3, 4])))
    assert "label 4 at position (2,) is not one of the 4 classes" in message
    message = refused(lambda x, i: x[i], (x, np.array(-3)), (x, np.array(3)))
    assert "index 3 is out of range for axis 0 of size 3" in message


@pytest.mark.parametrize("place", ["arena", "feed", "in the middle of a group", "before a reduction"])
def test_an_exponent_below_zero_is_named(refused: Callable[..., str], place: str) -> None:
    """Also where the result would have taken the place of the exponent: then results must not be taken for it."""
    base, good = np.full(300, -2), np.full(300, 3)
    bad = good.copy()
    bad[290] = -7
    order = np.arange(300)
    functions: dict[str, Callable[..., Any]] = {
        "arena": lambda x, k: x ** sn.take(k, order, axis=0),
        "feed": lambda x, k: x**k,
        "in the middle of a group": lambda x, k: ((x + 1) * 1) ** (
            k * 1
        ),
        "before a reduction": lambda x, k: (x**k).sum(axis=0, keepdims=True),
    }  # fmt: skip
    message = refused(functions[place], (base, good), (base, bad))
    assert "an integer to the power -7" in message
    assert "** (" in message if place == "in the middle of a group" else "**" in message
