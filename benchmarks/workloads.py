"""The workloads that staticnet and its peers are timed on: networks, data, goals, and what each asks of a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import models

#: batches that the steps take in turn
BATCHES = 5
#: rows of this length for softmax and layer norm
ROW = 1024
STREAM_BYTES = 256 * 2**20
QUICK_STREAM_BYTES = 2**20
#: the fastest copy of the machine, as the rival of a workload that only moves bytes
COPY = "copy"
ADAM_RATE = 1e-3
#: samples of a network when only shown to run
QUICK_BATCH = 3


@dataclass(frozen=True)
class Network:
    """A network by the function that makes it, the shape of one sample, and how it is trained.

    With `classes` the targets are int64 labels and the loss is the cross-entropy, with 0 targets are (1,)
    and the loss is the mean squared error. `optimizer` is "Adam" or "SGD". Weights of two sides may be
    `moves` apart, relative to how far they have moved.
    """

    make: Callable[[], Any]
    sample: tuple[int, ...]
    classes: int
    optimizer: str
    lr: float
    momentum: float = 0.0
    moves: float = 1e-3


# A ReLU whose input is all but zero is open on one side and shut on the other: rounding then decides about a
# whole gradient, the more often the deeper the network. In ResNet-20 any two of the sides, and each of them and
# float64, are up to 0.02 apart after three steps.
NETWORKS = {
    "cnn": Network(models.mnist_cnn, (1, 28, 28), 10, "Adam", ADAM_RATE, moves=1e-2),
    "resnet20": Network(models.ResNet20, (3, 32, 32), 10, "SGD", 0.001, 0.9, moves=5e-2),
    "mlp": Network(models.digits_mlp, (784,), 10, "SGD", 0.01, moves=1e-2),
    "tiny": Network(models.spiral_mlp, (2,), 3, "SGD", 1.0),
    "lstm": Network(models.Forecaster, (30, 1), 0, "Adam", ADAM_RATE),
}


@dataclass(frozen=True)
class Workload:
    """One thing that is timed.

    `kind` is "train" or "infer" (of the network `subject`), "stream" (the function `subject` from arrays
    that stay to arrays that stay) or "function" (from a NumPy array to a new array). The goal: at least
    `goal` times as fast as the fastest of `rivals` (of all peers when empty); against COPY it is the
    share of a copy's bytes per second. `batch` is the number of samples, or of elements of a function.
    """

    name: str
    title: str
    kind: str
    subject: str
    batch: int
    goal: float
    rivals: tuple[str, ...] = ()

    @property
    def network(self) -> Network:
        return NETWORKS[self.subject]

    @property
    def goal_text(self) -> str:
        if COPY in self.rivals:
            return f"{self.goal:.0%} of a copy"
        return f"{self.goal:g} x {' or '.join(self.rivals) or 'the best peer'}"


def rows(quick: bool = False) -> tuple[Workload, ...]:
    """All workloads; with small batches and arrays when `quick`."""
    ort, torch, numpy = ("ONNX Runtime",), ("PyTorch",), ("NumPy",)
    elements = (QUICK_STREAM_BYTES if quick else STREAM_BYTES) // 4
    size = f"{elements // 2**18} MB"
    every = (
        Workload("cnn_train_64", "CNN 1-32-64, training step, batch 64, Adam", "train", "cnn", 64, 2.0),
        Workload("cnn_train_32", "CNN 1-32-64, training step, batch 32, Adam", "train", "cnn", 32, 2.0),
        Workload("cnn_infer_64", "CNN 1-32-64, inference, batch 64", "infer", "cnn", 64, 1.0, ort),
        Workload("cnn_infer_1", "CNN 1-32-64, inference, batch 1", "infer", "cnn", 1, 1.0, ort),
        Workload("resnet20_train_32", "ResNet-20, training step, batch 32, momentum", "train", "resnet20", 32, 1.5),
        Workload("resnet20_infer_32", "ResNet-20, inference, batch 32", "infer", "resnet20", 32, 1.0, ort),
        Workload("resnet20_infer_1", "ResNet-20, inference, batch 1", "infer", "resnet20", 1, 1.0, ort),
        Workload("mlp_train_256", "MLP 784-256-10, training step, batch 256, SGD", "train", "mlp", 256, 1.3),
        Workload("tiny_train_30", "MLP 2-10-3, training step, batch 30, SGD", "train", "tiny", 30, 10.0, torch),
        Workload("tiny_infer_30", "MLP 2-10-3, inference, batch 30", "infer", "tiny", 30, 1.0, ort),
        Workload("lstm_train_30", "LSTM 1-100, length 30, training step, batch 30, Adam", "train", "lstm", 30, 1.7),
        Workload("softmax", f"softmax of rows of {ROW}, {size}", "stream", "softmax", elements, 0.8, (COPY,)),
        Workload("layer_norm", f"layer norm of rows of {ROW}, {size}", "stream", "layer_norm", elements, 0.8, (COPY,)),
        Workload("relu", f"ReLU, {size}", "stream", "relu", elements, 0.8, (COPY,)),
        Workload("adam", f"Adam update of {size}", "stream", "adam", elements, 0.8, (COPY,)),
        Workload("gelu", "GELU (by tanh) of 1,000,000 elements", "function", "gelu", 1_000_000, 3.0, numpy),
        Workload("tanh", "tanh of 1,000,000 elements", "function", "tanh", 1_000_000, 3.0, numpy),
    )
    return tuple(replace(row, batch=QUICK_BATCH) if quick and row.subject in NETWORKS else row for row in every)


def chosen(only: tuple[str, ...] = (), quick: bool = False) -> tuple[Workload, ...]:
    """The workloads whose names begin with one of `only`, all when it is empty; ValueError for one that fits none."""
    every = rows(quick)
    for start in only:
        if not any(row.name.startswith(start) for row in every):
            raise ValueError(f"no workload begins with {start!r}; there are {', '.join(row.name for row in every)}")
    return tuple(row for row in every if not only or row.name.startswith(only))


def batches(workload: Workload) -> list[tuple[np.ndarray, ...]]:
    """What the calls take in turn, always the same: (inputs, targets), (inputs,), or nothing for streams."""
    rng = np.random.default_rng(0)
    if workload.kind == "stream":
        return [()]
    if workload.kind == "function":
        return [(rng.standard_normal(workload.batch, np.float32) * np.float32(3),)]
    inputs = [rng.standard_normal((workload.batch, *workload.network.sample), np.float32) for _ in range(BATCHES)]
    if workload.kind == "infer":
        return [(array,) for array in inputs]
    classes, count = workload.network.classes, workload.batch
    return [
        (array, rng.integers(0, classes, count) if classes else rng.standard_normal((count, 1), np.float32))
        for array in inputs
    ]


def arrays(workload: Workload) -> dict[str, np.ndarray]:
    """What a stream reads and writes: x and y of whole rows; for the Adam update p, its gradient and both averages."""
    rng = np.random.default_rng(0)
    shape = (workload.batch // ROW, ROW)
    found = {"x": rng.standard_normal(shape, np.float32)}
    if workload.subject == "adam":
        found["p"] = rng.standard_normal(shape, np.float32)
        return found | {name: np.zeros(shape, np.float32) for name in ("exp_avg", "exp_avg_sq")}
    return found | {"y": np.zeros(shape, np.float32)}


def bytes_moved(workload: Workload) -> int:
    """Bytes that a stream reads and writes at the least: x and y, or for Adam four arrays in and three out."""
    return workload.batch * 4 * (7 if workload.subject == "adam" else 2)
