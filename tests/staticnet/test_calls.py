"""Calls of a kind that came before: they take the remembered way, and never when anything has changed since."""

from __future__ import annotations

import pickle
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import compiled as compiled_module
from staticnet import nn, optim
from staticnet.compiled import CompiledFunction
from staticnet.compiler.errors import FeedError
from staticnet.config import config, using_config
from staticnet.results import Scalar
from staticnet.runtime.devices import get_backend

X = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([0, 1, 0, 1])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a call looks for its program, instead of taking the remembered way."""
    sn.compile(lambda x: x * 1)(X)  # the first call of all sets the number of threads
    counted: list[int] = []
    plain = CompiledFunction._call

    def counting(self: CompiledFunction, args: Any, kwargs: Any) -> Any:
        counted.append(1)
        return plain(self, args, kwargs)

    monkeypatch.setattr(CompiledFunction, "_call", counting)
    return counted


@pytest.fixture
def settled() -> Iterator[None]:
    """Settings back as they were."""
    yield
    config.reset()


def train_step(model: nn.Module) -> Any:
    return sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))


# -- the same again -------------------------------------------------------------------------------


def test_functions_modules_and_steps_look_once_and_once_more_after_their_trace(looks: list[int]) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    add, step = sn.compile(lambda x, y: x + y), train_step(model)
    calls: list[Callable[[], Any]] = [lambda: add(X, X), lambda: model(X), lambda: step(X, LABELS)]
    for call in calls:
        call(), call()
        looks.clear()
        for _ in range(5):
            call()
        assert not looks


def test_each_result_is_of_its_own_arguments(looks: list[int]) -> None:
    add = sn.compile(lambda x, y: x + y)
    results = [add(X * k, X) for k in range(4)]
    for k, result in enumerate(results):
        np.testing.assert_array_equal(result, X * (k + 1))
    assert len(looks) == 1


@pytest.mark.parametrize(
    "other",
    [
        X.astype(">f4"),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        X[::-1][::-1],
        np.frombuffer(b"?" + X.tobytes(), np.uint8)[1:].view("f4").reshape(4, 3),
        X.copy().view(np.recarray),
        X.tolist(),
        sn.tensor(X),
        pickle.loads(pickle.dumps(X)),
    ],
    ids=["swapped", "columns", "strided", "reversed twice", "misaligned", "subclass", "lists", "lazy", "pickled"],
)
def test_arrays_that_lie_otherwise_in_memory(other: Any) -> None:
    double = sn.compile(lambda x: x * 2, sn.TensorSpec((4, 3)))
    double(X), double(X)
    if isinstance(other, list):  # each number is a feed
        with pytest.raises(FeedError, match="too many"):
            double(other)
    else:
        np.testing.assert_array_equal(double(other), X * 2)
    np.testing.assert_array_equal(double(X), X * 2)


@pytest.mark.parametrize("wrong", [X.astype("f8"), X[0], X[:, :2], X > 0, X.astype("i4")])
def test_what_does_not_fit_is_still_refused(wrong: np.ndarray) -> None:
    double = sn.compile(lambda x: x * 2, sn.TensorSpec(("n", 3)))
    double(X), double(X)
    for _ in range(2):
        with pytest.raises(FeedError):
            double(wrong)
    with pytest.raises(FeedError, match="too many"):
        double(X, X)
    with pytest.raises(FeedError, match="without"):
        double()
    np.testing.assert_array_equal(double(X), X * 2)


def test_arguments_by_name_in_any_order(looks: list[int]) -> None:
    minus = sn.compile(lambda x, y: x - y)
    ones = np.ones_like(X)
    for _ in range(3):
        np.testing.assert_array_equal(minus(X, ones), X - 1)
        np.testing.assert_array_equal(minus(X, y=ones), X - 1)
        np.testing.assert_array_equal(minus(x=X, y=ones), X - 1)
        np.testing.assert_array_equal(minus(y=X, x=X), X * 0)
        np.testing.assert_array_equal(minus(y=ones, x=X), X - 1)
    minus(x=X, y=ones)
    looks.clear()
    np.testing.assert_array_equal(minus(x=ones, y=X), 1 - X)
    assert not looks


def test_nested_arguments(looks: list[int]) -> None:
    join = sn.compile(lambda pair, table: pair[0] - pair[1][0] * table["a"])
    for k in range(4):
        np.testing.assert_array_equal(join((X, [X * k]), {"a": X}), X - X * k * X)
    assert len(looks) == 1
    np.testing.assert_array_equal(join((X, [X]), table={"a": X}), X - X * X)
    np.testing.assert_array_equal(join((X[:2], [X[:2]]), {"a": X[:2]}), (X - X * X)[:2])
    one = sn.compile(lambda x: x[0] if isinstance(x, tuple) else x * 2)
    for _ in range(2):
        np.testing.assert_array_equal(one((X,)), X)
        np.testing.assert_array_equal(one(X), X * 2)


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x * 2,
        lambda x: sn.sum(x),
        lambda x: (x, sn.sum(x)),
        lambda x: [sn.sum(x), x],
        lambda x: {"b": sn.sum(x), "a": x},
        lambda x: (x,),
        lambda x: Pair(x, sn.sum(x)),
        lambda x: {"a": (x, [sn.sum(x)]), "b": x},
    ],
)
def test_results_are_put_together_alike_each_time(build: Callable[[Any], Any]) -> None:
    run = sn.compile(build)
    first, second = run(X), run(X)

    def same(a: Any, b: Any) -> None:
        assert type(a) is type(b)
        if isinstance(a, dict):
            assert list(a) == list(b)
            a, b = tuple(a.values()), tuple(b.values())
        if isinstance(a, (tuple, list)):
            assert len(a) == len(b)
            for left, right in zip(a, b, strict=True):
                same(left, right)
            return
        assert type(a) is (np.ndarray if a.ndim else Scalar)
        assert not np.shares_memory(a, b)
        np.testing.assert_array_equal(a, b)

    same(first, second)
    wanted = build(sn.tensor(X))
    assert type(first) is (type(wanted) if isinstance(wanted, (tuple, list, dict)) else type(second))


# -- something has changed ------------------------------------------------------------------------


class Scaled(nn.Module):
    """x * factor * weight, and nothing but x outside of training."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0
        self.weight = nn.Parameter(np.ones(3, np.float32))

    def forward(self, x: Any) -> Any:
        return x * self.factor * self.weight if self.training else x


def forms(model: nn.Module) -> list[Callable[[np.ndarray], Any]]:
    """A module called itself, compiled, and inside of a compiled function."""
    return [model, sn.compile(model), sn.compile(lambda x: model(x))]


@pytest.mark.parametrize("form", range(3))
def test_modes_and_attributes_of_modules(form: int) -> None:
    model = nn.Sequential(Scaled())
    run = forms(model)[form]
    part = model[0]

    def check(wanted: np.ndarray) -> None:
        for _ in range(3):
            np.testing.assert_array_equal(run(X), wanted)

    check(X * 2)
    model.eval()
    check(X)
    part.training = True
    check(X * 2)
    part.factor = 3.0
    check(X * 3)
    part.weight.set(np.full(3, 2.0))
    check(X * 6)
    part.weight = nn.Parameter(np.full(3, 5, np.float32))
    check(X * 15)
    model[0] = Scaled()
    check(X * 2)
    model.append(Scaled())
    check(X * 4)
    del model[1].factor
    type(part).factor = 7.0
    try:
        check(X * 14)
    finally:
        del type(part).factor
    model.load_state_dict({name: value * 0 for name, value in model.state_dict().items()})
    model[1].factor = 1.0
    check(X * 0)


def test_frozen_and_thawed_parameters() -> None:
    model = nn.Linear(3, 2)
    step = train_step(model)

    def moved() -> tuple[bool, bool]:
        before = model.state_dict()
        step(X, LABELS)
        after = model.state_dict()
        return tuple(bool((before[name] != after[name]).any()) for name in ("weight", "bias"))  # type: ignore[return-value]

    assert moved() == moved() == moved() == (True, True)
    model.freeze("weight")
    assert moved() == moved() == (False, True)
    model.weight.requires_grad = True
    model.bias.requires_grad = False
    assert moved() == moved() == (True, False)
    model.unfreeze()
    assert moved() == (True, True)
    assert step.trace_count == 3


def test_a_module_keeps_one_compiled_function_and_drops_what_is_outdated() -> None:
    model = nn.Sequential(Scaled())
    for number in range(40):
        model[0].factor = float(number)
        np.testing.assert_array_equal(model(X), X * number)
    compiled = model._compiled
    assert compiled is not None and len(compiled._graphs) == 1
    assert compiled.trace_count == compiled.program_count == 40
    for _ in range(3):
        model.eval()(X)
        model.train()(X)
    assert compiled.trace_count == 41 and len(compiled._graphs) == 2


def test_one_trace_changed_leaves_the_others() -> None:
    """A function that calls two models traces anew only for the one that has changed."""
    models = {1: Scaled(), 2: Scaled()}
    run = sn.compile(lambda x: models[x.ndim](x))
    run(X), run(X[0]), run(X)
    models[1].factor = 3.0
    np.testing.assert_array_equal(run(X), X * 2)
    assert run.trace_count == 2
    np.testing.assert_array_equal(run(X[0]), X[0] * 3)
    assert run.trace_count == 3


@pytest.mark.usefixtures("settled")
def test_settings() -> None:
    run = sn.compile(lambda x: x * 1)
    broken = np.full((4, 3), np.nan, np.float32)
    run(broken), run(broken)
    config.check_finite = True
    for _ in range(2):
        with pytest.raises(FeedError, match="holds nan"):
            run(broken)
    config.check_finite = False
    run(broken), run(broken)
    with using_config(check_finite=True):
        with pytest.raises(FeedError, match="holds nan"):
            run(broken)
        with using_config(check_finite=False):
            run(broken), run(broken)
        config.check_finite = False  # until the block ends
        run(broken), run(broken)
        config.check_finite = True
        with pytest.raises(FeedError, match="holds nan"):
            run(broken)
    run(broken)


@pytest.mark.usefixtures("settled")
def test_numbers_of_threads() -> None:
    run = sn.compile(lambda x: x * 1)
    before = config.num_threads
    for number in (3, 3, 5):
        config.num_threads = number
        run(X)
        assert get_backend("cpu").threads == number
    run(X)
    with using_config(num_threads=2):
        other = sn.compile(lambda x: x * 3)
        for _ in range(2):
            other(X)
            assert get_backend("cpu").threads == 2
            run(X)
            assert get_backend("cpu").threads == 2
    for _ in range(2):
        run(X)
        assert get_backend("cpu").threads == 5
    with using_config(num_threads=2):
        other(X)
    run(X)
    assert get_backend("cpu").threads == 5
    config.num_threads = before
    run(X)
    assert get_backend("cpu").threads == before


def test_a_setting_of_one_thread_is_not_anothers() -> None:
    run = sn.compile(lambda x: x * 1)
    broken = np.full(3, np.nan, np.float32)
    run(broken), run(broken)
    turns = threading.Barrier(2, timeout=20)
    caught: list[BaseException] = []

    def strict() -> None:
        with using_config(check_finite=True):
            for _ in range(20):
                turns.wait()
                try:
                    run(broken)
                except FeedError as error:
                    caught.append(error)

    thread = threading.Thread(target=strict)
    thread.start()
    for _ in range(20):
        turns.wait()
        run(broken)
    thread.join(20)
    assert len(caught) == 20


def test_inside_a_trace_it_is_the_function_again() -> None:
    double = sn.compile(lambda x: x * 2)
    model = Scaled()
    double(X), double(X), model(X), model(X)
    scaled = sn.compile(model)
    scaled(X), scaled(X)
    outer = sn.compile(lambda x: double(x) + double(X) + model(X) + scaled(X))
    np.testing.assert_array_equal(outer(X), X * 8)
    model.weight.set(np.zeros(3))  # which the trace reads, and has no value of
    np.testing.assert_array_equal(outer(X), X * 4)
    assert double.trace_count == outer.trace_count == 1


def test_an_empty_batch_is_refused_each_time() -> None:
    step = train_step(nn.Linear(3, 2))
    for size in (4, 4, 0, 0, 4):
        if size:
            step(X[:size], LABELS[:size])
        else:
            with pytest.raises(FeedError, match="without examples"):
                step(X[:0], LABELS[:0])


# -- what is kept ---------------------------------------------------------------------------------


def test_the_program_used_longest_ago_goes_first_however_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_module, "PROGRAM_LIMIT", 2)
    double = sn.compile(lambda x: x * 2, sn.TensorSpec(("n",)))
    for size in (1, 2, 1, 1, 1, 3, 1, 1, 2):
        np.testing.assert_array_equal(double(np.ones(size, np.float32)), np.full(size, 2))
    assert double.program_count == 4  # 1, 2, 3 and 2 again


def test_what_ran_last_is_the_latest() -> None:
    double = sn.compile(lambda x: x * 2, sn.TensorSpec(("n", 3)))
    double(X), double(X)
    assert double.bind(n=7) is double.program
    double(X)
    assert double.program.binding == {"n": 4}
    double.profile(X[:2], repeats=1)
    assert double.program.binding == {"n": 2}
    double(X)
    assert double.program.binding == {"n": 4}


def test_threads_with_kinds_of_their_own() -> None:
    model = Scaled()
    start = threading.Barrier(4, timeout=20)
    faults: list[BaseException] = []

    def job(size: int) -> None:
        try:
            start.wait()
            for k in range(100):
                np.testing.assert_array_equal(model(X[:size] + k), (X[:size] + k) * 2)
        except BaseException as error:  # to be seen by the test
            faults.append(error)

    threads = [threading.Thread(target=job, args=(size,)) for size in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    assert model._compiled is not None and model._compiled.program_count == 4
