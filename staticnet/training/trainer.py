"""Trainer: fit, evaluate and predict around one compiled training step and one compiled evaluation."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticnet import trees
from staticnet.boundary import boundary
from staticnet.compiled import CompiledFunction
from staticnet.compiler.errors import ArgumentError, DataError, RunError
from staticnet.config import config
from staticnet.data.datasets import ArrayDataset
from staticnet.data.loader import DataLoader
from staticnet.data.order import checked_integer
from staticnet.nn.module import Module
from staticnet.random import get_state
from staticnet.step import TrainStep, compile_train_step, training
from staticnet.training import checkpoint as checkpoints
from staticnet.training.callbacks import Callback
from staticnet.training.checkpoint import Position
from staticnet.training.history import History
from staticnet.training.progress import EpochBar, is_shown
from staticnet.training.totals import Totals, named

AnyPath = str | os.PathLike[str]


@dataclass
class _Run:
    """What one call of `fit` works with."""

    epochs: int
    loader: DataLoader
    validation: DataLoader | None
    totals: Totals
    listeners: list[Callback]
    checkpoint: AnyPath | None
    every: int | None
    has_bars: bool


class Trainer:
    """Trains and evaluates a model: `Trainer(model, loss, optimizer, metrics={"acc": metrics.accuracy})`.

    `loss` is a function of (output, target), a mean over the examples. `metrics` are functions of
    (outputs, targets) or `staticnet.metrics`, by name. Only `fit` needs an optimizer, and `predict` not
    even a loss. A model is traced once for training and once for inference, whatever the sizes of batches,
    and again when its modules or what is frozen of it change between two epochs. `history` is that of the
    last `fit`, as far as it came.
    """

    @boundary
    def __init__(
        self,
        model: Any,
        loss: Any = None,
        optimizer: Any = None,
        metrics: Any = None,
        device: str | None = None,
    ):
        for name, value in (("model", model), ("loss", loss)):
            if not callable(value) and (name == "model" or value is not None):
                raise ArgumentError(f"the {name} of a Trainer is a module or a function, not {value!r:.60}")
        if optimizer is not None and not hasattr(optimizer, "update"):
            raise ArgumentError(f"the optimizer of a Trainer is one of sn.optim, not {optimizer!r:.60}")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.metrics = named(metrics)
        self.device = device
        self.history = History()
        self.stop_training = False
        self.train_step: TrainStep | None = None
        self.evaluation: CompiledFunction | None = None
        self.prediction: CompiledFunction | None = None
        self._next_epoch = 0  # of the order in which a data set is shuffled
        self._position = Position()
        self._batch = 0
        self._looks: Any = None

    # -- training -----------------------------------------------------------------------------

    @boundary
    def fit(
        self,
        train: Any,
        val: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        callbacks: Iterable[Callback] = (),
        *,
        resume: AnyPath | None = None,
        checkpoint: AnyPath | None = None,
        checkpoint_every: int | None = None,
        progress: bool | None = None,
    ) -> History:
        """Train for `epochs` epochs and return their figures: `loss`, metrics, and with `val` the same as `val_...`.

        `train` is a DataLoader, or a dataset or tuple of arrays, which is shuffled, by the global seed, in
        batches of `batch_size`; the last part of an example is its target. `loss` is the mean over the
        examples of an epoch as they were met, `val_loss` that of the whole of `val` in inference mode.

        `checkpoint` is a file that is replaced, in one stroke, after each epoch, and with
        `checkpoint_every=k` after each k steps too. `resume` takes everything from such a file first,
        `epochs` being the whole number again: the training goes on bit by bit as if it had never stopped.
        `progress` shows a bar on standard error or not; None where that is a terminal.

        Raises StateError for a checkpoint of another training, with all that differs; RunError when the
        model diverged so far that metrics have no meaning; DataError for data that give no batch.
        """
        if self.loss is None or self.optimizer is None:
            raise ArgumentError("fit needs a loss and an optimizer: Trainer(model, loss, optimizer)")
        if checkpoint_every is not None and checkpoint is None:
            raise ArgumentError("checkpoint_every needs a file: checkpoint='training.safetensors'")
        loader = self._train_loader(train, batch_size)
        run = _Run(
            epochs=checked_integer("epochs", epochs, least=1),
            loader=loader,
            validation=None if val is None else _in_order(val, loader.batch_size),
            totals=Totals(self.metrics),
            listeners=self._listeners(callbacks),
            checkpoint=checkpoint,
            every=None if checkpoint_every is None else checked_integer("checkpoint_every", checkpoint_every, least=1),
            has_bars=is_shown(progress),
        )
        if checkpoint is not None:
            checkpoints.require_writable(checkpoint)
        self.history, self._position, self.stop_training = History(), Position(), False
        if resume is not None:
            self._position = checkpoints.restore(resume, self, loader, run.totals)
        self._train(run)
        return self.history

    def _train(self, run: _Run) -> None:
        for listener in run.listeners:
            listener.on_train_begin()
        while self._position.epoch < run.epochs and not self.stop_training:
            title = f"epoch {self._position.epoch + 1}/{run.epochs}"
            # Only a resumed epoch goes on from where its loader stands.
            self._batch = run.loader.state_dict()["position"] if self._position.is_inside else 0
            with EpochBar(title, len(run.loader), self._batch, run.has_bars) as bar:
                self._begin_epoch(run)
                for batch in run.loader:
                    self._step(batch, run)
                    bar.step(run.totals.loss)
                    if self.stop_training:
                        break
                else:
                    bar.finish(self._end_epoch(run))
        for listener in run.listeners:
            listener.on_train_end()

    def _begin_epoch(self, run: _Run) -> None:
        if not self._position.is_inside:
            run.totals.reset()
            for listener in run.listeners:
                listener.on_epoch_begin(self._position.epoch)
        self._position.is_inside = True
        self._renew()

    def _step(self, batch: Any, run: _Run) -> None:
        """One training step, and what comes with it."""
        *_, target = _parts(batch)
        self._batch += 1
        result = self._call("train_step", batch)
        loss, outputs = (result["loss"], result["output"]) if self.metrics else (result, None)
        loss = float(loss)
        self._position.step += 1
        if config.check_finite and not math.isfinite(loss):
            raise RunError(self.diverged(f"the loss is {loss}"))
        self._add(run.totals, loss, outputs, target, self.diverged)
        for listener in run.listeners:
            listener.on_step_end(self._position.step, loss)
        if run.every is not None and self._position.step % run.every == 0:
            self._keep(run)

    def _end_epoch(self, run: _Run) -> dict[str, Any]:
        """Validate, tell the callbacks, write it down; returns the epoch's figures."""
        figures = run.totals.results()
        if run.validation is not None:
            where = f"validation of epoch {self._position.epoch + 1}"
            figures |= self._totals_of(run.validation, where).results("val_")
        for listener in run.listeners:
            listener.on_epoch_end(self._position.epoch, figures)
        self._position.epoch += 1
        self._position.is_inside = False
        self._next_epoch = run.loader.epoch
        self.history.append(self._position.epoch, figures)
        self._keep(run)
        return figures

    def _keep(self, run: _Run) -> None:
        if run.checkpoint is not None:
            checkpoints.write(run.checkpoint, self, run.loader, run.totals, self._position)

    def diverged(self, what: str) -> str:
        """A sentence on where and at which learning rate the training went wrong."""
        lr = getattr(self.optimizer, "lr", float("nan"))
        return (
            f"the model diverged: {what} at epoch {self._position.epoch + 1}, batch {self._batch} (lr = {lr:g}); "
            "lower the learning rate, or look for NaN and very large numbers in the data"
        )

    def _listeners(self, callbacks: Any) -> list[Callback]:
        listeners = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        for listener in listeners:
            if not isinstance(listener, Callback):
                raise ArgumentError(f"a callback is an object of a subclass of Callback, not {listener!r:.60}")
            listener.trainer = self
        return listeners

    def _train_loader(self, train: Any, batch_size: int) -> DataLoader:
        if isinstance(train, DataLoader):
            return train
        loader = DataLoader(_dataset(train), batch_size, shuffle=True, seed=int(get_state()[0]))
        loader.set_epoch(self._next_epoch)
        return loader

    # -- evaluation and prediction ------------------------------------------------------------

    @boundary
    def evaluate(self, data: Any, batch_size: int = 32) -> dict[str, Any]:
        """Loss, if there is one, and metrics over all examples in inference mode, as a dict.

        `data` is a dataset, a tuple of arrays, or a DataLoader, of which every example is taken, in order.
        """
        totals = self._totals_of(_in_order(data, batch_size), "evaluation")
        return totals.results(with_loss=self.loss is not None)

    @boundary
    def predict(self, data: Any, batch_size: int = 32) -> Any:
        """What the model gives for each example, in order and in inference mode: arrays, all batches joined.

        `data` is an array, a tuple of arrays for a model of several inputs, or a dataset or DataLoader, whose
        examples' last part is taken for the target and left out if there are several. A model that
        returns several tensors gives its own structure of arrays. DataError when there is no example.
        """
        loader, has_targets = _to_predict(data, batch_size)
        self._renew()
        results = []
        for batch in loader:
            parts = batch if isinstance(batch, tuple) else (batch,)
            results.append(self._call("prediction", parts[:-1] if has_targets and len(parts) > 1 else parts))
        pieces = zip(*map(trees.leaves, results), strict=True)
        return trees.unflatten(results[0], [_joined(arrays) for arrays in pieces])

    def _totals_of(self, loader: DataLoader, what: str) -> Totals:
        totals = Totals(self.metrics)
        self._renew()
        for batch in loader:
            *_, target = _parts(batch)
            result = self._call("evaluation", batch)
            loss = float(result["loss"]) if "loss" in result else None
            self._add(totals, loss, result["output"], target, lambda text: f"{what}: {text}")
        return totals

    def _add(self, totals: Totals, loss: float | None, outputs: Any, target: np.ndarray, explain: Any) -> None:
        try:
            totals.add(loss, outputs, target)
        except RunError:
            bad = sum(int(np.isnan(a).sum()) for a in trees.leaves(outputs) if a.dtype.kind == "f")
            if not bad:
                raise
            raise RunError(explain(f"its outputs hold {bad} NaN, so that there are no metrics,")) from None

    def _judge(self, *batch: Any) -> Any:
        *inputs, target = batch
        output = self._infer(*inputs)
        return {"output": output} if self.loss is None else {"loss": self.loss(output, target), "output": output}

    def _infer(self, *inputs: Any) -> Any:
        with training(self.model, False):
            return self.model(*inputs)

    # -- compiled functions -------------------------------------------------------------------

    def _name(self) -> str:
        return getattr(self.model, "__name__", None) or type(self.model).__name__

    def _device(self) -> str | None:
        return self.device or getattr(self.model, "_device", None)

    def _call(self, name: str, batch: Sequence[Any]) -> Any:
        """Run one of the compiled functions, made if need be."""
        if (compiled := getattr(self, name)) is not None:
            return compiled(*batch)
        setattr(self, name, self._compile(name))
        result = getattr(self, name)(*batch)
        self._looks = self._appearance()  # the trace may have settled lazy layers
        return result

    def _compile(self, name: str) -> CompiledFunction:
        if name == "train_step":
            return compile_train_step(
                self.model, self.loss, self.optimizer, device=self._device(), outputs=bool(self.metrics)
            )
        function = self._judge if name == "evaluation" else self._infer
        return CompiledFunction(function, device=self._device(), name=f"{self._name()}.{name}")

    def _renew(self) -> None:
        """Forget what is compiled if the model is no longer as it was traced."""
        looks = self._appearance()
        if looks != self._looks:
            self._looks = looks
            self.train_step = self.evaluation = self.prediction = None

    def _appearance(self) -> Any:
        """What traces depend on: the modules' attributes, and which parameters are trained."""
        modules = [part for root in (self.model, self.loss) if isinstance(root, Module) for part in root.modules()]
        trained = [p.requires_grad for p in self.optimizer.parameters] if self.optimizer is not None else []
        return [(part, part._revision) for part in modules], trained

    def __repr__(self) -> str:
        return f"Trainer({self._name()}, {self.optimizer!r}, metrics: {', '.join(self.metrics) or 'none'})"


# -- data -------------------------------------------------------------------------------------


def _dataset(data: Any) -> Any:
    """A dataset of what may stand for one: tuples of arrays are their rows."""
    if isinstance(data, tuple):
        return ArrayDataset(*data)
    if isinstance(data, np.ndarray):
        raise DataError("the data are one array without targets: give (inputs, targets), or an ArrayDataset of both")
    return data


def _in_order(data: Any, batch_size: int) -> DataLoader:
    """A loader that gives each example once, in order; that of the caller is not moved."""
    if isinstance(data, DataLoader):
        return DataLoader(data.dataset, data.batch_size, prefetch=data.prefetch, collate=data.collate)
    return DataLoader(_dataset(data), batch_size)


def _to_predict(data: Any, batch_size: int) -> tuple[DataLoader, bool]:
    """The loader of what is to be predicted, and whether its batches end with targets."""
    if isinstance(data, (tuple, np.ndarray)) or hasattr(data, "__array__"):
        arrays = data if isinstance(data, tuple) else (np.asarray(data),)
        return DataLoader(ArrayDataset(*arrays), batch_size), False
    return _in_order(data, batch_size), True


def _parts(batch: Any) -> tuple[Any, ...]:
    if not isinstance(batch, tuple) or len(batch) < 2:
        kind = f"a tuple of {len(batch)}" if isinstance(batch, tuple) else f"a {type(batch).__name__}"
        raise DataError(f"a batch is a tuple of inputs and a target, not {kind}: give a dataset of (input, target)")
    return batch


def _joined(pieces: Sequence[np.ndarray]) -> np.ndarray:
    if not pieces[0].ndim:
        raise DataError("the model gives a single number per batch, so there is nothing to predict for each example")
    return np.concatenate(pieces)
