"""What rows cannot say of the elementwise ops: conventions at kinks, promotion, special values, bad operands."""

from __future__ import annotations

import math

import numpy as np
import pytest

from staticnet.compiler import dims, dtypes
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.erf import BLOCK
from tests.ops.helpers import node, run, slope

ZERO = np.array([0.0, -0.0], np.float32)


# -- conventions at kinks ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "absolute", "sign"])
def test_slope_at_zero_is_zero(name: str) -> None:
    assert slope(getattr(F, name), ZERO).tolist() == [0, 0]


def test_ties_share_the_gradient_evenly() -> None:
    for name in ("maximum", "minimum"):
        function, x = getattr(F, name), np.array([1.0, 2.0, 3.0])
        other = np.array([1.0, 5.0, 0.0])
        first, second = slope(function, x, other), slope(function, x, other, wrt=1)
        assert first[0] == second[0] == 0.5
        assert (first + second).tolist() == [1, 1, 1]


def test_clip_has_slope_one_at_its_bounds() -> None:
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert slope(lambda x: F.clip(x, -1, 1), x).tolist() == [0, 1, 1, 1, 0]
    assert slope(F.clip, x, np.float64(-1), np.float64(1)).tolist() == [0, 1, 1, 1, 0]


def test_slope_of_sqrt_at_zero_is_infinite() -> None:
    assert slope(F.sqrt, np.array([0.0])).tolist() == [np.inf]


def test_slopes_of_piecewise_activations_at_zero() -> None:
    assert slope(lambda x: F.leaky_relu(x, 0.25), ZERO).tolist() == [0.25, 0.25]
    assert slope(lambda x: F.elu(x, 3.0), ZERO).tolist() == [3, 3]


def test_gradient_of_power_at_zero_is_finite() -> None:
    base, exponent = np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0, 0.0])
    assert slope(F.power, base, exponent).tolist() == [0, 1, 0, 0]
    assert slope(F.power, base, exponent, wrt=1).tolist() == [0, 0, 0, math.log(2)]


def test_where_passes_no_gradient_to_the_branch_not_taken() -> None:
    x = np.array([-1.0, 4.0])
    assert slope(lambda x: F.where(x > 0, F.square(x), 0), x).tolist() == [0, 8]


# -- dtypes -----------------------------------------------------------------------------------

NAMES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"]


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_arrays_promote_as_in_numpy(first: str, second: str) -> None:
    x, y = np.ones(2, first), np.ones(2, second)
    for name in ("add", "multiply", "divide", "maximum", "less", "floor_divide", "power"):
        assert run(getattr(F, name), x, y).dtype == getattr(np, name)(x, y).dtype, name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scalar", [True, 2, 0.5])
def test_python_scalars_follow_the_array(name: str, scalar: float) -> None:
    x = np.ones(2, name)
    assert run(lambda x: x + scalar, x).dtype == (x + scalar).dtype
    assert run(lambda x: scalar * x, x).dtype == (scalar * x).dtype
    assert run(lambda x: F.where(x > 0, x, scalar), x).dtype == (x + scalar).dtype


@pytest.mark.parametrize("dtype", NAMES)
def test_functions_of_integers_give_the_floats_of_numpy(dtype: str) -> None:
    x = np.ones(2, dtype)
    for name in ("exp", "log", "sqrt", "tanh", "square", "absolute"):
        assert run(getattr(F, name), x).dtype == getattr(np, name)(x).dtype, name
    assert run(F.sigmoid, x).dtype == np.exp(x).dtype
    assert run(F.erf, x).dtype == np.exp(x).dtype


def test_numpy_scalars_and_sizes_keep_their_type() -> None:
    x = node("N", 2)
    assert (x * np.float64(2)).dtype == dtypes.float64
    assert (x * dims.symbol("N")).dtype == dtypes.float32
    assert F.add(dims.symbol("N"), 1).dtype == dtypes.int64


def test_reciprocal_of_integers_is_real() -> None:
    assert run(F.reciprocal, np.array([2, 4])).tolist() == [0.5, 0.25]


def test_rounding_leaves_integers_alone() -> None:
    x = node(2, dtype="int32")
    assert F.floor(x) is x and F.ceil(x) is x and F.round(x) is x


def test_integer_division_follows_the_sign_of_the_divisor() -> None:
    x, y = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    assert run(F.floor_divide, x, y).tolist() == [3, -4, -4, 3]
    assert run(F.remainder, x, y).tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize(
    ("name", "operands", "message"),
    [
        ("subtract", "bb", "subtract does not take bool"),
        ("negative", "b", "negative does not take bool"),
        ("sign", "b", "sign does not take bool"),
        ("relu", "b", "relu does not take bool"),
        ("logical_and", "ii", "logical_and does not take int64"),
        ("logical_not", "f", "logical_not does not take float32"),
    ],
)
def test_dtypes_that_have_no_meaning_are_refused(name: str, operands: str, message: str) -> None:
    kinds = {"b": "bool", "i": "int64", "f": "float32"}
    with pytest.raises(DTypeError, match=message):
        getattr(F, name)(*(node(2, dtype=kinds[kind]) for kind in operands))


def test_where_wants_a_boolean_condition() -> None:
    with pytest.raises(DTypeError, match="condition must be bool, not float32"):
        F.where(node(2), 1.0, 2.0)


def test_a_scalar_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DTypeError, match="300 does not fit uint8"):
        node(2, dtype="uint8") + 300
    with pytest.raises(DTypeError, match="-1 does not fit uint8"):
        F.clip(node(2, dtype="uint8"), -1, 5)


# -- shapes -----------------------------------------------------------------------------------


def test_broadcasting_errors_name_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"add: shapes \(batch, 3\) and \(4,\) do not broadcast.*3 and 4"):
        node("batch", 3) + node(4)
    with pytest.raises(ShapeError, match=r"\(batch, 3\) and \(other, 3\).*batch and other"):
        node("batch", 3) * node("other", 3)
    with pytest.raises(ShapeError, match=r"where: shapes \(2,\) and \(3,\) and \(\)"):
        F.where(node(2, dtype="bool"), node(3), 0.0)


def test_a_symbolic_size_is_never_taken_for_one() -> None:
    with pytest.raises(ShapeError, match="batch and 5"):
        node("batch") + node(5)


def test_wrong_number_of_operands() -> None:
    with pytest.raises(ArgumentError, match=r"add takes 2 operands \(x, y\), not 1"):
        F.add(node(2))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
def test_scalars_and_empty_arrays(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.5, np.float32)
    for name in ("exp", "relu", "sigmoid", "erf", "softplus", "square"):
        assert run(getattr(F, name), x).shape == shape
    assert run(F.add, x, np.float32(1)).shape == shape
    assert run(lambda x: F.clip(x, 0, 1), x).shape == shape
    assert run(lambda x: F.where(x > 0, x, 0), x).shape == shape


def test_strided_and_read_only_operands() -> None:
    base = np.linspace(-3, 3, 24).reshape(4, 6)
    base.flags.writeable = False
    for x in (base[::-1, ::2], base.T, np.broadcast_to(base[:1], (5, 6))):
        assert np.array_equal(run(F.exp, x), np.exp(x))
        assert np.allclose(run(F.erf, x), np.vectorize(math.erf)(x), rtol=1e-15)


# -- special values ---------------------------------------------------------------------------


def test_nan_and_infinity_pass_through() -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert np.isnan(run(lambda x: x * 0, x)).all()
    assert np.array_equal(run(F.relu, x), [np.nan, np.inf, 0], equal_nan=True)
    assert np.array_equal(run(F.sigmoid, x), [np.nan, 1, 0], equal_nan=True)
    assert np.array_equal(run(F.softplus, x), [np.nan, np.inf, 0], equal_nan=True)
    assert np.array_equal(run(lambda x: F.maximum(x, 1), x), [np.nan, np.inf, 1], equal_nan=True)
    assert np.array_equal(run(lambda x: F.clip(x, -1, 1), x), [np.nan, 1, -1], equal_nan=True)


def test_clip_with_crossed_bounds_gives_the_upper_one() -> None:
    x = np.array([-5.0, 0.0, 5.0])
    assert run(lambda x: F.clip(x, 2, 1), x).tolist() == np.clip(x, 2, 1).tolist() == [1, 1, 1]
    assert run(lambda x, low: F.clip(x, low, 1), x, np.float64(2)).tolist() == [1, 1, 1]


def test_clip_without_bounds_is_the_value_itself() -> None:
    x = node(2)
    assert F.clip(x) is x


def test_gelu_refuses_an_unknown_approximation() -> None:
    with pytest.raises(ArgumentError, match="'none' or 'tanh', not 'fast'"):
        F.gelu(node(2), approximate="fast")


# -- the error function -----------------------------------------------------------------------


def units_off(found: np.ndarray, x: np.ndarray) -> float:
    """The largest distance of erf from the standard library's, in units in the last place of the found dtype."""
    exact = np.array([math.erf(value) for value in x.tolist()])
    return float((np.abs(found - exact) / np.spacing(np.abs(exact).astype(found.dtype))).max())


def test_erf_is_accurate_everywhere() -> None:
    x = np.concatenate([np.linspace(-7, 7, 2 * BLOCK + 5), np.logspace(-300, 1, 999), np.linspace(0.499, 0.501, 999)])
    assert units_off(run(F.erf, x), x) <= 3
    single = x[np.abs(x) > 1e-37].astype(np.float32)
    assert units_off(run(F.erf, single), single) <= 3.5


def test_erf_of_half_floats_is_rounded_once() -> None:
    x = np.linspace(-4, 4, 501).astype(np.float16)
    assert np.array_equal(run(F.erf, x), run(F.erf, x.astype(np.float32)).astype(np.float16))


def test_erf_of_special_values() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -1e300])
    found = run(F.erf, x)
    assert np.array_equal(found, [np.nan, 1, -1, 0, 0, 5e-324, -1], equal_nan=True)
    assert np.signbit(found[4]) and not np.signbit(found[3])
