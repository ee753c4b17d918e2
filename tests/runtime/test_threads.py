"""Several threads: calls of one function, of functions that share states, and states set and moved meanwhile."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiler.ir import Node, Op, Type, apply
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import REFERENCE
from staticnet.runtime.executor import Executor
from staticnet.runtime.locks import Domain, StateLock, _root
from staticnet.runtime.numpy_backend import NUMPY
from staticnet.runtime.state import State
from tests.compiler.graphs import make_graph

THREADS = 6


@pytest.fixture(autouse=True)
def _quick_switching() -> Iterator[None]:
    """Threads change places often, so that what can go wrong does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*jobs: Callable[[], Any], seconds: float = 60) -> list[Any]:
    """Run jobs at once, a thread each; their results, or the first error; a deadlock is an error too."""
    barrier = threading.Barrier(len(jobs))

    def begin(job: Callable[[], Any]) -> Any:
        barrier.wait()
        return job()

    pool = ThreadPoolExecutor(len(jobs))
    futures = [pool.submit(begin, job) for job in jobs]
    try:
        return [future.result(timeout=seconds) for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def increment(state: State) -> Executor:
    graph = make_graph(lambda x, s: ((new := s + x), {"s": new}), {"s": (4,)}, x=(4,))
    return Executor(pipeline(graph, {}, REFERENCE), NUMPY, [state])


ONES = np.ones(4, np.float32)


def test_calls_that_only_read_run_at_once_and_give_their_own_results() -> None:
    graph = make_graph(lambda x, s: F.tanh(F.exp(x * s)) + F.transpose(x), {"s": ()}, x=(16, 16))
    run = Executor(pipeline(graph, {}, REFERENCE), NUMPY, [State(np.float32(0.5))])
    feeds = [np.random.default_rng(k).normal(size=(16, 16)).astype("float32") for k in range(THREADS)]
    expected = [run([feed])[0] for feed in feeds]

    def job(feed: np.ndarray, wanted: np.ndarray) -> None:
        for _ in range(60):
            np.testing.assert_array_equal(run([feed])[0], wanted)

    together(*(lambda f=f, w=w: job(f, w) for f, w in zip(feeds, expected, strict=True)))
    assert 1 <= len(run._pool) <= THREADS


def test_readers_do_not_wait_for_one_another() -> None:
    meeting = threading.Barrier(3, timeout=20)

    class Met(Op):
        name = "test_met"

        def infer(self, x: Type) -> Type:
            return x

        def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
            meeting.wait()  # passes only when three are inside at once
            xp.copyto(out, x)

    graph = make_graph(lambda s: apply(Met(), s), {"s": (4,)})
    run = Executor(pipeline(graph, {}, REFERENCE), NUMPY, [State(ONES)])
    together(*[lambda: run([])] * 3)


def test_many_calls_from_many_threads_equal_as_many_in_a_row() -> None:
    state = State(np.zeros(4, np.float32))
    run = increment(state)
    results = together(*[lambda: [run([ONES])[0][0] for _ in range(50)]] * THREADS)
    np.testing.assert_array_equal(state.numpy(), 50 * THREADS)
    # Each call saw the state of exactly one other before it, and each thread its own calls in order.
    assert sorted(value for values in results for value in values) == list(range(1, 50 * THREADS + 1))
    assert all(values == sorted(values) for values in results)


def test_a_training_step_called_from_many_threads() -> None:
    """Equal batches commute: whatever the order of the calls, the weights are those of calls in a row."""

    def trained(calls: Callable[[Callable[[], Any]], Any]) -> np.ndarray:
        weight, velocity = sn.nn.Parameter(np.ones((5, 3), np.float32)), sn.nn.Buffer(np.zeros((5, 3), np.float32))

        @sn.compile
        def step(x: Any, labels: Any) -> Any:
            loss = sn.cross_entropy(x @ weight, labels)
            (slope,) = sn.grad(loss, [weight])
            velocity.assign(velocity * 0.9 + slope)
            weight.assign(weight - 0.1 * velocity)
            return loss

        x, labels = np.random.default_rng(0).normal(size=(8, 5)).astype("float32"), np.arange(8) % 3
        calls(lambda: step(x, labels))
        assert step.trace_count == 1 and step.program_count == 1
        return weight.numpy()

    def in_a_row(call: Callable[[], Any]) -> None:
        for _ in range(THREADS * 10):
            call()

    def at_once(call: Callable[[], Any]) -> None:
        together(*[lambda: [call() for _ in range(10)]] * THREADS)

    np.testing.assert_array_equal(trained(at_once), trained(in_a_row))


def test_the_first_call_from_many_threads_traces_once() -> None:
    @sn.compile
    def double(x: Any) -> Any:
        time.sleep(0.01)
        return x * 2

    results = together(*[lambda: double(ONES)] * THREADS)
    assert double.trace_count == double.program_count == 1
    for result in results:
        np.testing.assert_array_equal(result, 2)


def test_a_reader_never_sees_a_half_written_state() -> None:
    size = 50_000
    state = State(np.zeros(size, np.float32))
    write = Executor(
        pipeline(make_graph(lambda s: (s[:1], {"s": s + 1.0}), {"s": (size,)}), {}, REFERENCE), NUMPY, [state]
    )
    read = Executor(pipeline(make_graph(lambda s: (F.min(s), F.max(s)), {"s": (size,)}), {}, REFERENCE), NUMPY, [state])

    def reading() -> None:
        for _ in range(100):
            least, most = read([])
            assert least == most
            value = state.numpy()
            assert (value == value[0]).all()

    def setting() -> None:
        for number in range(100):
            state.set(np.full(size, -number, np.float32))

    together(lambda: [write([]) for _ in range(100)], reading, reading, setting)


def test_programs_that_share_states_crosswise_never_deadlock() -> None:
    """Locks merge as programs over more states are made while others run."""
    rng = random.Random(0)
    states = [State(np.zeros(4, np.float32), f"s{k}") for k in range(8)]

    def program(chosen: list[State]) -> Executor:
        names = [f"s{k}" for k in range(len(chosen))]

        def build(x: Node, **values: Node) -> Any:
            return x, {name: values[name] + x for name in names}

        graph = make_graph(build, dict.fromkeys(names, (4,)), x=(4,))
        return Executor(pipeline(graph, {}, REFERENCE), NUMPY, chosen)

    plans = [[rng.sample(states, rng.randint(1, 4)) for _ in range(12)] for _ in range(THREADS)]

    def job(choices: list[list[State]]) -> None:
        for chosen in choices:
            run = program(chosen)
            for _ in range(5):
                run([ONES])
            chosen[0].numpy()

    together(*(lambda p=p: job(p) for p in plans))
    for state in states:
        wanted = 5 * sum(state in chosen for plan in plans for chosen in plan)
        np.testing.assert_array_equal(state.numpy(), wanted)
    assert len({id(_root(state.domain)) for state in states}) == 1  # type: ignore[arg-type]


def test_loading_while_others_train() -> None:
    state = State(np.zeros(4, np.float32))
    run = increment(state)
    stop = threading.Event()

    def training() -> int:
        count = 0
        while not stop.is_set():
            values = run([ONES])[0]
            assert len(set(values.tolist())) == 1
            count += 1
        return count

    def loading() -> None:
        for number in range(50):
            state.set(np.full(4, 1000.0 * number, np.float32))
            time.sleep(0.0005)
        stop.set()

    *counts, _ = together(training, training, loading)
    assert sum(counts) > 0


def test_states_that_move_while_others_read() -> None:
    """Moving happens between calls; a call that borrowed the old storage before it still ends well."""
    state = State(np.ones(4, np.float32))
    run = Executor(pipeline(make_graph(lambda s: s * 2.0, {"s": (4,)}), {}, REFERENCE), NUMPY, [state])

    def moving() -> None:
        for _ in range(50):
            state.move(state.numpy(), "cpu")

    def reading() -> None:
        for _ in range(50):
            np.testing.assert_array_equal(run([])[0], 2)

    together(moving, reading, reading)


# -- the lock alone -------------------------------------------------------------------------------


def test_a_writer_is_alone_and_readers_are_not() -> None:
    states = [State(np.zeros(1)) for _ in range(2)]
    lock = StateLock(states)
    inside: list[str] = []

    def read() -> None:
        inside.append("r")
        assert "w" not in inside
        inside.remove("r")

    def write() -> None:
        inside.append("w")
        assert inside == ["w"]
        inside.remove("w")

    def reader() -> None:
        for _ in range(200):
            lock.read(read)

    def writer() -> None:
        for _ in range(200):
            StateLock(states[:1]).write(write)

    together(reader, reader, writer, writer)


def test_readers_are_inside_together() -> None:
    lock, both = StateLock([State(np.zeros(1))]), threading.Barrier(2, timeout=20)
    together(lambda: lock.read(both.wait), lambda: lock.read(both.wait))
    assert lock.read(lambda: lock.read(int, "7")) == 7


def test_an_error_inside_frees_the_lock() -> None:
    lock = StateLock([State(np.zeros(1))])
    for enter in (lock.read, lock.write):
        with pytest.raises(ZeroDivisionError):
            enter(divmod, 1, 0)
    assert lock.write(divmod, 7, 2) == (3, 1)


class HeardAfterAdding(set):
    """Ctrl-C is heard when a reader has come in."""

    def add(self, token: object) -> None:
        super().add(token)
        raise KeyboardInterrupt


class HeardAfterClaiming(dict):
    """Ctrl-C is heard when a writer has come in."""

    def setdefault(self, key: Any, token: Any = None) -> Any:
        super().setdefault(key, token)
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_writer", [False, True])
def test_an_interruption_on_the_way_in_frees_the_lock(is_writer: bool) -> None:
    state = State(np.zeros(1))
    lock = StateLock([state])
    domain = state.domain
    assert domain is not None
    before = domain.readers, domain.writer
    domain.readers, domain.writer = HeardAfterAdding(), HeardAfterClaiming()
    with pytest.raises(KeyboardInterrupt):
        (lock.write if is_writer else lock.read)(pytest.fail, "it is not inside")
    assert not domain.is_held
    domain.readers, domain.writer = before
    state.set([1.0])


@pytest.mark.skipif(os.name == "nt", reason="signals are sent another way there")
@pytest.mark.parametrize("is_writer", [False, True])
def test_interruptions_at_any_moment_free_the_lock(is_writer: bool) -> None:
    lock = StateLock([State(np.zeros(1))])
    enter = lock.write if is_writer else lock.read
    rng, ready, times = random.Random(0), threading.Event(), 100

    def interrupt() -> None:
        for _ in range(times):
            assert ready.wait(20)
            ready.clear()
            time.sleep(rng.random() * 1e-4)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    for _ in range(times):
        with pytest.raises(KeyboardInterrupt):
            ready.set()
            while True:
                enter(int)
        assert not lock._domain.is_held
    thread.join(20)


def test_one_who_was_kept_from_telling_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Domain, "wake", lambda self: None)
    state = State(np.zeros(1))
    inside, together_with = threading.Event(), threading.Event()

    def reading() -> None:
        StateLock([state]).read(lambda: (inside.set(), together_with.wait(20)))

    def writing() -> None:
        assert inside.wait(20)
        threading.Timer(0.02, together_with.set).start()
        state.set([1.0])

    together(reading, writing)
    assert state.numpy() == 1


def test_locks_merge_while_one_of_them_is_held() -> None:
    first, second = State(np.zeros(1)), State(np.zeros(1))
    order: list[str] = []
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait(20)
        order.append("released")

    def holding() -> None:
        StateLock([first]).write(hold)

    def merging() -> None:
        held.wait(20)
        threading.Timer(0.05, release.set).start()
        StateLock([second, first]).write(order.append, "merged")  # waits until nobody holds `first`

    together(holding, merging)
    assert order == ["released", "merged"]
    assert _root(first.domain) is _root(second.domain)  # type: ignore[arg-type]


def test_a_merge_does_not_keep_others_from_their_own_locks() -> None:
    """While a merge waits for a long run, states that have nothing to do with it stay usable."""
    first, second, other = (State(np.zeros(1)) for _ in range(3))
    held, release = threading.Barrier(4, timeout=20), threading.Event()

    def hold() -> None:
        held.wait()
        assert release.wait(20)

    def holding(state: State) -> None:
        StateLock([state]).write(hold)

    def merging() -> None:
        held.wait()
        StateLock([second, first])  # both are held

    def elsewhere() -> None:
        held.wait()
        time.sleep(0.05)  # the merge waits by now
        try:
            other.set([1.0])
            assert other.numpy()[0] == 1
        finally:
            release.set()

    together(lambda: holding(first), lambda: holding(second), merging, elsewhere, seconds=30)
