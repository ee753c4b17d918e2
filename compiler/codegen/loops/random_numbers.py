"""Loop descriptions of random draws: a lane for each counter of Philox4x32-10, which gives four words.

What the words of a counter give lies side by side in memory, so lanes are turned over before they are stored.

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
    Kernel,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    Var,
    View,
    affine,
    const,
    load,
    position,
    within,
)
from staticnet.compiler.codegen.loops.operations import add, apply, cast, multiply, select
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import float32, float64, int32, int64, uint8, uint32, uint64
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.philox import LOW, MULTIPLIERS, ROUNDS, WEYL
from staticnet.compiler.ops.random import UNIFORM_BITS, RandomBits, RandomMask, RandomNormal, RandomUniform
from staticnet.compiler.ops.shape import reshape_layout

_Draw = RandomBits | RandomMask | RandomUniform | RandomNormal
#: the numbers that the four words of a counter give
_Numbers = Callable[[Sequence[Value]], list[Value]]

#: numbers of 32 bits, what lies above them is of no account: so a product needs one instruction
_SEED = (Register("seed_low", uint64), Register("seed_high", uint64))
_STEP = (Register("step_low", uint64), Register("step_high", uint64))
_WORDS = tuple(Register(f"word{k}", uint64) for k in range(4))
_NEXT = tuple(Register(f"next{k}", uint64) for k in range(4))


def _word(value: int) -> Value:
    return const(value, uint64)


def _low(value: Value) -> Value:
    return apply("bitwise_and", value, _word(LOW))


def _high(value: Value) -> Value:
    return apply("right_shift", value, _word(32))


def _key(key: View) -> list[Statement]:
    """The halves of the key's parts."""
    found: list[Statement] = []
    for k, (low, high) in enumerate((_SEED, _STEP)):
        part = load(key, k)
        found += [Set(low, part), Set(high, _high(part))]
    return found


def _philox(counter: Affine, stream: int) -> list[Statement]:
    """The words of a counter."""
    start = (cast(position(counter), uint64), _STEP[1].value, _word(stream), _STEP[0].value)
    body: list[Statement] = [Set(word, value) for word, value in zip(_WORDS, start, strict=True)]
    c0, c1, c2, c3 = (word.value for word in _WORDS)
    for number in range(ROUNDS):
        k0, k1 = (
            add(half.value, _word(number * grows & LOW)) for half, grows in zip(_SEED, WEYL, strict=True)
        )
        p0, p1 = (multiply(_low(c), _word(factor)) for c, factor in zip((c0, c2), MULTIPLIERS, strict=True))
        new = (_xor(_high(p1), c1, k0), p1, _xor(_high(p0), c3, k1), p0)
        body += [Set(word, value) for word, value in zip(_NEXT, new, strict=True)]
        body += [Set(word, value.value) for word, value in zip(_WORDS, _NEXT, strict=True)]
    return body


def _xor(x: Value, y: Value, z: Value) -> Value:
    return apply("bitwise_xor", apply("bitwise_xor", x, y), z)


def _draw(
    op: _Draw, inputs: Sequence[View], out: View, machine: Machine, count: int, numbers: _Numbers
) -> Routine | None:
    """`count` numbers from each counter, one behind the other. None where the result is no single line in memory."""
    if is_empty(out):
        return Routine()
    size = math.prod(out.shape)
    layout = reshape_layout(out.layout, (size,)) if size > 1 else Layout((1,), (1,), out.layout.offset)
    if layout is None:
        return None
    lanes = machine.lanes(8)
    line, group, lane = View(out.array, layout), Var("group"), Var("lane")
    # Truth values as bytes: single bits are slow to turn over.
    is_bool = out.dtype.is_bool
    block = Register("block", uint8 if is_bool else out.dtype, (count, lanes))
    body = _philox(group * lanes + lane, op.stream)
    for k, value in enumerate(numbers([cast(word.value, uint32) for word in _WORDS])):
        body.append(Set(block, value, (affine(k), affine(lane))))
    row, column = Var("row"), Var("column")
    place = group * (lanes * count) + row * count + column
    guard = (within(place, 0, size),) if size % (lanes * count) else ()
    value = block[column, row]
    value = apply("not_equal", value, const(0, uint8)) if is_bool else value
    write = Store(line.array, line.at(place), value, None, guard)
    inside = (
        *_key(inputs[0]),
        For(lane, lanes, tuple(body), "lanes"),
        For(row, lanes, (For(column, count, (write,), "lanes"),), "unroll"),
    )
    return Routine((Kernel(op.name, For(group, -(-size // (lanes * count)), inside)),))


# -- what becomes of the words ----------------------------------------------------------------


@describes(RandomBits)
def random_bits(op: RandomBits, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """The words themselves."""
    return _draw(op, inputs, outputs[0], machine, 4, list)


@describes(RandomMask)
def random_mask(op: RandomMask, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """Whether a word is at least rate * 2^32, which no word is for a rate of 1."""
    threshold = round(op.rate * 2**32)
    if threshold > LOW:
        return Routine((fill_kernel(op.name, outputs[0], False),))

    def masks(words: Sequence[Value]) -> list[Value]:
        held = [apply("greater_equal", word, const(threshold, uint32)) for word in words]
        return [select(each, const(1, uint8), const(0, uint8)) for each in held]

    return _draw(op, inputs, outputs[0], machine, 4, masks)


@describes(RandomUniform)
def random_uniform(
    op: RandomUniform, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine | None:
    """As many leading bits of a word, or of two, as the dtype has, as a fraction; all steps are exact."""
    bits = UNIFORM_BITS[op.dtype]

    def fractions(words: Sequence[Value]) -> list[Value]:
        if op.dtype == float64:
            return [multiply(both, _power(-53)) for both in _doubles(words)]
        leading = [cast(apply("right_shift", word, const(32 - bits, uint32)), int32) for word in words]
        return [cast(multiply(cast(n, float32), const(2.0**-bits, float32)), op.dtype) for n in leading]

    return _draw(op, inputs, outputs[0], machine, _count(op), fractions)


@describes(RandomNormal)
def random_normal(
    op: RandomNormal, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine | None:
    """Two normals from two uniforms by Box and Muller's method, in double precision."""

    def normals(words: Sequence[Value]) -> list[Value]:
        if op.dtype == float64:
            first, second = _doubles(words)
            return _box_muller(first, second, 53)
        found = []
        for k in (0, 2):
            found += _box_muller(cast(words[k], float64), cast(words[k + 1], float64), 32)
        return [cast(value, op.dtype) for value in found]

    return _draw(op, inputs, outputs[0], machine, _count(op), normals)


def _count(op: RandomUniform | RandomNormal) -> int:
    """How many numbers a counter gives."""
    return 2 if op.dtype == float64 else 4


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
