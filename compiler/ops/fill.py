"""Values made of nothing but a shape: filled with one number, counted up, one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.ir import Node, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, as_shape, function, require_dtype
from staticnet.compiler.ops.shape import Move, broadcast_to, expand_dims


@function("full")
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Node:
    """An array of `shape`, sizes possibly symbolic, with `fill_value` (a number or a value) everywhere.

    Without a `dtype` a Python number gives float32, int64 or bool, and a value keeps its own.
    """
    value = as_node(fill_value, None if dtype is None else dtypes.as_dtype(dtype))
    return broadcast_to(value if dtype is None else F.cast(value, dtype), as_shape("full", shape))


@function("zeros")
def zeros(shape: Any, dtype: Any = dtypes.float32) -> Node:
    """Zeros of `shape`, sizes possibly symbolic."""
    return full(shape, 0, dtype)


@function("ones")
def ones(shape: Any, dtype: Any = dtypes.float32) -> Node:
    """Ones of `shape`, sizes possibly symbolic."""
    return full(shape, 1, dtype)


@function("full_like")
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Node:
    """`fill_value` in the shape of `x`, and in its dtype unless another is given."""
    x = as_node(x)
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype)


@function("zeros_like")
def zeros_like(x: Any, dtype: Any = None) -> Node:
    """Zeros in the shape of `x`, and in its dtype unless another is given."""
    return full_like(x, 0, dtype)


@function("ones_like")
def ones_like(x: Any, dtype: Any = None) -> Node:
    """Ones in the shape of `x`, and in its dtype unless another is given."""
    return full_like(x, 1, dtype)


class Iota(Move):
    """0, 1, 2, ... along one axis, the same along the others."""

    shape: Shape
    axis: int
    dtype: DType

    def infer(self) -> Type:
        if self.dtype.is_bool:
            raise DTypeError("iota counts in integers or floats, not in bool")
        if not 0 <= self.axis < len(self.shape):
            raise ShapeError(f"iota: axis {self.axis} is out of range for {format_shape(self.shape)}")
        return Type(self.shape, self.dtype)

    def kernel(self, xp: Any, *, out: Any, scratch: Any) -> None:
        if out.size == 0:
            return
        rows = xp.moveaxis(out, self.axis, 0)
        rows[0] = 0
        done = 1
        while done < rows.shape[0]:
            step = min(done, rows.shape[0] - done)
            xp.add(rows[:step], out.dtype.type(done), out=rows[done : done + step])
            done += step


@function("iota")
def iota(shape: Any, axis: int = 0, dtype: Any = dtypes.int64) -> Node:
    """0, 1, 2, ... along `axis` of an array of `shape`, sizes possibly symbolic."""
    return apply(Iota(shape=as_shape("iota", shape), axis=axis, dtype=dtypes.as_dtype(dtype)))


@function("arange")
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Node:
    """`start`, `start + step`, ... up to, without, `stop`; with one argument from 0 up to it.

    Numbers give a constant, of int64, or float32 when one of them is a float. Sizes may be symbolic,
    with whole numbers beside them.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    if any(isinstance(value, Node) for value in (start, stop, step)):
        raise ArgumentError("arange takes numbers and sizes, for the result's size must be known; not a computed value")
    if not isinstance(step, Dim) and step == 0:
        raise ArgumentError("arange: the step must not be 0")
    if not any(isinstance(value, Dim) for value in (start, stop, step)):
        values = np.arange(start, stop, step)
        return F.constant(values, dtype or (dtypes.int64 if values.dtype.kind in "iu" else dtypes.float32))
    if isinstance(step, Dim):
        raise ArgumentError(f"arange: the step must be a whole number, not the symbolic size {step}")
    distance = dims.as_size(stop) - dims.as_size(start)
    size = dims.maximum(dims.ceil_div(distance if step > 0 else -distance, abs(step)), 0)
    counted = iota((size,))
    counted = counted if step == 1 else counted * step
    return F.cast(counted if dims.same(start, 0) else counted + start, dtype or dtypes.int64)


@function("one_hot")
def one_hot(x: Any, num_classes: Size, dtype: Any = dtypes.float32) -> Node:
    """For each integer of `x` a row of `num_classes` zeros with a 1 at its position, in a new last axis.

    A number outside 0 .. num_classes - 1 gives a row of zeros.
    """
    x = as_node(x)
    require_dtype("one_hot", "x", x, "integer")
    return F.cast(F.equal(expand_dims(x, -1), iota((num_classes,), dtype=x.dtype)), dtype)
