"""Checkpoints: one safetensors file with all that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from staticnet import random, serialization
from staticnet.compiler.errors import StateError, StaticnetError
from staticnet.files import atomic_path
from staticnet.nn import loading
from staticnet.nn.module import Module
from staticnet.optim import states
from staticnet.optim.hyperparameters import hyperparameters_of
from staticnet.training.history import History

if TYPE_CHECKING:
    from staticnet.optim import Optimizer
    from staticnet.training.totals import Totals
    from staticnet.training.trainer import Trainer

AnyPath = str | os.PathLike[str]

FORMAT = "staticnet checkpoint 1"
_SECTIONS = ("model", "optimizer", "random", "metrics")
_ENTRIES = {"epoch", "step", "is_inside", "loader", "history", "totals", "optimizer"}


@dataclass
class Position:
    """Where a training stands: epochs that are over, steps done, and whether an epoch is going on."""

    epoch: int = 0
    step: int = 0
    is_inside: bool = False


def require_writable(path: AnyPath) -> None:
    """ArgumentError where no file can be written, before hours of training are spent on it."""
    with contextlib.suppress(_NothingWrittenError), atomic_path(path):
        raise _NothingWrittenError


class _NothingWrittenError(Exception):
    pass


def write(path: AnyPath, trainer: Trainer, loader: Any, totals: Totals, position: Position) -> None:
    """Replace the file by one with weights, buffers, optimizer, random key, loader, history and position."""
    sections = {
        "model": _model_states(trainer.model),
        "optimizer": trainer.optimizer.state_dict(_parameter_names(trainer)),
        "random": {"key": random.get_state()},
        "metrics": {},
    }
    numbers: dict[str, Any] = {}
    if position.is_inside:
        numbers, sections["metrics"] = totals.state()
    entries = {
        "epoch": position.epoch,
        "step": position.step,
        "is_inside": position.is_inside,
        "loader": loader.state_dict(),
        "history": trainer.history.to_json(),
        "totals": numbers,
        "optimizer": _description(trainer.optimizer),
    }
    arrays = {f"{section}.{name}": array for section, found in sections.items() for name, array in found.items()}
    serialization.save(arrays, path, {"format": FORMAT, "training": json.dumps(entries)})


def restore(path: AnyPath, trainer: Trainer, loader: Any, totals: Totals) -> Position:
    """Take everything from a checkpoint; StateError names all that differs, and then nothing is changed."""
    sections, entries = _read(path)
    model, optimizer, names = trainer.model, trainer.optimizer, _parameter_names(trainer)
    faults = [f"model: {text}" for text in loading.faults(_model_targets(model), sections["model"])]
    faults += _optimizer_faults(optimizer, sections["optimizer"], names, entries["optimizer"])
    faults += [f"loader: {text}" for text in _loader_faults(loader, entries["loader"])]
    if entries["is_inside"]:
        faults += _faults_of(lambda: copy.deepcopy(totals).load_state(entries["totals"], sections["metrics"]))
    faults += _damages(entries, sections["random"].get("key"))
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise StateError(f"{os.fspath(path)} is not of this training, nothing was loaded:\n{listed}")
    if isinstance(model, Module):
        model.load_state_dict(sections["model"])
    optimizer.load_state_dict(sections["optimizer"], names)
    loader.load_state_dict(entries["loader"])
    random.set_state(sections["random"]["key"])
    trainer.history.load_json(entries["history"])
    if entries["is_inside"]:
        totals.load_state(entries["totals"], sections["metrics"])
    return Position(entries["epoch"], entries["step"], entries["is_inside"])


# -- reading ----------------------------------------------------------------------------------


def _read(path: AnyPath) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    metadata, arrays = serialization.load_metadata(path), serialization.load(path)
    if metadata.get("format") != FORMAT:
        raise StateError(
            f"{os.fspath(path)} is no checkpoint of a training: those are written by Trainer.fit(..., checkpoint=)"
        )
    try:
        entries = json.loads(metadata["training"])
    except (KeyError, ValueError, RecursionError) as error:
        raise StateError(f"{os.fspath(path)} is damaged: {error}") from None
    sections: dict[str, dict[str, np.ndarray]] = {section: {} for section in _SECTIONS}
    strange = [name for name in arrays if name.partition(".")[0] not in sections]
    if strange or not isinstance(entries, dict) or set(entries) != _ENTRIES:
        raise StateError(f"{os.fspath(path)} is damaged: it has not the entries of a checkpoint")
    for name, array in arrays.items():
        section, _, own = name.partition(".")
        sections[section][own] = array
    return sections, entries


# -- what differs -----------------------------------------------------------------------------


def _optimizer_faults(
    optimizer: Optimizer, given: Mapping[str, np.ndarray], names: Mapping[int, str], description: Any
) -> list[str]:
    own = _description(optimizer)
    if description != own:
        return [f"optimizer: it is {_text(own)}, and was {_text(description)}"]
    # The sizes of lazy parameters are known once the weights are loaded.
    lazy = {names.get(position, str(position)) for position, p in enumerate(optimizer.parameters) if p.is_lazy}
    settled = {key: array for key, array in given.items() if key.partition(".")[2] not in lazy}
    return [f"optimizer: {text}" for text in states.misfits(optimizer, settled, names)]


def _loader_faults(loader: Any, given: Any) -> list[str]:
    own = loader.state_dict()
    if not isinstance(given, dict) or set(given) != set(own):
        return ["its state is of another kind of loader"]
    fixed = [name for name in own if name not in ("seed", "epoch", "position")]
    faults = [f"{name} is {own[name]}, and was {given[name]}" for name in fixed if own[name] != given[name]]
    return faults or _faults_of(lambda: copy.copy(loader).load_state_dict(given))


def _damages(entries: Mapping[str, Any], key: np.ndarray | None) -> list[str]:
    faults = _faults_of(lambda: History().load_json(entries["history"]))
    if not all(isinstance(entries[name], int) and entries[name] >= 0 for name in ("epoch", "step")):
        faults.append(f"damaged: epoch {entries['epoch']!r}, step {entries['step']!r}")
    if key is None or key.shape != (2,) or key.dtype != np.uint64:
        faults.append("damaged: there is no random key of two uint64")
    return faults


def _faults_of(attempt: Any) -> list[str]:
    """What is wrong with what an attempt takes, which changes nothing here."""
    try:
        attempt()
    except StaticnetError as error:
        return [error.message]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"damaged: {error!r:.80}"]
    return []


# -- the parts --------------------------------------------------------------------------------


def _model_states(model: Any) -> dict[str, np.ndarray]:
    return model.state_dict() if isinstance(model, Module) else {}


def _model_targets(model: Any) -> dict[str, Any]:
    return dict(model._all_states()) if isinstance(model, Module) else {}


def _parameter_names(trainer: Trainer) -> dict[int, str]:
    """What the model calls the parameters of the optimizer, by their positions there."""
    model = trainer.model
    known = {id(p): name for name, p in model.named_parameters()} if isinstance(model, Module) else {}
    parameters = trainer.optimizer.parameters
    return {position: known[id(p)] for position, p in enumerate(parameters) if id(p) in known}


def _description(optimizer: Optimizer) -> dict[str, Any]:
    """The kind of an optimizer and its choices that are no numbers."""
    public = {name: value for name, value in vars(optimizer).items() if not name.startswith("_")}
    numbers = hyperparameters_of(type(optimizer))
    choices = {name: v for name, v in public.items() if name not in numbers and isinstance(v, (bool, str))}
    return {"kind": type(optimizer).__name__, **choices}


def _text(description: Any) -> str:
    if not isinstance(description, dict):
        return repr(description)
    choices = ", ".join(f"{name}={value}" for name, value in description.items() if name != "kind")
    return f"{description.get('kind')}({choices})" if choices else str(description.get("kind"))
