"""staticnet: define-then-run deep learning; a model is traced once, compiled, and run again and again."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from staticnet import config, data, metrics, nn, onnx, optim, random
    from staticnet.random import manual_seed
    from staticnet.serialization import load, save
    from staticnet.tensors import Tensor, TensorSpec, tensor
    from staticnet.tracing import TracedGraph, trace

__version__ = "0.1.0"

# Everything is imported when it is first asked for, so that `import staticnet` is cheap.
_MODULES = ("config", "data", "nn", "onnx", "optim", "random")
_NAMES = {
    "Tensor": "staticnet.tensors",
    "TensorSpec": "staticnet.tensors",
    "tensor": "staticnet.tensors",
    "TracedGraph": "staticnet.tracing",
    "trace": "staticnet.tracing",
    "manual_seed": "staticnet.random",
}


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    if name in _MODULES:
        return importlib.import_module(f"staticnet.{name}")
    source = _NAMES.get(name)
    if source is None and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")  # `from staticnet import lazy` asks here first
    value = getattr(importlib.import_module(source or "staticnet.functional"), name)
    globals()[name] = value
    return value
