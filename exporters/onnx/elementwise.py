"""Elementwise ops in ONNX: the operator of that name, or a few of them, in a dtype that the operator takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dtypes import DType
from staticnet.compiler.ir import Node, Type
from staticnet.compiler.ops.leaf import scalar_value
from staticnet.exporters.onnx.dtypes import route
from staticnet.exporters.onnx.emitter import Emitter, is_small

#: what arithmetic means on booleans
LOGIC = {"add": "Or", "multiply": "And", "maximum": "Or", "minimum": "And", "not_equal": "Xor"}
#: up to here the short form of a function keeps too few digits, in units of its argument
NEAR_ZERO = 0.5
#: integer powers up to here are written as products
MOST_FACTORS = 4


def route_or_refuse(emitter: Emitter, operator: str, dtype: DType) -> DType:
    """The dtype to compute in; refuses the op where no exact way round is known."""
    via = route(operator, dtype)
    if via is None:
        emitter.refuse(
            f"has no ONNX form for {dtype} that onnxruntime runs, and {operator} has no exact way round; "
            "cast to float32 first"
        )
    return via


def operate(
    emitter: Emitter, operator: str, operands: list[str], dtype: DType, *parameters: str, **attributes: Any
) -> str:
    """One operator whose operands and result have one dtype, through another dtype where it must be.

    `parameters` are further inputs, in the dtype that is computed in already.
    """
    via = route_or_refuse(emitter, operator, dtype)
    if via == dtype:
        return emitter.emit(operator, *operands, *parameters, **attributes)
    widened = [emitter.cast(operand, via) for operand in operands]
    return emitter.cast(emitter.emit(operator, *widened, *parameters, **attributes), dtype)


def compare(emitter: Emitter, operator: str, operands: list[str], dtype: DType) -> str:
    """One operator with operands of one dtype and a result of booleans."""
    via = route_or_refuse(emitter, operator, dtype)
    return emitter.emit(operator, *(operands if via == dtype else [emitter.cast(o, via) for o in operands]))


def elementwise(emitter: Emitter, node: Node) -> str:
    """The operator that the card names."""
    dtype = node.inputs[0].dtype
    if dtype.is_bool and node.op.name in LOGIC:
        return emitter.emit(LOGIC[node.op.name], *emitter.operands(node))
    assert node.op.onnx is not None
    if node.dtype.is_bool and not dtype.is_bool:
        return compare(emitter, node.op.onnx, emitter.operands(node), dtype)
    return operate(emitter, node.op.onnx, emitter.operands(node), dtype)


def comparison(emitter: Emitter, node: Node) -> str:
    """Less, Greater and the like, of booleans too."""
    assert node.op.onnx is not None
    return compare(emitter, node.op.onnx, emitter.operands(node), node.inputs[0].dtype)


def not_equal(emitter: Emitter, node: Node) -> str:
    """not (x == y)"""
    dtype = node.inputs[0].dtype
    if dtype.is_bool:
        return emitter.emit("Xor", *emitter.operands(node))
    return emitter.emit("Not", compare(emitter, "Equal", emitter.operands(node), dtype))


def absolute(emitter: Emitter, node: Node) -> str:
    """|x|; of booleans x itself."""
    (x,) = emitter.operands(node)
    return x if node.dtype.is_bool else emitter.emit("Abs", x)


def square(emitter: Emitter, node: Node) -> str:
    """x * x"""
    (x,) = emitter.operands(node)
    return operate(emitter, "Mul", [x, x], node.dtype)


def power(emitter: Emitter, node: Node) -> str:
    """Pow; small whole powers of integers as products, which onnxruntime would compute as float64."""
    x, y = emitter.operands(node)
    exponent = scalar_value(node.inputs[1])
    is_product = not node.dtype.is_float and exponent is not None and 1 <= exponent <= MOST_FACTORS
    if not is_product or not dims.same_shape(node.inputs[0].shape, node.shape):
        return operate(emitter, "Pow", [x, y], node.dtype)
    product = x
    for _ in range(int(exponent) - 1):
        product = operate(emitter, "Mul", [product, x], node.dtype)
    return product


def relu(emitter: Emitter, node: Node) -> str:
    """Relu, and of integers the larger of x and 0."""
    (x,) = emitter.operands(node)
    if node.dtype.is_float:
        return emitter.emit("Relu", x)
    return operate(emitter, "Max", [x, emitter.constant(0, node.dtype)], node.dtype)


def clip(emitter: Emitter, node: Node) -> str:
    """Clip with its bounds as tensors."""
    dtype = node.dtype
    bounds = [node.op.attributes["minimum"], node.op.attributes["maximum"]]
    if dtype.is_float:
        # A bound left out would be the largest finite number, and infinities clipped to it.
        bounds = [
            open_end if bound is None else bound for bound, open_end in zip(bounds, (-math.inf, math.inf), strict=True)
        ]
    while bounds[-1] is None:
        bounds.pop()
    tensors = [
        "" if bound is None else emitter.constant(bound, route_or_refuse(emitter, "Clip", dtype)) for bound in bounds
    ]
    return operate(emitter, "Clip", emitter.operands(node), dtype, *tensors)


def where(emitter: Emitter, node: Node) -> str:
    """Where, its two values in a dtype that it takes."""
    condition, x, y = emitter.operands(node)
    via = route_or_refuse(emitter, "Where", node.dtype)
    if via == node.dtype:
        return emitter.emit("Where", condition, x, y)
    return emitter.cast(emitter.emit("Where", condition, emitter.cast(x, via), emitter.cast(y, via)), node.dtype)


def cast(emitter: Emitter, node: Node) -> str:
    """Cast."""
    return emitter.cast(emitter.value(node.inputs[0]), node.dtype)


# -- division that rounds down ----------------------------------------------------------------


def remainder(emitter: Emitter, node: Node) -> str:
    """x - floor(x / y) * y, which has the sign of y: Mod as it is for integers."""
    x, y = emitter.operands(node)
    if not node.dtype.is_float:
        return emitter.emit("Mod", x, y)
    towards_zero, is_other_sign = _float_remainder(emitter, x, y, node.dtype)
    moved = emitter.emit("Add", towards_zero, y)
    return emitter.emit("Where", is_other_sign, moved, towards_zero)


def floor_divide(emitter: Emitter, node: Node) -> str:
    """floor(x / y): one less than the division towards zero where that has left a remainder of the other sign."""
    x, y = emitter.operands(node)
    dtype = node.dtype
    if dtype.is_float:
        return _float_floor_divide(emitter, x, y, dtype)
    if dtype.name.startswith("u"):
        return operate(emitter, "Div", [x, y], dtype)
    via = route_or_refuse(emitter, "Div", dtype)
    x, y = (value if via == dtype else emitter.cast(value, via) for value in (x, y))
    rounded_down = emitter.emit("Equal", emitter.emit("Mod", x, y), emitter.emit("Mod", x, y, fmod=1))
    lower = emitter.emit("Sub", emitter.emit("Div", x, y), emitter.cast(emitter.emit("Not", rounded_down), via))
    return lower if via == dtype else emitter.cast(lower, dtype)


def _float_floor_divide(emitter: Emitter, x: str, y: str, dtype: DType) -> str:
    """Not floor of the rounded x / y, which can be a whole number above: 1 // 0.1 is 9."""
    towards_zero, is_other_sign = _float_remainder(emitter, x, y, dtype)
    whole = emitter.emit("Round", emitter.emit("Div", emitter.emit("Sub", x, towards_zero), y))
    lower = emitter.emit("Sub", whole, emitter.cast(is_other_sign, dtype))
    is_zero = emitter.emit("Equal", y, emitter.constant(0, dtype))
    return emitter.emit("Where", is_zero, emitter.emit("Div", x, y), lower)


def _float_remainder(emitter: Emitter, x: str, y: str, dtype: DType) -> tuple[str, str]:
    """The remainder with the sign of x, and whether it is not 0 and has another sign than y."""
    zero = emitter.constant(0, dtype)
    below = emitter.emit("Mod", x, y, fmod=1)
    signs = emitter.emit("Xor", emitter.emit("Less", below, zero), emitter.emit("Less", y, zero))
    is_some = emitter.emit("Not", emitter.emit("Equal", below, zero))
    return below, emitter.emit("And", is_some, signs)


# -- functions that ONNX lacks ----------------------------------------------------------------


def expm1(emitter: Emitter, node: Node) -> str:
    """exp(x) - 1; near 0, where that cancels, 2t / (1 - t) with t = tanh(x / 2)."""
    (x,), dtype = emitter.operands(node), node.dtype
    one, half, two = (emitter.constant(value, dtype) for value in (1, 0.5, 2))
    plain = emitter.emit("Sub", emitter.emit("Exp", x), one)
    t = emitter.emit("Tanh", emitter.emit("Mul", x, half))
    careful = emitter.emit("Div", emitter.emit("Mul", t, two), emitter.emit("Sub", one, t))
    return emitter.emit("Where", _is_near_zero(emitter, x, dtype), careful, plain)


def log1p(emitter: Emitter, node: Node) -> str:
    """log(u) with u = 1 + x; near 0 times x / (u - 1), which makes up for the rounding of u (Kahan)."""
    (x,), dtype = emitter.operands(node), node.dtype
    one = emitter.constant(1, dtype)
    u = emitter.emit("Add", x, one)
    plain = emitter.emit("Log", u)
    distance = emitter.emit("Sub", u, one)
    careful = emitter.emit("Mul", plain, emitter.emit("Div", x, distance))
    is_lost = emitter.emit("Equal", distance, emitter.constant(0, dtype))
    careful = emitter.emit("Where", is_lost, x, careful)
    return emitter.emit("Where", _is_near_zero(emitter, x, dtype), careful, plain)


def softplus(emitter: Emitter, node: Node) -> str:
    """Softplus; in float64, which onnxruntime has no kernel for, relu(x) + log(1 + exp(-|x|))."""
    (x,), dtype = emitter.operands(node), node.dtype
    if route("Softplus", dtype) is not None:
        return operate(emitter, "Softplus", [x], dtype)
    small = emitter.emit("Exp", emitter.emit("Neg", emitter.emit("Abs", x)))
    rest = emitter.emit("Log", emitter.emit("Add", small, emitter.constant(1, dtype)))
    return emitter.emit("Add", emitter.emit("Relu", x), rest)


def _is_near_zero(emitter: Emitter, x: str, dtype: DType) -> str:
    return emitter.emit("Less", emitter.emit("Abs", x), emitter.constant(NEAR_ZERO, dtype))


# -- sizes and positions ----------------------------------------------------------------------


def size_of(emitter: Emitter, node: Node) -> str:
    """A size as an int64 without axes."""
    return emitter.sizes.scalar(node.op.attributes["size"])


def iota(emitter: Emitter, node: Node) -> str:
    """Range along one axis, then the others; numbers where all sizes are known and few."""
    axis, sizes = node.op.attributes["axis"], node.shape
    size, after = sizes[axis], node.ndim - axis - 1
    others = [1 if k == axis else other for k, other in enumerate(sizes)]
    if isinstance(size, int):
        column = np.arange(size).reshape((size, *[1] * after))
        if is_small(node.aval):
            return emitter.constant(np.broadcast_to(column, [int(n) for n in sizes]), node.dtype)  # type: ignore[arg-type]
        line = emitter.constant(column, node.dtype)
    else:
        ends = [emitter.constant(0, dtypes.int64), emitter.sizes.scalar(size), emitter.constant(1, dtypes.int64)]
        line = emitter.emit("Range", *ends)
        line = line if node.dtype == dtypes.int64 else emitter.cast(line, node.dtype)
        line = emitter.emit("Unsqueeze", line, emitter.ints([*range(1, after + 1)])) if after else line
    return line if node.ndim == 1 else emitter.emit("Expand", line, emitter.sizes.vector(others))


def zeros(emitter: Emitter, type: Type) -> str:
    """Zeros of a shape."""
    if is_small(type):
        return emitter.constant(np.zeros([int(n) for n in type.shape]), type.dtype)  # type: ignore[arg-type]
    return emitter.emit("Expand", emitter.constant(0, type.dtype), emitter.sizes.vector(type.shape))
