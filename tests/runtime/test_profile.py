"""The profile: every instruction with its time, work and the user's own line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiler.errors import FeedError, RunError
from staticnet.compiler.origins import Origin
from staticnet.runtime.profile import Profile, StepTime

X = np.ones((64, 64), np.float32)


@sn.compile
def work(x: Any) -> Any:
    return sn.exp(x @ x).sum()


def test_every_instruction_has_its_time_and_its_line() -> None:
    profile = work.profile(X, repeats=3)
    assert [entry.op for entry in profile.entries] == [each.op.name for each in work.program.instructions]
    assert all(entry.seconds > 0 for entry in profile.entries)
    assert profile.seconds == pytest.approx(sum(entry.seconds for entry in profile.entries))
    by_op = {entry.op: entry for entry in profile.entries}
    assert by_op["matmul"].flops == 2 * 64**3 and by_op["matmul"].bytes == 3 * X.nbytes
    assert by_op["exp"].shape == (64, 64) and by_op["exp"].flops == 64 * 64
    assert by_op["matmul"].origin is not None and by_op["matmul"].origin.short.startswith("test_profile.py:")


def test_the_table_shows_the_slowest_first() -> None:
    profile = work.profile(X, repeats=1)
    lines = str(profile).splitlines()
    assert lines[0].startswith("profile of work: ") and f"{len(profile.entries)} instructions" in lines[0]
    assert len(lines) == 2 + len(profile.entries) and "test_profile.py" in lines[2]
    assert len(profile.text(rows=1).splitlines()) == 3


def test_shares_and_rates_in_the_table() -> None:
    origin = Origin("net.py", 12, "features.0")
    entries = (
        StepTime(0, "exp", 0.001, 10**6, 10**6, (10,), None),
        StepTime(1, "matmul", 0.003, 3 * 10**9, 3 * 10**6, (4, 4), origin),
    )
    rows = Profile("net", entries).text().splitlines()
    assert rows[2].split() == ["1", "matmul", "3.000", "75.0%", "1000.0", "1.0", "(4,", "4)", "features.0", "net.py:12"]
    assert rows[3].split()[:4] == ["0", "exp", "1.000", "25.0%"]


def test_states_change_as_by_as_many_calls() -> None:
    count = sn.nn.Buffer(np.zeros((), np.float32))

    @sn.compile
    def step(x: Any) -> Any:
        count.assign(count + 1)
        return x * count

    step.profile(X, repeats=4)
    assert count.numpy() == 4
    assert step(X)[0, 0] == 5 and step.program_count == 1


def test_a_program_without_instructions_has_an_empty_profile() -> None:
    profile = sn.compile(lambda x: x, name="nothing").profile(X)
    assert profile.entries == () and profile.seconds == 0
    assert str(profile).startswith("profile of nothing: 0.000 ms in 0 instructions")


def test_what_fails_in_a_profile_is_said_as_in_a_call() -> None:
    @sn.compile
    def loss(x: Any, labels: Any) -> Any:
        return sn.cross_entropy(x, labels)  # the line at fault

    with pytest.raises(RunError) as caught:
        loss.profile(X, np.full(64, 64))
    assert caught.value.origin is not None and caught.value.origin.source.endswith("# the line at fault")


def test_feeds_are_checked_as_in_a_call() -> None:
    step = sn.compile(lambda x: x * 2, sn.TensorSpec((2, 2), name="x"))
    with pytest.raises(FeedError, match="x has size 64"):
        step.profile(X)
