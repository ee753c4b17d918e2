"""The state of an optimizer as flat named arrays, and back: everything is checked, then everything is copied in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from staticnet.compiler.errors import ArgumentError, StateError
from staticnet.compiler.ir import format_shape
from staticnet.nn.parameter import Buffer
from staticnet.optim.hyperparameters import hyperparameters_of

if TYPE_CHECKING:
    from staticnet.optim.optimizer import Optimizer

COUNT = "step"
_MOST_NAMED = 20

Names = Mapping[int, str]


def collect(optimizer: Optimizer, names: Names) -> dict[str, np.ndarray]:
    """Hyperparameters, then per slot an array for each parameter; zeros for slots that are not made yet."""
    found = {name: buffer.state.numpy() for name, buffer in optimizer._hyperparameters.items()}
    for slot, position in _kept(optimizer):
        found[_key(slot, position, names)] = _value(optimizer, slot, position)
    return found


def load(optimizer: Optimizer, given: Mapping[str, Any], names: Names) -> None:
    """Copy in; see `Optimizer.load_state_dict`."""
    faults = misfits(optimizer, given, names)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise StateError(f"the state dict does not fit {type(optimizer).__name__}, nothing was loaded:\n{listed}")
    arrays = {name: np.asarray(value) for name, value in given.items()}
    for name, buffer in optimizer._hyperparameters.items():
        buffer.state.set(arrays[name])
    possible = _possible(optimizer, names)
    counts: dict[int, list[int]] = {}
    for key, array in arrays.items():
        slot, position = possible.get(key, ("", 0))
        if slot == COUNT:
            counts.setdefault(int(array), []).append(position)
        elif slot:
            optimizer.slot(slot, optimizer.parameters[position]).state.set(array)
    for count, positions in counts.items():
        _load_count(optimizer, positions, count)


def _load_count(optimizer: Optimizer, positions: list[int], count: int) -> None:
    for counter in {id(c): c for p in positions if (c := optimizer._counts.get(p)) is not None}.values():
        counter.state.set(np.int64(count))
    fresh = [position for position in positions if position not in optimizer._counts]
    if fresh:
        optimizer._share_counter(fresh, count)


def misfits(optimizer: Optimizer, given: Any, names: Names) -> list[str]:
    """Everything about a state dict that does not fit, one line each; nothing changes."""
    if not isinstance(given, Mapping):
        return [f"a state dict maps names to arrays, got {type(given).__name__}"]
    possible = _possible(optimizer, names)
    required = [*optimizer._hyperparameters, *(_key(slot, position, names) for slot, position in _kept(optimizer))]
    missing = [key for key in required if key not in given]
    surplus = [str(key) for key in given if key not in possible and key not in optimizer._hyperparameters]
    faults = _listed("missing", missing) + _listed("surplus", surplus)
    for key, value in given.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            faults.append(f"{key}: a value of dtype {array.dtype} is no array of numbers")
        elif key in optimizer._hyperparameters:
            faults += _unfit_number(optimizer, key, array)
        elif key in possible:
            faults += _unfit_slot(optimizer, key, *possible[key], array)
    return faults or _unfit_counts(optimizer, given, possible)


def _kept(optimizer: Optimizer) -> list[tuple[str, int]]:
    """(slot, position) of everything that a state dict must have: the slots of what is or was trained."""
    slots = [*optimizer.slot_names, *([COUNT] if optimizer.counts_steps else [])]
    return [
        (slot, position)
        for slot in slots
        for position, parameter in enumerate(optimizer.parameters)
        if not parameter.is_lazy and (parameter.requires_grad or position in _made(optimizer, slot))
    ]


def _possible(optimizer: Optimizer, names: Names) -> dict[str, tuple[str, int]]:
    """What each key that a state dict may have stands for; that of a frozen parameter may be there or not."""
    slots = [*optimizer.slot_names, *([COUNT] if optimizer.counts_steps else [])]
    return {_key(s, position, names): (s, position) for s in slots for position in range(len(optimizer.parameters))}


def _key(slot: str, position: int, names: Names) -> str:
    return f"{slot}.{names.get(position, position)}"


def _made(optimizer: Optimizer, slot: str) -> Mapping[int, Buffer]:
    return optimizer._counts if slot == COUNT else optimizer._slots.get(slot, {})


def _value(optimizer: Optimizer, slot: str, position: int) -> np.ndarray:
    made = _made(optimizer, slot).get(position)
    if made is not None:
        return made.state.numpy()
    if slot == COUNT:
        return np.zeros((), np.int64)
    type = optimizer.parameters[position].state.type
    return np.zeros(type.shape, type.dtype.numpy)  # type: ignore[arg-type]


def _unfit_number(optimizer: Optimizer, name: str, array: np.ndarray) -> list[str]:
    if array.shape:
        return [f"{name}: a number is expected, the state dict has shape {format_shape(array.shape)}"]
    kind = hyperparameters_of(type(optimizer))[name]
    try:
        fault = kind.conflict(optimizer, kind.checked(array.item()))
    except ArgumentError as error:
        fault = error.message
    return [] if fault is None else [fault]


def _unfit_slot(optimizer: Optimizer, key: str, slot: str, position: int, array: np.ndarray) -> list[str]:
    if slot == COUNT:
        fits = not array.shape and array.dtype.kind in "iu" and 0 <= int(array) < 2**63
        return [] if fits else [f"{key}: a number of steps is expected, not {array.dtype} {array!s:.40}"]
    parameter = optimizer.parameters[position]
    if parameter.is_lazy:
        return [f"{key}: its parameter has no shape yet; load the model's weights first"]
    type = parameter.state.type
    if array.shape != type.shape:
        return [
            f"{key}: the parameter has shape {format_shape(type.shape)}, the state dict {format_shape(array.shape)}"
        ]
    if not np.can_cast(array.dtype, type.dtype.numpy, "same_kind"):
        return [f"{key}: the parameter is {type.dtype}, and the state dict's {array.dtype} does not convert safely"]
    return []


def _unfit_counts(optimizer: Optimizer, given: Mapping[str, Any], possible: Mapping[str, tuple[str, int]]) -> list[str]:
    """Parameters whose steps are counted by one state, as compiled, but that stand at different steps."""
    by_counter: dict[int, dict[str, int]] = {}
    for key, (slot, position) in possible.items():
        counter = optimizer._counts.get(position)
        if slot == COUNT and counter is not None and key in given:
            by_counter.setdefault(id(counter), {})[key] = int(np.asarray(given[key]))
    return [
        f"{', '.join(f'{key} = {value}' for key, value in list(counts.items())[:_MOST_NAMED])}: these are counted "
        "together by the step that is compiled already; load before the first step"
        for counts in by_counter.values()
        if len(set(counts.values())) > 1
    ]


def _listed(kind: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return [f"{kind}: {', '.join(keys[:_MOST_NAMED])}{more}"]
