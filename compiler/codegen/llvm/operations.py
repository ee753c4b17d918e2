"""The scalar operations of the loop form as LLVM IR: one table, and the operations that are one or two instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from staticnet.compiler.codegen.llvm import (
    conversions,
    division,
    erf,
    exponential,
    integers,
    logarithm,
    power,
    rounding,
    trigonometric,
)
from staticnet.compiler.codegen.llvm.arithmetic import Emitter, Number, fma, select, working
from staticnet.compiler.dtypes import DType, bool_


def print_operation(emitter: Emitter, operation: str, operands: Sequence[str], dtype: DType, result: DType) -> str:
    """Emit a scalar operation on operands of one dtype (of `select`: the last two) and give the name of its result."""
    if operation in {"cast", "bitcast"}:
        x = Number(emitter, operands[0], working(dtype))
        converted = (conversions.cast if operation == "cast" else conversions.bitcast)(x, dtype, result)
        return converted.name
    dtypes = [working(dtype)] * len(operands)
    if operation == "select":
        dtypes[0] = bool_
    numbers = [Number(emitter, name, own) for name, own in zip(operands, dtypes, strict=True)]
    table = FLOAT if dtype.is_float else BOOL if dtype.is_bool else INTEGER
    return (table.get(operation) or ANY[operation])(*numbers).name


# -- floating point -----------------------------------------------------------------------------


def maximum(x: Number, y: Number) -> Number:
    """NaN if either is: x86 gives the second operand where one is NaN."""
    return _extreme(x, y, lambda x, y: select(x > y, x, y))


def minimum(x: Number, y: Number) -> Number:
    """NaN if either is."""
    return _extreme(x, y, lambda x, y: select(x < y, x, y))


def _extreme(x: Number, y: Number, choose: Callable[[Number, Number], Number]) -> Number:
    if _is_number(x):
        return choose(x, y)
    if _is_number(y):
        return choose(y, x)
    return select(x.is_nan(), x, choose(x, y))


def _is_number(x: Number) -> bool:
    """Whether it is a constant other than NaN."""
    return x.is_constant and x.name != x.number(np.nan).name


def sign(x: Number) -> Number:
    """-1, +0, 1 or NaN."""
    return select(x > 0, 1, select(x < 0, x.number(-1), x + 0))


# -- the table ----------------------------------------------------------------------------------

ANY: dict[str, Callable[..., Number]] = {
    "equal": lambda x, y: x.equal(y),
    "not_equal": lambda x, y: x.not_equal(y),
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "select": select,
    "bitwise_and": lambda x, y: x & y,
    "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y,
}

BOOL: dict[str, Callable[..., Number]] = {
    "add": lambda x, y: x | y,
    "multiply": lambda x, y: x & y,
    "maximum": lambda x, y: x | y,
    "minimum": lambda x, y: x & y,
    "absolute": lambda x: x,
    "logical_and": lambda x, y: x & y,
    "logical_or": lambda x, y: x | y,
    "logical_xor": lambda x, y: x ^ y,
    "logical_not": lambda x: ~x,
}

INTEGER: dict[str, Callable[..., Number]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "multiply_add": lambda x, y, z: x * y + z,
    "multiply_high": integers.multiply_high,
    "floor_divide": integers.floor_divide,
    "remainder": integers.remainder,
    "power": power.power,
    "maximum": integers.maximum,
    "minimum": integers.minimum,
    "negative": lambda x: -x,
    "absolute": integers.absolute,
    "sign": integers.sign,
    "square": lambda x: x * x,
    "left_shift": lambda x, y: x << y,
    "right_shift": lambda x, y: x >> y,
}

# Without fast-math flags: what is fused is decided by who calls, so that it is so wherever the code stands.
FLOAT: dict[str, Callable[..., Number]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "multiply_add": fma,
    "divide": lambda x, y: x / y,
    "maximum": maximum,
    "minimum": minimum,
    "negative": lambda x: -x,
    "absolute": lambda x: x.absolute(),
    "sign": sign,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "floor": rounding.floor,
    "ceil": rounding.ceil,
    "rint": rounding.rint,
    "sqrt": lambda x: x.intrinsic("llvm.sqrt"),
    "exp": exponential.exp,
    "expm1": exponential.expm1,
    "tanh": exponential.tanh,
    "sigmoid": exponential.sigmoid,
    "log": logarithm.log,
    "log1p": logarithm.log1p,
    "softplus": logarithm.softplus,
    "erf": erf.erf,
    "sin": trigonometric.sin,
    "cos": trigonometric.cos,
    "power": power.power,
    "floor_divide": division.floor_divide,
    "remainder": division.remainder,
    "isnan": lambda x: x.is_nan(),
    "isinf": lambda x: x.absolute().equal(np.inf),
}
