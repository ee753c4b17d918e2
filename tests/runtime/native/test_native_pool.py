"""Jobs run by several workers: the same results for any number, failures, busy pools, forks and the end."""

from __future__ import annotations

import itertools
import os
import threading

import numpy as np
import pytest

from staticnet.runtime.native import driver, threads
from staticnet.runtime.native.driver import Entry
from tests.runtime.native import native_kernels as kernels

WORKERS = (1, 2, 3, 4, 5)


def meeting(workers: int) -> tuple[driver.Job, np.ndarray, list[np.ndarray]]:
    """A job that ends well only when so many workers run it at the same time."""
    count = np.array([0, workers])
    given = kernels.arguments(count[:1], count[1:])
    rows = driver.table([Entry(kernels.address(kernels.MEET, 2), given.ctypes.data, workers)])
    return threads.job(rows, 0, 1, workers), count, [given, rows]


@pytest.mark.parametrize("workers", WORKERS)
def test_workers_run_side_by_side(workers):
    job, count, _ = meeting(workers)
    for _ in range(3):
        count[0] = 0
        assert threads.run(job) == -1
        assert count[0] == workers


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(("extent", "grain"), [(1, 1), (7, 1), (64, 16), (65, 16), (100, 33), (0, 4), (10, 64)])
def test_extents_are_shared_in_whole_grains(workers, extent, grain):
    place = np.full(max(extent, 1), -1)
    given = kernels.arguments(place)
    rows = driver.table([Entry(kernels.address(kernels.RANGES, 1), given.ctypes.data, extent, grain)])
    assert threads.run(threads.job(rows, 0, 1, workers)) == -1
    units = -(-extent // grain)
    sharers = max(min(workers, units), 1)
    cuts = [min(units * k // sharers * grain, extent) for k in range(sharers + 1)]
    expected = [begin << 32 | end for begin, end in itertools.pairwise(cuts) for _ in range(begin, end)]
    assert place[:extent].tolist() == expected


@pytest.mark.parametrize("workers", WORKERS)
def test_each_worker_has_arguments_of_its_own(workers):
    """Worker k's own array takes the range it did."""
    own = np.full((workers, 64), -1)
    given = np.array([[row.ctypes.data] for row in own])
    rows = driver.table([Entry(kernels.address(kernels.RANGES, 1), given.ctypes.data, 64, 4, given.strides[0])])
    assert threads.run(threads.job(rows, 0, 1, workers)) == -1
    for worker in range(workers):
        begin, end = (16 * number // workers * 4 for number in (worker, worker + 1))
        expected = np.full(64, -1)
        expected[begin:end] = begin << 32 | end
        np.testing.assert_array_equal(own[worker], expected)


@pytest.mark.parametrize("between", [(), (False,), (True,), (True, True), (False, True), (True, False)])
@pytest.mark.parametrize("first_grain", [1, 64])
def test_what_one_worker_wrote_late_is_seen_by_all(between, first_grain):
    """A late write, then small entries of groups as `between` says, then a shared one that reads it."""
    flag, aside, place = np.zeros(1, np.int64), np.zeros((3, 64), np.int64), np.zeros(64, np.int64)
    given = [kernels.arguments(flag), kernels.arguments(flag, place)]
    given += [kernels.arguments(row, row) for row in aside]
    late, spread = kernels.address(kernels.LATE, 1), kernels.address(kernels.SPREAD, 2)
    add = kernels.address(kernels.add(1), 2)
    entries = [Entry(add, given[-1].ctypes.data, 64, first_grain), Entry(late, given[0].ctypes.data, 1)]
    entries += [
        Entry(add, given[2 + number].ctypes.data, 64, 64, independent=independent)
        for number, independent in enumerate(between)
    ]
    entries.append(Entry(spread, given[1].ctypes.data, 64))
    job = threads.job(driver.table(entries), 0, len(entries), 2)
    for _ in range(20):
        flag[:] = place[:] = 0
        assert threads.run(job) == -1
        assert place.all()


class Chain:
    """Many dependent entries over three arrays, some with others beside them, some too small to share."""

    extent = 96

    def __init__(self, seed: int, length: int = 40):
        rng = np.random.default_rng(seed)
        self.arrays = np.zeros((6, self.extent), np.int64)
        self.steps = []
        self.kept, entries = [], []
        mirror, count = kernels.address(kernels.mirror(self.extent), 2), kernels.address(kernels.add(1), 2)
        for _ in range(length):
            source, target = (int(number) for number in rng.choice(3, 2, replace=False))
            beside = [int(number) for number in rng.permutation([3, 4, 5])[: rng.integers(3)]]
            self.steps.append((source, target, beside))
            group = [(mirror, source, target), *((count, number, number) for number in beside)]
            rng.shuffle(group)
            for place, (function, start, end) in enumerate(group):
                self.kept.append(kernels.arguments(self.arrays[start], self.arrays[end]))
                grain, is_joined = int(rng.choice([1, 8, 40, 1000, 1000])), place < len(group) - 1
                pointers = self.kept[-1].ctypes.data
                entries.append(Entry(int(function), pointers, self.extent, grain, independent=is_joined))
        self.rows = driver.table(entries)

    def expected(self) -> np.ndarray:
        arrays = np.zeros_like(self.arrays)
        for source, target, beside in self.steps:
            arrays[target] = 3 * arrays[source][::-1] + np.arange(self.extent)
            arrays[beside] += 1
        return arrays


@pytest.mark.parametrize("workers", WORKERS)
def test_results_are_the_same_for_any_number_of_workers(workers):
    for seed in range(8):
        chain = Chain(seed)
        job = threads.job(chain.rows, 0, len(chain.rows), workers)
        expected = chain.expected()
        for _ in range(10):
            chain.arrays[:] = 0
            assert threads.run(job) == -1
            np.testing.assert_array_equal(chain.arrays, expected)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(("bad", "expected"), [([(4, 30)], 4), ([(5, 0), (2, 63)], 2), ([(0, 9)], 0), ([], -1)])
@pytest.mark.parametrize("grain", [1, 1000])
def test_the_first_failure_is_the_same_for_any_number_of_workers(workers, bad, expected, grain):
    values, calls = np.zeros((7, 64), np.int64), np.zeros((7, 1), np.int64)
    for entry, place in bad:
        values[entry, place] = -1
    given = [kernels.arguments(value, call) for value, call in zip(values, calls, strict=True)]
    refuse = kernels.address(kernels.REFUSE, 2)
    job = threads.job(driver.table([Entry(refuse, own.ctypes.data, 64, grain) for own in given]), 0, 7, workers)
    for _ in range(5):
        calls[:] = 0
        assert threads.run(job) == expected
        ran = (expected if expected >= 0 else 6) + 1
        assert (calls[:ran] == (workers if grain == 1 else 1)).all() and not calls[ran:].any()


@pytest.mark.parametrize("workers", WORKERS)
def test_of_independent_failures_the_first_is_named(workers):
    """Worker 0 fails in entry 1, the last worker in entry 0, and nobody waits between."""
    values, calls = np.zeros((3, 64), np.int64), np.zeros((3, 1), np.int64)
    values[0, 63] = values[1, 0] = -1
    given = [kernels.arguments(value, call) for value, call in zip(values, calls, strict=True)]
    refuse = kernels.address(kernels.REFUSE, 2)
    rows = driver.table([Entry(refuse, own.ctypes.data, 64, 1, independent=True) for own in given])
    for _ in range(20):
        assert threads.run(threads.job(rows, 0, 2, workers)) == 0


def test_callers_at_once_all_get_their_results():
    """One has the pool, the others run alone; who is who does not matter."""
    chains = [Chain(seed) for seed in range(4)]
    faults: list[int] = []

    def use(number: int) -> None:
        chain, expected = chains[number], chains[number].expected()
        job = threads.job(chain.rows, 0, len(chain.rows), 2 + number % 2)
        for _ in range(100):
            chain.arrays[:] = 0
            if threads.run(job) != -1 or (chain.arrays != expected).any():
                faults.append(number)

    callers = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(120)
    assert not faults and not any(caller.is_alive() for caller in callers)


def test_workers_are_not_sent_home_while_they_work():
    threads.pool().ensure(2)
    count = np.array([0, 3])
    given = kernels.arguments(count[:1], count[1:])
    rows = driver.table([Entry(kernels.address(kernels.MEET, 2), given.ctypes.data, 2)])
    job = threads.job(rows, 0, 1, 2)
    results: list[int] = []
    caller = threading.Thread(target=lambda: results.append(threads.run(job)))
    caller.start()
    while count[0] < 2:
        pass
    was_dismissed = threads.pool().dismiss()
    count[0] = 3
    caller.join(60)
    assert (was_dismissed, results) == (False, [-1])
    assert threads.pool().dismiss()
    assert threads.pool().live == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("staticnet-")]


def test_the_pool_grows_and_starts_again():
    threads.pool().dismiss()
    for workers in (2, 4, 3):
        job, count, _ = meeting(workers)
        assert threads.run(job) == -1 and count[0] == workers
    assert threads.pool().live == 4
    threads.pool().dismiss()
    job, count, _ = meeting(3)
    assert threads.run(job) == -1
    assert threads.pool().live == 3


def test_a_job_without_its_workers_runs_alone():
    chain = Chain(3)
    threads.pool().dismiss()
    job = threads.job(chain.rows, 0, len(chain.rows), 4)
    assert job.run() == -1
    assert threads.pool().live == 1
    np.testing.assert_array_equal(chain.arrays, chain.expected())


def test_where_no_thread_can_be_started_jobs_run_alone(monkeypatch):
    threads.pool().dismiss()

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert threads.pool().ensure(3) == 1
    chain = Chain(4)
    assert threads.run(threads.job(chain.rows, 0, len(chain.rows), 3)) == -1
    np.testing.assert_array_equal(chain.arrays, chain.expected())


FORKS = """
import os, sys, threading
from staticnet.runtime.native import threads
from tests.runtime.native.test_native_pool import Chain

chains = [Chain(seed) for seed in (1, 2)]
expected = [chain.expected() for chain in chains]
jobs = [threads.job(chain.rows, 0, len(chain.rows), 3) for chain in chains]

def is_right(number):
    chains[number].arrays[:] = 0
    return threads.run(jobs[number]) == -1 and (chains[number].arrays == expected[number]).all()

assert is_right(0)
stop = threading.Event()

def use():
    while not stop.is_set():
        assert is_right(1)

other = threading.Thread(target=use)
other.start()
for turn in range(5):
    child = os.fork()
    if not child:
        begins_alone = threads.pool().live == 1
        fine = is_right(0) and threads.pool().live == 3 and is_right(1) and is_right(0)
        os._exit(0 if begins_alone and fine else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), is_right(0), flush=True)
stop.set()
other.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_has_workers_of_its_own():
    assert kernels.run_script(FORKS).split() == ["0", "True"] * 5


ENDS = """
import threading
from staticnet.runtime.native import threads
from tests.runtime.native.test_native_pool import Chain
chain = Chain(0)
job = threads.job(chain.rows, 0, len(chain.rows), 4)
def use():
    while True:
        threads.run(job)
if {busy}:
    threading.Thread(target=use, daemon=True).start()
threads.run(job)
print("end", flush=True)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_a_process_with_workers_ends(busy):
    assert kernels.run_script(ENDS.format(busy=busy)).split() == ["end"]
