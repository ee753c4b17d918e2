"""Rows of the random draws and dropout, against Philox4x32-10 written out for one counter at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row

KEY = Arg((2,), "uint64", values=[0x0123456789ABCDEF, 0x100000002])
STREAM = 5


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Four words from four words and a key of two, in Python's own integers."""
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        first, second = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = second >> 32 ^ b ^ low, second % 2**32, first >> 32 ^ d ^ high, first % 2**32
        low, high = (low + 0x9E3779B9) % 2**32, (high + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def words(key: np.ndarray, count: int, stream: int = STREAM) -> list[int]:
    seed, step = (int(part) for part in key)
    drawn: list[int] = []
    for block in range(-(-count // 4)):
        drawn += philox([block, step >> 32, stream, step % 2**32], [seed % 2**32, seed >> 32])
    return drawn[:count]


def bits(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(words(key, math.prod(shape)), np.uint32).reshape(shape)


def mask(key: np.ndarray, shape: tuple[int, ...], rate: float) -> np.ndarray:
    return bits(key, shape) >= round(rate * 2**32)


def long_words(key: np.ndarray, count: int) -> list[int]:
    drawn = words(key, 2 * count)
    return [(high >> 5 << 26) + (low >> 6) for high, low in zip(drawn[::2], drawn[1::2], strict=True)]


def uniform(key: np.ndarray, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    count = math.prod(shape)
    if dtype == "float64":
        return np.ldexp(np.array(long_words(key, count), np.float64), -53).reshape(shape)
    kept = 24 if dtype == "float32" else 11
    return np.array([math.ldexp(word >> (32 - kept), -kept) for word in words(key, count)], dtype).reshape(shape)


def normal(key: np.ndarray, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    count = math.prod(shape)
    even = count + count % 2
    drawn, kept = (long_words(key, even), 53) if dtype == "float64" else (words(key, even), 32)
    pairs = [
        (math.sqrt(-2 * math.log(math.ldexp(first + 1, -kept))), 2 * math.pi * math.ldexp(second, -kept))
        for first, second in zip(drawn[::2], drawn[1::2], strict=True)
    ]
    waves = [radius * wave(angle) for radius, angle in pairs for wave in (math.cos, math.sin)]
    return np.array(waves[:count], dtype).reshape(shape)


def dropped(x: np.ndarray, key: np.ndarray) -> np.ndarray:
    return np.where(mask(key, x.shape, 0.25), x * x.dtype.type(1 / 0.75), x.dtype.type(0))


def row(id: str, function: Callable, options: dict[str, Any], reference: Callable, **more: Any) -> Row:
    """A row of `function(key, SHAPE, **options)`, against `reference` with the same options."""

    def build(key: Any) -> Any:
        return function(key, SHAPE, stream=STREAM, **options)

    def expected(key: Any) -> Any:
        return reference(key, SHAPE, **options)

    return Row(id, (function.__name__,), build, (KEY,), expected, wrt=(), onnx=False, **more)


def dropout(id: str, training: bool, reference: Callable) -> Row:
    def build(x: Any, key: Any) -> Any:
        return F.dropout(x, key, 0.25, STREAM, training)

    return Row(id, ("dropout",), build, (Arg(("N", 5)), KEY), reference, onnx=not training)


SHAPE = (3, 7)
EXACT = {"rtol": 0.0, "atol": 0.0}
DOUBLE = {"dtype": "float64"}

ROWS: list[Row] = [
    row("random_bits", F.random_bits, {}, bits),
    row("random_mask", F.random_mask, {"rate": 0.3}, mask),
    row("random_uniform", F.random_uniform, {}, uniform, **EXACT),
    row("random_uniform_half", F.random_uniform, {"dtype": "float16"}, uniform, **EXACT),
    row("random_uniform_double", F.random_uniform, DOUBLE, uniform, **EXACT),
    row("random_normal", F.random_normal, {}, normal),
    row("random_normal_double", F.random_normal, DOUBLE, normal, rtol=1e-13, atol=1e-13),
    dropout("dropout", True, dropped),
    dropout("dropout_inference", False, lambda x, key: x),
]
