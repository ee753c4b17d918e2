"""Loading a state dict: everything is checked, all faults are named at once, then everything is copied in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from staticnet.compiler.errors import StateError
from staticnet.compiler.ir import format_shape

if TYPE_CHECKING:
    from staticnet.nn.parameter import StateTensor

_MOST_NAMED = 20


def load(targets: Mapping[str, StateTensor], given: Mapping[str, Any], strict: bool, owner: str) -> None:
    """Copy `given` into the tensors of the same names, all or none; see `Module.load_state_dict`."""
    if not isinstance(given, Mapping):
        raise StateError(f"a state dict maps names to arrays, got {type(given).__name__}")
    arrays = {name: _as_array(value) for name, value in given.items() if name in targets}
    wrong = _misfits(targets, arrays)
    faults = wrong + (_strange_names(targets, given) if strict else [])
    if faults:
        hint = "" if wrong or not strict else "\nWith strict=False missing and surplus names are passed over."
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise StateError(f"the state dict does not fit {owner}, nothing was loaded:\n{listed}{hint}")
    for name, array in arrays.items():
        _copy_in(targets[name], array)


def faults(targets: Mapping[str, StateTensor], given: Mapping[str, np.ndarray]) -> list[str]:
    """Everything about a state dict that does not fit, one line each; nothing is loaded."""
    known = {name: array for name, array in given.items() if name in targets}
    return _misfits(targets, known) + _strange_names(targets, given)


def _misfits(targets: Mapping[str, StateTensor], arrays: Mapping[str, np.ndarray]) -> list[str]:
    wrong = [text for name, array in arrays.items() if (text := _misfit(name, targets[name], array))]
    return wrong + _contradictions(targets, arrays)


def _strange_names(targets: Mapping[str, StateTensor], given: Mapping[str, Any]) -> list[str]:
    # One of the names of a tied tensor is enough.
    found = {id(targets[name]) for name in given if name in targets}
    missing = [name for name, target in targets.items() if id(target) not in found]
    surplus = [str(name) for name in given if name not in targets]
    return _listed("missing", missing) + _listed("surplus", surplus)


def _as_array(value: Any) -> np.ndarray:
    numpy = getattr(value, "numpy", None)
    return np.asarray(numpy() if callable(numpy) else value)


def _misfit(name: str, target: StateTensor, array: np.ndarray) -> str | None:
    if array.dtype.kind not in "biuf":
        return f"{name}: a value of dtype {array.dtype} is no array of numbers"
    if target.is_lazy:
        return None
    type = target.state.type
    if array.shape != type.shape:
        return f"{name}: the model has shape {format_shape(type.shape)}, the state dict {format_shape(array.shape)}"
    if not np.can_cast(array.dtype, type.dtype.numpy, "same_kind"):
        return f"{name}: the model has {type.dtype}, the state dict {array.dtype}, which does not convert safely"
    return None


def _contradictions(targets: Mapping[str, StateTensor], arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Tensors with two names that are given two values."""
    first: dict[int, str] = {}
    texts = []
    for name, array in arrays.items():
        other = first.setdefault(id(targets[name]), name)
        if other != name and not np.array_equal(arrays[other], array, equal_nan=array.dtype.kind == "f"):
            texts.append(f"{other} and {name} are one tensor of the model, but the state dict has two values for it")
    return texts


def _copy_in(target: StateTensor, array: np.ndarray) -> None:
    if target.is_lazy:
        target.materialize(array.shape, lambda shape: array, array.dtype)
    else:
        target.state.set(array)


def _listed(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"{kind}: {', '.join(names[:_MOST_NAMED])}{more}"]
