"""Softmax and its relatives, which subtract the largest element before they exponentiate."""

from __future__ import annotations

import math
from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.errors import DTypeError, ShapeError
from staticnet.compiler.ir import Node, Op, Type, apply
from staticnet.compiler.ops.base import F, as_node, function, normalize_axes, normalize_axis, require_dtype
from staticnet.compiler.ops.reduce import reduced_shape


class _AlongAxis(Op, abstract=True):
    """Base of ops that map each line along `axis` to a line of the same length."""

    axis: int

    def infer(self, x: Type) -> Type:
        if not x.dtype.is_float:
            raise DTypeError(f"{self.name} does not take {x.dtype}; cast the operand to a float type first")
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"{self.name}: axis {self.axis} is out of range for {x}")
        return x


class Softmax(_AlongAxis):
    """exp(x) / sum(exp(x)) along `axis`; a line of nothing but -inf, or with +inf in it, gives NaN."""

    onnx = "Softmax"

    def expand(self, x: Node) -> Node:
        powers = F.exp(below_maximum(x, (self.axis,)))
        return powers / F.sum(powers, axis=self.axis, keepdims=True)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (y * (g - F.sum(g * y, axis=self.axis, keepdims=True)),)


class LogSoftmax(_AlongAxis):
    """x - log(sum(exp(x))) along `axis`; an element of -inf stays -inf."""

    onnx = "LogSoftmax"

    def expand(self, x: Node) -> Node:
        shifted = below_maximum(x, (self.axis,))
        return shifted - F.log(F.sum(F.exp(shifted), axis=self.axis, keepdims=True))

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g - F.exp(y) * F.sum(g, axis=self.axis, keepdims=True),)


class LogSumExp(Op):
    """log(sum(exp(x))) over `axes`; -inf of nothing or of nothing but -inf, +inf where an element is +inf."""

    axes: tuple[int, ...]
    keepdims: bool = False
    onnx = "ReduceLogSumExp"

    def infer(self, x: Type) -> Type:
        if not x.dtype.is_float:
            raise DTypeError(f"logsumexp does not take {x.dtype}; cast the operand to a float type first")
        if not set(self.axes) <= set(range(x.ndim)):
            raise ShapeError(f"logsumexp: axes {self.axes} are out of range for {x}")
        return x.with_shape(reduced_shape(x.shape, self.axes, self.keepdims))

    def expand(self, x: Node) -> Node:
        if _is_empty(x, self.axes):
            return F.sum(x, axis=self.axes, keepdims=self.keepdims) - math.inf
        largest = _largest(x, self.axes)
        total = F.log(F.sum(F.exp(x - largest), axis=self.axes, keepdims=True)) + largest
        return total if self.keepdims else F.squeeze(total, self.axes)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        kept = reduced_shape(x.shape, self.axes, True)
        return (F.reshape(g, kept) * F.exp(x - F.reshape(y, kept)),)


def below_maximum(x: Node, axes: tuple[int, ...]) -> Node:
    """`x` less its largest element over `axes`, so that exp cannot overflow; the shift carries no gradient."""
    return x if _is_empty(x, axes) else x - _largest(x, axes)


def _largest(x: Node, axes: tuple[int, ...]) -> Node:
    largest = F.stop_gradient(F.max(x, axis=axes, keepdims=True))
    # Nothing is gained by subtracting an infinity, and -inf - -inf is NaN.
    return F.where(F.isinf(largest), 0, largest)


def _is_empty(x: Node, axes: tuple[int, ...]) -> bool:
    return any(dims.same(x.shape[axis], 0) for axis in axes)


@function("softmax")
def softmax(x: Any, axis: int = -1) -> Node:
    """`exp(x) / sum(exp(x))` along `axis`, without overflow; `x` is float."""
    x = as_node(x)
    require_dtype("softmax", "x", x, "float")
    return apply(Softmax(axis=normalize_axis("softmax", axis, x.ndim)), x)


@function("log_softmax")
def log_softmax(x: Any, axis: int = -1) -> Node:
    """The logarithm of `softmax(x, axis)`, accurate where that underflows; `x` is float."""
    x = as_node(x)
    require_dtype("log_softmax", "x", x, "float")
    return apply(LogSoftmax(axis=normalize_axis("log_softmax", axis, x.ndim)), x)


@function("logsumexp")
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """`log(sum(exp(x)))` over `axis` (an int, several, or None for all), without overflow; `x` is float.

    A sum over nothing is 0, so its logarithm is -inf.
    """
    x = as_node(x)
    require_dtype("logsumexp", "x", x, "float")
    return apply(LogSumExp(axes=normalize_axes("logsumexp", axis, x.ndim), keepdims=bool(keepdims)), x)
