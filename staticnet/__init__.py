"""staticnet: define-then-run deep learning; a model is traced once, compiled, and run again and again."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from staticnet import data, errors, functional, nn, onnx, optim, random, training
    from staticnet.compiled import CompiledFunction, compile
    from staticnet.compiler.errors import StaticnetError
    from staticnet.config import config, using_config
    from staticnet.drawing import draw
    from staticnet.gradients import grad, gradcheck
    from staticnet.native_export import export_native
    from staticnet.random import manual_seed
    from staticnet.serialization import load, load_metadata, save
    from staticnet.step import compile_train_step
    from staticnet.tensors import Tensor, TensorSpec, tensor
    from staticnet.tracing import TracedGraph, trace
    from staticnet.training import History, Trainer, metrics

__version__ = "0.1.0"
__all__ = [
    "CompiledFunction",
    "History",
    "StaticnetError",
    "Tensor",
    "TensorSpec",
    "TracedGraph",
    "Trainer",
    "compile",
    "compile_train_step",
    "config",
    "data",
    "draw",
    "errors",
    "export_native",
    "functional",
    "grad",
    "gradcheck",
    "load",
    "load_metadata",
    "manual_seed",
    "metrics",
    "nn",
    "onnx",
    "optim",
    "random",
    "save",
    "tensor",
    "trace",
    "training",
    "using_config",
]

# Nothing is imported before it is asked for, so that `import staticnet` is cheap: a public name,
# and the module that has it. What stands in neither table is a function on tensors.
_MODULES = {
    "data": "staticnet.data",
    "errors": "staticnet.errors",
    "functional": "staticnet.functional",
    "metrics": "staticnet.training.metrics",
    "nn": "staticnet.nn",
    "onnx": "staticnet.onnx",
    "optim": "staticnet.optim",
    "random": "staticnet.random",
    "training": "staticnet.training",
}
_NAMES = {
    "CompiledFunction": "staticnet.compiled",
    "History": "staticnet.training",
    "StaticnetError": "staticnet.compiler.errors",
    "Tensor": "staticnet.tensors",
    "TensorSpec": "staticnet.tensors",
    "TracedGraph": "staticnet.tracing",
    "Trainer": "staticnet.training",
    "compile": "staticnet.compiled",
    "compile_train_step": "staticnet.step",
    "config": "staticnet.config",
    "draw": "staticnet.drawing",
    "export_native": "staticnet.native_export",
    "grad": "staticnet.gradients",
    "gradcheck": "staticnet.gradients",
    "load": "staticnet.serialization",
    "load_metadata": "staticnet.serialization",
    "manual_seed": "staticnet.random",
    "save": "staticnet.serialization",
    "tensor": "staticnet.tensors",
    "trace": "staticnet.tracing",
    "using_config": "staticnet.config",
}
_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


class _Package(ModuleType):
    """This package, in which a public name is never hidden by a submodule of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _NAMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _find(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _DTYPES:
        return getattr(importlib.import_module("staticnet.compiler.dtypes"), name)
    # `from staticnet import lazy` asks here first, before it looks for the submodule.
    if importlib.util.find_spec(f"staticnet.{name}") is not None:
        return importlib.import_module(f"staticnet.{name}")
    return getattr(importlib.import_module("staticnet.functional"), name)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'staticnet' has no attribute {name!r}")
    value = globals()[name] = _find(name)
    return value


def __dir__() -> list[str]:
    functions = importlib.import_module("staticnet.functional").names()
    return sorted({"__version__", *_MODULES, *_NAMES, *_DTYPES, *functions})
