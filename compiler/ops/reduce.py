"""Reductions: ops that make one number of all elements along some axes."""

from __future__ import annotations

from typing import Any, ClassVar

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import DTypeError, RunError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, function, normalize_axes, normalize_axis

# The functions here are called as NumPy calls them, so the builtins `sum`, `max`, `any`, ... are out of reach.


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """`shape` without `axes`, or with size 1 there."""
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def count_of(shape: Shape, axes: tuple[int, ...]) -> Size:
    """The number of elements that each result is made from."""
    return dims.product(shape[axis] for axis in axes)


class Reduction(Op, abstract=True):
    """Base of ops that reduce over `axes`, which stay as axes of size 1 with `keepdims`."""

    axes: tuple[int, ...]
    keepdims: bool = False
    #: the reducing function's name in numpy and cupy
    numpy: ClassVar[str] = ""

    def infer(self, x: Type) -> Type:
        if not set(self.axes) <= set(range(x.ndim)):
            raise ShapeError(f"{self.name}: axes {self.axes} are out of range for {format_shape(x.shape)}")
        return Type(reduced_shape(x.shape, self.axes, self.keepdims), self.result(x.dtype))

    def result(self, dtype: DType) -> DType:
        """The dtype of the result."""
        return dtype

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        getattr(xp, self.numpy)(x, axis=self.axes, out=out, keepdims=self.keepdims)

    def flops(self, out: Any, *types: Type) -> Size:
        return types[0].size

    def kept(self, value: Node, x: Node) -> Node:
        """A value of the result's shape with the reduced axes as axes of size 1, ready to meet `x`."""
        return F.reshape(value, reduced_shape(x.shape, self.axes, True))


# -- sum, mean, product -----------------------------------------------------------------------


class _Accumulation(Reduction, abstract=True):
    """Adds or multiplies up in the dtype's accumulator: small integers in 64 bits, half floats in 32."""

    def result(self, dtype: DType) -> DType:
        return dtype if dtype.is_float else dtypes.as_dtype(dtype.accumulator)

    def scratch(self, x: Type) -> int:
        # The half float result is rounded once, at the end.
        return 4 * int(dims.product(reduced_shape(x.shape, self.axes, True))) if x.dtype == dtypes.float16 else 0

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        if not out.size:
            return
        total = out if out.dtype != "float16" else scratch[: 4 * out.size].view("float32").reshape(out.shape)
        getattr(xp, self.numpy)(x, axis=self.axes, dtype=total.dtype, out=total, keepdims=self.keepdims)
        self.finish(xp, x, total)
        if total is not out:
            xp.copyto(out, total, casting="same_kind")

    def finish(self, xp: Any, x: Any, total: Any) -> None:
        """What is still to be done to the accumulated values, in place."""


class Sum(_Accumulation):
    """The sum over `axes`; integers and booleans are summed in 64 bits."""

    onnx, numpy = "ReduceSum", "sum"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (F.broadcast_to(self.kept(g, x), x.shape),)


class Mean(_Accumulation):
    """The mean over `axes`, in floating point; NaN of nothing."""

    onnx, numpy = "ReduceMean", "sum"

    def result(self, dtype: DType) -> DType:
        if not dtype.is_float:
            raise DTypeError(f"mean does not take {dtype}; cast the operand first")
        return dtype

    def finish(self, xp: Any, x: Any, total: Any) -> None:
        xp.divide(total, count_of(x.shape, self.axes), out=total)

    def expand(self, x: Node) -> Node:
        return apply(Sum(axes=self.axes, keepdims=self.keepdims), x) / count_of(x.shape, self.axes)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (F.broadcast_to(self.kept(g / count_of(x.shape, self.axes), x), x.shape),)


class Prod(_Accumulation):
    """The product over `axes`; integers and booleans are multiplied in 64 bits."""

    onnx, numpy = "ReduceProd", "prod"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        # Dividing the product by each factor would fail at zeros, so the others are multiplied anew.
        order = [axis for axis in range(x.ndim) if axis not in self.axes] + list(self.axes)
        back = [order.index(axis) for axis in range(x.ndim)]
        moved = F.transpose(x, order)
        rows = F.reshape(moved, (*moved.shape[: x.ndim - len(self.axes)], count_of(x.shape, self.axes)))
        others = F.transpose(F.reshape(product_of_others(rows), moved.shape), back)
        return (self.kept(g, x) * others,)


def product_of_others(x: Node) -> Node:
    """For each element the product of all others along the last axis.

    A known number of elements is multiplied pairwise up a tree and down again, in linear time; a symbolic
    one takes the square of it.
    """
    size = x.shape[-1]
    if not dims.is_static(size):
        table = (size, size)
        is_own = F.equal(F.iota(table, 0), F.iota(table, 1))
        return prod(F.where(is_own, 1, F.expand_dims(x, -2)), axis=-1)
    levels = []
    while size > 1:
        half = size // 2
        left, right, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        levels.append((left, right, half))
        x, size = F.concat([left * right, rest], axis=-1), size - half
    others = F.ones_like(x)
    for left, right, half in reversed(levels):
        above, rest = others[..., :half], others[..., half:]
        others = F.concat([above * right, above * left, rest], axis=-1)
    return others


def _accumulated(card: type[_Accumulation], x: Any, axis: Any, keepdims: bool, dtype: Any) -> Node:
    x = as_node(x) if dtype is None else F.cast(x, dtype)
    op = card(axes=normalize_axes(card.name, axis, x.ndim), keepdims=bool(keepdims))
    return apply(op, x) if op.axes else F.cast(x, op.result(x.dtype))


@function("sum")
def sum(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Node:
    """The sum of `x` over `axis`: an int, several, or None for all.

    Integers and booleans are summed in 64 bits; `dtype` casts first. The sum of nothing is 0.
    """
    return _accumulated(Sum, x, axis, keepdims, dtype)


@function("prod")
def prod(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Node:
    """The product of `x` over `axis`: an int, several, or None for all.

    Integers and booleans are multiplied in 64 bits; `dtype` casts first. The product of nothing is 1.
    """
    return _accumulated(Prod, x, axis, keepdims, dtype)


@function("mean")
def mean(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Node:
    """The mean of `x` over `axis`: an int, several, or None for all.

    Of integers and booleans it is float64, as in NumPy; `dtype` casts first. The mean of nothing is NaN.
    """
    x = as_node(x)
    return _accumulated(Mean, x, axis, keepdims, dtype or (x.dtype if x.dtype.is_float else dtypes.float64))


@function("var")
def var(x: Any, axis: Any = None, keepdims: bool = False, *, ddof: int = 0) -> Node:
    """The variance of `x` over `axis`: squared distances from the mean, summed and divided by count - `ddof`."""
    x = as_node(x)
    axes = normalize_axes("var", axis, x.ndim)
    squares = F.square(x - mean(x, axes, keepdims=True))
    if ddof == 0:
        return mean(squares, axes, keepdims)
    return sum(squares, axes, keepdims) / dims.maximum(count_of(x.shape, axes) - ddof, 0)


@function("std")
def std(x: Any, axis: Any = None, keepdims: bool = False, *, ddof: int = 0) -> Node:
    """The standard deviation of `x` over `axis`: the square root of `var`."""
    return F.sqrt(var(x, axis, keepdims, ddof=ddof))


# -- extremes ---------------------------------------------------------------------------------


class _OfSome(Reduction, abstract=True):
    """Base of reductions that have no value for no elements."""

    may_fail = True

    def infer(self, x: Type) -> Type:
        type = super().infer(x)
        if dims.same(count_of(x.shape, self.axes), 0) and not dims.same(type.size, 0):
            raise ShapeError(_no_elements(self.name, x.shape))
        return type

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        if x.size == 0 and out.size > 0:
            raise RunError(_no_elements(self.name, x.shape))
        super().kernel(xp, x, out=out, scratch=scratch)


def _no_elements(name: str, shape: Shape) -> str:
    return f"{name} of no elements does not exist: an axis reduced in {format_shape(shape)} is empty"


class _Extreme(_OfSome, abstract=True):
    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        is_extreme = F.equal(x, self.kept(y, x))
        ties = sum(F.cast(is_extreme, g.dtype), self.axes, keepdims=True)
        return (F.where(is_extreme, self.kept(g, x), 0) / ties,)


class Max(_Extreme):
    """The largest element over `axes`, NaN if there is one. Ties share the gradient evenly."""

    onnx, numpy = "ReduceMax", "max"


class Min(_Extreme):
    """The smallest element over `axes`, NaN if there is one. Ties share the gradient evenly."""

    onnx, numpy = "ReduceMin", "min"


@function("max")
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The largest element of `x` over `axis` (an int, several, or None for all); NaN if there is one.

    Ties share the gradient evenly. Raises for an empty axis, when that is known or when it happens.
    """
    return _reduced(Max, x, axis, keepdims)


@function("min")
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The smallest element of `x` over `axis` (an int, several, or None for all); NaN if there is one.

    Ties share the gradient evenly. Raises for an empty axis, when that is known or when it happens.
    """
    return _reduced(Min, x, axis, keepdims)


def _reduced(card: type[Reduction], x: Any, axis: Any, keepdims: bool) -> Node:
    x = as_node(x)
    axes = normalize_axes(card.name, axis, x.ndim)
    return apply(card(axes=axes, keepdims=bool(keepdims)), x) if axes else x


# -- positions --------------------------------------------------------------------------------


class _ArgExtreme(Op, abstract=True):
    """The position along `axis` of an extreme; None counts through the flattened elements."""

    axis: int | None
    keepdims: bool = False
    may_fail = True

    def infer(self, x: Type) -> Type:
        axes = self.axes(x.ndim)
        if not set(axes) <= set(range(x.ndim)):
            raise ShapeError(f"{self.name}: axis {self.axis} is out of range for {format_shape(x.shape)}")
        type = Type(reduced_shape(x.shape, axes, self.keepdims), dtypes.int64)
        if dims.same(count_of(x.shape, axes), 0) and not dims.same(type.size, 0):
            raise ShapeError(_no_elements(self.name, x.shape))
        return type

    def axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(ndim)) if self.axis is None else (self.axis,)

    def scratch(self, x: Type) -> int:
        return int(x.bytes)

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        if x.size == 0 and out.size > 0:
            raise RunError(_no_elements(self.name, x.shape))
        if x.size == 0:
            return
        # NumPy copies whatever does not end in the reduced axis; here the copy has its place.
        moved = x if self.axis is None else xp.moveaxis(x, self.axis, -1)
        rows = scratch[: x.nbytes].view(x.dtype).reshape(moved.shape)
        xp.copyto(rows, moved)
        rows = rows.reshape(-1) if self.axis is None else rows
        getattr(xp, self.name)(rows, axis=-1, out=out.reshape(rows.shape[:-1]))

    def flops(self, out: Any, *types: Type) -> Size:
        return types[0].size


class ArgMax(_ArgExtreme):
    """The position of the largest element, the first of equals; of the first NaN if there is one."""

    name, onnx = "argmax", "ArgMax"


class ArgMin(_ArgExtreme):
    """The position of the smallest element, the first of equals; of the first NaN if there is one."""

    name, onnx = "argmin", "ArgMin"


@function("argmax")
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Node:
    """The position, as int64, of the largest element of `x` along `axis`; None counts through the flattened `x`.

    The first of equals, and the first NaN if there is one. Raises for an empty axis.
    """
    return _position(ArgMax, x, axis, keepdims)


@function("argmin")
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Node:
    """The position, as int64, of the smallest element of `x` along `axis`; None counts through the flattened `x`.

    The first of equals, and the first NaN if there is one. Raises for an empty axis.
    """
    return _position(ArgMin, x, axis, keepdims)


def _position(card: type[_ArgExtreme], x: Any, axis: int | None, keepdims: bool) -> Node:
    x = as_node(x)
    axis = None if axis is None else normalize_axis(card.name, axis, x.ndim)
    return apply(card(axis=axis, keepdims=bool(keepdims)), x)


# -- logic ------------------------------------------------------------------------------------


class _Logic(Reduction, abstract=True):
    def result(self, dtype: DType) -> DType:
        if not dtype.is_bool:
            raise DTypeError(f"{self.name} does not take {dtype}; cast the operand to bool first")
        return dtype


class Any_(_Logic):
    """Whether at least one element over `axes` is true; false of nothing."""

    name, numpy = "any", "any"


class All(_Logic):
    """Whether every element over `axes` is true; true of nothing."""

    numpy = "all"


@function("any")
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Whether any element of `x` over `axis` is true, or not zero (NaN is not); False of nothing."""
    return _reduced(Any_, F.cast(x, dtypes.bool_), axis, keepdims)


@function("all")
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Whether all elements of `x` over `axis` are true, or not zero (NaN is not); True of nothing."""
    return _reduced(All, F.cast(x, dtypes.bool_), axis, keepdims)
