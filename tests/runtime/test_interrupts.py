"""Ctrl-C in the middle of a training step: the step is finished, then the interruption is heard."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.runtime.array_backend import ArrayBackend
from staticnet.runtime.interrupts import undisturbed

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent another way there")


def make_step():
    sn.manual_seed(3)
    model = nn.Linear(4, 3)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    return model, step, (np.ones((5, 4), "f4"), np.array([0, 1, 2, 0, 1]))


@pytest.mark.parametrize("place", [0, 7, -1])
def test_the_step_is_finished_first(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    monkeypatch.setenv("STATICNET_NATIVE", "0")  # so that there is something between its instructions
    wanted, step, batch = make_step()
    step(*batch)
    model, step, batch = make_step()
    plain = ArrayBackend.call

    def interrupted(self, instruction, inputs, outputs, scratch):
        call = plain(self, instruction, inputs, outputs, scratch)
        times.append(instruction.time)

        def with_signal():
            if instruction.time == times[place]:
                os.kill(os.getpid(), signal.SIGINT)
            call()

        return with_signal

    times: list[int] = []
    monkeypatch.setattr(ArrayBackend, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step(*batch)
    assert all(np.array_equal(value, model.state_dict()[name]) for name, value in wanted.state_dict().items())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_step_restores_the_handler() -> None:
    _, step, (images, labels) = make_step()
    with pytest.raises(ValueError, match="label 9"):
        step(images, labels * 0 + 9)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("native", ["0", "1"])
def test_an_interruption_at_any_moment_leaves_whole_steps(monkeypatch: pytest.MonkeyPatch, native: str) -> None:
    monkeypatch.setenv("STATICNET_NATIVE", native)
    one, other = (nn.Buffer(np.zeros(1000)) for _ in range(2))

    @sn.compile
    def count(x):
        one.assign(one + x)
        other.assign(other + x)
        return one[0] * 1

    step = np.ones(())
    assert count(step) == 1
    rng, ready, times = random.Random(0), threading.Event(), 50

    def interrupt() -> None:
        for _ in range(times):
            assert ready.wait(20)
            ready.clear()
            time.sleep(rng.random() * 1e-4)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    for _ in range(times):
        most = least = int(one.numpy()[0])
        with pytest.raises(KeyboardInterrupt):
            ready.set()
            while True:
                most += 1
                least = int(count(step))
        np.testing.assert_array_equal(one.numpy(), other.numpy())
        assert least <= one.numpy().min() == one.numpy().max() <= most
    thread.join(20)


def test_an_interruption_and_an_error_are_both_heard() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
        raise ZeroDivisionError
    assert isinstance(caught.value.__context__, ZeroDivisionError)
    with undisturbed():
        pass  # what was heard before is not heard again


def test_blocks_inside_each_other_hold_it_to_the_end_of_the_outermost() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), undisturbed():
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_users_own_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
            assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_the_handler_alone() -> None:
    seen: list[object] = []

    def job() -> None:
        with undisturbed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join(20)
    assert seen == [signal.default_int_handler]
