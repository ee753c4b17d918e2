"""How element types are named in LLVM IR, in memory and in registers, and how constants are spelt."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from staticnet.compiler.dtypes import DType

#: what a value is while it is computed with: bool one bit, half precision widened to single
_VALUES = {"bool": "i1", "float16": "float", "float32": "float", "float64": "double"}
#: what lies in memory: bool a byte, half precision its bits
_STORED = {"bool": "i8", "float16": "i16", "float32": "float", "float64": "double"}


def value_type(dtype: DType) -> str:
    """The LLVM type of one number while it is computed with."""
    return _VALUES.get(dtype.name) or f"i{dtype.itemsize * 8}"


def stored_type(dtype: DType) -> str:
    """The LLVM type of one element in memory."""
    return _STORED.get(dtype.name) or f"i{dtype.itemsize * 8}"


def vector(type: str, lanes: int) -> str:
    """A type for so many lanes; one lane is the type itself."""
    return type if lanes == 1 else f"<{lanes} x {type}>"


def mangled(type: str, lanes: int) -> str:
    """How a vector type is named in the name of an overloaded intrinsic, v16f32 for instance."""
    return f"v{lanes}" + {"float": "f32", "double": "f64", "half": "f16", "ptr": "p0"}.get(type, type)


def number(value: Any, dtype: DType) -> str:
    """A scalar constant; floats exactly, as the bits of a double. (Not cached by value: -0.0 equals 0.0.)"""
    if dtype.is_bool:
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    return f"0x{struct.unpack('>Q', struct.pack('>d', float(dtype.numpy.type(value))))[0]:016X}"


def spread(text: str, type: str, lanes: int) -> str:
    """A scalar constant as one for so many lanes."""
    return text if lanes == 1 else f"splat ({type} {text})"


@cache
def steps(factor: int, lanes: int, type: str = "i64") -> str:
    """The constant vector 0, factor, 2 factor, ..."""
    return f"<{', '.join(f'{type} {factor * lane}' for lane in range(lanes))}>"


@cache
def first(count: int, lanes: int) -> str:
    """The constant mask that holds in the first `count` lanes."""
    return f"<{', '.join('i1 true' if lane < count else 'i1 false' for lane in range(lanes))}>"
