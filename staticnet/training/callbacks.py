"""Callbacks: what may happen at the start and end of a training, of its epochs, and after each step.

Those of this module keep nothing of their own between epochs: they go by the history, which checkpoints
hold, so that a resumed training behaves as one that was never interrupted.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, RunError

if TYPE_CHECKING:
    from staticnet.training.trainer import Trainer


class Callback:
    """Base of all callbacks; a subclass overrides what it needs.

    `trainer` is the Trainer at work; with `trainer.stop_training = True` it ends after the step or epoch that
    is going on. Epochs are counted from 0, over a resumed training as if it had never been interrupted.
    """

    trainer: Trainer

    def on_train_begin(self) -> None:
        """Before the first epoch, also of a resumed training."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Before the first step of an epoch; not again when it is resumed in the middle."""

    def on_step_end(self, step: int, loss: float) -> None:
        """After a step, the how-manieth of the training, from 1."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """After the validation of an epoch; `logs` are its figures, and what is added goes into the history."""

    def on_train_end(self) -> None:
        """After the last epoch, unless an error ended the training."""


class LearningRateSchedule(Callback):
    """Sets `optimizer.lr = schedule(epoch)` before each epoch, counted from 0; nothing is compiled again.

    The history has the learning rates as `lr`.
    """

    @boundary
    def __init__(self, schedule: Callable[[int], float]):
        if not callable(schedule):
            raise ArgumentError(f"a schedule is a function from the epoch to the learning rate, not {schedule!r}")
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int) -> None:
        self.trainer.optimizer.lr = self.schedule(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        logs["lr"] = self.trainer.optimizer.lr


class _Monitor(Callback):
    """Watches one figure of the history, of which less or more is better."""

    @boundary
    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f"mode is 'min', 'max' or 'auto', not {mode!r}")
        self.monitor = monitor
        self.sign = -1.0 if mode == "min" or (mode == "auto" and "loss" in monitor) else 1.0
        self.min_delta = abs(min_delta)

    def _epochs_since_best(self, logs: dict[str, Any]) -> int:
        """How many epochs ago the figure was better than ever before by more than `min_delta`."""
        if self.monitor not in logs:
            raise ArgumentError(f"there is no {self.monitor!r} to go by; each epoch gives {', '.join(logs)}")
        best, since = -math.inf, 0
        for value in [*self.trainer.history.get(self.monitor, []), logs[self.monitor]]:
            if np.ndim(value):
                raise ArgumentError(f"{self.monitor} is an array of shape {np.shape(value)}; a single number is needed")
            since += 1
            if self.sign * value > best + self.min_delta:
                best, since = self.sign * value, 0
        return since


class EarlyStopping(_Monitor):
    """Ends the training when a figure has not got better by more than `min_delta` for `patience` epochs.

    `mode` "auto" means "min" for losses and "max" for everything else.
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 3, min_delta: float = 0.0, mode: str = "auto"):
        super().__init__(monitor, mode, min_delta)
        self.patience = patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        if self._epochs_since_best(logs) >= max(self.patience, 1):
            self.trainer.stop_training = True


class SaveBest(_Monitor):
    """Writes the model's weights to a file after each epoch in which a figure is better than ever before."""

    def __init__(self, path: str | os.PathLike[str], monitor: str = "val_loss", mode: str = "auto"):
        super().__init__(monitor, mode)
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        from staticnet.serialization import save

        if self._epochs_since_best(logs) == 0:
            save(self.trainer.model.state_dict(), self.path)


class TerminateOnNaN(Callback):
    """RunError as soon as a step's loss is NaN or infinite."""

    def on_step_end(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise RunError(self.trainer.diverged(f"the loss is {loss}"))
