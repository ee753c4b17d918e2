"""Watched memory: right programs run in it unchanged, and a step that writes beside its arrays is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.compiler.codegen.loops import describe as describing
from staticnet.compiler.codegen.loops.form import Affine, For, Kernel, Routine, Store, View
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ops.transcendental import Tanh
from staticnet.runtime.native import host
from staticnet.runtime.native.guard import GuardedBound
from staticnet.runtime.poison import run_poisoned

pytestmark = pytest.mark.skipif(not host.available(), reason="no native code on this machine")
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICNET_GUARD", "1")


def moved(by: int) -> Any:
    """Describes tanh as usual, but what it stores lies so many elements further."""
    usual = describing.DESCRIBERS

    def describe(op: Any, inputs: list[View], outputs: list[View], machine: Any) -> Routine | None:
        card = next(card for card in type(op).__mro__ if card in usual and card is not Tanh)
        routine = usual[card](op, inputs, outputs, machine)
        return Routine(tuple(Kernel("moved", shifted(kernel.loop)) for kernel in routine.kernels))

    def shifted(statement: Any) -> Any:
        if isinstance(statement, For):
            return For(statement.var, statement.extent, tuple(map(shifted, statement.body)), statement.kind)
        if isinstance(statement, Store):
            return Store(statement.array, statement.index + Affine((), by), statement.value)
        return statement

    return describe


@pytest.mark.parametrize(("by", "place"), [(1, "4 bytes behind"), (-2, "8 bytes before"), (40, "96 bytes behind")])
def test_a_step_that_writes_beside_its_result_is_named(
    guarded: None, monkeypatch: pytest.MonkeyPatch, by: int, place: str
) -> None:
    monkeypatch.setitem(describing.DESCRIBERS, Tanh, moved(by))
    run = sn.compile(lambda x: (sn.tanh(x) @ x.T).sum(axis=0))
    with pytest.raises(CompilerError, match=f"step 0, tanh, wrote outside of its memory: {place} the arena of b") as e:
        run(X)
    assert "test_guard.py" in str(e.value)
    monkeypatch.delitem(describing.DESCRIBERS, Tanh)
    again = sn.compile(lambda x: (sn.tanh(x) @ x.T).sum(axis=0))
    np.testing.assert_allclose(again(X), (np.tanh(X) @ X.T).sum(axis=0), rtol=1e-4)


def test_a_step_that_writes_to_its_operand_is_named(guarded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = moved(0)

    def describe(op: Any, inputs: list[View], outputs: list[View], machine: Any) -> Routine | None:
        (kernel,) = plain(op, inputs, outputs, machine).kernels
        loop = kernel.loop
        (store,) = loop.body
        greedy = (store, Store(inputs[0].array, store.index, store.value))
        return Routine((Kernel("greedy", For(loop.var, loop.extent, greedy, loop.kind)),))

    monkeypatch.setitem(describing.DESCRIBERS, Tanh, describe)
    run = sn.compile(lambda x: sn.tanh(x) @ x.T)
    with pytest.raises(CompilerError, match=r"step \d+, tanh, wrote to the feed of b0 : f32\[4, 6\].*, which it reads"):
        run(X)


def test_a_state_is_written_for_all_to_see(guarded: None) -> None:
    total = nn.Buffer(np.zeros(6, np.float32))

    @sn.compile
    def add(x: Any) -> Any:
        total.assign(total + x.sum(axis=0))
        return total * 1.0

    for times in (1, 2):
        np.testing.assert_allclose(add(X), times * X.sum(axis=0), atol=1e-6)
        np.testing.assert_allclose(total.numpy(), times * X.sum(axis=0), atol=1e-6)
    assert isinstance(add.executor.new_bound(), GuardedBound)


class Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x: Any) -> Any:
        return sn.relu(self.body(x) + x)


MODELS = {
    "cnn": lambda: nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Conv2d(8, 20, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 5)),
    ),
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(300, 65), nn.Tanh(), nn.Linear(65, 33), nn.GELU(), nn.Linear(33, 5)
    ),
    "resnet": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), Block(8), Block(8), nn.AvgPool2d(10), nn.Flatten(), nn.Linear(8, 5)
    ),
}
OPTIMIZERS = {"cnn": optim.Adam, "mlp": optim.AdamW, "resnet": lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9)}


def trained(name: str, threads: int) -> tuple[list[Any], dict[str, np.ndarray], Any]:
    sn.manual_seed(1)
    model = MODELS[name]()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), OPTIMIZERS[name](model.parameters(), lr=0.01))
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(7, 3, 10, 10)).astype("float32"), rng.integers(0, 5, 7)) for _ in range(2)]
    with sn.using_config(num_threads=threads):
        losses = [step(*batch) for batch in batches]
        model.eval()
        return [*losses, model(batches[0][0])], model.state_dict(), (step, batches[0])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_training_is_clean_and_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, name: str, threads: int) -> None:
    plain, weights, _ = trained(name, threads)
    monkeypatch.setenv("STATICNET_GUARD", "1")
    watched, watched_weights, (step, batch) = trained(name, threads)
    for one, other in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(one, other)
    for key, value in weights.items():
        np.testing.assert_array_equal(watched_weights[key], value, err_msg=key)
    bound = step.executor.new_bound()
    assert isinstance(bound, GuardedBound)
    step(*batch)


def test_watched_memory_can_be_poisoned_too(guarded: None) -> None:
    run = sn.compile(lambda x: (sn.softmax(x @ x.T) @ x, sn.exp(x).sum(axis=0)))
    results = run(X)
    bound = run.executor.new_bound()
    for one, other in zip(results, run_poisoned(bound, [X]), strict=True):
        np.testing.assert_array_equal(one, other)
