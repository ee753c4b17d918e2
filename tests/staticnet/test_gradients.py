"""Gradients as users take them: in a trace and at the prompt, with seeds and barriers, checked and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn
from staticnet.compiler.errors import ArgumentError, DTypeError, GradientError, VerificationError

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], np.float32)


@pytest.fixture(params=["lazily", "in a trace"])
def run(request: pytest.FixtureRequest) -> Any:
    """Applies a function to arrays, at the prompt or as a compiled function, and gives arrays back."""

    def lazily(function: Any, *arrays: np.ndarray) -> Any:
        result = function(*(sn.tensor(array) for array in arrays))
        return tuple(r.numpy() for r in result) if isinstance(result, tuple) else result.numpy()

    def traced(function: Any, *arrays: np.ndarray) -> Any:
        return sn.compile(function)(*arrays)

    return lazily if request.param == "lazily" else traced


def test_the_gradient_of_a_scalar(run: Any) -> None:
    np.testing.assert_allclose(run(lambda x: sn.grad((x**3).sum(), x), X), 3 * X**2, rtol=1e-6)


def test_one_target_gives_a_tensor_and_a_list_a_tuple(run: Any) -> None:
    single = run(lambda x, y: sn.grad((x * y).sum(), x), X, X + 1)
    both = run(lambda x, y: sn.grad((x * y).sum(), [x, y]), X, X + 1)
    assert isinstance(single, np.ndarray) and isinstance(both, tuple)
    np.testing.assert_array_equal(both[0], single)
    np.testing.assert_array_equal(both[1], X)


def test_a_seed_is_the_vector_of_the_product(run: Any) -> None:
    seed = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    np.testing.assert_allclose(run(lambda x, s: sn.grad(x**2, x, seed=s), X, seed), 2 * X * seed, rtol=1e-6)
    np.testing.assert_allclose(run(lambda x: sn.grad(x**2, x, seed=seed), X), 2 * X * seed, rtol=1e-6)


def test_several_values_add_up(run: Any) -> None:
    both = run(lambda x: sn.grad([(x**2).sum(), x * 3], x, seed=[None, np.ones_like(X)]), X)
    np.testing.assert_allclose(both, 2 * X + 3, rtol=1e-6)
    np.testing.assert_allclose(run(lambda x: sn.grad([(x**2).sum(), x.sum()], x), X), 2 * X + 1, rtol=1e-6)


def test_a_gradient_is_differentiated_again(run: Any) -> None:
    def curvature(w: Any) -> Any:
        (slope,) = sn.grad(w**4 - 2 * w**2, [w])
        (bend,) = sn.grad(slope, [w])
        return slope, bend

    slope, bend = run(curvature, np.float32(2))
    assert (slope, bend) == (24, 44)


def test_the_value_itself_may_be_the_target(run: Any) -> None:
    np.testing.assert_array_equal(run(lambda x: sn.grad(y := (x * 2).sum(), y), X), 1)


def test_a_target_between_input_and_value_is_a_barrier(run: Any) -> None:
    """log(softmax(x)) has a stable form in x, but its slope in s = softmax(x) is 1 / s."""

    def slopes(x: Any) -> Any:
        s = sn.softmax(x)
        value = sn.log(s).sum()
        (by_s,) = sn.grad(value, [s])
        (by_x,) = sn.grad(value, [x])
        return by_s, by_x

    by_s, by_x = run(slopes, X)
    power = np.exp(X - X.max(1, keepdims=True))
    softmax = power / power.sum(1, keepdims=True)
    np.testing.assert_allclose(by_s, 1 / softmax, rtol=1e-5)
    np.testing.assert_allclose(by_x, 1 - 3 * softmax, rtol=1e-5, atol=1e-6)


def test_both_sides_of_a_barrier_at_once(run: Any) -> None:
    def slopes(x: Any) -> Any:
        e = sn.exp(x)
        return sn.grad(sn.log(e).sum() + (e * e).sum(), [e, x])

    by_e, by_x = run(slopes, X)
    e = np.exp(X)
    np.testing.assert_allclose(by_e, 1 / e + 2 * e, rtol=1e-5)
    np.testing.assert_allclose(by_x, 1 + 2 * e * e, rtol=1e-5)


def test_what_overflows_naively_is_differentiated_stably(run: Any) -> None:
    large = np.array([[1e4, 0.0, -1e4]], np.float32)
    by_log = run(lambda x: sn.grad(sn.log(sn.softmax(x))[0, 2], x), large)
    np.testing.assert_allclose(by_log, [[-1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(run(lambda x: sn.grad(sn.log(1 + sn.exp(x)).sum(), x), large), [[1, 0.5, 0]], atol=1e-6)


def test_what_does_not_depend_on_a_target_is_refused_by_name(run: Any) -> None:
    def unrelated(x: Any, y: Any) -> Any:
        y.name = "weight_of_nothing"
        return sn.grad((x * x).sum(), [x, y])

    with pytest.raises(GradientError, match=r"does not depend on weight_of_nothing.*unconnected='zero'"):
        run(unrelated, X, X)


def test_zeros_where_asked_for(run: Any) -> None:
    def both(x: Any, y: Any) -> Any:
        return sn.grad((x * x).sum() + (y > 0).astype("float32").sum(), [x, y], unconnected="zero")

    by_x, by_y = run(both, X, X)
    np.testing.assert_allclose(by_x, 2 * X)
    np.testing.assert_array_equal(by_y, np.zeros_like(X), strict=True)


def test_nothing_flows_through_a_stop(run: Any) -> None:
    np.testing.assert_array_equal(run(lambda x: sn.grad((x * x.detach()).sum(), x), X), X)
    with pytest.raises(GradientError, match="does not depend on"):
        run(lambda x: sn.grad(sn.stop_gradient(x * x).sum(), x), X)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda x: sn.grad(x * 2, x), r"needs a seed of the same shape; reduce it to a scalar"),
        (lambda x: sn.grad((x * 2).astype("int64").sum(), x), r"cannot differentiate .*only float values"),
        (lambda x: sn.grad(x.sum(), x.astype("int32")), "cannot differentiate with respect to .*only float values"),
        (lambda x: sn.grad(x * 2, x, seed=np.ones(2, np.float32)), r"the seed has shape \(2,\), the value"),
        (lambda x: sn.grad([x.sum(), x.sum()], x, seed=[1.0]), "2 values but 1 seeds"),
        (lambda x: sn.grad(3.0, x), "gradients are taken of tensors with respect to tensors, not of 3.0"),
        (lambda x: sn.grad(x.sum(), [X]), "gradients are taken of tensors"),
    ],
)
def test_what_has_no_gradient_is_refused_at_the_users_line(run: Any, ask: Any, message: str) -> None:
    with pytest.raises(GradientError, match=message) as caught:
        run(ask, X)
    assert caught.value.origin is not None and caught.value.origin.short.startswith("test_gradients.py")


def test_a_word_that_is_no_choice(run: Any) -> None:
    with pytest.raises(ArgumentError, match="unconnected is 'error' or 'zero', not 'none'"):
        run(lambda x: sn.grad(x.sum(), x, unconnected="none"), X)


def test_sizes_of_zero_and_no_axes(run: Any) -> None:
    np.testing.assert_array_equal(
        run(lambda x: sn.grad(sn.exp(x).sum(), x), np.zeros((0, 3), np.float32)), np.zeros((0, 3))
    )
    assert run(lambda x: sn.grad(sn.exp(x), x), np.float32(0)) == 1


def test_a_gradient_has_the_dtype_of_what_it_is_taken_by(run: Any) -> None:
    narrow, wide = run(lambda x, y: sn.grad((x.astype("float64") * y).sum(), [x, y]), X, X.astype("float64"))
    assert narrow.dtype == np.float32 and wide.dtype == np.float64


def test_broadcast_operands_get_sums(run: Any) -> None:
    bias = np.array([1, 2, 3], np.float32)
    by_x, by_b = run(lambda x, b: sn.grad(((x + b) ** 2).sum(), [x, b]), X, bias)
    np.testing.assert_allclose(by_b, by_x.sum(0), rtol=1e-6)


# -- kinks ------------------------------------------------------------------------------------------

KINKS: dict[str, tuple[Any, list[float], list[float]]] = {
    "relu at 0": (lambda x: sn.relu(x), [0.0, -1.0, 1.0], [0, 0, 1]),
    "|x| at 0": (lambda x: abs(x), [0.0, -2.0, 2.0], [0, -1, 1]),
    "ties in max": (lambda x: x.max(), [1.0, 1.0, 0.0], [0.5, 0.5, 0]),
    "ties in maximum": (lambda x: sn.maximum(x, 1.0), [1.0, 0.0, 2.0], [0.5, 0, 1]),
    "clamp at its bounds": (lambda x: x.clip(-1, 1), [-1.0, 1.0, 3.0], [1, 1, 0]),
    "sqrt at 0": (lambda x: sn.sqrt(x), [0.0, 1.0, 4.0], [np.inf, 0.5, 0.25]),
}


@pytest.mark.parametrize("kink", KINKS)
def test_conventions_at_kinks(run: Any, kink: str) -> None:
    function, given, expected = KINKS[kink]
    np.testing.assert_allclose(run(lambda x: sn.grad(function(x).sum(), x), np.array(given, np.float32)), expected)


# -- parameters, traces and the prompt -------------------------------------------------------------------


def test_parameters_are_targets_in_a_trace_and_outside() -> None:
    weight = nn.Parameter(np.array([1, 2, 3], np.float32))
    lazily = sn.grad(((sn.tensor(X) @ weight) ** 2).sum(), weight).numpy()
    traced = sn.compile(lambda x: sn.grad(((x @ weight) ** 2).sum(), weight))(X)
    np.testing.assert_allclose(lazily, 2 * X.T @ (X @ [1, 2, 3]), rtol=1e-5)
    np.testing.assert_allclose(traced, lazily, rtol=1e-6)


def test_a_value_that_was_looked_at_is_still_differentiated() -> None:
    x = sn.tensor(X)
    y = sn.exp(x)
    y.numpy()
    z = (y * y).sum()
    float(z)
    np.testing.assert_allclose(sn.grad(z, x).numpy(), 2 * np.exp(2 * X), rtol=1e-5)
    np.testing.assert_allclose(sn.grad(z, y).numpy(), 2 * np.exp(X), rtol=1e-5)


def test_loops_of_gradients_at_the_prompt() -> None:
    x = sn.tensor(np.float32(3))
    for _ in range(60):
        x = (x - 0.1 * sn.grad((x - 1) ** 2, x)).detach()
    assert abs(float(x) - 1) < 1e-4


def test_a_deep_chain_is_differentiated_without_recursion() -> None:
    def chain(x: Any) -> Any:
        y = x
        for _ in range(1500):
            y = sn.tanh(y)
        return sn.grad(y, x)

    assert np.isfinite(sn.compile(chain)(np.float32(0.5)))


# -- gradcheck ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_gradcheck_passes_what_is_right(order: int) -> None:
    assert sn.gradcheck(lambda x, y: sn.tanh(x @ y.T) * sn.exp(x).sum(), [X, X + 0.5], order=order)


def test_gradcheck_leaves_integers_alone() -> None:
    assert sn.gradcheck(lambda x, labels: sn.cross_entropy(x, labels), [X, np.array([0, 2])])


def too_small(x: Any) -> Any:
    """x squared, whose slope comes out half of what it is."""
    return x * x.detach()


def right_once(x: Any) -> Any:
    """The cube of x, whose slope is right and whose slope's slope is not."""
    return x**3 + (x.detach() - x) ** 2 * 5


def test_gradcheck_catches_a_wrong_gradient() -> None:
    with pytest.raises(VerificationError, match=r"order 1, argument 0: the gradient in a random direction is .*finite"):
        sn.gradcheck(too_small, [X])


def test_gradcheck_catches_a_wrong_second_gradient() -> None:
    assert sn.gradcheck(right_once, [X])
    with pytest.raises(VerificationError, match="order 2, argument 0"):
        sn.gradcheck(right_once, [X], order=2)


def test_gradcheck_names_the_argument() -> None:
    with pytest.raises(VerificationError, match="argument 1"):
        sn.gradcheck(lambda x, y: x * x + too_small(y), [X, X])


def test_gradcheck_wants_something_to_differentiate() -> None:
    with pytest.raises((ArgumentError, GradientError, DTypeError)):
        sn.gradcheck(lambda x: x.sum(), [np.array([1, 2])])


def test_gradcheck_leaves_its_inputs_as_they_are() -> None:
    given = X.copy()
    sn.gradcheck(lambda x: sn.exp(x), [given])
    np.testing.assert_array_equal(given, X)
    assert given.flags.writeable
