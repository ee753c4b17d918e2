"""Which opsets and IR versions can be written: what both onnx and the installed onnxruntime know."""

from __future__ import annotations

import functools
from collections.abc import Callable

import onnx

from staticnet.compiler.errors import ExportError

DEFAULT_OPSET = 18
DEFAULT_IR = 10
#: the oldest forms that are written, and the IR version that came with them
OLDEST_OPSET, OLDEST_IR = 13, 7
#: what the oldest onnxruntime that we support runs, so that nothing needs to be tried up to here
SURE_OPSET, SURE_IR = 21, 10


def require_versions(opset: int, ir_version: int) -> None:
    """Raise ExportError, naming the range, unless a file of this opset and IR version can be written and run."""
    _require("opset", opset, OLDEST_OPSET, SURE_OPSET, newest_opset)
    _require("ir_version", ir_version, OLDEST_IR, SURE_IR, newest_ir)


def _require(name: str, value: int, oldest: int, sure: int, newest: Callable[[], int]) -> None:
    if type(value) is not int:
        raise ExportError(f"{name} is a whole number, not {value!r}")
    if not oldest <= value <= (sure if value <= sure else newest()):
        raise ExportError(f"{name} {value} cannot be written: take one from {oldest} to {newest()}{_limit()}")


def _limit() -> str:
    try:
        import onnxruntime
    except ImportError:
        return f" (onnx {onnx.__version__} knows no newer)"
    return f" (onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__} run no newer)"


@functools.cache
def newest_opset() -> int:
    """The newest opset that onnx and, where it is installed, onnxruntime can take."""
    newest = onnx.defs.onnx_opset_version()
    return next((opset for opset in range(newest, SURE_OPSET, -1) if _runs(opset, SURE_IR)), min(newest, SURE_OPSET))


@functools.cache
def newest_ir() -> int:
    """The newest IR version that onnx and, where it is installed, onnxruntime can take."""
    newest = onnx.IR_VERSION
    return next((ir for ir in range(newest, SURE_IR, -1) if _runs(SURE_OPSET, ir)), min(newest, SURE_IR))


def _runs(opset: int, ir_version: int) -> bool:
    """Whether onnxruntime loads a file of these versions; true where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return True
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True
