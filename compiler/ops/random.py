"""Random numbers as pure functions of an explicit key, and dropout, which draws its mask from one.

A key is a uint64 array (seed, step). Draws of one key are told apart by their stream number: element i of
a draw is word i % 4 of the Philox4x32-10 block with key (seed low, seed high) and counter
(i // 4, step high, stream, step low), on every backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import ArgumentError, CompilerError, DTypeError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, Type, apply
from staticnet.compiler.ops.base import F, as_node, as_shape, function, require_dtype
from staticnet.compiler.ops.philox import draw, scratch_bytes

#: a stream has 2^32 blocks of four words in each step
MOST_WORDS = 2**34
#: float type -> random bits in a uniform number
UNIFORM_BITS = {dtypes.float16: 11, dtypes.float32: 24, dtypes.float64: 53}


class _Draw(Op, abstract=True):
    """Base of ops that draw an array of `shape` from the key, their only operand."""

    shape: Shape
    stream: int

    def infer(self, key: Type) -> Type:
        check_key(self.name, key)
        if not 0 <= self.stream < 2**32:
            raise ArgumentError(f"{self.name}: stream must be from 0 to {2**32 - 1}, not {self.stream}")
        most = dims.lower_bound(self.words)
        if most is not None and most > MOST_WORDS:
            raise ShapeError(f"{self.name} takes {self.words} words, and a stream has {MOST_WORDS}; split the draw")
        return Type(self.shape, self.result())

    def result(self) -> DType:
        """The dtype of the numbers drawn."""
        raise CompilerError(f"op {self.name} does not say what it draws")

    @property
    def words(self) -> Size:
        """How many 32-bit words are drawn."""
        return dims.product(self.shape)

    def scratch(self, key: Type) -> int:  # type: ignore[override]
        return scratch_bytes(int(self.words))  # type: ignore[arg-type]

    def each_word(self, xp: Any, key: Any, out: Any, scratch: Any, write: Callable[[Any, Any], None]) -> None:
        """Call `write(words, places)` until every element of `out` has been given its own word."""
        flat = out.reshape(-1)
        for start, block, _ in draw(xp, key, self.stream, out.size, scratch):
            for k in range(4):
                places = flat[start + k : start + block.size : 4]
                write(block[k, : places.size], places)


def check_key(op: str, key: Type) -> None:
    """Raise unless `key` is the type of a random key."""
    if key.dtype != dtypes.uint64 or not dims.same_shape(key.shape, (2,)):
        raise DTypeError(f"{op}: a random key is a uint64 array (seed, step), not {key}")


class RandomBits(_Draw):
    """32 random bits in each element, as uint32."""

    def result(self) -> DType:
        return dtypes.uint32

    def kernel(self, xp: Any, key: Any, *, out: Any, scratch: Any) -> None:
        def write(words: Any, places: Any) -> None:
            xp.copyto(places, words, casting="unsafe")

        self.each_word(xp, key, out, scratch, write)


class RandomMask(_Draw):
    """True with probability 1 - `rate`, to the nearest multiple of 2^-32: where the word is not below rate * 2^32."""

    rate: float

    def result(self) -> DType:
        return dtypes.bool_

    def kernel(self, xp: Any, key: Any, *, out: Any, scratch: Any) -> None:
        threshold = round(self.rate * 2**32)

        def write(words: Any, places: Any) -> None:
            xp.greater_equal(words, threshold, out=places)

        self.each_word(xp, key, out, scratch, write)


class _FloatDraw(_Draw, abstract=True):
    dtype: DType

    def infer(self, key: Type) -> Type:
        if self.dtype not in UNIFORM_BITS:
            raise DTypeError(f"{self.name} draws float16, float32 or float64, not {self.dtype}")
        return super().infer(key)

    def result(self) -> DType:
        return self.dtype

    @property
    def words(self) -> Size:
        return dims.product(self.shape) * (2 if self.dtype == dtypes.float64 else 1)


class RandomUniform(_FloatDraw):
    """Multiples of 2^-24 (float32), 2^-53 (float64, from two words each) or 2^-11 (float16) in [0, 1)."""

    def kernel(self, xp: Any, key: Any, *, out: Any, scratch: Any) -> None:
        bits = UNIFORM_BITS[self.dtype]
        if bits <= 32:

            def write(words: Any, places: Any) -> None:
                xp.right_shift(words, 32 - bits, out=words)
                xp.multiply(words, 2.0**-bits, out=places, casting="same_kind")

            self.each_word(xp, key, out, scratch, write)
            return
        flat = out.reshape(-1)
        for start, block, _ in draw(xp, key, self.stream, 2 * out.size, scratch):
            for k in range(2):
                places = flat[start // 2 + k : start // 2 + block.size // 2 : 2]
                words = _join(xp, block[2 * k], block[2 * k + 1])
                xp.multiply(words[: places.size], 2.0**-53, out=places)


def _join(xp: Any, high: Any, low: Any) -> Any:
    """53 bits of two words, in place: 27 of `high` above 26 of `low`."""
    xp.right_shift(high, 5, out=high)
    xp.left_shift(high, 26, out=high)
    xp.right_shift(low, 6, out=low)
    return xp.bitwise_or(high, low, out=high)


class RandomNormal(_FloatDraw):
    """Numbers of mean 0 and variance 1, normally distributed, by Box and Muller's method (1958).

    Two uniforms give two normals. All is computed in float64 and rounded once: of 32 bits each for float16
    and float32, of 53 bits each for float64.
    """

    def kernel(self, xp: Any, key: Any, *, out: Any, scratch: Any) -> None:
        flat = out.reshape(-1)
        is_double = self.dtype == dtypes.float64
        for start, block, (radius, angle) in draw(xp, key, self.stream, out.size * (1 + is_double), scratch):
            if is_double:
                first, second = _join(xp, block[0], block[1]), _join(xp, block[2], block[3])
                _box_muller(xp, first, second, 53, radius, angle, flat, start // 2, 2)
                continue
            for k in (0, 2):
                _box_muller(xp, block[k], block[k + 1], 32, radius, angle, flat, start + k, 4)


def _box_muller(
    xp: Any, first: Any, second: Any, bits: int, radius: Any, angle: Any, flat: Any, start: int, step: int
) -> None:
    """Two normals from integers of so many bits, to `flat` at `start`, `start` + 1 and every `step` from there."""
    xp.add(first, 1, out=first)  # (0, 1]: no logarithm of 0
    xp.multiply(first, 2.0**-bits, out=radius)
    xp.log(radius, out=radius)
    xp.multiply(radius, -2.0, out=radius)
    xp.sqrt(radius, out=radius)
    xp.multiply(second, 2 * math.pi * 2.0**-bits, out=angle)
    cosine = xp.cos(angle, out=first.view("float64"))
    sine = xp.sin(angle, out=angle)
    for offset, wave in enumerate((cosine, sine)):
        places = flat[start + offset : start + step * wave.size : step]
        xp.multiply(radius[: places.size], wave[: places.size], out=places, casting="same_kind")


class Dropout(Op):
    """x with each element zero with probability `rate` and the others divided by 1 - `rate`; x when not training."""

    rate: float
    stream: int
    training: bool

    def infer(self, x: Type, key: Type) -> Type:
        check_key("dropout", key)
        if not x.dtype.is_float:
            raise DTypeError(f"dropout does not take {x.dtype}; cast the operand to a float type first")
        check_probability("dropout", "rate", self.rate)
        return x

    def expand(self, x: Node, key: Node) -> Node:
        if not self.training or self.rate == 0:
            return x
        scale = 1 / (1 - self.rate) if self.rate < 1 else 0.0
        return F.where(random_mask(key, x.shape, self.rate, self.stream), x * scale, 0)

    def grad(self, g: Node, y: Node, x: Node, key: Node) -> tuple:
        return apply(self, g, key), None  # the same mask, drawn again or shared


def check_probability(op: str, name: str, value: float) -> None:
    """Raise ArgumentError unless `value` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ArgumentError(f"{op}: {name} is a probability from 0 to 1, not {value}")


# -- functions --------------------------------------------------------------------------------


@function("random_bits")
def random_bits(key: Any, shape: Any, stream: int = 0) -> Node:
    """uint32 of `shape`, every bit random; `key` is uint64 (seed, step)."""
    return apply(RandomBits(shape=as_shape("random_bits", shape), stream=int(stream)), as_node(key))


@function("random_uniform")
def random_uniform(key: Any, shape: Any, dtype: Any = "float32", stream: int = 0) -> Node:
    """Floats of `shape` spread evenly over [0, 1); `key` is uint64 (seed, step)."""
    card = RandomUniform(shape=as_shape("random_uniform", shape), dtype=dtypes.as_dtype(dtype), stream=int(stream))
    return apply(card, as_node(key))


@function("random_normal")
def random_normal(key: Any, shape: Any, dtype: Any = "float32", stream: int = 0) -> Node:
    """Floats of `shape`, normally distributed with mean 0 and variance 1; `key` is uint64 (seed, step)."""
    card = RandomNormal(shape=as_shape("random_normal", shape), dtype=dtypes.as_dtype(dtype), stream=int(stream))
    return apply(card, as_node(key))


@function("random_mask")
def random_mask(key: Any, shape: Any, rate: float, stream: int = 0) -> Node:
    """Booleans of `shape`, false with probability `rate`; `key` is uint64 (seed, step)."""
    check_probability("random_mask", "rate", rate)
    return apply(RandomMask(shape=as_shape("random_mask", shape), rate=float(rate), stream=int(stream)), as_node(key))


@function("bernoulli")
def bernoulli(key: Any, probability: Any, shape: Any = None, stream: int = 0) -> Node:
    """Booleans that are true with `probability`, a number (then `shape` is needed) or a float value of that shape."""
    if isinstance(probability, (int, float)):
        check_probability("bernoulli", "probability", probability)
        if shape is None:
            raise ArgumentError("bernoulli: a number as probability needs a shape")
        return random_mask(key, shape, 1 - probability, stream)
    probability = as_node(probability)
    require_dtype("bernoulli", "the probability", probability, "float")
    shape = probability.shape if shape is None else shape
    return F.random_uniform(key, shape, probability.dtype, stream) < probability


@function("dropout")
def dropout(x: Any, key: Any, rate: float = 0.5, stream: int = 0, training: bool = True) -> Node:
    """`x` with elements zeroed with probability `rate` and the rest scaled up by 1 / (1 - rate); `x` when not training.

    `x` is float, `key` uint64 (seed, step). Two calls with one key need different streams, else they
    drop the same elements (Srivastava et al. 2014).
    """
    card = Dropout(rate=float(rate), stream=int(stream), training=bool(training))
    return apply(card, as_node(x), as_node(key))
