"""The training step of the common MNIST exercise's CNN on one core, beside PyTorch's where that is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

import staticnet as sn
from benchmarks import models
from benchmarks.figures import Figure, median
from staticnet import nn, optim
from staticnet.runtime.profile import Profile

TITLE = "Training step of the MNIST CNN"
METHOD = (
    "Convolutions 1 -> 32 -> 64 of 3x3 without padding, two 2x2 max pools, linear 1600 -> 128 -> 10, cross-entropy, "
    "batch 64 of 28x28, SGD with learning rate 0.01 and momentum 0.9, float32, one thread. Both sides begin with the "
    "same weights and see the same batches; their losses agree before anything is timed. Then rounds of steps in turn, "
    "medians over all steps. The goal is a step at least 4 times as fast as DeZero's, which took 126 ms where "
    "PyTorch's took 22 ms: 126 / 4 / 22 = 1.43 times PyTorch's."
)

BATCH = 64
STEPS = 10
ROUNDS = 12
DEZERO_MS, PYTORCH_MS, TIMES_AS_FAST = 126.0, 22.0, 4.0
GOAL = DEZERO_MS / TIMES_AS_FAST / PYTORCH_MS
CHECKED_STEPS = 5
TOLERANCE = 1e-4
OPS_SHOWN = 6

Step = Callable[[np.ndarray, np.ndarray], float]


def run(*, quick: bool = False) -> list[Figure]:
    """Times, their ratio where PyTorch is installed, and the ops that take longest."""
    steps, rounds, batch = (1, 2, 4) if quick else (STEPS, ROUNDS, BATCH)
    batches = random_batches(CHECKED_STEPS, batch)
    sn.manual_seed(0)
    model = models.mnist_cnn()
    compiled = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    sides: dict[str, Step] = {"staticnet": lambda images, labels: float(compiled(images, labels))}
    weights = {name: np.array(value) for name, value in model.state_dict().items()}
    if (peer := pytorch_step(weights)) is not None:
        sides["PyTorch"] = peer
    check_losses(sides, batches)
    times = measure(sides, batches, steps, rounds)
    figures = [
        Figure(f"step, {name}", median(values) * 1e3, "ms", note=f"fastest {min(values) * 1e3:.3g} ms")
        for name, values in times.items()
    ]
    if peer is not None:
        ratio = median(times["staticnet"]) / median(times["PyTorch"])
        figures.append(Figure("staticnet / PyTorch", ratio, goal=GOAL))
    return figures + slowest_ops(compiled.profile(*batches[0], repeats=steps))


def random_batches(count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (size, 1, 28, 28) of float32 and labels (size,) of int64, always the same."""
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(size, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, size)) for _ in range(count)]


def pytorch_step(weights: dict[str, np.ndarray]) -> Step | None:
    """The same step in eager PyTorch from the same weights, None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    layers = torch.nn
    model = layers.Sequential(
        layers.Conv2d(1, 32, 3),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Conv2d(32, 64, 3),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(1600, 128),
        layers.ReLU(),
        layers.Linear(128, 10),
    )
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    loss_of = layers.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        optimizer.zero_grad()
        loss = loss_of(model(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def check_losses(sides: dict[str, Step], batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Take the first steps on all sides; raises RuntimeError where the losses differ."""
    for number, batch in enumerate(batches):
        losses = {name: step(*batch) for name, step in sides.items()}
        if not np.allclose(list(losses.values()), losses["staticnet"], rtol=TOLERANCE):
            raise RuntimeError(f"the losses of step {number} differ, so there is nothing to compare: {losses}")


def measure(
    sides: dict[str, Step], batches: Sequence[tuple[np.ndarray, np.ndarray]], steps: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each step; the sides take turns, `steps` at a time, after one step that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, step in sides.items():
            step(*batches[0])
            for number in range(steps):
                start = time.perf_counter()
                step(*batches[number % len(batches)])
                times[name].append(time.perf_counter() - start)
    return times


def slowest_ops(profile: Profile) -> list[Figure]:
    """Time inside kernels, summed by op."""
    seconds: dict[str, float] = {}
    for entry in profile.entries:
        seconds[entry.op] = seconds.get(entry.op, 0.0) + entry.seconds
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:OPS_SHOWN]
    return [
        Figure(f"of it in {op}", time * 1e3, "ms", note=f"{time / profile.seconds:.0%} of the time in kernels")
        for op, time in slowest
    ]
