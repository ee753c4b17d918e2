"""Elementwise functions of one real number: exponentials, roots, activations."""

from __future__ import annotations

import math
from typing import Any

from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.ir import Node, Type
from staticnet.compiler.ops.base import Elementwise, F, as_node, function
from staticnet.compiler.ops.erf import erf_in_place, scratch_bytes


class Real(Elementwise, abstract=True):
    """Integers and booleans are computed in floating point, as in NumPy."""

    kinds = "f"


class Exp(Real):
    """e to the power x."""

    onnx = "Exp"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * y,)


class Expm1(Real):
    """exp(x) - 1, accurate near 0."""

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * (y + 1),)


class Log(Real):
    """The natural logarithm; -inf at 0, NaN below."""

    onnx = "Log"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g / x,)


class Log1p(Real):
    """log(1 + x), accurate near 0."""

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g / (1 + x),)


class Sqrt(Real):
    """The square root; its slope at 0 is infinite."""

    onnx = "Sqrt"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * 0.5 / y,)


class Sin(Real):
    """The sine of x in radians."""

    onnx = "Sin"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * F.cos(x),)


class Cos(Real):
    """The cosine of x in radians."""

    onnx = "Cos"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (-g * F.sin(x),)


class Tanh(Real):
    """The hyperbolic tangent."""

    onnx = "Tanh"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * (1 - F.square(y)),)


class Sigmoid(Real):
    """1 / (1 + exp(-x)), without overflow."""

    onnx = "Sigmoid"

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.negative(x, out=out)
        xp.exp(out, out=out)
        xp.add(out, 1, out=out)
        xp.reciprocal(out, out=out)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * y * (1 - y),)


class Relu(Elementwise):
    """max(x, 0); the slope at 0 is 0."""

    onnx, kinds = "Relu", "iuf"

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.maximum(x, 0, out=out)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        # Asking y instead of x lets the forward run overwrite x.
        return (F.where(y > 0, g, 0),)


class Softplus(Real):
    """log(1 + exp(x)), without overflow."""

    onnx = "Softplus"

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.logaddexp(x, 0, out=out)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * F.sigmoid(x),)


@function("leaky_relu")
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Node:
    """`x` where positive, `negative_slope * x` elsewhere; the slope at 0 is `negative_slope`."""
    x = as_node(x)
    return F.where(x > 0, x, x * negative_slope)


@function("elu")
def elu(x: Any, alpha: float = 1.0) -> Node:
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere (Clevert et al. 2015)."""
    x = as_node(x)
    # The inner choice keeps expm1 from overflowing; unlike a minimum it has slope 1 at 0.
    return F.where(x > 0, x, alpha * F.expm1(F.where(x > 0, 0, x)))


@function("silu")
def silu(x: Any) -> Node:
    """`x * sigmoid(x)` (Hendrycks and Gimpel 2016)."""
    x = as_node(x)
    return x * F.sigmoid(x)


@function("gelu")
def gelu(x: Any, approximate: str = "none") -> Node:
    """`x * Phi(x)` with the normal distribution function Phi (Hendrycks and Gimpel 2016).

    `approximate="tanh"` takes the paper's approximation by a hyperbolic tangent.
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: approximate must be 'none' or 'tanh', not {approximate!r}")
    x = as_node(x)
    if approximate == "tanh":
        return 0.5 * x * (1 + F.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + F.erf(x * math.sqrt(0.5)))


class Erf(Real):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    onnx = "Erf"

    def scratch(self, x: Type) -> int:  # type: ignore[override]
        return scratch_bytes(x.size, x.dtype.itemsize)  # type: ignore[arg-type]

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.copyto(out, x)
        erf_in_place(xp, out, scratch)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * (2 / math.sqrt(math.pi)) * F.exp(-F.square(x)),)
