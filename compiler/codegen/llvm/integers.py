"""Integer operations as NumPy's: everything wraps around, division by zero gives zero and never traps."""

from __future__ import annotations

from staticnet.compiler.codegen.llvm.arithmetic import Number, is_signed, select
from staticnet.compiler.dtypes import float32, float64, int32, uint32, uint64


def absolute(x: Number) -> Number:
    """|x|; that of the smallest integer is itself."""
    return select(x < 0, -x, x) if is_signed(x.dtype) else x


def sign(x: Number) -> Number:
    """-1, 0 or 1."""
    return select(x > 0, 1, select(x < 0, x.number(-1), 0)) if is_signed(x.dtype) else select(x > 0, x.number(1), 0)


def maximum(x: Number, y: Number) -> Number:
    return select(x > y, x, y)


def minimum(x: Number, y: Number) -> Number:
    return select(x < y, x, y)


def multiply_high(x: Number, y: Number) -> Number:
    """The upper 32 bits of the product of two uint32."""
    product = x.convert("zext", uint64) * y.convert("zext", uint64)
    return (product >> 32).convert("trunc", uint32)


def floor_divide(x: Number, y: Number) -> Number:
    """The quotient rounded down; 0 where y is 0."""
    quotient, rest = _divide(x, y)
    if is_signed(x.dtype):
        quotient = quotient - select(_uneven(rest, y), x.number(1), 0)
    return select(y.equal(0), 0, quotient)


def remainder(x: Number, y: Number) -> Number:
    """What floor_divide leaves, with the sign of y; 0 where y is 0."""
    _, rest = _divide(x, y)
    if is_signed(x.dtype):
        rest = select(_uneven(rest, y), rest + y, rest)
    return select(y.equal(0), 0, rest)


def _uneven(rest: Number, y: Number) -> Number:
    """Where rounding toward zero was not rounding down."""
    return rest.not_equal(0) & ((rest ^ y) < 0)


def _divide(x: Number, y: Number) -> tuple[Number, Number]:
    """Quotient toward zero and rest; anything where y is 0. The quotient by -1 wraps around."""
    size = x.dtype.itemsize
    if size == 8:
        quotient = _divide_wide(x, y)
    else:
        # Exact: a quotient of two n-bit integers that is not whole is further than 2**-n, relatively, from one.
        wide = float32 if size < 4 else float64
        to, back = ("sitofp", "fptosi") if is_signed(x.dtype) else ("uitofp", "fptoui")
        divisor = select(y.equal(0), 1, y)
        if is_signed(x.dtype) and size == 4:
            # Of INT_MIN // -1 alone the quotient does not fit.
            divisor = select(y.equal(-1), 1, divisor)
        # By way of 32 bits, for -128 // -1 does not fit int8 but wraps around.
        quotient = (x.convert(to, wide) / divisor.convert(to, wide)).convert(back, int32)
        quotient = quotient.convert("trunc", x.dtype) if size < 4 else x.like(quotient.name)
        if is_signed(x.dtype) and size == 4:
            quotient = select(y.equal(-1), -x, quotient)
    return quotient, x - quotient * y


def _divide_wide(x: Number, y: Number) -> Number:
    if not is_signed(x.dtype):
        return x.emit("udiv", select(y.equal(0), 1, y))
    minus = y.equal(-1)
    quotient = x.emit("sdiv", select(minus | y.equal(0), 1, y))
    return select(minus, -x, quotient)
