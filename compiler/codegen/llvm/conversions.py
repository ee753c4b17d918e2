"""Conversion between dtypes, as NumPy's astype on x86-64 does it, and float16 on machines without it.

A float16 value is kept as a float that float16 can hold, so a cast to float16 rounds and widens again.
Floats that do not fit the integer give what the processor's instruction gives, INT_MIN, or its low bits.
"""

from __future__ import annotations

from staticnet.compiler.codegen.llvm.arithmetic import (
    UNSIGNED,
    Number,
    constant,
    is_signed,
    select,
    working,
)
from staticnet.compiler.codegen.llvm.features import has_half
from staticnet.compiler.dtypes import DType, float16, float32, float64, int32, int64, uint16, uint32, uint64

# -- float16 ------------------------------------------------------------------------------------


def widen_half(bits: Number) -> Number:
    """The float16 numbers that have these bits (uint16), as float32."""
    emitter = bits.emitter
    if has_half(emitter.machine):
        half = "half" if emitter.lanes == 1 else f"<{emitter.lanes} x half>"
        name = emitter.do(f"bitcast {bits.type} {bits.name} to {half}", half)
        type = emitter.type_of(float32)
        return Number(emitter, emitter.do(f"fpext {half} {name} to {type}", type), float32)
    wide = bits.convert("zext", int32)
    magnitude = (wide & 0x7FFF) << 13
    # The exponent is biased by 15 instead of 127: 2**112 mends it exactly, denormals included.
    value = magnitude.as_float() * 2.0**112
    beyond = (magnitude | 0x7F800000).as_float()
    value = select(magnitude >= 0x7C00 << 13, beyond, value)
    return (value.bits() | ((wide & 0x8000) << 16)).as_float()


def narrow_half(x: Number) -> Number:
    """The bits (uint16) of float32 numbers rounded to float16, ties to even."""
    emitter = x.emitter
    if has_half(emitter.machine):
        half = "half" if emitter.lanes == 1 else f"<{emitter.lanes} x half>"
        name = emitter.do(f"fptrunc {x.type} {x.name} to {half}", half)
        type = emitter.type_of(uint16)
        return Number(emitter, emitter.do(f"bitcast {half} {name} to {type}", type), uint16)
    bits = x.bits()
    sign = (bits >> 16) & 0x8000
    magnitude = bits & 0x7FFFFFFF
    # Below 2**-14 the unit is 2**-24: adding 0.5 leaves the rounded number in the low bits of the sum.
    small = (magnitude.as_float() + 0.5).bits() - 0x3F000000
    normal = (magnitude + ((magnitude >> 13) & 1) + (0xFFF - (112 << 23))) >> 13
    rounded = select(magnitude < 113 << 23, small, normal)
    rounded = select(magnitude >= 0x477FF000, 0x7C00, rounded)
    payload = ((magnitude >> 13) & 0x3FF) | 0x7E00
    rounded = select(magnitude > 0x7F800000, payload, rounded)
    return (rounded | sign).convert("trunc", uint16)


def round_half(x: Number) -> Number:
    """Floats as the nearest that float16 can hold, in float32."""
    return widen_half(narrow_half(_odd(x) if x.dtype == float64 else x))


def _odd(x: Number) -> Number:
    """float64 as float32 rounded to odd, so that a second rounding gives what one would have."""
    near = x.convert("fptrunc", float32)
    exact = near.convert("fpext", float64)
    bits = near.bits()
    inexact = exact.not_equal(x) & x.equal(x)
    # Toward zero first: one less where rounding went away from it; then the last bit set.
    away = exact.absolute() > x.absolute()
    odd = (bits - select(away, bits.number(1), 0)) | 1
    return select(inexact, odd, bits).as_float()


# -- between dtypes -----------------------------------------------------------------------------


def cast(x: Number, source: DType, result: DType) -> Number:
    """The number in another dtype; anything but 0 is True."""
    if result.is_bool:
        return x if source.is_bool else x.not_equal(0)
    if source.is_bool:
        return select(x, constant(x.emitter, 1, working(result)), 0)
    if source.is_float and result.is_float:
        return _float_to_float(x, source, result)
    if source.is_float:
        return _float_to_integer(x, result)
    if result.is_float:
        converted = x.convert("sitofp" if is_signed(source) else "uitofp", working(result))
        return round_half(converted) if result == float16 else converted
    if result.itemsize == source.itemsize:
        return Number(x.emitter, x.name, result)
    if result.itemsize < source.itemsize:
        return x.convert("trunc", result)
    return x.convert("sext" if is_signed(source) else "zext", result)


def _float_to_float(x: Number, source: DType, result: DType) -> Number:
    if result == float16:
        return x if source == float16 else round_half(x)
    if working(source) == result:
        return x
    return x.convert("fpext" if result == float64 else "fptrunc", result)


def _float_to_integer(x: Number, result: DType) -> Number:
    if result == int64:
        return _to_signed(x, int64)
    if result == uint64:
        low, high = _to_signed(x, int64), _to_signed(x - 2.0**63, int64)
        chosen = select(x >= 2.0**63, high ^ -(2**63), low)
        return Number(x.emitter, chosen.name, uint64)
    low = _to_signed(x, int32)
    if result == uint32:
        # In the upper half, and 0 for what fits neither uint32 nor int32.
        high = x.convert("fptoui", uint32)
        inside = (x >= 2.0**31) & (x < 2.0**32)
        low = select(x.absolute() < 2.0**31, low, 0)
        return select(inside, high, Number(x.emitter, low.name, uint32))
    return low.convert("trunc", result) if result.itemsize < 4 else low


def _to_signed(x: Number, result: DType) -> Number:
    """Toward zero; INT_MIN for NaN and all that does not fit (and for INT_MIN itself)."""
    limit = 2.0 ** (8 * result.itemsize - 1)
    return select(x.absolute() < limit, x.convert("fptosi", result), -int(limit))


def bitcast(x: Number, source: DType, result: DType) -> Number:
    """The bits of a number as those of another dtype of the same size."""
    if source == float16:
        x = narrow_half(x)
    elif source.is_bool:
        x = x.convert("zext", UNSIGNED[1])
    if result == float16:
        return widen_half(x)
    if result.is_bool:
        return x.not_equal(0)
    return x.convert("bitcast", result)
