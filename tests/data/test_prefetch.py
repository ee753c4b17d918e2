"""Working ahead: the same batches, errors in their turn, and no thread left behind."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import traceback
import weakref

import numpy as np
import pytest

from staticnet.compiler.errors import DataError
from staticnet.data import ArrayDataset, DataLoader, Dataset
from staticnet.data.prefetch import prefetched


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "staticnet-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert workers() == []
    yield
    assert workers() == []


class Recorder(Dataset):
    """Numbers; notes which were fetched, in which thread, and fails at one of them."""

    def __init__(self, count, fails_at=None):
        self.count, self.fails_at, self.fetched, self.threads = count, fails_at, [], set()
        self.progress = threading.Condition()

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        with self.progress:
            self.fetched.append(index)
            self.threads.add(threading.current_thread().name)
            self.progress.notify_all()
        if index == self.fails_at:
            return deep_in_user_code(index)
        return index

    def wait_for(self, count):
        with self.progress:
            assert self.progress.wait_for(lambda: len(self.fetched) >= count, timeout=10)


def deep_in_user_code(index):
    raise ZeroDivisionError(f"example {index} is broken")


@pytest.mark.parametrize("prefetch", [1, 2, 7, 100])
def test_the_batches_do_not_depend_on_prefetch(prefetch):
    data = ArrayDataset(np.arange(50), np.arange(50) * 2)
    plain = DataLoader(data, batch_size=7, shuffle=True, seed=4)
    ahead = DataLoader(data, batch_size=7, shuffle=True, seed=4, prefetch=prefetch)
    for _ in range(3):
        for one, other in zip(plain, ahead, strict=True):
            assert [part.tolist() for part in one] == [part.tolist() for part in other]


def test_as_many_are_made_ahead_as_asked_for_and_no_more():
    data = Recorder(20)
    running = iter(DataLoader(data, batch_size=1, prefetch=3))
    assert next(running) == [0]
    data.wait_for(4)
    with data.progress:
        assert not data.progress.wait_for(lambda: len(data.fetched) > 4, timeout=0.2)
    assert data.fetched == [0, 1, 2, 3] and data.threads == {"staticnet-prefetch"}
    running.close()


def test_an_error_comes_after_the_batches_before_it_with_its_traceback():
    loader = DataLoader(Recorder(10, fails_at=6), batch_size=2, prefetch=4)
    seen = []
    with pytest.raises(ZeroDivisionError, match="example 6 is broken") as caught:
        for batch in loader:
            seen.append(batch.tolist())
    assert seen == [[0, 1], [2, 3], [4, 5]]
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[0] == "test_an_error_comes_after_the_batches_before_it_with_its_traceback"
    assert names[-1] == "deep_in_user_code"
    assert loader.state_dict()["position"] == 3


def test_errors_of_the_framework_name_the_line_of_the_user():
    loader = DataLoader([np.zeros(1), np.zeros(2)], batch_size=2, prefetch=1)
    with pytest.raises(DataError, match="cannot be stacked") as caught:
        for _ in loader:
            pass
    assert caught.value.origin.file == __file__
    assert caught.value.origin.source == "for _ in loader:"


def test_stop_iteration_in_user_code_does_not_end_the_epoch_silently():
    def transform(value):
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(ArrayDataset([1, 2], transform=transform), prefetch=1))


def test_interruptions_in_the_thread_reach_the_consumer():
    def transform(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(DataLoader(ArrayDataset([1, 2], transform=transform), prefetch=1))


def test_break_stops_the_thread():
    for _ in DataLoader(np.arange(1000), batch_size=1, prefetch=2):
        assert len(workers()) == 1
        break
    assert workers() == []


def test_an_error_of_the_consumer_stops_the_thread():
    with pytest.raises(ValueError, match="of the consumer"):
        consume(DataLoader(np.arange(1000), batch_size=1, prefetch=2))


def consume(loader):
    for _ in loader:
        raise ValueError("of the consumer")


def test_dropping_the_iterator_stops_the_thread():
    running = iter(DataLoader(np.arange(1000), batch_size=1, prefetch=2))
    next(running)
    assert len(workers()) == 1
    del running
    assert workers() == []


def test_an_iterator_in_a_cycle_is_collected():
    class Holder:
        pass

    holder = Holder()
    holder.me = holder
    holder.running = iter(DataLoader(np.arange(1000), batch_size=1, prefetch=2))
    next(holder.running)
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None and workers() == []


def test_a_collection_in_the_thread_itself_does_not_lock_up():
    kept = []

    def source():
        yield 1
        kept.pop()  # the last reference to the consuming generator dies in the thread
        yield 2

    items = prefetched(source(), 1)
    kept.append(items)
    assert next(items) == 1
    thread = workers()
    del items
    for one in thread:
        one.join(timeout=10)
        assert not one.is_alive()
    assert kept == []


def test_the_source_is_closed_when_the_consumer_leaves():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = prefetched(source(), 2)
    next(items)
    items.close()
    assert closed.is_set()


def test_the_thread_sees_the_error_state_of_the_consumer():
    loader = DataLoader(ArrayDataset(np.zeros(2), transform=lambda value: np.float64(1) / value), prefetch=1)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(loader)


def test_many_epochs_leave_no_thread():
    loader = DataLoader(np.arange(30), batch_size=4, shuffle=True, prefetch=2)
    for _ in range(50):
        assert sum(len(batch) for batch in loader) == 30
    assert workers() == []


def test_a_script_that_leaves_an_iterator_half_way_ends():
    script = textwrap.dedent("""
        import numpy as np
        from staticnet.data import DataLoader
        running = iter(DataLoader(np.arange(1000), batch_size=1, prefetch=2))
        next(running)
        keep = [running]
        keep.append(keep)
        print("end")
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
