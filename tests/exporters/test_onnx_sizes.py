"""Symbolic sizes in the file: computed from the inputs' shapes, or avoided where 0, 1 and -1 say it."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler.errors import ExportError
from staticnet.compiler.ops.base import F
from tests.exporters.onnx_models import assert_runs, constant, feed, model_of, operators, run

N, M, K = map(dims.symbol, "nmk")

SIZES = [
    N,
    N * 3,
    N * M + 2,
    N * N - M,
    5 - N,
    -N,
    2 * N * M - 3 * K + 7,
    N // 2,
    (N + 1) // 2,
    (N - M) // 3,
    (2 - N) // 2,
    -((N - 9) // 4),
    N % 3,
    (N - M) % 4,
    dims.maximum(N, M),
    dims.minimum(N * 2, M + K),
    dims.maximum(N - M, 0) // 2,
    dims.ceil_div(N * M, 3),
    (N // 2) * (M // 2) ** 2,
]
BINDINGS = [{"n": 5, "m": 2, "k": 3}, {"n": 1, "m": 9, "k": 1}, {"n": 4, "m": 4, "k": 7}]


@pytest.mark.parametrize("opset", [13, 15, 18])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_can_be_a_value(size, opset):
    model = model_of(lambda x: F.size_value(size), feed("n", "m", 2, "k"), opset=opset)
    for binding in BINDINGS:
        (result,) = run(model, np.zeros((binding["n"], binding["m"], 2, binding["k"]), np.float32))
        assert result.dtype == np.int64 and result.shape == ()
        assert result == dims.evaluate(size, binding)


def test_a_size_is_computed_once():
    model = model_of(lambda x: (F.size_value(N * 4), F.size_value(N * 4 + 1), F.size_value(N + 1)), feed("n"))
    assert operators(model).count("Shape") == 1


@pytest.mark.parametrize(("shape", "value"), [("2*n", 6), ("n + 3", 6), ("3*n - 2", 7)])
def test_a_size_is_solved_for(shape, value):
    model = model_of(lambda x: F.size_value(N), feed(shape))
    (result,) = run(model, np.zeros(value, np.float32))
    assert result == 3


def test_the_input_of_the_plainest_form_is_asked():
    model = model_of(lambda x, y: F.size_value(N), feed("2*n"), feed("n", label="y"))
    assert operators(model) == ["Shape", "Squeeze"]
    assert model.graph.node[0].input == ["y"]


def test_a_size_that_no_input_determines():
    with pytest.raises(ExportError, match=r"size_of needs the size `n`, which no input's shape determines"):
        model_of(lambda x: F.size_value(N), feed("n*m"))


# -- moves with symbolic sizes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "target"),
    [
        (("n", 6), ("n", 2, 3), [0, 2, 3]),
        (("n", "m"), ("n", 1, "m"), [0, 1, -1]),
        (("n", "m", 4), ("n", "m", 2, 2), [0, 0, 2, 2]),
        (("n", 4), ("4*n",), [-1]),
        (("m", "n", 6), ("m", "3*n", 2), [0, -1, 2]),
        ((6,), (2, 3), [2, 3]),
    ],
)
def test_one_unknown_size_needs_no_shape(old, new, target):
    sizes = tuple(dims.parse(size) if isinstance(size, str) else size for size in new)
    model = assert_runs(lambda x: F.reshape(x, sizes), feed(*old), binding={"n": 3, "m": 2})
    assert operators(model) == ["Reshape"]
    assert constant(model, model.graph.node[0].input[1]).tolist() == target


def test_two_unknown_sizes_are_computed():
    model = assert_runs(lambda x: F.reshape(x, (M, 3, N, 2)), feed("n", "m", 6), binding={"n": 3, "m": 2})
    assert operators(model) == ["Shape", "Shape", "Concat", "Reshape"]


@pytest.mark.parametrize("opset", [14, 18])
def test_a_batch_of_none(opset):
    model = model_of(lambda x: (F.reshape(x, (N, 2, 3)), F.sum(x, 1), F.expand_dims(x, 1)), feed("n", 6), opset=opset)
    shapes = [result.shape for result in run(model, np.zeros((0, 6), np.float32))]
    assert shapes == [(0, 2, 3), (0,), (0, 1, 6)]


def test_no_elements_need_opset_14():
    function = lambda x: F.reshape(x, (0, 3, 2))  # noqa: E731
    assert_runs(function, feed(2, 0), opset=14)
    with pytest.raises(ExportError, match="reshape of an array without elements needs opset 14"):
        model_of(function, feed(2, 0), opset=13)


@pytest.mark.parametrize(("old", "axis"), [(("n", 2, 3), 1), (("n", "m", 3), 2), (("n", 2, "m", 3), 1), ((2, 3, 4), 2)])
def test_flatten_is_recognised(old, axis):
    node = feed(*old)
    shape = (dims.product(node.shape[:axis]), dims.product(node.shape[axis:]))
    model = assert_runs(lambda x: F.reshape(x, shape), node, binding={"n": 5, "m": 2})
    assert operators(model) == ["Flatten"]
    assert model.graph.node[0].attribute[0].i == axis


def test_broadcasting_names_only_what_changes():
    model = assert_runs(lambda x: F.broadcast_to(x, (N, 5, M)), feed("n", 1, "m"), binding={"n": 3, "m": 2})
    assert operators(model) == ["Expand"]
    assert constant(model, model.graph.node[0].input[1]).tolist() == [1, 5, 1]


def test_broadcasting_to_computed_sizes():
    def function(x, y):
        return F.broadcast_to(x, (M, N, 2)), F.ones((N, 3 * M)), F.iota((M, N), 1, "float32")

    assert_runs(function, feed("n", 1), feed("m", label="y"), binding={"n": 3, "m": 4})


SLICES = [
    np.s_[1:],
    np.s_[:-1],
    np.s_[-2:],
    np.s_[1:-1],
    np.s_[::-1],
    np.s_[::2],
    np.s_[::-2],
    np.s_[-1:0:-1],
    np.s_[3:1:-1],
    np.s_[:, 1],
    np.s_[:, -1],
    np.s_[0],
    np.s_[-1],
    np.s_[:, ::-1, 1:],
    np.s_[..., None, 0],
    np.s_[10:],
    np.s_[:10],
    np.s_[-10:],
    np.s_[:-10],
    np.s_[: dims.symbol("n") // 2],
    np.s_[dims.symbol("n") // 2 :],
    np.s_[dims.symbol("n") // 2 :: -1],
    np.s_[dims.symbol("m") - 2 :: -1],
    np.s_[:, : dims.symbol("n") - 1],
]


@pytest.mark.parametrize("index", SLICES, ids=str)
def test_slices_of_symbolic_axes(index):
    for n in (1, 4, 7):
        assert_runs(lambda x: x[index] + 0.5, feed("n", 5, "m"), binding={"n": n, "m": 2})


@pytest.mark.parametrize("index", [np.s_[1:], np.s_[:-1], np.s_[-2:], np.s_[::-1], np.s_[1:-1], np.s_[::2]], ids=str)
def test_slices_count_from_the_end_without_computing(index):
    model = model_of(lambda x: x[index], feed("n", 5))
    assert operators(model) == ["Slice"]


def test_padding_by_a_size():
    model = assert_runs(lambda x: F.pad(x, ((N, 0), (0, 1)), constant_values=2.0), feed("n", 2), binding={"n": 3})
    assert operators(model)[-1] == "Pad"


def test_means_over_symbolic_axes():
    assert_runs(lambda x: F.var(x, 0, ddof=1) + F.mean(x), feed("n", "m"), binding={"n": 3, "m": 4})
