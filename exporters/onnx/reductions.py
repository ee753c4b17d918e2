"""Reductions in ONNX: axes as an attribute or as an input, by opset, and the dtypes that sums are kept in."""

from __future__ import annotations

from staticnet.compiler import dtypes
from staticnet.compiler.dtypes import DType
from staticnet.compiler.ir import Node
from staticnet.exporters.onnx.elementwise import route_or_refuse
from staticnet.exporters.onnx.emitter import Emitter

#: the first opset at which an operator takes its axes as an input
AXES_AS_INPUT = {"ReduceSum": 13}
LATER = 18


def reduce(emitter: Emitter, operator: str, x: str, node: Node) -> str:
    """`operator` over the axes of `node`; all axes need not be named."""
    axes, keepdims = node.op.attributes["axes"], int(node.op.attributes["keepdims"])
    if len(axes) == node.inputs[0].ndim:
        return emitter.emit(operator, x, keepdims=keepdims)
    if emitter.opset >= AXES_AS_INPUT.get(operator, LATER):
        return emitter.emit(operator, x, emitter.ints(axes), keepdims=keepdims)
    return emitter.emit(operator, x, axes=axes, keepdims=keepdims)


def reduction(emitter: Emitter, node: Node) -> str:
    """The operator that the card names; operands are cast to the dtype in which the result is kept."""
    operator, (source,) = node.op.onnx, node.inputs
    assert operator is not None
    x = emitter.value(source)
    if not node.op.attributes["axes"]:
        return _cast(emitter, x, source.dtype, node.dtype)
    via = route_or_refuse(emitter, operator, node.dtype)
    reduced = reduce(emitter, operator, _cast(emitter, x, source.dtype, via), node)
    return _cast(emitter, reduced, via, node.dtype)


def mean(emitter: Emitter, node: Node) -> str:
    """ReduceMean; over all that follows images and channels, kept, GlobalAveragePool."""
    (x,) = node.inputs
    axes = node.op.attributes["axes"]
    is_pooling = node.op.attributes["keepdims"] and x.ndim >= 3 and axes == tuple(range(2, x.ndim))
    if is_pooling and x.dtype in (dtypes.float32, dtypes.float16):
        return emitter.emit("GlobalAveragePool", emitter.value(x))
    return reduction(emitter, node)


def logic(emitter: Emitter, node: Node) -> str:
    """any as a sum of ones, all as a product: of no elements they are 0 and 1."""
    (x,) = emitter.operands(node)
    if not node.op.attributes["axes"]:
        return x
    operator = "ReduceSum" if node.op.name == "any" else "ReduceProd"
    return emitter.cast(reduce(emitter, operator, emitter.cast(x, dtypes.int32), node), dtypes.bool_)


def position(emitter: Emitter, node: Node) -> str:
    """ArgMax or ArgMin along one axis; along none named, of the flattened array."""
    (source,) = node.inputs
    axis, keepdims = node.op.attributes["axis"], node.op.attributes["keepdims"]
    assert node.op.onnx is not None
    x = _cast(emitter, emitter.value(source), source.dtype, route_or_refuse(emitter, node.op.onnx, source.dtype))
    if axis is not None:
        return emitter.emit(node.op.onnx, x, axis=axis, keepdims=int(keepdims))
    if source.ndim != 1:
        x = emitter.emit("Reshape", x, emitter.ints([-1]))
    found = emitter.emit(node.op.onnx, x, axis=0, keepdims=int(keepdims and node.ndim == 1))
    return emitter.emit("Reshape", found, emitter.ints([1] * node.ndim)) if keepdims and node.ndim != 1 else found


def _cast(emitter: Emitter, x: str, old: DType, new: DType) -> str:
    return x if old == new else emitter.cast(x, new)
