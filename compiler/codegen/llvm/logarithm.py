"""log, log1p, and softplus, which is log1p(exp(x)).

x = 2**k * (1 + f) with f near 0, so log(x) = k * ln 2 + log1p(f); ln 2 in two parts, the first so short that k
times it is exact. In float32 log1p(f) = f + f**2 * Q(f) for |f| <= 1/3. In float64 log1p(f) = f - s * (f - R(s**2))
with s = f / (2 + f), for 1 + f between the root of a half and that of two (fdlibm). Q and R are minimax fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from staticnet.compiler.codegen.llvm.arithmetic import Number, at_least, fma, polynomial, select
from staticnet.compiler.codegen.llvm.exponential import exp_within, format_of
from staticnet.compiler.dtypes import float32, float64

SINGLE = (
    -0.5,
    0.333332151,
    -0.249998033,
    0.20010449,
    -0.166802421,
    0.14005211,
    -0.121875368,
    0.139875695,
    -0.128779233,
)
#: of softplus: Q for 0 <= f <= 1
SINGLE_UNIT = (
    -0.499999315,
    0.333304703,
    -0.24958156,
    0.196931869,
    -0.153490528,
    0.106698774,
    -0.0575594902,
    0.0201488286,
    -0.00330610364,
)
DOUBLE = (
    0.66666666666667351,
    0.3999999999940913,
    0.28571428743787669,
    0.22222198413399041,
    0.18183573424004898,
    0.15313798452752456,
    0.14798657177390251,
)


@dataclass(frozen=True)
class Split:
    """x = 2**k * (1 + fraction), k as integer."""

    k: Number
    fraction: Number


def _lowest(x: Number) -> float:
    """The smallest 1 + f."""
    return 2 / 3 if x.dtype.itemsize == 4 else 0.5**0.5


def split(x: Number) -> Split:
    """Of a normal positive number."""
    bits = x.bits()
    k = (bits - x.number(_lowest(x)).bits()) >> format_of(x).fraction
    return Split(k, (bits - (k << format_of(x).fraction)).as_float() - 1)


def whole(k: Number, x: Number) -> Number:
    """A small integer as a float; AVX2 has no instruction for 64 bits."""
    if x.dtype.itemsize == 4:
        return k.convert("sitofp", x.dtype)
    magic = x.number(format_of(x).magic)
    return (k + magic.bits()).as_float() - magic


def _log1p_near(f: Number) -> Number:
    """log1p of a number that split gives."""
    if f.dtype.itemsize == 4:
        return fma(f * f, polynomial(f, SINGLE), f)
    s = f / (f + 2)
    square = s * s
    rest = square * polynomial(square, DOUBLE)
    return fma(-s, f - rest, f)


def _sum(k: Number, y: Number) -> Number:
    """k * ln 2 + y."""
    own = format_of(y)
    return fma(k, own.ln2_high, fma(k, own.ln2_low, y))


def _special(x: Number, zero: float) -> Number:
    """-inf at `zero`, NaN below, else x: the logarithm of what is no finite number above zero."""
    return select(x.equal(zero), -np.inf, select(x < zero, x.number(np.nan), x))


def log(x: Number) -> Number:
    fraction = format_of(x).fraction
    small = x < float(np.finfo(x.dtype.numpy).tiny)
    parts = split(select(small, x * 2.0**fraction, x))
    k = whole(parts.k, x)
    result = _sum(select(small, k - float(fraction), k), _log1p_near(parts.fraction))
    return select((x > 0) & (x < np.inf), result, _special(x, 0.0))


def log1p(x: Number) -> Number:
    """log(u) with u = 1 + x rounded; what was rounded off is added to the fraction of u."""
    own = format_of(x)
    high, low = select(x > 1, x, 1), select(x > 1, x.number(1), x)
    u = high + low
    rounded_off = low - (u - high)
    parts = split(u)
    # 2 ** (1 - k), which does not become negative, and half of it
    inverse = (x.number(2.0).bits() - (parts.k << own.fraction)).as_float()
    f = fma(rounded_off * 0.5, inverse, parts.fraction)
    result = _sum(whole(parts.k, x), _log1p_near(f))
    result = select(x.absolute() < own.tiny, x, result)
    return select((x > -1) & (x < np.inf), result, _special(x, -1.0))


def softplus(x: Number) -> Number:
    """max(x, 0) + log1p(z), z = exp(-|x|)."""
    if x.dtype == float32 and not x.emitter.machine.has_fma:
        # The roundings that multiply-add saves would make it more than 2 ulp.
        return softplus(x.convert("fpext", float64)).convert("fptrunc", float32)
    own = format_of(x)
    z, above = exp_within(at_least(-x.absolute(), own.underflow)), at_least(x, 0.0)
    if x.dtype == float32:
        return fma(z * z, polynomial(z, SINGLE_UNIT), above) + z
    # 1 + z is in 1 ... 2
    large = z > 2 * _lowest(z) - 1
    y = _log1p_near(select(large, fma(z, 0.5, -0.5), z))
    return above + select(large, y + (own.ln2_high + own.ln2_low), y)
