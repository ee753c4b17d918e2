"""Rows of the elementwise ops: arithmetic, comparison, logic, and functions of one number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row

X = Arg(("N", 3))
POSITIVE = Arg(("N", 3), low=0.1, high=4.0)
WHOLE = Arg(("N", 3), "int64", low=-9, high=9)
COUNT = Arg(("N", 3), "int32", low=1, high=6)
TRUTH = Arg(("N", 3), "bool")
SPECIAL = Arg((2, 3), values=[[np.nan, np.inf, -np.inf], [0.0, -0.0, 1.5]])
OTHER_SPECIAL = Arg((2, 3), values=[[np.nan, np.inf, 0.0], [-0.0, 0.0, 1.5]])
# Far enough from whole numbers, halves and each other for a difference quotient.
STEPS = Arg((2, 3), values=[[-1.7, -0.3, 0.2], [0.8, 1.4, 2.6]])


def unary(name: str, arg: Arg = X, reference: Callable | None = None, id: str = "", **options: Any) -> Row:
    compute = reference or getattr(np, name)
    return Row(id or name, (name,), getattr(F, name), (arg,), compute, **options)


def binary(name: str, *args: Arg, id: str = "", reference: Callable | None = None, **options: Any) -> Row:
    compute = reference or getattr(np, name)
    return Row(id or name, (name,), getattr(F, name), args, compute, **options)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(x.dtype)


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def leaky_relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, x * x.dtype.type(0.1))


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 1.5 * np.expm1(x)).astype(x.dtype)


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return (0.5 * wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))).astype(x.dtype)


ARITHMETIC = [
    binary("add", X, Arg((3,)), id="add_row"),
    binary("add", Arg(("N", 1)), Arg((1, 3)), id="add_outer"),
    binary("add", X, Arg(()), id="add_scalar"),
    binary("add", WHOLE, WHOLE, id="add_integers"),
    binary("add", TRUTH, TRUTH, id="add_booleans"),
    binary("subtract", X, Arg(("N", 1))),
    binary("subtract", Arg(()), X, id="subtract_from_scalar"),
    binary("multiply", X, X),
    binary("multiply", Arg(("M", 1, 2)), Arg(("N", 1)), id="multiply_outer"),
    binary("multiply", COUNT, COUNT, id="multiply_integers"),
    binary("divide", X, POSITIVE),
    binary("divide", Arg((1, 3)), Arg(("N", 1), low=-3.0, high=-0.5), id="divide_outer"),
    binary("divide", WHOLE, COUNT, id="divide_integers"),
    binary("floor_divide", X, Arg(("N", 3), low=-2.0, high=-0.4), wrt=()),
    binary("floor_divide", WHOLE, COUNT, id="floor_divide_integers"),
    binary("remainder", STEPS, Arg((2, 3), values=[[0.7, -0.7, 0.7], [-1.1, 1.1, -1.1]]), rtol=1e-5),
    binary("remainder", WHOLE, COUNT, id="remainder_integers"),
    binary("power", POSITIVE, X),
    binary("power", COUNT, COUNT, id="power_integers"),
    Row("power_squared", ("power",), lambda x: F.power(x, 2), (X,), np.square),
    Row("power_cubed", ("power",), lambda x: x**3, (X,), lambda x: x**3),
    Row("power_inverse", ("power",), lambda x: x**-1, (POSITIVE,), lambda x: 1 / x),
    binary("maximum", X, X),
    binary("maximum", WHOLE, WHOLE, id="maximum_integers"),
    binary("maximum", X, Arg((1, 3)), id="maximum_row"),
    binary("minimum", X, X),
    binary("minimum", X, Arg(()), id="minimum_scalar"),
    unary("negative"),
    unary("negative", WHOLE, id="negative_integers"),
    unary("absolute"),
    unary("absolute", WHOLE, id="absolute_integers"),
    unary("sign", wrt=()),
    unary("sign", SPECIAL, id="sign_special", wrt=()),
    unary("square"),
    unary("square", WHOLE, id="square_integers"),
    unary("reciprocal", POSITIVE),
    unary("floor", STEPS, wrt=()),
    unary("ceil", STEPS, wrt=()),
    unary("round", Arg((2, 3), values=[[-2.5, -1.5, -0.4], [0.5, 1.5, 2.7]]), np.rint, wrt=()),
]

COMPARISON = [
    row
    for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    for row in (
        binary(name, Arg(("N", 3), "int64", 0, 3), Arg((3,), "int64", 0, 3), id=f"{name}_integers"),
        binary(name, X, Arg(("N", 1)), wrt=()),
        binary(name, SPECIAL, OTHER_SPECIAL, id=f"{name}_special", wrt=()),
    )
]

LOGIC = [
    unary("isnan", SPECIAL, wrt=()),
    unary("isinf", SPECIAL, wrt=()),
    binary("logical_and", TRUTH, Arg((3,), "bool")),
    binary("logical_or", TRUTH, TRUTH),
    binary("logical_xor", TRUTH, TRUTH),
    unary("logical_not", TRUTH),
]

CHOICE = [
    Row("where", ("where",), F.where, (TRUTH, X, X), np.where),
    Row("where_broadcast", ("where",), F.where, (Arg((3,), "bool"), Arg(("N", 1)), Arg(())), np.where),
    Row("masked", ("masked",), F.masked, (X, TRUTH), lambda x, c: np.where(c, x, 0).astype(x.dtype)),
    Row(
        "masked_broadcast",
        ("masked",),
        F.masked,
        (Arg((3,)), Arg(("N", 1), "bool")),
        lambda x, c: np.where(c, x, 0).astype(x.dtype),
    ),
    Row("where_integers", ("where",), lambda c, x: F.where(c, x, 0), (TRUTH, WHOLE), lambda c, x: np.where(c, x, 0)),
    Row("clip", ("clip",), lambda x: F.clip(x, -0.5, 1.0), (X,), lambda x: np.clip(x, -0.5, 1.0)),
    Row("clip_below", ("clip",), lambda x: F.clip(x, 0.25), (X,), lambda x: np.maximum(x, np.float32(0.25))),
    Row("clip_integers", ("clip",), lambda x: F.clip(x, -2, 5), (WHOLE,), lambda x: np.clip(x, -2, 5)),
    Row("clip_values", ("where",), lambda x, a: F.clip(x, a, a + 1), (X, Arg((3,))), lambda x, a: np.clip(x, a, a + 1)),
]

REAL = [
    unary("exp"),
    unary("exp", SPECIAL, id="exp_special", wrt=()),
    unary("expm1"),
    unary("log", POSITIVE),
    unary("log", SPECIAL, id="log_special", wrt=()),
    unary("log1p", Arg(("N", 3), low=-0.9, high=3.0)),
    unary("sqrt", POSITIVE),
    unary("sin"),
    unary("cos"),
    unary("tanh"),
    unary("sigmoid", reference=sigmoid),
    unary("sigmoid", Arg((4,), values=[-80.0, -20.0, 20.0, 80.0]), sigmoid, id="sigmoid_saturated", wrt=()),
    unary("relu", reference=lambda x: np.maximum(x, 0)),
    unary("relu", WHOLE, lambda x: np.maximum(x, 0), id="relu_integers"),
    unary("softplus", reference=lambda x: np.logaddexp(x, np.float32(0), dtype=x.dtype)),
    unary("erf", reference=erf),
    unary("erf", Arg(("N", 5), low=-6.0, high=6.0), erf, id="erf_wide"),
    Row("exp_of_integers", ("exp",), F.exp, (Arg(("N", 3), "int64", -3, 3),), np.exp),
]

COMPOSED = [
    Row("leaky_relu", ("where",), lambda x: F.leaky_relu(x, 0.1), (X,), leaky_relu),
    Row("elu", ("expm1",), lambda x: F.elu(x, 1.5), (X,), elu),
    Row("silu", ("sigmoid",), F.silu, (X,), lambda x: x * sigmoid(x)),
    Row("gelu", ("erf",), F.gelu, (X,), lambda x: (x * (1 + erf(x * math.sqrt(0.5))) / 2).astype(x.dtype)),
    Row("gelu_tanh", ("tanh",), lambda x: F.gelu(x, "tanh"), (X,), tanh_gelu, rtol=1e-5),
]

ROWS: list[Row] = [*ARITHMETIC, *COMPARISON, *LOGIC, *CHOICE, *REAL, *COMPOSED]
