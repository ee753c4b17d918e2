"""Floor division and remainder of floats, step by step what NumPy's npy_divmod does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staticnet.compiler.codegen.llvm.arithmetic import Number, fma, select
from staticnet.compiler.codegen.llvm.functions import Body, out_of_line, with_library
from staticnet.compiler.codegen.llvm.rounding import floor, trunc
from staticnet.compiler.dtypes import float32, float64


def remainder(x: Number, y: Number) -> Number:
    """What floor division leaves, with the sign of y; NaN where y is 0."""
    rest = fmod(x, y)
    mended = select((y < 0) ^ (rest < 0), rest + y, rest)
    return select(rest.equal(0), rest.number(0.0).copysign(y), mended)


def floor_divide(x: Number, y: Number) -> Number:
    """The quotient rounded down; x / y where y is 0."""
    rest = fmod(x, y)
    quotient = (x - rest) / y
    quotient = select(rest.not_equal(0) & ((y < 0) ^ (rest < 0)), quotient - 1, quotient)
    whole = floor(quotient)
    whole = select(quotient - whole > 0.5, whole + 1, whole)
    ratio = x / y
    whole = select(quotient.equal(0), quotient.number(0.0).copysign(ratio), whole)
    return select(y.equal(0), ratio, whole)


def fmod(x: Number, y: Number) -> Number:
    """x - y * trunc(x / y), exact. Large quotients go to the C library."""
    single = x.dtype.itemsize == 4
    rest, library = (_rest_single, "fmodf") if single else (_rest_double, "fmod")

    def body(_: Body, operands: Sequence[Number]) -> Number:
        x, y = operands
        magnitude, divisor = x.absolute(), y.absolute()
        found, hard = rest(magnitude, divisor)
        fast = select(magnitude < divisor, magnitude, found).copysign(x)
        hard = hard & (magnitude >= divisor) & (magnitude < np.inf) & (divisor > 0)
        return with_library(hard, fast, [x, y], library)

    return out_of_line("staticnet.fmod", [x, y], x.dtype, body)


def _rest_single(x: Number, y: Number) -> tuple[Number, Number]:
    """In float64 quotient and product are exact enough up to 2**29."""
    wide, divisor = x.convert("fpext", float64), y.convert("fpext", float64)
    quotient = trunc(wide / divisor)
    rest = (wide - quotient * divisor).convert("fptrunc", float32)
    return rest, quotient >= 2.0**29


def _rest_double(x: Number, y: Number) -> tuple[Number, Number]:
    quotient = trunc(x / y)
    if not x.emitter.machine.has_fma:
        return x - quotient * y, x >= y
    # The quotient may have been rounded up to a whole number: then the rest is negative, and still exact.
    rest = fma(-quotient, y, x)
    return select(rest < 0, rest + y, rest), quotient >= 2.0**53
