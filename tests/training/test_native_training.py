"""Whole trainings as native code: as the reference within rounding, and the same bits however they are run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.runtime.native import host
from staticnet.runtime.native.bound import NativeBound
from staticnet.runtime.poison import POISON

pytestmark = pytest.mark.skipif(not host.available(), reason="no native code on this machine")
STEPS = 100
#: relative error of the losses, and error of the weights after the last step, that rounding may lead to
TOLERANCE = {"float64": (1e-11, 1e-10), "float32": (2e-5, 2e-4)}

# A bias before a batch norm has no gradient but noise, which Adam would make steps of. And where a number lies within
# rounding of a corner of relu, or two of a pool do of each other, gradients jump: in float32 that happens once in
# some hundred steps of these networks, so there they are smooth.


def gate(dtype: str) -> nn.Module:
    return nn.ReLU() if dtype == "float64" else nn.SiLU()


def pool(dtype: str) -> nn.Module:
    return nn.MaxPool2d(2) if dtype == "float64" else nn.AvgPool2d(2)


def cnn(dtype: str) -> nn.Module:
    """The network of the demonstration."""
    conv = functools.partial(nn.Conv2d, kernel_size=3, padding=1, bias=False, dtype=dtype)
    return nn.Sequential(
        *(conv(1, 16), nn.BatchNorm2d(16, dtype=dtype), gate(dtype), pool(dtype)),
        *(conv(16, 32), nn.BatchNorm2d(32, dtype=dtype), gate(dtype), pool(dtype)),
        *(nn.Flatten(), nn.Dropout(0.25), nn.Linear(128, 10, dtype=dtype)),
    )


def mlp(dtype: str) -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(64, 70, dtype=dtype), nn.Tanh(), nn.Dropout(0.1)),
        *(nn.Linear(70, 33, dtype=dtype), nn.GELU(), nn.Linear(33, 10, dtype=dtype)),
    )


class Block(nn.Module):
    """Two convolutions beside the identity, or beside a convolution where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, dtype: str):
        super().__init__()
        conv = functools.partial(nn.Conv2d, bias=False, dtype=dtype)
        self.body = nn.Sequential(
            *(conv(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs, dtype=dtype), gate(dtype)),
            *(conv(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs, dtype=dtype)),
        )
        self.gate = gate(dtype)
        self.short = nn.Sequential(conv(inputs, outputs, 1, stride)) if stride > 1 else nn.Sequential()

    def forward(self, x: Any) -> Any:
        return self.gate(self.body(x) + self.short(x))


def resnet(dtype: str) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False, dtype=dtype), nn.BatchNorm2d(8, dtype=dtype), gate(dtype),
        Block(8, 8, 1, dtype), Block(8, 16, 2, dtype), Block(16, 20, 2, dtype),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 10, dtype=dtype),
    )  # fmt: skip


class LSTM(nn.Module):
    """The rows of an image one after another through the gates of an LSTM, unrolled."""

    def __init__(self, dtype: str, hidden: int = 19):
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Linear(8 + hidden, 4 * hidden, dtype=dtype)
        self.head = nn.Linear(hidden, 10, dtype=dtype)

    def forward(self, x: Any) -> Any:
        h = c = sn.zeros_like(x[:, 0, 0, :1]) * sn.ones((1, self.hidden), x.dtype)
        for row in range(8):
            i, f, g, o = sn.split(self.gates(sn.concat([x[:, 0, row], h], 1)), 4, 1)
            c = sn.sigmoid(f) * c + sn.sigmoid(i) * sn.tanh(g)
            h = sn.sigmoid(o) * sn.tanh(c)
        return self.head(h)


MODELS: dict[str, tuple[Callable[[str], nn.Module], Callable[..., Any]]] = {
    "cnn": (cnn, lambda p: optim.Adam(p, lr=2e-3)),
    "mlp": (mlp, lambda p: optim.AdamW(p, lr=1e-3)),
    "resnet": (resnet, lambda p: optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-4)),
    "lstm": (LSTM, lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
}

Result = tuple[list[bytes], dict[str, np.ndarray], list[float]]


def train(name: str, dtype: str, threads: int = 1, is_poisoned: bool = False) -> Result:
    """Losses as bits, weights and optimiser state, and losses, of STEPS steps."""
    sn.manual_seed(7)
    make, optimizer = MODELS[name]
    model = make(dtype)
    opt = optimizer(model.parameters())
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), opt)
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(10, 1, 8, 8))
    losses = []
    with sn.using_config(num_threads=threads):
        for _ in range(STEPS):
            labels = rng.integers(0, 10, 16)
            losses.append(step((centres[labels] + rng.normal(size=(16, 1, 8, 8))).astype(dtype), labels))
            if is_poisoned:
                poison(step.executor)
    return [loss.tobytes() for loss in losses], dict(model.state_dict()), list(map(float, losses))


def poison(executor: Any) -> None:
    """Overwrite all that a call may not find again in the next."""
    assert executor._pool
    for bound in executor._pool:
        assert isinstance(bound, NativeBound)
        for memory in (bound.arena, *(region for name, region in bound.regions.items() if name != "kept")):
            memory[...] = POISON


@contextmanager
def by_kernels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATICNET_NATIVE", "0")
        yield


@pytest.fixture(scope="module", params=[(name, dtype) for name in MODELS for dtype in TOLERANCE], ids="-".join)
def trained(request: pytest.FixtureRequest) -> tuple[str, str, Result]:
    """A model, a dtype, and its training by one thread."""
    return (*request.param, train(*request.param))


def test_training_follows_the_reference(trained: tuple[str, str, Result]) -> None:
    name, dtype, (_, weights, losses) = trained
    with by_kernels():
        _, expected, expected_losses = train(name, dtype)
    assert expected_losses[-1] < expected_losses[0] / 2
    relative, absolute = TOLERANCE[dtype]
    np.testing.assert_allclose(losses, expected_losses, rtol=relative, atol=relative)
    for key, value in expected.items():
        np.testing.assert_allclose(weights[key], value, rtol=absolute, atol=absolute, err_msg=key, strict=True)


@pytest.mark.parametrize(("threads", "is_poisoned"), [(1, True), (2, False), (3, True)])
def test_bits_are_the_same(trained: tuple[str, str, Result], threads: int, is_poisoned: bool) -> None:
    name, dtype, (losses, weights, _) = trained
    again, others, _ = train(name, dtype, threads, is_poisoned)
    assert again == losses
    for key, value in weights.items():
        assert others[key].tobytes() == value.tobytes(), key
