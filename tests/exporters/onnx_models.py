"""Small graphs exported, run in onnxruntime and looked at: what the tests of the ONNX exporter share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from staticnet.compiler import dims
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Builder, Graph, Node, Type, building
from staticnet.compiler.ops.leaf import make_input
from staticnet.exporters.onnx.export import to_model


def feed(*shape: int | str, dtype: str = "float32", label: str = "x") -> Node:
    """A feed; strings in the shape are symbolic sizes, arithmetic over them too."""
    return make_input(label, Type((dims.parse(n) if isinstance(n, str) else n for n in shape), dtype))


def state(label: str, *shape: int, dtype: str = "float32") -> Node:
    """A state."""
    return make_input(label, Type(shape, dtype), "state")


def graph_of(function: Callable[..., Any], *inputs: Node, names: Sequence[str] | None = None) -> Graph:
    """The graph of a function on inputs that are there already, with the lines that it is made of."""
    builder = Builder()
    with building(builder):
        results = function(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    labels = {node: node.op.label for node in inputs}  # type: ignore[attr-defined]
    return Graph(inputs, results, output_names=names, names={**builder.names, **labels}, origins=builder.origins)


def model_of(function: Callable[..., Any], *inputs: Node, **options: Any) -> onnx.ModelProto:
    """The model of a function on feeds and states, states filled with drawn numbers unless given."""
    given = options.pop("states", {})
    names = options.pop("names", None)
    rng = np.random.default_rng(0)
    states = {
        node: given.get(node.op.label, rng.standard_normal(node.shape).astype(node.dtype.numpy))  # type: ignore
        for node in inputs
        if node.op.kind == "state"  # type: ignore[attr-defined]
    }
    return to_model(graph_of(function, *inputs, names=names), states, **options)


def operators(model: onnx.ModelProto) -> list[str]:
    """The operators of a model, in order."""
    return [node.op_type for node in model.graph.node]


def text(model: onnx.ModelProto) -> str:
    """The graph of a model as onnx prints it, without the values of its tensors."""
    bare = onnx.GraphProto()
    bare.CopyFrom(model.graph)
    bare.ClearField("initializer")
    return onnx.printer.to_text(bare)


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    """The value of an initializer."""
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    return onnx.numpy_helper.to_array(tensor)


def run(model: onnx.ModelProto, *arrays: np.ndarray) -> list[np.ndarray]:
    """The outputs of a model in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.input]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def expected(
    function: Callable[..., Any], inputs: Sequence[Node], arrays: Sequence[np.ndarray], binding: Mapping[str, int]
) -> list[np.ndarray]:
    """What the kernels of the ops say."""
    results = function(*inputs)
    results = list(results) if isinstance(results, tuple) else [results]
    return evaluate(results, dict(zip(inputs, arrays, strict=True)), binding)


def assert_runs(
    function: Callable[..., Any],
    *inputs: Node,
    arrays: Sequence[np.ndarray] | None = None,
    binding: Mapping[str, int] | None = None,
    rtol: float = 1e-5,
    **options: Any,
) -> onnx.ModelProto:
    """Export a function of feeds, run it, and compare with its kernels; drawn arrays unless given."""
    binding = binding or {}
    rng = np.random.default_rng(1)
    if arrays is None:
        arrays = [_draw(node, binding, rng) for node in inputs]
    model = model_of(function, *inputs, **options)
    results, wanted = run(model, *arrays), expected(function, inputs, arrays, binding)
    assert len(results) == len(wanted)
    for result, value in zip(results, wanted, strict=True):
        assert result.dtype == value.dtype
        assert result.shape == value.shape
        np.testing.assert_allclose(result, value, rtol=rtol, atol=rtol)
    return model


def _draw(node: Node, binding: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    shape = [dims.evaluate(size, binding) for size in node.shape]
    kind = node.dtype.numpy.kind
    return (rng.standard_normal(shape) if kind == "f" else rng.integers(0, 2, shape)).astype(node.dtype.numpy)
