"""Compiled functions: one trace, one program per binding, and feeds that do not fit said in the user's terms."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import compiled as compiled_module
from staticnet import nn, optim
from staticnet.compiler.errors import ArgumentError, DTypeError, FeedError, ShapeError, TraceError
from staticnet.config import config
from tests.compiler.graphs import expected

X = np.arange(12, dtype=np.float32).reshape(4, 3)
#: files of the framework
ROOMS = re.compile(r"(?<!tests)/(staticnet|compiler|runtime)/[a-z_/]+\.py$")


# -- forms ----------------------------------------------------------------------------------------


def test_every_way_of_writing_it() -> None:
    @sn.compile
    def plain(x: Any) -> Any:
        """Twice x."""
        return x * 2

    @sn.compile(device="cpu", name="thrice")
    def named(x: Any) -> Any:
        return x * 3

    with_spec = sn.compile(lambda x: x * 4, sn.TensorSpec(("n", 3)))
    np.testing.assert_array_equal(plain(X), X * 2)
    np.testing.assert_array_equal(named(X), X * 3)
    np.testing.assert_array_equal(with_spec(X), X * 4)
    assert plain.__name__ == plain.name == "plain" and plain.__doc__ == "Twice x."
    assert named.name == "thrice" and "thrice" in repr(named) and "1 trace, 1 program, on cpu" in repr(named)


def test_a_module_is_compiled_like_a_function() -> None:
    model = nn.Linear(3, 2)
    run = sn.compile(model)
    np.testing.assert_array_equal(run(X), model(X))
    weight, bias = model.weight.numpy(), model.bias.numpy()
    np.testing.assert_allclose(run(X), X @ weight.T + bias, rtol=1e-5)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ArgumentError, match="takes a function or a module, not 3"):
        sn.compile(3)


def test_trees_of_arguments_and_results() -> None:
    @sn.compile
    def mixed(pair: Any, table: Any) -> Any:
        return {"sum": pair[0] + pair[1], "rest": [table["a"] * 2, (table["b"],)]}

    result = mixed((X, X), {"a": X, "b": X[0]})
    np.testing.assert_array_equal(result["sum"], 2 * X)
    np.testing.assert_array_equal(result["rest"][0], 2 * X)
    assert isinstance(result["rest"], list) and isinstance(result["rest"][1], tuple)
    assert mixed.graph.output_names == ("sum", "rest.0", "rest.1.0")


def test_a_compiled_function_inside_another_is_part_of_it() -> None:
    inner = sn.compile(lambda x: x * 2)
    outer = sn.compile(lambda x: inner(x) + 1)
    np.testing.assert_array_equal(outer(X), 2 * X + 1)
    assert inner.trace_count == 0 and outer.trace_count == 1


def test_lazy_tensors_and_numbers_are_fed_like_arrays() -> None:
    scale = sn.compile(lambda x, by: x * by, sn.TensorSpec(("n", 3)), sn.TensorSpec(()))
    np.testing.assert_array_equal(scale(sn.tensor(X) + 1, 2), (X + 1) * 2)
    np.testing.assert_array_equal(scale(X, np.float32(2)), X * 2)


# -- counting -------------------------------------------------------------------------------------


def test_a_short_last_batch_is_a_program_and_no_trace() -> None:
    @sn.compile
    def normalised(x: Any) -> Any:
        return x - sn.mean(x, 0)

    for size in (32, 32, 32, 7, 32, 1, 7):
        x = np.random.default_rng(size).normal(size=(size, 3)).astype("float32")
        np.testing.assert_allclose(normalised(x), x - x.mean(0), atol=1e-6)
    assert (normalised.trace_count, normalised.program_count) == (1, 3)


def test_other_ranks_dtypes_and_fixed_sizes_are_traced_anew() -> None:
    double = sn.compile(lambda x: x * 2)
    for array in (X, X[0], X.astype("float64"), X[:, :2], X[:2], X.T[:4]):
        np.testing.assert_array_equal(double(array), array * 2)
    assert double.trace_count == 5


def test_a_function_that_needs_a_number_is_traced_per_size() -> None:
    @sn.compile
    def unrolled(x: Any) -> Any:
        total = x[0]
        for row in range(1, len(x)):  # asks for the number of rows
            total = total + x[row]
        return total

    for size in (4, 2, 4):
        np.testing.assert_array_equal(unrolled(X[:size]), X[:size].sum(0))
    assert (unrolled.trace_count, unrolled.program_count) == (2, 2)


def test_arrays_that_disagree_on_their_first_axis_have_no_batch() -> None:
    product = sn.compile(lambda x, y: x @ y)
    np.testing.assert_allclose(product(X, X.T), X @ X.T)
    assert product.graph.symbols == ()
    both = sn.compile(lambda x, y: x + y)
    both(X, X)
    assert both.graph.symbols == ("batch",)


def test_the_program_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_module, "PROGRAM_LIMIT", 2)
    double = sn.compile(lambda x: x * 2, sn.TensorSpec(("n",)))
    for size in (1, 2, 1, 3, 1, 2):
        double(np.zeros(size, np.float32))
    assert double.program_count == 4  # 1, 2, 3 and 2 again


def test_programs_can_be_made_before_the_first_call() -> None:
    double = sn.compile(lambda x: x * 2, sn.TensorSpec(("n", 3), name="x"))
    with pytest.raises(ArgumentError, match=r"has no program yet: its sizes n .*`.bind\(n=32\)`"):
        _ = double.program
    program = double.bind(n=5)
    assert program is double.program and program.binding == {"n": 5}
    assert double.memory is program.memory and double.memory.arena_bytes >= double.memory.lower_bound_bytes
    with pytest.raises(ArgumentError, match=r"has the symbolic sizes \['n'\]; given are \['m'\]"):
        double.bind(m=5)
    fixed = sn.compile(lambda x: x * 2, sn.TensorSpec((3,)))
    assert fixed.program.binding == {}


def test_what_is_not_compiled_yet_says_so() -> None:
    double = sn.compile(lambda x: x * 2, name="double")
    for ask in ("graph", "program", "memory", "executor"):
        with pytest.raises(ArgumentError, match="double is not compiled yet: call it once, or give specs"):
            getattr(double, ask)


def test_stages_and_groups() -> None:
    run = sn.compile(lambda x: sn.log(sn.softmax(x)), sn.TensorSpec((2, 3)))
    assert [n.op.name for n in run.graph_at("forward").nodes][1:] == ["softmax", "log"]
    assert "softmax" not in {n.op.name for n in run.graph_at("optimised").nodes}
    assert all(len(group) > 1 for group in run.fusion_groups())
    with pytest.raises(ArgumentError, match="there is no stage 'sideways'"):
        run.graph_at("sideways")


# -- feeds that do not fit -------------------------------------------------------------------------


@pytest.fixture
def pair() -> Any:
    """A function of an image batch and as many labels."""
    specs = sn.TensorSpec(("batch", 3), name="image"), sn.TensorSpec(("batch",), "int64", name="label")
    return sn.compile(lambda image, label: image[:, 0] + label, *specs, name="pair")


LABELS = np.arange(4)
WRONG: dict[str, tuple[tuple[Any, ...], str]] = {
    "a missing feed": ((X,), "pair is called without label; it takes image: f32[batch, 3], label: i64[batch]"),
    "a surplus feed": ((X, LABELS, X, X), "pair is called with 4 arrays, 2 too many; it takes image"),
    "no feed": ((), "pair is called without image, label"),
    "a wrong dtype": (
        (X.astype("float64"), LABELS),
        "image is fed as float64, but pair was traced for f32[batch, 3]: convert it with `.astype('float32')`",
    ),
    "integers for floats": ((X, LABELS.astype("int32")), "label is fed as int32, but pair was traced for i64[batch]"),
    "booleans": ((X > 0, LABELS), "image is fed as bool"),
    "a wrong rank": ((X[0], LABELS), "image is fed with shape (3,), of rank 1, but pair was traced for f32[batch, 3]"),
    "a wrong size": ((X[:, :2], LABELS), "axis 1 of image has size 2, but pair was traced for 3"),
    "sizes that contradict each other": ((X, LABELS[:3]), "batch"),
    "no number": (("a", LABELS), "image is fed with 'a', of which no f32[batch, 3] can be made"),
    "a list, which is several feeds": (([X, X], LABELS), "pair is called with 3 arrays, 1 too many"),
    "an object": ((object(), LABELS), "image is fed with <object object"),
    "complex numbers": ((X.astype(complex), LABELS), "image is fed as complex128"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_feed_that_does_not_fit(pair: Any, kind: str) -> None:
    args, message = WRONG[kind]
    with pytest.raises(FeedError) as caught:
        pair(*args)  # the user's own line
    assert message in caught.value.message
    assert caught.value.origin is not None and caught.value.origin.source.endswith("# the user's own line")
    np.testing.assert_array_equal(pair(X, LABELS), X[:, 0] + LABELS)


def test_sizes_that_contradict_say_where_each_came_from(pair: Any) -> None:
    with pytest.raises(FeedError) as caught:
        pair(X, LABELS[:3])
    for part in ("axis 0 of label", "3", "batch", "4", "axis 0 of image"):
        assert part in caught.value.message


def test_an_expression_of_sizes_is_solved_or_refused() -> None:
    run = sn.compile(
        lambda x, y: sn.sum(x) + sn.sum(y), sn.TensorSpec(("2*n",), name="x"), sn.TensorSpec(("n + 1",), name="y")
    )
    assert run(np.ones(6, np.float32), np.ones(4, np.float32)) == 10
    for sizes in ((5, 3), (6, 5)):
        with pytest.raises(FeedError, match="axis 0 of"):
            run(*(np.ones(size, np.float32) for size in sizes))
    unknown = sn.compile(lambda x: x * 2, sn.TensorSpec(("m*n",), name="x"))
    with pytest.raises(FeedError, match=r"axis 0 of x is .*cannot be told from the feeds"):
        unknown(np.ones(6, np.float32))


def test_errors_show_one_line_of_the_framework(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ours() -> int:
        with pytest.raises(FeedError) as caught:
            pair(X)
        frames = traceback.extract_tb(caught.value.__traceback__)
        return sum(ROOMS.search(frame.filename) is not None for frame in frames)

    assert ours() == 1
    monkeypatch.setenv("STATICNET_TRACEBACK", "full")
    assert ours() > 2


def test_a_function_that_cannot_be_traced_says_why_at_its_line() -> None:
    @sn.compile
    def branching(x: Any) -> Any:
        if (x > 0).all():  # not known here
            return x
        return -x

    with pytest.raises(TraceError) as caught:
        branching(X)
    assert caught.value.origin is not None and caught.value.origin.source.endswith("# not known here")
    with pytest.raises(ShapeError, match=r"\(batch, 3\)|\(4, 3\)"):
        sn.compile(lambda x: x + np.ones(5, np.float32))(X)
    with pytest.raises(DTypeError):
        sn.compile(lambda x: sn.softmax(x))(LABELS)


# -- numbers that are none -------------------------------------------------------------------------


@pytest.fixture
def finite_checks() -> Iterator[None]:
    before = config.check_finite
    config.check_finite = True
    yield
    config.check_finite = before


BROKEN = np.array([[1, 2, 3], [4, np.nan, 6]], np.float32)


def test_nan_passes_unless_asked(pair: Any) -> None:
    double = sn.compile(lambda x: (x * 0, x - x))
    zero, difference = double(BROKEN)
    assert np.isnan(zero[1, 1]) and np.isnan(difference[1, 1])


@pytest.mark.usefixtures("finite_checks")
def test_nan_and_infinity_are_found_when_asked(pair: Any) -> None:
    with pytest.raises(FeedError, match=r"image holds nan at \(1, 1\); clean it, or switch check_finite off"):
        pair(BROKEN, LABELS[:2])
    with pytest.raises(FeedError, match=r"image holds -inf at \(0, 0\)"):
        pair(np.full((2, 3), -np.inf, np.float32), LABELS[:2])
    np.testing.assert_array_equal(pair(X, LABELS), X[:, 0] + LABELS)


# -- states ----------------------------------------------------------------------------------------


def test_states_live_between_calls_and_are_read_anew() -> None:
    total = nn.Buffer(np.zeros(3, np.float32))

    @sn.compile
    def add_up(x: Any) -> Any:
        total.assign(total + sn.sum(x, 0))
        return total * 1

    np.testing.assert_array_equal(add_up(X), X.sum(0))
    np.testing.assert_array_equal(add_up(X), 2 * X.sum(0))
    total.set(np.zeros(3, np.float32))
    np.testing.assert_array_equal(add_up(X), X.sum(0))
    assert add_up.trace_count == 1


def test_a_learning_rate_changes_without_a_new_program() -> None:
    model = nn.Linear(3, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optimizer)
    labels = np.array([0, 1, 0, 1])
    optimizer.lr = 0.1
    first = step(X, labels)
    before = model.weight.numpy()
    optimizer.lr = 0.5
    second = step(X, labels)
    assert (model.weight.numpy() != before).any() and second != first
    assert (step.trace_count, step.program_count) == (1, 1)


def test_a_training_step_on_batches_of_other_sizes() -> None:
    model = nn.Linear(3, 2)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    for size in (4, 3, 4, 1):
        assert np.isfinite(step(X[:size], np.zeros(size, np.int64)))
    assert (step.trace_count, step.program_count) == (1, 3)
    with pytest.raises(FeedError, match="rank"):
        step(X[0], np.zeros(1, np.int64))
    assert step.trace_count == 1


def test_results_do_not_depend_on_the_order_of_calls() -> None:
    run = sn.compile(lambda x: sn.tanh(x) * 2)
    first = run(X)
    run(X * 100)
    run(X[:2])
    np.testing.assert_array_equal(run(X), first)


def test_the_graph_is_the_users_own() -> None:
    @sn.compile
    def scaled(x: Any) -> Any:
        return x * 2.0

    scaled(X)
    assert str(scaled.graph).splitlines()[0] == expected("graph scaled(%x: f32[batch, 3])")
    assert "# test_compiled.py:" in str(scaled.graph)
