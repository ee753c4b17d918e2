"""The collector of reference cycles rests while a graph is compiled, and is afterwards as it was before."""

from __future__ import annotations

import gc
import threading

import pytest

from staticnet.compiler import pipeline
from staticnet.compiler.collector import collector_paused
from staticnet.compiler.ir import Graph, Type
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.target import REFERENCE


@pytest.fixture(autouse=True)
def _collector_as_before():
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was_enabled else gc.disable)()


def test_pauses_nest():
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled()


def test_an_error_ends_the_pause():
    with pytest.raises(ZeroDivisionError), collector_paused():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_pauses_of_two_threads_overlap():
    inside, finish = threading.Event(), threading.Event()

    @collector_paused()
    def other() -> None:
        inside.set()
        finish.wait(10)

    thread = threading.Thread(target=other)
    with collector_paused():
        thread.start()
        assert inside.wait(10)
    assert not gc.isenabled()
    finish.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.parametrize("stage", ["run_passes", "fuse", "schedule", "plan"])
def test_it_is_paused_while_a_graph_is_compiled(monkeypatch, stage):
    whole, seen = getattr(pipeline, stage), []

    def watched(*args, **kwargs):
        seen.append(gc.isenabled())
        return whole(*args, **kwargs)

    monkeypatch.setattr(pipeline, stage, watched)
    x = make_input("x", Type((2,), "float32"))
    pipeline.pipeline(Graph([x], [F.sin(x)]), {}, REFERENCE)
    assert seen and not any(seen)
    assert gc.isenabled()
