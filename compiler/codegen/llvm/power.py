"""power of floats, as C's pow, and of integers, by squaring.

In float32 it is exp(y * log|x|) in float64. In float64 the logarithm is needed to about 65 bits, so it is the
sum of two numbers (as in fdlibm's e_pow, with fused multiply-adds); without those the C library is called.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staticnet.compiler.codegen.llvm import exponential, logarithm
from staticnet.compiler.codegen.llvm.arithmetic import Number, clamp, fma, is_signed, polynomial, select
from staticnet.compiler.codegen.llvm.functions import Body, any_of, out_of_line, with_library
from staticnet.compiler.codegen.llvm.rounding import rint
from staticnet.compiler.codegen.llvm.scaling import scale_exponent
from staticnet.compiler.dtypes import float32, float64

#: 2 / 3 as a sum, and what follows it in log1p(f) = 2 s + s**3 * (2 / 3 + s**2 * tail): a minimax fit
TWO_THIRDS = (0.66666666666666663, 3.7007434154171882e-17)
TAIL = (
    0.40000000000002267,
    0.2857142857009391,
    0.22222222521001544,
    0.18181784266988857,
    0.15386762198260195,
    0.1325669876304448,
    0.13197482949951286,
)


def power(x: Number, y: Number) -> Number:
    """x to the y, special cases as C's pow: pow(x, 0) and pow(1, y) are 1 even for NaN."""
    if x.dtype.is_integer:
        return out_of_line("staticnet.power", [x, y], x.dtype, _by_squaring)
    return out_of_line("staticnet.power", [x, y], x.dtype, _float_power)


def _float_power(_: Body, operands: Sequence[Number]) -> Number:
    x, y = operands
    if x.dtype == float32:
        return _mended(x, y, _power_single(x, y))
    if x.emitter.machine.has_fma:
        return _mended(x, y, _power_double(x, y))
    everywhere = x.equal(x) | x.is_nan()
    return with_library(everywhere, x, [x, y], "pow")


def _mended(x: Number, y: Number, magnitude: Number) -> Number:
    """|x| to the y with its sign, and the cases that are none of logarithms."""
    whole = rint(y).equal(y)
    half = y * 0.5
    odd = whole & rint(half).not_equal(half)
    sign = select(odd, x.bits() & x.number(-0.0).bits(), 0)
    result = (magnitude.bits() ^ sign).as_float()
    result = select((x < 0) & (x > -np.inf) & ~whole, np.nan, result)
    one = y.equal(0) | x.equal(1) | (x.equal(-1) & y.absolute().equal(np.inf))
    return select(one, 1.0, result)


def _power_single(x: Number, y: Number) -> Number:
    wide, exponent = x.absolute().convert("fpext", float64), y.convert("fpext", float64)
    return exponential.exp(exponent * logarithm.log(wide)).convert("fptrunc", float32)


def _power_double(x: Number, y: Number) -> Number:
    high, low = _log(x.absolute())
    product = y * high
    # What is infinite has no rest.
    rest = select(product.absolute() < 1000, fma(y, high, -product) + y * low, 0.0)
    total = product + rest
    rest = select(product.absolute() < 1000, (product - total) + rest, 0.0)
    own = exponential.DOUBLE
    return _exp(clamp(total, own.underflow, own.overflow), rest)


def _exp(x: Number, rest: Number) -> Number:
    """exp of a sum, rounded so well that whole powers of small whole numbers are exact."""
    own = exponential.DOUBLE
    r, n, bits = exponential.reduce(x)
    lost = ((fma(n, -own.ln2_high, x) - r) - n * own.ln2_low) + rest
    near, curve = r + 1, r * r * polynomial(r, own.polynomial)
    result = near + fma(near + curve, lost, (1 - near + r) + curve)
    return scale_exponent(result, n, bits, own.fraction)


def _log(x: Number) -> tuple[Number, Number]:
    """log(x) of a number that is not negative, as a sum of which the second part is the rounding of the first."""
    own = exponential.DOUBLE
    small = x < float(np.finfo(np.float64).tiny)
    parts = logarithm.split(select(small, x * 2.0**own.fraction, x))
    k = logarithm.whole(parts.k, x)
    k = select(small, k - float(own.fraction), k)
    f = parts.fraction
    # s = f / (2 + f)
    divisor = f + 2
    inverse = 1 / divisor
    s = f * inverse
    s_low = fma(-s, f - (divisor - 2), fma(-s, divisor, f)) * inverse
    z = s * s
    z_low = fma(s, s, -z) + 2 * s * s_low
    tail = z * polynomial(z, TAIL)
    c = tail + TWO_THIRDS[0]
    c_low = (TWO_THIRDS[0] - c) + tail + TWO_THIRDS[1]
    v = z * c
    v_low = fma(z, c, -v) + fma(z, c_low, z_low * c)
    u = s * v
    u_low = fma(s, v, -u) + fma(s, v_low, s_low * v)
    high = 2 * s + u
    low = (2 * s - high) + u + (2 * s_low + u_low)
    total = fma(k, own.ln2_high, high)
    rest = (k * own.ln2_high - total) + high + fma(k, own.ln2_low, low)
    ordinary = (x > 0) & (x < np.inf)
    special = select(x.equal(0), -np.inf, x)
    return select(ordinary, total, special), select(ordinary, rest, 0.0)


def _by_squaring(body: Body, operands: Sequence[Number]) -> Number:
    """Wraps around. A negative exponent gives 0, but of 1 and -1, whose powers are whole."""
    x, y = operands
    body.put("br label %square")
    body.label("square")
    for name, start in (("base", x), ("bits", y), ("power", x.number(1))):
        body.put(f"%{name} = phi {x.type} [ {start.name}, %0 ], [ %{name}_next, %square ]")
    base, bits, total = x.like("%base"), x.like("%bits"), x.like("%power")
    product, odd = total * base, (bits & 1).not_equal(0)
    body.put(f"%power_next = select {odd.type} {odd.name}, {x.type} {product.name}, {x.type} {total.name}")
    body.put(f"%base_next = mul {x.type} {base.name}, {base.name}")
    body.put(f"%bits_next = lshr {x.type} {bits.name}, {x.number(1).name}")
    more = any_of(x.like("%bits_next").not_equal(0))
    body.put(f"br i1 {more}, label %square, label %done")
    body.label("done")
    result = x.like("%power_next")
    if not is_signed(x.dtype):
        return result
    unit = select((y & 1).equal(0), x * x, x)
    return select(y < 0, select(x.equal(1) | x.equal(-1), unit, 0), result)
