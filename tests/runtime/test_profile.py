"""Profiles of programs: every step with its time, work, limit and the user's own line; what a call leaves behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.compiler.codegen.loops.describe import DESCRIBERS
from staticnet.compiler.errors import ArgumentError, FeedError, RunError
from staticnet.compiler.ops.slice import Concat
from staticnet.runtime.native import host
from staticnet.runtime.profile import Profile

X = np.ones((64, 64), np.float32)

native = pytest.mark.skipif(not host.available(), reason="no native execution here")
BACKENDS = pytest.mark.parametrize("is_native", [pytest.param(True, marks=native), False])


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Choose native code or NumPy's kernels."""
    return lambda is_native: monkeypatch.setenv("STATICNET_NATIVE", "1" if is_native else "0")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(8 * 36, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x))  # the line of the layers


def train_step() -> Any:
    sn.manual_seed(0)
    model = Net()
    return sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((16, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, 16)


def check(profile: Profile, step: Any) -> None:
    """What holds for every profile of what ran last."""
    instructions = step.program.instructions
    assert [entry.op for entry in profile] == [each.op.title for each in instructions]
    assert [entry.flops for entry in profile] == [step.program.flops(each) for each in instructions]
    assert all(entry.seconds >= 0 and entry.bytes > 0 and entry.dtype for entry in profile)
    assert profile.seconds == pytest.approx(sum(entry.seconds for entry in profile)) and profile.seconds > 0
    assert len(profile) == len(profile.entries) and profile[0] is profile.entries[0]
    run = profile.run
    assert run is not None and 0 < run.ready <= run.finished
    assert all(0 <= begin <= end <= run.finished for begin, end in zip(run.begins, run.ends, strict=True))
    assert all(end <= begin for end, begin in zip(run.ends, run.begins[1:], strict=False))
    assert profile.overhead >= 0 and min(profile.calls) > 0
    for entry in profile:
        assert entry.limit is not None and entry.bound in {"arithmetic", "memory"} and entry.limit.seconds > 0


@BACKENDS
def test_every_step_has_its_time_its_work_and_its_line(on: Any, is_native: bool) -> None:
    on(is_native)

    def function(x: Any) -> Any:
        return sn.tanh(x @ x) @ x

    work = sn.compile(function)
    profile = work.profile(X, repeats=3)
    check(profile, work)
    products = [entry for entry in profile if entry.kind == "matmul"]
    # x is read once where it is both factors.
    assert [entry.bytes for entry in products] == [2 * X.nbytes, 3 * X.nbytes]
    assert all(entry.flops >= 2 * 64**3 and entry.shape == (64, 64) for entry in products)
    assert all(entry.is_native == is_native and entry.dtype == "float32" for entry in profile)
    assert all(entry.line.startswith("test_profile.py:") for entry in profile)
    assert "sn.tanh(x @ x)" in profile[0].origin.source
    assert len(profile.calls) == 3


@BACKENDS
def test_a_training_step(on: Any, is_native: bool) -> None:
    on(is_native)
    step = train_step()
    step(*batch())
    profile = step.profile(*batch(), repeats=2)
    check(profile, step)
    modules = {group.name for group in profile.by("module")}
    assert {"body.0", "head"} <= modules
    kinds = {group.name for group in profile.by("op")}
    assert {"conv2d", "conv2d_weight_grad", "matmul"} <= kinds
    assert any("# the line of the layers" in entry.origin.source for entry in profile if entry.origin)
    assert any(entry.op.startswith("fused[") for entry in profile) == is_native


@BACKENDS
@pytest.mark.parametrize("threads", [1, 3])
def test_states_end_as_after_that_many_calls(on: Any, is_native: bool, threads: int) -> None:
    on(is_native)
    with sn.using_config(num_threads=threads):
        profiled, called = train_step(), train_step()
        profile = profiled.profile(*batch(), repeats=3)
        for _ in range(3):
            called(*batch())
        assert profiled(*batch()) == called(*batch())
    for name, value in called.model.state_dict().items():
        np.testing.assert_array_equal(profiled.model.state_dict()[name], value)
    assert profile.threads == threads and profiled.program_count == 1


@native
def test_several_threads_run_as_they_would(on: Any) -> None:
    on(True)
    work = sn.compile(lambda x: sn.exp(x @ x))
    x = np.ones((512, 512), np.float32)
    with sn.using_config(num_threads=2):
        profile = work.profile(x, repeats=2)
    check(profile, work)
    assert profile.threads == 2 and [entry.threads for entry in profile if entry.kind == "matmul"] == [2]
    with sn.using_config(num_threads=1):
        profile = work.profile(x, repeats=1)
    assert profile.threads == 1 and all(entry.threads == 1 for entry in profile)


@native
def test_steps_that_run_in_python_are_named(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on(True)
    monkeypatch.setitem(DESCRIBERS, Concat, lambda *_: None)
    work = sn.compile(lambda x: sn.exp(sn.concatenate([sn.tanh(x), x]).sum(0) + x))
    profile = work.profile(X, repeats=2)
    check(profile, work)
    assert [entry.op for entry in profile.in_python] == ["concat"]
    assert [segment.is_native for segment in profile.segments] == [True, False, True]
    assert work.segments == profile.segments
    assert "in Python, concat" in str(work.segments[1])
    (row,) = [line for line in str(profile).splitlines() if " concat " in line]
    assert "in Python" in row
    assert "2 native calls, and 1 in Python: concat" in str(profile)


def test_segments_without_native_code(on: Any) -> None:
    on(False)
    work = sn.compile(lambda x: sn.exp(x) @ x)
    work(X)
    (segment,) = work.segments
    assert not segment.is_native and segment.ops == ("exp", "matmul")
    assert str(segment) == "steps 0 to 1: in Python, exp, matmul"
    assert "all in Python" in str(work.profile(X, repeats=1))


@BACKENDS
def test_a_program_without_steps(on: Any, is_native: bool) -> None:
    on(is_native)
    profile = sn.compile(lambda x: x, name="nothing").profile(X)
    assert profile.entries == () and profile.seconds == 0 and profile.segments == ()
    text = str(profile)
    assert text.startswith("profile of nothing: 0.0 us in 0 steps") and text.endswith("and constants")
    assert len(profile.by("module")) == 0 and "nothing" in str(profile.by("op"))


@BACKENDS
def test_empty_arrays(on: Any, is_native: bool) -> None:
    on(is_native)
    profile = sn.compile(lambda x: sn.exp(x) @ x.T).profile(np.ones((0, 3), np.float32), repeats=2)
    assert len(profile) >= 1 and "total" in str(profile)


@BACKENDS
def test_what_fails_in_a_profile_is_said_as_in_a_call(on: Any, is_native: bool) -> None:
    on(is_native)

    @sn.compile
    def loss(x: Any, labels: Any) -> Any:
        return sn.cross_entropy(x, labels)  # the line at fault

    with pytest.raises(RunError) as caught:
        loss.profile(X, np.full(64, 64))
    assert caught.value.origin is not None and caught.value.origin.source.endswith("# the line at fault")
    assert loss.profile(X, np.full(64, 63), repeats=1).seconds > 0


def test_feeds_are_checked_as_in_a_call() -> None:
    step = sn.compile(lambda x: x * 2, sn.TensorSpec((2, 2), name="x"))
    with pytest.raises(FeedError, match="x has size 64"):
        step.profile(X)
    with pytest.raises(ArgumentError, match="repeats = 0"):
        step.profile(X[:2, :2], repeats=0)


def test_what_is_gathered_from_a_large_table_is_not_all_read() -> None:
    table = nn.Parameter(np.ones((10000, 8), np.float32))
    profile = sn.compile(lambda i: table[i]).profile(np.zeros(4, np.int64), repeats=1)
    (entry,) = [entry for entry in profile if "gather" in entry.op]
    assert 4 * 8 * 4 * 2 <= entry.bytes < 1000
