"""Native runs by the clock: ticks that agree with the system's clock, and instructions timed where they run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from staticnet.compiler.codegen.loops.describe import DESCRIBERS
from staticnet.compiler.errors import CompilerError, RunError
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.index import Gather
from staticnet.compiler.ops.slice import Concat
from staticnet.compiler.pipeline import pipeline
from staticnet.runtime.executor import Executor
from staticnet.runtime.native import driver, host, ticks
from staticnet.runtime.native.backend import NativeBackend
from staticnet.runtime.native.threads import pool
from tests.compiler.graphs import make_graph

pytestmark = pytest.mark.skipif(not host.available(), reason="no native execution here")


def bound(graph: Any, threads: int = 1) -> Any:
    backend = NativeBackend()
    backend.limit_threads(threads)
    return Executor(pipeline(graph, {}, backend.target), backend, []).new_bound()


def test_ticks_and_the_system_tell_the_same_time() -> None:
    cells = np.zeros(1, np.int64)
    pointers = np.array([cells.ctypes.data], np.int64)
    job = driver.Job(driver.table(ticks.tick_entries(pointers)), 0, 1)
    found = []
    for wait in (0.03, 0.0):
        before = time.perf_counter()
        job.run()
        found.append((before, int(cells[0]), time.perf_counter()))
        time.sleep(wait)
    (_, first, after), (before, second, end) = found
    seconds = (second - first) * ticks.clock().seconds
    assert 0.99 * (before - after) <= seconds <= 1.01 * (end - found[0][0])
    assert 0 < ticks.clock().cost * ticks.clock().seconds < 1e-5


@pytest.mark.parametrize(
    "triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-darwin24.0.0"]
)
def test_the_clock_is_code_for_every_processor(triple: str) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(ticks.tick_text(triple))
    module.verify()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip("this LLVM has no such target")
    text = target.create_target_machine(codemodel="default").emit_assembly(module)
    assert ("rdtsc" in text) if triple.startswith("x86") else ("cntvct_el0" in text.lower())


def test_processors_without_a_clock_are_named() -> None:
    with pytest.raises(CompilerError, match="riscv64"):
        ticks.tick_text("riscv64-unknown-linux-gnu")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_are_those_of_a_plain_run(threads: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 300)).astype(np.float32)
    run = bound(make_graph(lambda x: F.sum(F.exp(x @ x * 0.01) @ x, axis=0), x=(300, 300)), threads)
    (plain,) = run.run([x])
    run.arena[...] = 0xFF
    times = run.run_timed([x])
    np.testing.assert_array_equal(run.outputs[0], plain)
    assert len(times.begins) == len(times.ends) == len(run.program.instructions)
    assert sum(times.seconds) <= times.call <= times.finished
    if threads > 1:
        assert pool().live >= threads and any(run.threads_of(number) == threads for number in range(len(times.ends)))


def test_what_takes_longer_is_seen_to() -> None:
    x, y = np.ones((400, 400), np.float32), np.ones(8, np.float32)
    run = bound(make_graph(lambda x, y: (x @ x, F.tanh(y)), x=(400, 400), y=(8,)))
    rounds = [run.run_timed([x, y]).seconds for _ in range(5)]
    names = [instruction.op.name for instruction in run.program.instructions]
    seconds = dict(zip(names, np.min(rounds, axis=0), strict=True))
    # A thousand times as many operations.
    assert seconds["matmul"] > 10 * seconds["tanh"] > 0


def test_python_between_native_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DESCRIBERS, Concat, lambda *_: None)
    run = bound(make_graph(lambda x: F.exp(F.concat([F.tanh(x), x]) @ x), x=(4, 4)))
    assert [run.runs_natively(number) for number in range(len(run.program.instructions))].count(False) == 1
    x = np.ones((4, 4), np.float32)
    (plain,) = run.run([x])
    times = run.run_timed([x])
    np.testing.assert_array_equal(run.outputs[0], plain)
    assert all(a <= b for a, b in zip(times.ends, times.begins[1:], strict=False))


@pytest.mark.parametrize("in_python", [False, True])
def test_what_refuses_says_where(in_python: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_python:
        monkeypatch.setitem(DESCRIBERS, Gather, lambda *_: None)
    run = bound(make_graph(lambda x, i: F.exp(F.take(F.tanh(x), i, axis=0)), x=(4, 4), i=(3, "int64")))
    assert all(run.runs_natively(number) for number in range(len(run.program.instructions))) != in_python
    x = np.ones((4, 4), np.float32)
    for go in (run.run, run.run_timed):
        with pytest.raises(RunError, match="9"):
            go([x, np.full(3, 9)])
    assert len(run.run_timed([x, np.full(3, 1)]).ends) == len(run.program.instructions)
