"""Loop descriptions of random draws: a lane for each counter of Philox4x32-10, four words from it.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from staticnet.compiler.codegen.loops.describe import describes
from staticnet.compiler.codegen.loops.filling import fill_kernel, is_empty
from staticnet.compiler.codegen.loops.form import (
    Affine,
    For,
    If,
    Kernel,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    Var,
    View,
    const,
    load,
    position,
    within,
)
from staticnet.compiler.codegen.loops.operations import add, apply, cast, multiply
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import float32, float64, int32, int64, uint32, uint64
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.philox import LOW, MULTIPLIERS, ROUNDS, WEYL
from staticnet.compiler.ops.random import UNIFORM_BITS, RandomBits, RandomMask, RandomNormal, RandomUniform
from staticnet.compiler.ops.shape import reshape_layout

#: counters of one stretch, whose key is taken apart once
_STRETCH = 1024

_Draw = RandomBits | RandomMask | RandomUniform | RandomNormal
#: the numbers that the four words of a counter give
_Numbers = Callable[[Sequence[Value]], list[Value]]

_SEED = (Register("seed_low", uint32), Register("seed_high", uint32))
_STEP = (Register("step_low", uint32), Register("step_high", uint32))
_WORDS = tuple(Register(f"word{k}", uint32) for k in range(4))
_NEXT = tuple(Register(f"next{k}", uint32) for k in range(4))


def _word(value: int) -> Value:
    return const(value, uint32)


def _key(key: View) -> list[Statement]:
    """The halves of the key's parts."""
    found: list[Statement] = []
    for k, (low, high) in enumerate((_SEED, _STEP)):
        part = load(key, k)
        found += [Set(low, _low(part)), Set(high, _low(apply("right_shift", part, const(32, uint64))))]
    return found


def _low(value: Value) -> Value:
    return cast(apply("bitwise_and", value, const(LOW, uint64)), uint32)


def _philox(counter: Affine, stream: int) -> list[Statement]:
    """The words of a counter."""
    start = (cast(position(counter), uint32), _STEP[1].value, _word(stream), _STEP[0].value)
    body: list[Statement] = [Set(word, value) for word, value in zip(_WORDS, start, strict=True)]
    c0, c1, c2, c3 = (word.value for word in _WORDS)
    for number in range(ROUNDS):
        k0, k1 = (
            add(half.value, _word(number * grows & LOW)) for half, grows in zip(_SEED, WEYL, strict=True)
        )
        new = (
            _xor(apply("multiply_high", c2, _word(MULTIPLIERS[1])), c1, k0),
            multiply(c2, _word(MULTIPLIERS[1])),
            _xor(apply("multiply_high", c0, _word(MULTIPLIERS[0])), c3, k1),
            multiply(c0, _word(MULTIPLIERS[0])),
        )
        body += [Set(word, value) for word, value in zip(_NEXT, new, strict=True)]
        body += [Set(word, value.value) for word, value in zip(_WORDS, _NEXT, strict=True)]
    return body


def _xor(x: Value, y: Value, z: Value) -> Value:
    return apply("bitwise_xor", apply("bitwise_xor", x, y), z)


def _draw(op: _Draw, key: View, out: View, count: int, numbers: _Numbers) -> Routine | None:
    """`count` numbers from each counter, one behind the other. None where the result is no single line in memory."""
    if is_empty(out):
        return Routine()
    size = math.prod(out.shape)
    layout = reshape_layout(out.layout, (size,)) if size > 1 else Layout((1,), (1,), out.layout.offset)
    if layout is None:
        return None
    line, counters = View(out.array, layout), -(-size // count)

    def stretch(name: str, start: Affine | int, length: int) -> For:
        lane = Var(f"{name}_counter")
        counter = lane + start
        values = numbers([word.value for word in _WORDS])
        body = _philox(counter, op.stream)
        for k, value in enumerate(values):
            place = counter * count + k
            guard = (within(place, 0, size),) if count * (counters - 1) + k >= size else ()
            body.append(Store(line.array, line.at(place), value, None, guard))
        return For(lane, length, tuple(body), "vector")

    number = Var("stretch")
    length = _length(counters)
    whole, rest = divmod(counters, length)
    inside: Statement = stretch("whole", number * length, length)
    if rest:
        inside = If((within(number, 0, whole),), (inside,), (stretch("rest", whole * length, rest),))
    return Routine((Kernel(op.name, For(number, whole + bool(rest), (*_key(key), inside))),))


def _length(counters: int) -> int:
    """The length of a stretch: one that divides all counters, if it can be had."""
    if counters <= _STRETCH:
        return counters
    return next((n for n in range(_STRETCH, _STRETCH // 2, -16) if counters % n == 0), _STRETCH)


# -- what becomes of the words ----------------------------------------------------------------


@describes(RandomBits)
def random_bits(op: RandomBits, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """The words themselves."""
    return _draw(op, inputs[0], outputs[0], 4, list)


@describes(RandomMask)
def random_mask(op: RandomMask, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """Whether a word is at least rate * 2^32, which no word is for a rate of 1."""
    threshold = round(op.rate * 2**32)
    if threshold > LOW:
        return Routine((fill_kernel(op.name, outputs[0], False),))
    return _draw(
        op, inputs[0], outputs[0], 4, lambda words: [apply("greater_equal", w, _word(threshold)) for w in words]
    )


@describes(RandomUniform)
def random_uniform(
    op: RandomUniform, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine | None:
    """As many leading bits of a word, or of two, as the dtype has, as a fraction; all steps are exact."""
    bits = UNIFORM_BITS[op.dtype]
    if op.dtype == float64:
        return _draw(op, inputs[0], outputs[0], 2, lambda words: [multiply(w, _power(-53)) for w in _doubles(words)])

    def fractions(words: Sequence[Value]) -> list[Value]:
        leading = [cast(apply("right_shift", word, _word(32 - bits)), int32) for word in words]
        return [cast(multiply(cast(n, float32), const(2.0**-bits, float32)), op.dtype) for n in leading]

    return _draw(op, inputs[0], outputs[0], 4, fractions)


@describes(RandomNormal)
def random_normal(
    op: RandomNormal, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine | None:
    """Two normals from two uniforms by Box and Muller's method, in double precision."""

    def normals(words: Sequence[Value]) -> list[Value]:
        if op.dtype == float64:
            return _box_muller(*_doubles(words), 53)
        found = []
        for k in (0, 2):
            found += _box_muller(cast(words[k], float64), cast(words[k + 1], float64), 32)
        return [cast(value, op.dtype) for value in found]

    return _draw(op, inputs[0], outputs[0], 2 if op.dtype == float64 else 4, normals)


def _power(exponent: int) -> Value:
    return const(2.0**exponent, float64)


def _doubles(words: Sequence[Value]) -> list[Value]:
    """Two float64 integers of 53 bits: 27 of one word above 26 of the next."""
    found = []
    for k in (0, 2):
        high = apply("right_shift", cast(words[k], int64), const(5, int64))
        low = apply("right_shift", cast(words[k + 1], int64), const(6, int64))
        both = apply("bitwise_or", apply("left_shift", high, const(26, int64)), low)
        found.append(cast(both, float64))
    return found


def _box_muller(first: Value, second: Value, bits: int) -> list[Value]:
    """Two normals from two float64 integers of so many bits."""
    fraction = multiply(add(first, const(1, float64)), _power(-bits))  # (0, 1]: no logarithm of 0
    radius = apply("sqrt", multiply(apply("log", fraction), const(-2, float64)))
    angle = multiply(second, const(2 * math.pi * 2.0**-bits, float64))
    return [multiply(radius, apply("cos", angle)), multiply(radius, apply("sin", angle))]
