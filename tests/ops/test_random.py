"""What rows cannot say of random draws: the generator's known answers, statistics, streams, dropout's conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from staticnet.compiler import dims, dtypes
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.philox import BLOCK, count_up, philox
from tests.ops.helpers import node, run, slope

KEY = np.array([2024, 3], np.uint64)
MANY = 4 * BLOCK + 3  # one block and a part of the next

DRAWS: dict[str, Callable[..., Any]] = {
    "bits": lambda key, shape, stream=0: F.random_bits(key, shape, stream),
    "mask": lambda key, shape, stream=0: F.random_mask(key, shape, 0.5, stream),
    "uniform": lambda key, shape, stream=0: F.random_uniform(key, shape, "float32", stream),
    "uniform double": lambda key, shape, stream=0: F.random_uniform(key, shape, "float64", stream),
    "normal": lambda key, shape, stream=0: F.random_normal(key, shape, "float32", stream),
    "normal double": lambda key, shape, stream=0: F.random_normal(key, shape, "float64", stream),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))


def key_node() -> Any:
    return node(2, dtype="uint64", label="key")


# -- the generator ----------------------------------------------------------------------------

# Counter, key and result of philox4x32 with 10 rounds in the kat_vectors file of Random123.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_known_answers(counter: str, key: str, result: str) -> None:
    block = np.array([[int(word, 16)] * 3 for word in counter.split()], np.uint64)
    first, second = (int(word, 16) for word in key.split())
    philox(np, block, (first, second), np.empty((2, 3), np.uint64))
    assert [" ".join(f"{int(word):08x}" for word in column) for column in block.T] == [result] * 3


@pytest.mark.parametrize("size", [0, 1, 2, 7, 64, 1000])
def test_count_up(size: int) -> None:
    out = np.full(size, 99, np.uint64)
    count_up(np, out)
    assert out.tolist() == list(range(size))


# -- draws ------------------------------------------------------------------------------------


@each_draw
def test_a_long_draw_begins_like_a_short_one(draw: Callable) -> None:
    long = run(lambda key: draw(key, (MANY,)), KEY)
    for size in (1, 2, 3, 4, 5, 1001, MANY - 1):
        assert np.array_equal(run(lambda key, n=size: draw(key, (n,)), KEY), long[:size])


@each_draw
def test_seed_step_and_stream_each_make_another_draw(draw: Callable) -> None:
    keys = [KEY, *(KEY + np.uint64(more) for more in ([1, 0], [0, 1], [1 << 32, 0], [0, 1 << 32]))]
    draws = [run(lambda key: draw(key, (64,)), key).tobytes() for key in keys]
    draws.append(run(lambda key: draw(key, (64,), 1), KEY).tobytes())
    assert len(set(draws)) == len(draws)


@each_draw
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (3, 5)])
def test_shapes(draw: Callable, shape: tuple[int, ...]) -> None:
    assert run(lambda key: draw(key, shape), KEY).shape == shape


@each_draw
def test_a_shape_may_be_symbolic(draw: Callable) -> None:
    key = key_node()
    result = draw(key, (dims.symbol("batch"), 3))
    (array,) = evaluate([result], {key: KEY}, {"batch": 5})
    assert np.array_equal(array, run(lambda key: draw(key, (5, 3)), KEY))


@each_draw
def test_the_workspace_is_small(draw: Callable) -> None:
    op = draw(key_node(), (1 << 24,)).op
    assert 0 < op.scratch(key_node().type) <= 1 << 20


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers_are_spread_evenly(dtype: str) -> None:
    x = run(lambda key: F.random_uniform(key, (200_000,), dtype), KEY)
    assert x.dtype == dtype and x.min() >= 0 and x.max() < 1
    assert np.abs(np.histogram(x, 20, (0, 1))[0] - 10_000).max() < 500


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normal_numbers_have_their_moments(dtype: str) -> None:
    x = run(lambda key: F.random_normal(key, (200_000,), dtype), KEY).astype(np.float64)
    assert np.isfinite(x).all()
    assert abs(x.mean()) < 0.01 and abs(x.var() - 1) < 0.02 and abs((x**4).mean() - 3) < 0.1
    assert abs(np.corrcoef(x[::2], x[1::2])[0, 1]) < 0.02


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_masks_keep_the_rest_of_the_rate(rate: float) -> None:
    kept = run(lambda key: F.random_mask(key, (100_000,), rate), KEY)
    assert abs(kept.mean() - (1 - rate)) < 0.006
    assert kept.all() == (rate == 0) and kept.any() == (rate < 1)


def test_bernoulli() -> None:
    assert abs(run(lambda key: F.bernoulli(key, 0.2, (50_000,)), KEY).mean() - 0.2) < 0.01
    chances = np.repeat(np.float32([0, 0.3, 1]), 20_000).reshape(3, -1)
    means = run(lambda key, p: F.bernoulli(key, p), KEY, chances).mean(1)
    assert means[0] == 0 and abs(means[1] - 0.3) < 0.02 and means[2] == 1


# -- dropout ----------------------------------------------------------------------------------

X = np.linspace(1, 2, 4000, dtype=np.float32).reshape(40, 100)


def drop(rate: float, **options: Any) -> Callable:
    return lambda x, key: F.dropout(x, key, rate, **options)


def test_dropout_zeroes_some_and_scales_the_rest() -> None:
    y = run(drop(0.25), X, KEY)
    assert abs((y == 0).mean() - 0.25) < 0.03
    assert np.allclose(y[y != 0], X[y != 0] / 0.75)


def test_dropout_at_its_ends() -> None:
    assert np.array_equal(run(drop(0.0), X, KEY), X)
    assert not run(drop(1.0), X, KEY).any()
    assert np.array_equal(run(drop(0.5, training=False), X, KEY), X)


def test_a_dropped_element_does_not_spread_its_nan() -> None:
    y = run(drop(0.5), np.full(100, np.nan, np.float32), KEY)
    assert np.isnan(y).any() and (y == 0).any()


def test_the_gradient_drops_the_same_elements() -> None:
    y, gradient = run(drop(0.4, stream=3), X, KEY), slope(drop(0.4, stream=3), X, KEY)
    assert np.array_equal(gradient != 0, y != 0)
    assert np.allclose(gradient[gradient != 0], 1 / 0.6)


# -- bad operands -----------------------------------------------------------------------------


def test_a_key_is_two_words_of_64_bits() -> None:
    for bad in (node(2, dtype="int64"), node(3, dtype="uint64"), node(dtype="uint64")):
        for function in (lambda key: F.random_bits(key, (3,)), lambda key: F.dropout(node(3), key)):
            with pytest.raises(DTypeError, match=r"a random key is a uint64 array \(seed, step\)"):
                function(bad)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rates_are_probabilities(rate: float) -> None:
    with pytest.raises(ArgumentError, match=f"dropout: rate is a probability from 0 to 1, not {rate}"):
        F.dropout(node(3), key_node(), rate)
    with pytest.raises(ArgumentError, match="random_mask: rate is a probability"):
        F.random_mask(key_node(), (3,), rate)
    with pytest.raises(ArgumentError, match="bernoulli: probability is a probability"):
        F.bernoulli(key_node(), rate, (3,))


def test_other_bad_arguments() -> None:
    key = key_node()
    with pytest.raises(DTypeError, match="draws float16, float32 or float64, not int32"):
        F.random_uniform(key, (3,), "int32")
    with pytest.raises(DTypeError, match="dropout does not take int64"):
        F.dropout(node(3, dtype="int64"), key)
    with pytest.raises(ShapeError, match="a size cannot be negative"):
        F.random_bits(key, (3, -1))
    with pytest.raises(ShapeError, match="random_bits takes 68719476736 words"):
        F.random_bits(key, (1 << 36,))
    with pytest.raises(ArgumentError, match="stream must be from 0"):
        F.random_bits(key, (3,), -1)
    with pytest.raises(ArgumentError, match="a number as probability needs a shape"):
        F.bernoulli(key, 0.5)


def test_dtypes_of_draws() -> None:
    key = key_node()
    assert F.random_bits(key, 3).dtype == dtypes.uint32
    assert F.random_mask(key, 3, 0.5).dtype == dtypes.bool_
    assert F.random_normal(key, 3, float).dtype == dtypes.float32
