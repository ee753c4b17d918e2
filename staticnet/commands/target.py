"""TARGET and its inputs: the model that a command line names, its weights, and the specs of its inputs."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from staticnet import serialization
from staticnet.compiler.errors import ArgumentError
from staticnet.nn.module import Module
from staticnet.random import manual_seed
from staticnet.spec import TensorSpec
from staticnet.training.checkpoint import FORMAT

_SPEC = re.compile(r"(?:(?P<name>[^:\[\]]+):)?\s*(?P<dtype>\w+)?\s*\[(?P<sizes>[^\[\]]*)\]")
_FORMS = "write file.py:Name or package.module:Name"


def load_model(given: argparse.Namespace, seed: int = 0) -> Module:
    """The model of `given.target`, made under a seed, with the weights of `given.weights` if there are any."""
    manual_seed(seed)
    model = _instance(given.target, _find(given.target))
    if given.weights is not None:
        model.load_state_dict(_weights(given.weights))
    return model


def input_specs(given: argparse.Namespace, model: Module) -> tuple[TensorSpec, ...]:
    """The inputs of a model: those of --input, else its attribute `specs`."""
    if given.input:
        return tuple(parse_spec(text) for text in given.input)
    specs = getattr(model, "specs", None) if hasattr(type(model), "specs") or "specs" in vars(model) else None
    found = (specs,) if isinstance(specs, TensorSpec) else specs
    if found is None:
        raise ArgumentError(
            f'the inputs of {given.target} are not known: give --input "name:float32[batch,1,8,8]", '
            'or the class an attribute, as `specs = sn.TensorSpec(("batch", 1, 8, 8))`'
        )
    if not isinstance(found, (tuple, list)) or not all(isinstance(spec, TensorSpec) for spec in found):
        raise ArgumentError(f"the `specs` of {given.target} are a TensorSpec or a tuple of them, not {specs!r:.60}")
    return tuple(found)


def parse_spec(text: str) -> TensorSpec:
    """The spec that `name:float32[batch,1,8,8]` stands for; name and dtype may be left out."""
    parts = _SPEC.fullmatch(text.strip())
    if parts is None:
        raise ArgumentError(f"--input {text!r}: write [NAME:][DTYPE][SIZES], such as image:float32[batch,1,8,8]")
    sizes = [size.strip() for size in parts["sizes"].split(",")] if parts["sizes"].strip() else []
    if not all(sizes):
        raise ArgumentError(f"--input {text!r}: a size is missing between the commas")
    shape = tuple(int(size) if re.fullmatch(r"-?\d+", size) else size for size in sizes)
    return TensorSpec(shape, parts["dtype"] or "float32", parts["name"] and parts["name"].strip())


# -- finding the model ------------------------------------------------------------------------


def _find(target: str) -> Any:
    """What stands under the name."""
    place, colon, name = target.rpartition(":")
    if (target if not colon else place).endswith(".onnx"):
        raise ArgumentError(f"{target} is an ONNX file; this version reads models from Python only: {_FORMS}")
    if not colon or not place or not name:
        known = f"; {target} has {_candidates(_module(target))}" if _is_file(target) else ""
        raise ArgumentError(f"{target!r} names no model: {_FORMS}{known}")
    module = _module(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ArgumentError(f"{place} has no {name!r}; it has {_candidates(module)}")
        found = getattr(found, part)
    return found


def _is_file(place: str) -> bool:
    return place.endswith(".py") and Path(place).is_file()


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        return _module_of_file(Path(place))
    if "/" in place or "\\" in place:
        raise ArgumentError(f"{place!r} is neither a .py file nor the name of a module: {_FORMS}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise  # a module that the user's own module wants
        raise ArgumentError(f"there is no module {place!r} in '{folder}' or among the installed packages") from None


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ArgumentError(f"there is no file '{path}'")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as when the file is run as a script
    name = path.stem if path.stem not in sys.modules else f"target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise ArgumentError(f"{error.filename}:{error.lineno}: {error.msg}") from None
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _candidates(module: ModuleType) -> str:
    """The models of a module, as far as they can be told."""
    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, Module)
        or (isinstance(value, type) and issubclass(value, Module) and value.__module__ == module.__name__)
    ]
    return ", ".join(names) or "no Module"


def _instance(target: str, found: Any) -> Module:
    if isinstance(found, Module):
        return found
    if not callable(found):
        raise ArgumentError(f"{target} is a {type(found).__name__}, not a Module, a class of them or a function")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ArgumentError(
            f"{target} cannot be called without arguments ({error}): give them defaults, or name a function that makes "
            "the model"
        ) from None
    except ValueError:  # a builtin without a signature
        pass
    made = found()
    if not isinstance(made, Module):
        raise ArgumentError(f"{target} gives a {type(made).__name__}, not a Module")
    return made


def _weights(path: str) -> dict[str, Any]:
    """The weights in a file; of a checkpoint, those of its model."""
    arrays = serialization.load(path)
    if serialization.load_metadata(path).get("format") != FORMAT:
        return arrays
    return {name.removeprefix("model."): array for name, array in arrays.items() if name.startswith("model.")}


def sizes(text: str, option: str) -> Sequence[int]:
    """Whole numbers between commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ArgumentError(f"{option} takes whole numbers between commas, such as 1,2,7, not {text!r}")
    return tuple(int(part) for part in parts)
