"""The scalar operations that values are made of, each with its meaning in NumPy and the dtype of its result.

A printer offers all of them. Arithmetic is that of the operands' dtype, which is one and the same for all
operands unless the table says otherwise; integers wrap around. Floating point follows NumPy: NaN and
infinities propagate, `maximum` and `minimum` return NaN if either operand is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticnet.compiler.codegen.loops.form import Apply, Const, Value, const
from staticnet.compiler.dtypes import DType, as_dtype, bool_


@dataclass(frozen=True)
class Operation:
    """One scalar operation: how many operands, what NumPy computes, and of which kinds ('b', 'i', 'u', 'f')."""

    arity: int
    meaning: Callable[..., Any]
    kinds: str
    #: 'same' as the operands, 'bool', or 'given' with the operation (casts)
    result: str = "same"


def _shift_right(x: Any, y: Any) -> Any:
    return np.right_shift(x, y)


def _sigmoid(x: Any) -> Any:
    x = np.asarray(x)
    with np.errstate(over="ignore"):
        return np.reciprocal(1 + np.exp(-x)).astype(x.dtype)


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, np.zeros_like(x))


def _erf(x: Any) -> Any:
    import math

    x = np.asarray(x)
    return np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64)).astype(x.dtype)


def _multiply_high(x: Any, y: Any) -> Any:
    """The upper 32 bits of the product of two unsigned 32-bit numbers."""
    return ((np.asarray(x).astype(np.uint64) * np.asarray(y).astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)


OPERATIONS: dict[str, Operation] = {
    # arithmetic
    "add": Operation(2, np.add, "biuf"),  # of booleans the logical or
    "subtract": Operation(2, np.subtract, "iuf"),
    "multiply": Operation(2, np.multiply, "biuf"),  # of booleans the logical and
    "multiply_add": Operation(3, lambda x, y, z: x * y + z, "iuf"),  # x * y + z, rounded once
    "multiply_high": Operation(2, _multiply_high, "u"),  # uint32 alone
    "divide": Operation(2, np.divide, "f"),
    "floor_divide": Operation(2, np.floor_divide, "iuf"),  # x // 0 and INT_MIN // -1 as in NumPy
    "remainder": Operation(2, np.remainder, "iuf"),
    "power": Operation(2, np.power, "iuf"),
    "maximum": Operation(2, np.maximum, "biuf"),
    "minimum": Operation(2, np.minimum, "biuf"),
    "negative": Operation(1, np.negative, "iuf"),
    "absolute": Operation(1, np.absolute, "biuf"),
    "sign": Operation(1, np.sign, "iuf"),
    "square": Operation(1, np.square, "iuf"),
    "reciprocal": Operation(1, np.reciprocal, "f"),
    "floor": Operation(1, np.floor, "f"),
    "ceil": Operation(1, np.ceil, "f"),
    "rint": Operation(1, np.rint, "f"),
    # transcendental
    "sqrt": Operation(1, np.sqrt, "f"),
    "exp": Operation(1, np.exp, "f"),
    "expm1": Operation(1, np.expm1, "f"),
    "log": Operation(1, np.log, "f"),
    "log1p": Operation(1, np.log1p, "f"),
    "sin": Operation(1, np.sin, "f"),
    "cos": Operation(1, np.cos, "f"),
    "tanh": Operation(1, np.tanh, "f"),
    "sigmoid": Operation(1, _sigmoid, "f"),
    "softplus": Operation(1, _softplus, "f"),
    "erf": Operation(1, _erf, "f"),
    # comparison and logic
    "equal": Operation(2, np.equal, "biuf", "bool"),
    "not_equal": Operation(2, np.not_equal, "biuf", "bool"),
    "less": Operation(2, np.less, "biuf", "bool"),
    "less_equal": Operation(2, np.less_equal, "biuf", "bool"),
    "greater": Operation(2, np.greater, "biuf", "bool"),
    "greater_equal": Operation(2, np.greater_equal, "biuf", "bool"),
    "isnan": Operation(1, np.isnan, "f", "bool"),
    "isinf": Operation(1, np.isinf, "f", "bool"),
    "logical_and": Operation(2, np.logical_and, "b", "bool"),
    "logical_or": Operation(2, np.logical_or, "b", "bool"),
    "logical_xor": Operation(2, np.logical_xor, "b", "bool"),
    "logical_not": Operation(1, np.logical_not, "b", "bool"),
    # select(condition, x, y): x where the bool condition holds, else y; both may be evaluated
    "select": Operation(3, np.where, "biuf"),
    # bits; shifts by at least the width are not defined; the right shift of signed integers copies the sign
    "bitwise_and": Operation(2, np.bitwise_and, "biu"),
    "bitwise_or": Operation(2, np.bitwise_or, "biu"),
    "bitwise_xor": Operation(2, np.bitwise_xor, "biu"),
    "left_shift": Operation(2, np.left_shift, "iu"),
    "right_shift": Operation(2, _shift_right, "iu"),
    # conversion: of floats to integers as NumPy's astype on this machine does, NaN and out of range defined
    "cast": Operation(1, lambda x: x, "biuf", "given"),
    "bitcast": Operation(1, lambda x: x, "biuf", "given"),
}

IDENTITIES: dict[str, Callable[[DType], Any]] = {
    "add": lambda dtype: 0,
    "multiply": lambda dtype: 1,
    "maximum": lambda dtype: -np.inf if dtype.is_float else False if dtype.is_bool else np.iinfo(dtype.numpy).min,
    "minimum": lambda dtype: np.inf if dtype.is_float else True if dtype.is_bool else np.iinfo(dtype.numpy).max,
    "logical_or": lambda dtype: False,
    "logical_and": lambda dtype: True,
}


def identity(operation: str, dtype: DType) -> Const:
    """What leaves the other operand of an accumulating operation as it is."""
    return const(IDENTITIES[operation](dtype), dtype)


def apply(operation: str, *arguments: Value) -> Value:
    """A scalar operation on values, with its dtype worked out; casts to the own dtype vanish."""
    entry = OPERATIONS[operation]
    assert len(arguments) == entry.arity, (operation, len(arguments))
    values = arguments[1:] if operation == "select" else arguments
    assert all(value.dtype == values[0].dtype for value in values), (operation, [v.dtype for v in arguments])
    return Apply(bool_ if entry.result == "bool" else values[0].dtype, operation, arguments)


def cast(value: Value, dtype: Any) -> Value:
    """A value in another dtype."""
    dtype = as_dtype(dtype)
    return value if value.dtype == dtype else Apply(dtype, "cast", (value,))


def bitcast(value: Value, dtype: Any) -> Value:
    """The bits of a value as those of another dtype of the same size."""
    dtype = as_dtype(dtype)
    assert dtype.itemsize == value.dtype.itemsize
    return value if value.dtype == dtype else Apply(dtype, "bitcast", (value,))


def select(condition: Value, x: Value, y: Value) -> Value:
    """x where the condition holds, else y."""
    return apply("select", condition, x, y)


def add(x: Value, y: Value) -> Value:
    """x + y."""
    return apply("add", x, y)


def multiply(x: Value, y: Value) -> Value:
    """x * y."""
    return apply("multiply", x, y)


def multiply_add(x: Value, y: Value, z: Value) -> Value:
    """x * y + z, rounded once where the dtype is floating point."""
    return apply("multiply_add", x, y, z)
