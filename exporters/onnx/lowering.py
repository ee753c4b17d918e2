"""How each op is written in ONNX: the table of forms that need code, and when an op has a form at all.

An op is looked up here, then on its card (`onnx` names the operator, its fields are the attributes), then
it is expanded; what has none of these stands in NOT_EXPORTABLE with the reason.
"""

from __future__ import annotations

from collections.abc import Callable

from staticnet.compiler.ir import Node
from staticnet.compiler.ops.base import Elementwise
from staticnet.exporters.onnx import elementwise, layers, movement, reductions
from staticnet.exporters.onnx.dtypes import route
from staticnet.exporters.onnx.emitter import Emitter, Values, has_operator

#: op -> what writes it and returns the names of its values
LOWERING: dict[str, Callable[[Emitter, Node], Values]] = {
    "input": lambda emitter, node: emitter.values(node),
    "constant": lambda emitter, node: emitter.values(node),
    "item": lambda emitter, node: emitter.values(node.inputs[0])[node.op.attributes["index"]],
    "pack": lambda emitter, node: tuple(emitter.operands(node)),
    "identity": lambda emitter, node: emitter.value(node.inputs[0]),
    "stop_gradient": lambda emitter, node: emitter.value(node.inputs[0]),
    "check_labels": lambda emitter, node: emitter.value(node.inputs[0]),
    "size_of": elementwise.size_of,
    "iota": elementwise.iota,
    "cast": elementwise.cast,
    "not_equal": elementwise.not_equal,
    "less": elementwise.comparison,
    "less_equal": elementwise.comparison,
    "greater": elementwise.comparison,
    "greater_equal": elementwise.comparison,
    "equal": elementwise.comparison,
    "absolute": elementwise.absolute,
    "square": elementwise.square,
    "power": elementwise.power,
    "floor_divide": elementwise.floor_divide,
    "remainder": elementwise.remainder,
    "where": elementwise.where,
    "clip": elementwise.clip,
    "relu": elementwise.relu,
    "expm1": elementwise.expm1,
    "log1p": elementwise.log1p,
    "softplus": elementwise.softplus,
    "reshape": movement.reshape,
    "transpose": movement.transpose,
    "broadcast": movement.broadcast,
    "slice": movement.slice_,
    "pad": movement.pad,
    "concat": movement.concat,
    "element": movement.element,
    "gather_nd": movement.gather_nd,
    "scatter_nd_add": movement.scatter_nd_add,
    "scatter_elements_add": movement.scatter_elements_add,
    "sum": reductions.reduction,
    "mean": reductions.mean,
    "prod": reductions.reduction,
    "max": reductions.reduction,
    "min": reductions.reduction,
    "log_sum_exp": reductions.reduction,
    "argmax": reductions.position,
    "argmin": reductions.position,
    "any": reductions.logic,
    "all": reductions.logic,
    "matmul": layers.matmul,
    "gemm": layers.gemm,
    "conv2d": layers.conv2d,
    "conv2d_input_grad": layers.conv2d_input_grad,
    "max_pool2d": layers.max_pool2d,
    "avg_pool2d": layers.avg_pool2d,
    "batch_norm": layers.batch_norm,
    "softmax": layers.along_axis,
    "log_softmax": layers.along_axis,
}

#: op -> when the form above holds; otherwise the op is expanded
CONDITIONS: dict[str, Callable[[Node, int], bool]] = {
    "batch_norm": lambda node, opset: not node.op.attributes["training"],
    "conv2d": lambda node, opset: route("Conv", node.dtype) is not None,
    "conv2d_input_grad": lambda node, opset: (
        route("ConvTranspose", node.dtype) is not None and layers.output_padding(node) is not None
    ),
    "max_pool2d": lambda node, opset: route("MaxPool", node.dtype) is not None,
    "avg_pool2d": lambda node, opset: (
        route("AveragePool", node.dtype) is not None and (opset >= 19 or node.op.attributes["dilation"] == (1, 1))
    ),
}

#: op -> the first opset that has what its form is made of
SINCE: dict[str, int] = {"scatter_nd_add": 16, "scatter_elements_add": 16}

_RANDOM = "ONNX has no Philox generator, so a file could not draw the same numbers; export the model in eval mode"
#: op -> why no file can hold it
NOT_EXPORTABLE: dict[str, str] = {
    "fused": "it is made for one machine; export the graph as it was traced",
    "random_bits": _RANDOM,
    "random_uniform": _RANDOM,
    "random_normal": _RANDOM,
    "random_mask": _RANDOM,
}


def has_form(node: Node, opset: int) -> bool:
    """Whether a node can be written as it stands; otherwise its expansion is."""
    condition = CONDITIONS.get(node.op.name)
    if condition is not None:
        return condition(node, opset)
    return node.op.name in LOWERING or _card_fits(node, opset)


def _card_fits(node: Node, opset: int) -> bool:
    operator = node.op.onnx
    if operator is None or not has_operator(operator, opset):
        return False
    return not isinstance(node.op, Elementwise) or route(operator, node.inputs[0].dtype) is not None


def lower(emitter: Emitter, node: Node) -> None:
    """Write one node; raises ExportError, naming op and source line, where nothing says how."""
    emitter.lowering(node)
    since = SINCE.get(node.op.name, 0)
    if emitter.opset < since:
        emitter.refuse(f"has no form at opset {emitter.opset}; take opset {since} or a later one")
    written = LOWERING.get(node.op.name) or _from_card(emitter, node)
    emitter.lowered(node, written(emitter, node))


def _from_card(emitter: Emitter, node: Node) -> Callable[[Emitter, Node], Values]:
    if node.op.onnx is not None:
        return elementwise.elementwise if isinstance(node.op, Elementwise) else _plain
    reason = NOT_EXPORTABLE.get(node.op.name)
    if reason is not None:
        emitter.refuse(f"cannot be exported to ONNX: {reason}")
    emitter.refuse(
        "has no ONNX form: give its card an `onnx` name or an `expand`, or the table of lowerings an entry for it"
    )


def _plain(emitter: Emitter, node: Node) -> Values:
    """The operator that the card names, its fields as attributes."""
    assert node.op.onnx is not None
    return emitter.emit(node.op.onnx, *emitter.operands(node), **node.op.attributes)
