"""Element types: how they are stored, in what they accumulate, and how they promote (NumPy 2's rules)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from staticnet.compiler.errors import DTypeError


@dataclass(frozen=True)
class DType:
    """An element type: the storage format, and the type that sums of it are kept in."""

    name: str
    short: str
    accumulator: str

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of the storage."""
        return np.dtype(self.name)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self.numpy.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.numpy.kind in "iu"

    @property
    def is_bool(self) -> bool:
        return self.numpy.kind == "b"

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


bool_ = DType("bool", "bool", "int64")
int8 = DType("int8", "i8", "int64")
int16 = DType("int16", "i16", "int64")
int32 = DType("int32", "i32", "int64")
int64 = DType("int64", "i64", "int64")
uint8 = DType("uint8", "u8", "uint64")
uint16 = DType("uint16", "u16", "uint64")
uint32 = DType("uint32", "u32", "uint64")
uint64 = DType("uint64", "u64", "uint64")
float16 = DType("float16", "f16", "float32")
float32 = DType("float32", "f32", "float32")
float64 = DType("float64", "f64", "float64")

ALL = (bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, float32, float64)
_BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_SHORT = {dtype.short: dtype for dtype in ALL}


def as_dtype(value: Any) -> DType:
    """The DType meant by a DType, a NumPy dtype or scalar type, a Python type or a name.

    Python's `float` means float32, `int` int64. Raises DTypeError for anything else.
    """
    if isinstance(value, DType):
        return value
    if value is float:
        return float32
    if value is int:
        return int64
    if isinstance(value, str) and value in _BY_SHORT:
        return _BY_SHORT[value]
    try:
        found = _BY_NAME.get(np.dtype(value).name)
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"{value!r} is no element type of ours; take one of {', '.join(_BY_NAME)}")
    return found


def promote(*dtypes: DType) -> DType:
    """The common type of several arrays under NumPy 2's promotion."""
    return as_dtype(np.result_type(*(dtype.numpy for dtype in dtypes)))


def promote_scalar(dtype: DType, scalar: bool | int | float) -> DType:
    """The type of `array-of-dtype op Python scalar` under NumPy 2: the scalar is weak.

    Raises DTypeError for an integer that does not fit the array's integer type.
    """
    result = as_dtype(np.result_type(dtype.numpy, scalar))
    if isinstance(scalar, int) and not isinstance(scalar, bool) and result.is_integer:
        info = np.iinfo(result.numpy)
        if not info.min <= scalar <= info.max:
            raise DTypeError(f"the Python integer {scalar} does not fit {result} ({info.min} to {info.max})")
    return result


def of_scalar(scalar: bool | int | float) -> DType:
    """The type of a lone Python scalar: bool, int64 or float32."""
    if isinstance(scalar, bool):
        return bool_
    return int64 if isinstance(scalar, int) else float32
