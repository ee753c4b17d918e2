"""Products, convolution, pooling and normalisation in ONNX."""

from __future__ import annotations

from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.ir import Node
from staticnet.exporters.onnx.elementwise import operate, route_or_refuse
from staticnet.exporters.onnx.emitter import Emitter


def matmul(emitter: Emitter, node: Node) -> str:
    """MatMul."""
    return operate(emitter, "MatMul", emitter.operands(node), node.dtype)


def gemm(emitter: Emitter, node: Node) -> str:
    """Gemm."""
    flags = [int(node.op.attributes[name]) or None for name in ("transpose_x", "transpose_y")]
    return emitter.emit("Gemm", *emitter.operands(node), transA=flags[0], transB=flags[1])


def conv2d(emitter: Emitter, node: Node) -> str:
    """Conv, its bias if there is one as third input."""
    w = node.inputs[1].shape
    kernel = w[2:] if all(map(dims.is_static, w[2:])) else None
    return _convolve(emitter, "Conv", node, kernel_shape=kernel)


def conv2d_input_grad(emitter: Emitter, node: Node) -> str:
    """ConvTranspose; which of the sizes that fit is meant, its output padding says."""
    extra = output_padding(node)
    return _convolve(emitter, "ConvTranspose", node, output_padding=extra if extra and any(extra) else None)


def output_padding(node: Node) -> tuple[int, ...] | None:
    """How many rows and columns of the image no window reaches; None where that is not one number."""
    g, w = node.inputs
    attributes = node.op.attributes
    extra = []
    for axis in (0, 1):
        reach = attributes["dilation"][axis] * (w.shape[2 + axis] - 1) + 1
        least = attributes["stride"][axis] * (g.shape[2 + axis] - 1) + reach - sum(attributes["padding"][axis])
        extra.append(attributes["size"][axis] - least)
    return tuple(extra) if all(map(dims.is_static, extra)) else None  # type: ignore[arg-type]


def _convolve(emitter: Emitter, operator: str, node: Node, **more: Any) -> str:
    attributes = node.op.attributes
    route_or_refuse(emitter, operator, node.dtype)
    return emitter.emit(
        operator,
        *emitter.operands(node),
        strides=_unless_ones(attributes["stride"]),
        pads=_pads(attributes["padding"]),
        dilations=_unless_ones(attributes["dilation"]),
        group=attributes["groups"] if attributes["groups"] != 1 else None,
        **more,
    )


def _pads(padding: Any) -> tuple[int, ...] | None:
    """(top, left, bottom, right), or nothing where there is no padding."""
    (top, bottom), (left, right) = padding
    pads = (top, left, bottom, right)
    return pads if any(pads) else None


def _unless_ones(pair: tuple[int, int]) -> tuple[int, int] | None:
    return None if pair == (1, 1) else pair


def max_pool2d(emitter: Emitter, node: Node) -> str:
    """MaxPool."""
    return _pool(emitter, node, "MaxPool", dilations=_unless_ones(node.op.attributes["dilation"]))


def avg_pool2d(emitter: Emitter, node: Node) -> str:
    """AveragePool."""
    attributes = node.op.attributes
    dilations = _unless_ones(attributes["dilation"])
    is_counted = attributes["count_include_pad"] and _pads(attributes["padding"]) is not None
    return _pool(emitter, node, "AveragePool", dilations=dilations, count_include_pad=1 if is_counted else None)


def _pool(emitter: Emitter, node: Node, operator: str, **more: Any) -> str:
    attributes = node.op.attributes
    return operate(
        emitter,
        operator,
        emitter.operands(node),
        node.dtype,
        kernel_shape=attributes["kernel_size"],
        strides=_unless_ones(attributes["stride"]),
        pads=_pads(attributes["padding"]),
        **more,
    )


def batch_norm(emitter: Emitter, node: Node) -> tuple[str, ...]:
    """BatchNormalization; the running statistics come out as they went in."""
    operands = emitter.operands(node)
    y = emitter.emit("BatchNormalization", *operands, epsilon=node.op.attributes["epsilon"])
    return (y, *operands[3:])


def along_axis(emitter: Emitter, node: Node) -> str:
    """Softmax or LogSoftmax."""
    assert node.op.onnx is not None
    return emitter.emit(node.op.onnx, *emitter.operands(node), axis=node.op.attributes["axis"])
