"""Memory budgets: values computed twice, with the same bits, until the plan fits."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.compiler.errors import MemoryBudgetError
from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import assemble, prepare
from staticnet.compiler.target import NATIVE, REFERENCE
from staticnet.runtime.executor import Executor
from staticnet.runtime.numpy_backend import NUMPY
from staticnet.sizes import as_bytes
from tests.compiler.graphs import make_graph


def waiting(x):
    """Early values that are read again at the end, in reverse: what a backward part does."""
    kept = [F.tanh(x * (0.1 * number)) for number in range(1, 7)]
    total = x
    for value in kept:
        total = F.matmul(total, value)
    for value in reversed(kept):
        total = F.matmul(total, F.exp(value))
    return total


@pytest.mark.parametrize("target", [REFERENCE, NATIVE], ids=["reference", "native"])
def test_a_budget_is_kept_and_the_bits_are_the_same(target):
    prepared = prepare(make_graph(waiting, x=(32, 32)), target)
    plain = assemble(prepared, {})
    feed = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    expected = Executor(plain, NUMPY, ())([feed])[0]
    budget = plain.memory.scratch_bytes + plain.memory.arena_bytes * 3 // 4
    program = check_plan(assemble(prepared, {}, memory_budget=budget))
    assert program.memory.working_bytes <= budget and program.memory.recomputed > 0
    assert "computed twice" in program.memory.text()
    np.testing.assert_array_equal(Executor(program, NUMPY, ())([feed])[0], expected)


def test_enough_memory_changes_nothing():
    prepared = prepare(make_graph(waiting, x=(32, 32)), NATIVE)
    plain = assemble(prepared, {})
    again = assemble(prepared, {}, memory_budget=plain.memory.working_bytes)
    assert again.text() == plain.text() and again.memory.recomputed == 0


def test_what_cannot_be_kept_says_by_how_much():
    prepared = prepare(make_graph(waiting, x=(32, 32)), NATIVE)
    with pytest.raises(MemoryBudgetError, match=r"where 1000 B are allowed, .* too many"):
        assemble(prepared, {}, memory_budget=1000)


def train(budget, steps: int = 3):
    sn.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(32, 256), nn.GELU(), nn.Dropout(0.3), nn.Linear(256, 256), nn.GELU(), nn.Dropout(0.3),
        nn.Linear(256, 4),
    )  # fmt: skip
    step = sn.compile_train_step(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9), memory_budget=budget
    )
    random = np.random.default_rng(2)
    losses = [
        float(step(random.standard_normal((512, 32)).astype(np.float32), random.integers(0, 4, 512)))
        for _ in range(steps)
    ]
    return losses, {name: np.array(value) for name, value in model.state_dict().items()}, step.memory


def test_training_under_a_budget_has_the_same_bits():
    losses, weights, memory = train(None)
    budget = memory.working_bytes * 9 // 10
    tight_losses, tight_weights, tight = train(budget)
    assert tight.working_bytes <= budget and tight.recomputed > 0
    assert tight_losses == losses
    for name, value in weights.items():
        np.testing.assert_array_equal(tight_weights[name], value, err_msg=name)


def test_an_impossible_budget_is_an_error_at_the_first_call():
    with pytest.raises(MemoryBudgetError, match="take a smaller batch or a larger budget"):
        train("1kB", 1)


@pytest.mark.parametrize(
    ("text", "count"), [("64MB", 64_000_000), ("1.5 GiB", 1_610_612_736), ("2k", 2000), (123, 123), ("7 B", 7)]
)
def test_sizes_as_users_write_them(text, count):
    assert as_bytes("memory_budget", text) == count


@pytest.mark.parametrize("value", ["", "MB", "-3MB", "1 parsec", 0, -1, 1.5, True, None, []])
def test_sizes_that_are_none(value):
    with pytest.raises(sn.errors.ArgumentError, match="memory_budget is a number of bytes or text"):
        as_bytes("memory_budget", value)
