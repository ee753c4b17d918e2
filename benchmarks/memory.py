"""Planned memory of training steps: the arena against the least that any plan needs, and against no reuse.

Planning is all that is needed: no step runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import staticnet as sn
from benchmarks import models
from benchmarks.figures import Figure
from staticnet import nn, optim
from staticnet.compiler.memory_report import MemoryReport, format_bytes

TITLE = "Memory of training steps"
METHOD = (
    "Arena bytes that the plan of a whole training step takes (forward, backward, optimiser), over the largest sum of "
    "buffers live at one time under its schedule (lower bound) and over a plan without reuse (naive). Feeds, states "
    "and workspace inside kernels are counted apart. The demo CNN trains with Adam, the others by SGD with momentum."
)

LOWER_BOUND_GOAL = 1.10
NAIVE_GOAL = 0.5

Case = tuple[str, Callable[[], Any], tuple[int, ...], int, bool]
CASES: tuple[Case, ...] = (
    ("demo CNN, batch 50", models.digits_cnn, (1, 8, 8), 50, True),
    ("3-layer MLP, batch 64", models.mlp, (784,), 64, False),
    ("ResNet-20, batch 32", models.ResNet20, (3, 32, 32), 32, True),
    ("ResNet-20, batch 128", models.ResNet20, (3, 32, 32), 128, True),
)


def run(*, quick: bool = False) -> list[Figure]:
    """Figures of all cases, of the two small ones when `quick`."""
    figures = []
    for label, make, shape, batch, against_naive in CASES[:2] if quick else CASES:
        report = planned(make(), shape, batch)
        sizes = f"arena {format_bytes(report.arena_bytes)}, workspace {format_bytes(report.scratch_bytes)}"
        bound = report.arena_bytes / report.lower_bound_bytes
        figures.append(Figure(f"arena / lower bound, {label}", bound, goal=LOWER_BOUND_GOAL, note=sizes))
        goal = NAIVE_GOAL if against_naive else None
        figures.append(Figure(f"arena / naive, {label}", report.arena_bytes / report.naive_bytes, goal=goal))
    return figures


def planned(model: Any, shape: tuple[int, ...], batch: int) -> MemoryReport:
    """The memory plan of a training step of a classifier on inputs of `shape`."""
    images = sn.TensorSpec(("batch", *shape), "float32", name="images")
    labels = sn.TensorSpec(("batch",), "int64", name="labels")
    parameters = model.parameters()
    is_demo = type(model).__name__ == "DigitsCNN"
    optimizer = optim.Adam(parameters, lr=2e-3) if is_demo else optim.SGD(parameters, lr=0.1, momentum=0.9)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optimizer, images, labels)
    return step.bind(batch=batch).memory
