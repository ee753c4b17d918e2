"""A graph as an ONNX model: prepared, written node by node, checked."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

import numpy as np
import onnx
from onnx import ModelProto

from staticnet.compiler.errors import ExportError
from staticnet.compiler.ir import Graph, Node
from staticnet.exporters.onnx.checks import check_model
from staticnet.exporters.onnx.emitter import Emitter
from staticnet.exporters.onnx.lowering import has_form, lower
from staticnet.exporters.onnx.prepare import prepare
from staticnet.exporters.onnx.versions import DEFAULT_IR, DEFAULT_OPSET, require_versions

#: a protobuf message, and so a file, holds less than 2 GiB
MOST_BYTES = 2**31 - 1
#: what graph, names and lines may take beside the tensors
HEADROOM = 16 * 2**20


def to_model(
    graph: Graph,
    states: Mapping[Node, np.ndarray] | Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = DEFAULT_OPSET,
    ir_version: int = DEFAULT_IR,
    description: str = "",
    check: bool = True,
) -> ModelProto:
    """The model that computes the outputs of `graph` from its feeds; its states become initializers.

    `states` gives the array of each state by its node or by its label. Updates of states are not part
    of a model, which keeps nothing between calls. The same graph gives the same bytes in every process.
    Raises ExportError for opsets and IR versions out of range, for ops without a form (named, with their
    line in the script) and for models of 2 GiB or more; with `check` also when onnx's checker or its
    shape inference disagrees with us.
    """
    require_versions(opset, ir_version)
    arrays = _arrays(graph, states or {})
    graph, tensors = prepare(graph, arrays, lambda node: has_form(node, opset), opset)
    emitter = Emitter(graph, tensors, opset)
    for node in graph.nodes:
        # Inputs and constants are written when the first node asks for them.
        if node in emitter.needed and node.op.name not in ("input", "constant"):
            lower(emitter, node)
    _require_room(emitter)
    model = onnx.helper.make_model(
        emitter.finish(graph.name),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=ir_version,
        producer_name="staticnet",
        producer_version=metadata.version("staticnet"),
        **({"doc_string": description} if description else {}),
    )
    if check:
        check_model(model, emitter.types)
    return model


def _arrays(graph: Graph, states: Mapping) -> dict[Node, np.ndarray]:
    """The array of each state node; raises where one is missing or does not fit."""
    found = {}
    for node in graph.inputs:
        label = getattr(node.op, "label", "")
        value = states.get(node, states.get(label))
        if getattr(node.op, "kind", "feed") != "state" or value is None:
            continue
        array = np.asarray(value)
        if array.dtype != node.dtype.numpy or tuple(array.shape) != node.shape:
            raise ExportError(f"state {label!r} is {node.type} but its array is {array.dtype} of shape {array.shape}")
        found[node] = array
    return found


def _require_room(emitter: Emitter) -> None:
    total = sum(array.nbytes for array in emitter.initializers.values())
    if total + HEADROOM <= MOST_BYTES:
        return
    largest = sorted(emitter.initializers.items(), key=lambda item: -item[1].nbytes)[:3]
    names = ", ".join(f"{name} {array.nbytes / 2**20:.0f} MiB" for name, array in largest)
    raise ExportError(
        f"the model's tensors take {total / 2**30:.2f} GiB (the largest: {names}), and one ONNX file holds less than "
        "2 GiB: export a smaller model, or weights cast to float16"
    )
