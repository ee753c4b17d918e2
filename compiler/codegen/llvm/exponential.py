"""exp and what is made of it: expm1, tanh, sigmoid.

x = n * ln 2 + r with a whole n and |r| <= ln 2 / 2, so exp(x) = 2**n * exp(r); ln 2 in two parts, the first so
short that n times it is exact (Cody and Waite). The polynomials are minimax fits of (expm1(r) - r) / r**2,
weighted for the relative error of expm1.
"""

from __future__ import annotations

from dataclasses import dataclass

from staticnet.compiler.codegen.llvm.arithmetic import Number, at_least, at_most, clamp, fma, polynomial, select
from staticnet.compiler.codegen.llvm.scaling import scale_exponent


@dataclass(frozen=True)
class Format:
    """What depends on the floating point format: bits of the fraction, ln 2 in parts, limits of exp and expm1."""

    fraction: int
    ln2_high: float
    ln2_low: float
    #: exp is infinite from `overflow` on, 0 below `underflow`
    overflow: float
    underflow: float
    #: expm1 is -1 below, tanh is 1 above, and expm1(x) is x for what is smaller than `tiny`
    minus_one: float
    one: float
    tiny: float
    polynomial: tuple[float, ...]

    @property
    def magic(self) -> float:
        """Added to a number it leaves that number rounded in the low bits of the sum."""
        return 1.5 * 2.0**self.fraction


SINGLE = Format(
    23,
    0.693359375,
    -2.12194440e-4,
    89.0,
    -104.0,
    -20.0,
    9.5,
    2.0**-25,
    (0.49999997, 0.16666545, 0.0416674763, 0.00836641807, 0.00138670381),
)
DOUBLE = Format(
    52,
    6.93147180369123816490e-01,
    1.90821492927058770002e-10,
    710.0,
    -746.0,
    -40.0,
    20.0,
    2.0**-54,
    (
        0.5,
        0.16666666666666677,
        0.041666666666666664,
        0.0083333333333215874,
        0.0013888888888896574,
        0.0001984126988606318,
        2.4801587285329009e-05,
        2.7557244345812552e-06,
        2.7557316942200545e-07,
        2.5108980101310064e-08,
        2.0899347521312953e-09,
    ),
)
LOG2_E = 1.4426950408889634


def format_of(x: Number) -> Format:
    return SINGLE if x.dtype.itemsize == 4 else DOUBLE


def reduce(x: Number) -> tuple[Number, Number, Number]:
    """r, n as a float, and bits that have n at their end, of a number within exp's limits."""
    own = format_of(x)
    rounded = fma(x, LOG2_E, own.magic)
    n = rounded - own.magic
    return fma(n, -own.ln2_low, fma(n, -own.ln2_high, x)), n, rounded.bits()


def exp_within(x: Number) -> Number:
    """exp of a number within its limits, or NaN."""
    r, n, bits = reduce(x)
    if x.emitter.machine.has_fma:
        result = polynomial(r, (1.0, 1.0, *format_of(x).polynomial))
    else:
        result = _expm1_parts(x)[0] + 1
    return scale_exponent(result, n, bits, format_of(x).fraction)


def exp(x: Number) -> Number:
    own = format_of(x)
    return exp_within(clamp(x, own.underflow, own.overflow))


def _expm1_parts(x: Number) -> tuple[Number, Number]:
    """expm1(r), and bits that have n at their end."""
    own = format_of(x)
    r, n, bits = reduce(x)
    if x.emitter.machine.has_fma:
        return fma(r * r, polynomial(r, own.polynomial), r), bits
    # More is rounded here, so what r has lost counts.
    lost = ((x - n * own.ln2_high) - r) - n * own.ln2_low
    return (r * r * polynomial(r, own.polynomial) + lost) + r, bits


def expm1(x: Number) -> Number:
    """2**n * expm1(r) + (2**n - 1), with half of 2**n, which does not overflow where the result does not."""
    own = format_of(x)
    part, bits = _expm1_parts(clamp(x, own.minus_one, own.overflow))
    half = ((bits << own.fraction) + x.number(0.5).bits()).as_float()
    result = fma(half, part, half - 0.5)
    return select(x.absolute() < own.tiny, x, result + result)


def tanh(x: Number) -> Number:
    """t / (t + 2) where t = expm1(2 |x|), with the sign of x."""
    own = format_of(x)
    magnitude = at_most(x.absolute(), own.one)
    part, bits = _expm1_parts(magnitude + magnitude)
    power = ((bits << own.fraction) + x.number(1.0).bits()).as_float()
    t = fma(power, part, power - 1)
    result = t / (t + 2)
    # The same number less what the sum has lost, where that is seen.
    half = t * 0.5
    result = select(magnitude < 0.35, fma(-half, result, half), result)
    return result.copysign(x)


def sigmoid(x: Number) -> Number:
    """1 / (1 + z) or z / (1 + z) where z = exp(-|x|) cannot overflow."""
    z = exp_within(at_least(-x.absolute(), format_of(x).underflow))
    result = select(x < 0, z, 1) / (z + 1)
    return select(x < -1, fma(-z, result, z), result)
