"""The commands that run a model on data: train, eval and predict."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

from staticnet import nn, optim, serialization
from staticnet.commands.data import load_both, load_inputs, load_split
from staticnet.commands.target import load_model
from staticnet.compiler.errors import ArgumentError
from staticnet.files import atomic_write
from staticnet.training import Callback, Trainer, metrics
from staticnet.training.checkpoint import require_writable
from staticnet.training.progress import is_shown

LOSSES = {"cross-entropy": nn.CrossEntropyLoss, "mse": nn.MSELoss, "bce": nn.BCEWithLogitsLoss}
_OPTIMIZERS = {"sgd": (optim.SGD, 0.05), "adam": (optim.Adam, 1e-3), "adamw": (optim.AdamW, 1e-3)}


def train(given: argparse.Namespace) -> int:
    """Train; prints the history."""
    for path in (given.out, given.plot):
        if path is not None:
            require_writable(path)
    model = load_model(given, given.seed)
    train, test = load_both(given)
    trainer = _trainer(given, model, _optimizer(given, model))
    history = trainer.fit(
        train,
        test,
        epochs=given.epochs,
        batch_size=given.batch_size,
        callbacks=[] if is_shown(None) else [_Log(given.epochs)],
        checkpoint=given.checkpoint,
        checkpoint_every=given.checkpoint_every,
        resume=given.resume,
    )
    if given.out is not None:
        serialization.save(model.state_dict(), given.out)
        _log(f"wrote the weights to {given.out}")
    if given.plot is not None:
        _log(f"drew the curves into {history.plot(given.plot)}")
    print(json.dumps({"epoch": history.epochs, **history.history}) if given.json else history)
    return 0


def evaluate(given: argparse.Namespace) -> int:
    """Print loss and accuracy."""
    model = load_model(given, given.seed)
    figures = _trainer(given, model).evaluate(load_split(given, given.split), given.batch_size)
    width = max(map(len, figures))
    lines = [f"{name.ljust(width)}  {value:.6g}" for name, value in figures.items()]
    print(json.dumps(figures) if given.json else "\n".join(lines))
    return 0


def predict(given: argparse.Namespace) -> int:
    """Write all outputs to a file, or print class numbers."""
    if given.out is not None:
        if not given.out.endswith((".npy", ".npz")):
            raise ArgumentError(f"--out {given.out}: predictions are written as .npy or .npz")
        require_writable(given.out)
    model = load_model(given, given.seed)
    outputs = Trainer(model, device=given.device).predict(load_inputs(given), given.batch_size)
    if given.out is None:
        print("\n".join(map(str, _classes(outputs).tolist())))
        return 0
    _write(given.out, outputs)
    _log(f"wrote the predictions to {given.out}")
    return 0


# -- the trainer ------------------------------------------------------------------------------


def _trainer(given: argparse.Namespace, model: nn.Module, optimizer: Any = None) -> Trainer:
    counted = {"accuracy": metrics.accuracy} if given.loss != "mse" else {}
    return Trainer(model, LOSSES[given.loss](), optimizer, metrics=counted, device=given.device)


def _optimizer(given: argparse.Namespace, model: nn.Module) -> optim.Optimizer:
    kind, usual_rate = _OPTIMIZERS[given.optimizer]
    options = {"lr": usual_rate if given.lr is None else given.lr}
    if given.weight_decay is not None:
        options["weight_decay"] = given.weight_decay
    if given.optimizer == "sgd":
        options["momentum"] = given.momentum
    return kind(model.parameters(), **options)


class _Log(Callback):
    """A line on standard error for each epoch, where no bar is shown."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        figures = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
        _log(f"epoch {epoch + 1}/{self.epochs}  {figures}")


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- predictions ------------------------------------------------------------------------------


def _classes(outputs: Any) -> np.ndarray:
    """The most likely class of each example."""
    if not isinstance(outputs, np.ndarray) or outputs.ndim != 2 or outputs.dtype.kind != "f":
        kind = f"{outputs.dtype} of shape {outputs.shape}" if isinstance(outputs, np.ndarray) else "several arrays"
        raise ArgumentError(
            f"class numbers are printed of logits of shape (examples, classes), and the model gives {kind}: "
            "write its outputs to a file with --out predictions.npz"
        )
    return outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def _write(path: str, outputs: Any) -> None:
    from staticnet import trees

    arrays = {name or "output": array for name, array in trees.flatten(outputs)}
    if path.endswith(".npz"):
        serialization.save(arrays, path)
        return
    if len(arrays) != 1:
        raise ArgumentError(f"the model gives {len(arrays)} arrays ({', '.join(arrays)}): write them as .npz")
    (array,) = arrays.values()
    atomic_write(path, lambda stream: np.save(stream, array, allow_pickle=False))
