"""What is checked of every model: onnx's checker, and its shape inference against our own types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from staticnet.compiler.errors import ExportError
from staticnet.compiler.ir import Type
from staticnet.exporters.onnx.dtypes import tensor_type


def check_model(model: onnx.ModelProto, types: Mapping[str, Type]) -> None:
    """Raise ExportError unless the checker accepts the model and shape inference agrees with `types`."""
    problems = [*checker_problems(model), *disagreements(model, types)]
    if problems:
        raise ExportError(
            "the exported model fails its check, which is a mistake of the exporter:\n  " + "\n  ".join(problems[:8])
        )


def checker_problems(model: onnx.ModelProto) -> list[str]:
    """What onnx's checker, with strict shape inference, has to say against the model; nothing when all is well."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        return [f"onnx checker: {str(error).strip()}"]
    return []


def disagreements(model: onnx.ModelProto, types: Mapping[str, Type]) -> list[str]:
    """Where the types that onnx infers contradict ours; sizes that it cannot tell contradict nothing."""
    inferred = inferred_types(model)
    if isinstance(inferred, str):
        return [inferred]
    return [problem for name, type in types.items() if name in inferred for problem in _compare(inferred[name], type)]


def inferred_types(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto] | str:
    """What onnx infers of all computed values, what the model declares of its outputs put aside; or its complaint."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        return f"shape inference: {str(error).strip()}"
    return {info.name: info for info in (*found.graph.value_info, *found.graph.output)}


def _compare(info: onnx.ValueInfoProto, ours: Type) -> Iterator[str]:
    tensor = info.type.tensor_type
    if tensor.elem_type != tensor_type(ours.dtype):
        yield f"shape inference gives {info.name!r} element type {tensor.elem_type}, we have {ours}"
    if not tensor.HasField("shape"):
        return
    sizes = inferred_shape(info)
    if len(sizes) != ours.ndim or any(map(_contradicts, sizes, ours.shape)):
        yield f"shape inference gives {info.name!r} the shape {sizes}, we have {ours}"


def inferred_shape(info: onnx.ValueInfoProto) -> list[int | str]:
    """The sizes of a value: numbers, names, or an empty name where nothing is known."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in info.type.tensor_type.shape.dim]


def _contradicts(inferred: int | str, size: object) -> bool:
    """Whether two sizes are known to differ: two numbers, or a number where the other is a name."""
    if isinstance(inferred, int):
        return inferred != size
    return bool(inferred) and not inferred.startswith("unk__") and isinstance(size, int)
