"""Totals: the loss and the metrics of many batches, as if they had been one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticnet.compiler.errors import ArgumentError, StateError
from staticnet.training.metrics import Metric, as_metric

_NUMBERS = (bool, int, float, str, type(None))


class Totals:
    """The example-weighted mean of the batches' losses, and metrics over all examples."""

    def __init__(self, metrics: Mapping[str, Any]):
        # Copies, since a metric that is an object may be at work for another data set.
        self.metrics = {name: copy.deepcopy(as_metric(metric)) for name, metric in metrics.items()}
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.loss_sum, self.examples = 0.0, 0
        for metric in self.metrics.values():
            metric.reset()

    def add(self, loss: float | None, outputs: Any, targets: np.ndarray) -> None:
        """Take one batch into account; the loss is a mean over its examples."""
        count = len(targets) if targets.ndim else 1
        self.loss_sum += 0.0 if loss is None else loss * count
        self.examples += count
        for metric in self.metrics.values():
            metric.update(outputs, targets)

    @property
    def loss(self) -> float:
        """The mean loss per example."""
        return self.loss_sum / self.examples if self.examples else float("nan")

    def results(self, prefix: str = "", *, with_loss: bool = True) -> dict[str, Any]:
        """All figures by name."""
        figures: dict[str, Any] = {f"{prefix}loss": self.loss} if with_loss else {}
        return figures | {f"{prefix}{name}": metric.result() for name, metric in self.metrics.items()}

    # -- for checkpoints in the middle of an epoch ---------------------------------------------

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What was added up so far: numbers that JSON can hold, and arrays.

        StateError for a metric that keeps something else and has no `state_dict`.
        """
        numbers: dict[str, Any] = {"loss_sum": self.loss_sum, "examples": self.examples}
        arrays: dict[str, np.ndarray] = {}
        for name, metric in self.metrics.items():
            numbers[f"metrics.{name}"] = _collect(name, metric, arrays)
        return numbers, arrays

    def load_state(self, numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave; StateError when the metrics are others."""
        found = {name.removeprefix("metrics.") for name in numbers} - {"loss_sum", "examples"}
        if found != set(self.metrics):
            raise StateError(f"the metrics are {sorted(self.metrics)}, and were {sorted(found)}")
        self.loss_sum, self.examples = float(numbers["loss_sum"]), int(numbers["examples"])
        for name, metric in self.metrics.items():
            _restore(name, metric, numbers[f"metrics.{name}"], arrays)


def named(metrics: Any) -> dict[str, Any]:
    """Metrics by name: from a mapping, or from a list of functions or objects that have names."""
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        found = dict(metrics)
    elif isinstance(metrics, Sequence) and not isinstance(metrics, str):
        found = {getattr(metric, "__name__", type(metric).__name__.lower()): metric for metric in metrics}
        if len(found) < len(metrics):
            raise ArgumentError('two metrics have the same name: give a dict, as {"f1": ..., "macro": ...}')
    else:
        raise ArgumentError(f"metrics are a dict of names and metrics, not {metrics!r:.60}")
    for name, metric in found.items():
        if not isinstance(name, str) or not name or name == "loss" or name.startswith("val_"):
            raise ArgumentError(f"{name!r} is no name for a metric: a text, not 'loss' and not beginning with 'val_'")
        as_metric(metric)
    return found


def _collect(name: str, metric: Metric, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The numbers of a metric; its arrays go into `arrays`, and stand here as how many there are."""
    kept = metric.state_dict() if hasattr(metric, "state_dict") else vars(metric)
    numbers: dict[str, Any] = {}
    for key, value in kept.items():
        place = f"{name}.{key}"
        if isinstance(value, np.ndarray):
            arrays[place] = value
        elif isinstance(value, list) and all(isinstance(item, np.ndarray) for item in value):
            numbers[key] = {"arrays": len(value)}
            arrays.update({f"{place}.{position}": item for position, item in enumerate(value)})
        elif isinstance(value, np.generic):
            numbers[key] = value.item()
        elif isinstance(value, _NUMBERS):
            numbers[key] = value
        elif not callable(value):
            raise StateError(
                f"the metric {name!r} keeps a {type(value).__name__} in {key!r}, which no checkpoint in the middle of "
                "an epoch can hold: give it `state_dict()` and `load_state_dict()` of numbers and arrays"
            )
    return numbers


def _restore(name: str, metric: Metric, numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    own = f"{name}."
    kept: dict[str, Any] = {key.removeprefix(own): value for key, value in arrays.items() if key.startswith(own)}
    for key, value in numbers.items():
        is_list = isinstance(value, dict)
        kept[key] = [kept.pop(f"{key}.{position}") for position in range(value["arrays"])] if is_list else value
    if hasattr(metric, "load_state_dict"):
        metric.load_state_dict(kept)
    else:
        vars(metric).update(kept)
