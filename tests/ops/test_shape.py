"""Reshape, transpose, broadcast: when they are views, what they refuse, and values made of a shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from staticnet.compiler import dims
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Layout, Node, Op, Type
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.ops.shape import Broadcast, Reshape, Transpose, reshape_layout
from staticnet.compiler.ops.slice import Slice

N, M = dims.symbol("N"), dims.symbol("M")
BASE = np.arange(4096.0)


def value(shape: Any, dtype: str = "float32") -> Node:
    return make_input("x", Type(shape, dtype))


def seen(layout: Layout) -> np.ndarray:
    """The elements of BASE that a layout shows."""
    return as_strided(BASE[layout.offset :], layout.shape, [8 * stride for stride in layout.strides])


def random_layout(rng: np.random.Generator) -> Layout:
    """A strided view with transposed, broadcast, reversed and skipped axes, some of size 1."""
    shape = tuple(int(size) for size in rng.choice([1, 1, 2, 3, 4], rng.integers(0, 5)))
    strides = list(Layout.dense(shape).strides)
    for axis in range(len(shape)):
        strides[axis] *= rng.choice([1, 1, 1, 1, 2, -1, 0])
    order = rng.permutation(len(shape)) if rng.random() < 0.4 else range(len(shape))
    return Layout(tuple(shape[k] for k in order), tuple(int(strides[k]) for k in order), 1024)


def random_factors(rng: np.random.Generator, total: int) -> tuple[int, ...]:
    """A shape of `total` elements."""
    sizes = []
    while total > 1:
        divisors = [d for d in range(1, total + 1) if total % d == 0]
        sizes.append(int(rng.choice(divisors)))
        total //= sizes[-1]
    return tuple(sizes) if rng.random() < 0.5 else (1, *sizes, 1)


def test_reshape_is_a_view_exactly_where_numpy_finds_one(rng):
    views = 0
    for _ in range(2000):
        layout = random_layout(rng)
        array = seen(layout)
        shape = random_factors(rng, array.size)
        found = reshape_layout(layout, shape)
        expected = array.reshape(shape)
        assert (found is not None) == np.shares_memory(expected, BASE), (layout, shape)
        if found is not None:
            views += 1
            np.testing.assert_array_equal(seen(found), expected)
    assert 200 < views < 1900


def test_reshape_of_nothing_is_a_view():
    layout = Layout((0, 3), (7, 2), 5)
    assert reshape_layout(layout, (2, 0, 4)).shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (Transpose(axes=(2, 0, 1)), (4, 2, 3)),
        (Broadcast(shape=(5, 2, 3, 4)), (5, 2, 3, 4)),
        (Reshape(shape=(6, 4)), (6, 4)),
        (Slice(starts=(1, 2, 3), stops=(2, -1, -1), steps=(1, -1, -2)), (1, 3, 2)),
    ],
)
def test_a_view_shows_what_the_kernel_writes(op: Op, shape: tuple):
    layout = Layout((2, 3, 4), (24, 8, 2), 10)
    out = np.empty(shape)
    op.kernel(np, seen(layout), out=out, scratch=None)
    view = op.view(layout, shape)
    assert view.shape == shape
    np.testing.assert_array_equal(seen(view), out)


def test_a_view_of_a_broadcast_repeats_only_what_was_one():
    view = Broadcast(shape=(4, 3, 2)).view(Layout((3, 1), (1, 1)), (4, 3, 2))
    assert view.strides == (0, 1, 0)


def test_what_changes_nothing_is_the_value_itself():
    x = value((N, 3))
    assert F.reshape(x, (N, 3)) is x
    assert F.reshape(x, (-1, 3)) is x
    assert F.transpose(x, (0, 1)) is x
    assert F.broadcast_to(x, (N, 3)) is x
    assert F.squeeze(x, ()) is x
    assert F.flatten(x, 1) is x
    assert F.moveaxis(x, 0, 0) is x


def test_sizes_worked_out_from_symbolic_ones():
    x = value((N, 4, 2))
    assert dims.same_shape(F.reshape(x, (N, -1)).shape, (N, 8))
    assert dims.same_shape(F.reshape(x, (-1, 2)).shape, (N * 4, 2))
    assert dims.same_shape(F.reshape(x, (2, -1)).shape, (2, N * 4))
    assert dims.same_shape(F.flatten(x).shape, (N * 8,))
    assert dims.same_shape(F.reshape(value((N, M)), (M, -1)).shape, (M, N))


def test_reshape_refuses_sizes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"\(2, 3\) holds 6 elements and \(4, 2\) 8"):
        F.reshape(value((2, 3)), (4, 2))
    with pytest.raises(ShapeError, match="6 is no multiple of 4"):
        F.reshape(value((2, 3)), (4, -1))
    with pytest.raises(ShapeError, match="only one size can be -1"):
        F.reshape(value((2, 3)), (-1, -1))
    with pytest.raises(ShapeError, match="could be anything"):
        F.reshape(value((0, 3)), (0, -1))
    with pytest.raises(ShapeError, match="cannot be negative"):
        F.reshape(value((2, 3)), (-2, -3))
    with pytest.raises(ArgumentError, match=r"not 1\.5"):
        F.reshape(value((2, 3)), (1.5, 4))


def test_reshape_says_when_a_symbolic_size_cannot_be_worked_out():
    with pytest.raises(ShapeError, match=r"whether 3\*N is a multiple of 2 is not known for every value of `N`"):
        F.reshape(value((N, 3)), (2, -1))
    with pytest.raises(ShapeError, match="must be equal for every value of `M`, `N`"):
        F.reshape(value((N, 3)), (M, 3))


def test_reshape_of_nothing():
    assert F.reshape(value((0, 3)), (-1, 3)).shape == (0, 3)
    x = value((0, 3))
    assert evaluate([F.reshape(x, (3, 2, 0))], {x: np.zeros((0, 3), np.float32)})[0].shape == (3, 2, 0)


def test_a_scalar_can_be_reshaped_and_flattened():
    x = value(())
    results = evaluate([F.reshape(x, (1, 1)), F.flatten(x), F.transpose(x), F.squeeze(x)], {x: np.float32(3)})
    assert [result.shape for result in results] == [(1, 1), (1,), (), ()]


def test_axes_that_do_not_exist_or_do_not_fit():
    x = value((N, 3))
    with pytest.raises(ShapeError, match=r"axis 1 of \(N, 3\) has size 3, not 1"):
        F.squeeze(x, 1)
    with pytest.raises(ShapeError, match=r"axis 0 of \(N, 3\) has size N, not 1"):
        F.squeeze(x, 0)
    with pytest.raises(ShapeError, match=r"axes \(0, 0\) must name each of the 2 axes"):
        F.transpose(x, (0, 0))
    with pytest.raises(ShapeError, match="axis 2 is out of range for 2 axes"):
        F.swapaxes(x, 0, 2)
    with pytest.raises(ShapeError, match="start_dim 1 lies after end_dim 0"):
        F.flatten(x, 1, 0)
    with pytest.raises(ArgumentError, match="equally many axes, each once"):
        F.moveaxis(x, (0, 1), 0)
    with pytest.raises(ShapeError, match="name an axis twice"):
        F.expand_dims(x, (0, 0))


def test_broadcast_needs_equal_sizes_or_ones():
    with pytest.raises(ShapeError, match=r"\(2, 3\) does not .* \(2, 4\): size 3 of axis 1 is neither 1 nor 4"):
        F.broadcast_to(value((2, 3)), (2, 4))
    with pytest.raises(ShapeError, match=r"\(2, 3\) does not broadcast to \(3,\), which has fewer axes"):
        F.broadcast_to(value((2, 3)), (3,))
    with pytest.raises(ShapeError, match="size N of axis 0 is neither 1 nor M"):
        F.broadcast_to(value((N,)), (M,))


def test_filled_values_take_the_dtype_asked_for():
    x = value((N, 2), "float64")
    made = [F.zeros((2, N)), F.ones(3, "int32"), F.full((), True), F.full((2,), 7), F.full((2,), 7, "float64")]
    made += [F.zeros_like(x), F.ones_like(x, "bool"), F.full_like(x, 0.5), F.full((2,), x[0, 0])]
    expected = ["float32", "int32", "bool", "int64", "float64", "float64", "bool", "float64", "float64"]
    assert [str(node.dtype) for node in made] == expected
    results = evaluate(made, {x: np.full((3, 2), 9.0)}, {"N": 3})
    assert results[0].shape == (2, 3)
    assert results[8].tolist() == [9.0, 9.0]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64, 100])
def test_iota_counts(size: int):
    (result,) = evaluate([F.iota((2, size, 3), 1, "int32")], {})
    np.testing.assert_array_equal(result, np.broadcast_to(np.arange(size)[:, None], (2, size, 3)))


def test_iota_refuses_bool():
    with pytest.raises(DTypeError, match="not in bool"):
        F.iota((3,), 0, "bool")


@pytest.mark.parametrize("arguments", [(5,), (2, 9, 3), (0, 1, 0.25), (5, 0, -2), (3, 3), (4.0,)])
def test_arange_of_numbers(arguments: tuple):
    (result,) = evaluate([F.arange(*arguments)], {})
    np.testing.assert_array_equal(result, np.arange(*arguments))
    assert result.dtype == ("float32" if any(isinstance(a, float) for a in arguments) else "int64")


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_arange_of_sizes(size: int):
    made = [F.arange(N), F.arange(1, N), F.arange(N, 0, -1), F.arange(N, N + 4, 2, dtype="float32")]
    results = evaluate(made, {}, {"N": size})
    expected = [np.arange(size), np.arange(1, size), np.arange(size, 0, -1), np.arange(size, size + 4, 2.0)]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_arange_refuses_what_has_no_size():
    with pytest.raises(ArgumentError, match="step must not be 0"):
        F.arange(0, 5, 0)
    with pytest.raises(ArgumentError, match="not a computed value"):
        F.arange(value((), "int64"))
    with pytest.raises(ArgumentError, match="not the symbolic size N"):
        F.arange(0, 5, N)


def test_one_hot_of_a_class_out_of_range_is_zero():
    (result,) = evaluate([F.one_hot(np.array([1, 3, -1]), 3)], {})
    assert result.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(DTypeError, match="must be integer"):
        F.one_hot(value((3,)), 3)
