"""sin and cos.

x = n * pi / 2 + r with |r| <= pi / 4; the last two bits of n say which of sin(r), cos(r) to take and with what
sign. pi / 2 is in parts so short that n times all but the last is exact (Cody and Waite; fdlibm's constants);
for float32 this is done in float64. Beyond 2**20, and in float64 for the few numbers within 2**-40 of a multiple
of pi / 2, the C library is called. The polynomials are minimax fits of the relative error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from staticnet.compiler.codegen.llvm.arithmetic import Number, fma, polynomial, select
from staticnet.compiler.codegen.llvm.exponential import DOUBLE as DOUBLE_FORMAT
from staticnet.compiler.codegen.llvm.functions import Body, out_of_line, with_library
from staticnet.compiler.dtypes import float32, float64, int32, int64

LARGE = 2.0**20
#: pi / 2 in 33, 33 and 53 bits, and what is left after the first 33
HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
HALF_PI_REST = 6.07710050650619224932e-11


@dataclass(frozen=True)
class Fit:
    """sin(r) = r + r**3 * sin(r**2), cos(r) = 1 - r**2 / 2 + r**4 * cos(r**2)."""

    sin: tuple[float, ...]
    cos: tuple[float, ...]


SINGLE = Fit((-0.166666538, 0.00833211187, -0.000195092594), (0.0416666456, -0.00138873083, 2.44321036e-05))
DOUBLE = Fit(
    (
        -0.1666666666666663,
        0.0083333333333218493,
        -0.00019841269829371137,
        2.7557313544348804e-06,
        -2.5050735480700057e-08,
        1.5895504927710578e-10,
    ),
    (
        0.041666666666666588,
        -0.0013888888888872251,
        2.4801587288369559e-05,
        -2.7557314044621842e-07,
        2.0875683024901217e-09,
        -1.1357634010100692e-11,
    ),
)


def sin(x: Number) -> Number:
    return _circular("sin", x)


def cos(x: Number) -> Number:
    return _circular("cos", x)


def _circular(name: str, x: Number) -> Number:
    single = x.dtype.itemsize == 4
    reduce, library = (_reduce_single, f"{name}f") if single else (_reduce_double, name)

    def body(_: Body, operands: Sequence[Number]) -> Number:
        (x,) = operands
        r, quarter, hard = reduce(x)
        result = _around(r, quarter if name == "sin" else quarter + 1)
        if name == "sin":
            # The sign of zero.
            result = select(x.absolute() < 2.0**-30, x, result)
        return with_library(hard, result, [x], library)

    return out_of_line(f"staticnet.{name}", [x], x.dtype, body)


def _quarters(x: Number) -> tuple[Number, Number]:
    """The nearest multiple of pi / 2, as a float and as the last bits of an integer."""
    rounded = fma(x, 2 / np.pi, DOUBLE_FORMAT.magic)
    return rounded - DOUBLE_FORMAT.magic, rounded.bits()


def _reduce_single(x: Number) -> tuple[Number, Number, Number]:
    wide = x.convert("fpext", float64)
    n, quarter = _quarters(wide)
    r = fma(n, -HALF_PI_REST, fma(n, -HALF_PI[0], wide))
    magnitude = x.absolute()
    hard = (magnitude >= LARGE) & (magnitude < np.inf)
    return r.convert("fptrunc", float32), quarter.convert("trunc", int32), hard


def _reduce_double(x: Number) -> tuple[Number, Number, Number]:
    n, quarter = _quarters(x)
    first = fma(n, -HALF_PI[0], x)
    second = n * HALF_PI[1]
    high = first - second
    lost = (first - high) - second
    r = high + fma(n, -HALF_PI[2], lost)
    magnitude = x.absolute()
    close = (r.absolute() < 2.0**-40) & (magnitude > 1)
    hard = ((magnitude >= LARGE) | close) & (magnitude < np.inf)
    return r, quarter.convert("bitcast", int64), hard


def _around(r: Number, quarter: Number) -> Number:
    """sin(r), cos(r), -sin(r) or -cos(r), for the last two bits 0, 1, 2 or 3."""
    fit = SINGLE if r.dtype.itemsize == 4 else DOUBLE
    square = r * r
    sine = fma(square * r, polynomial(square, fit.sin), r)
    cosine = polynomial(square, (1.0, -0.5, *fit.cos))
    value = select((quarter & 1).equal(0), sine, cosine)
    sign = (quarter << (8 * r.dtype.itemsize - 2)) & value.number(-0.0).bits()
    return (value.bits() ^ sign).as_float()
