"""Tensors: operators, indexing, values, text, and the habits that are answered with an explanation."""

from __future__ import annotations

import copy
import operator
import pickle
import traceback

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiler.errors import ArgumentError, DTypeError, HabitError, ShapeError, TraceError

A = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]], np.float32)
B = np.array([[2.0, 3.0, 0.5], [-1.0, 2.0, 4.0]], np.float32)
ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod)
COMPARISONS = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)


def same(tensor: sn.Tensor, expected: np.ndarray) -> None:
    assert isinstance(tensor, sn.Tensor)
    assert tensor.dtype.numpy == np.asarray(expected).dtype
    np.testing.assert_array_equal(tensor.numpy(), expected)


# ---- what `tensor` makes


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        (1, "int64"),
        (True, "bool"),
        ([1.0, 2.0], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        ([], "float32"),
        (np.float64(1.5), "float64"),
        (np.zeros(2, np.float16), "float16"),
        (np.zeros(2, np.uint8), "uint8"),
        (np.zeros(2, ">f4"), "float32"),
    ],
)
def test_dtypes_of_data(data, dtype):
    tensor = sn.tensor(data)
    assert tensor.dtype.name == dtype
    assert tensor.numpy().dtype == np.dtype(dtype)
    assert tensor.shape == np.shape(data)


def test_a_dtype_is_taken():
    same(sn.tensor([1, 2], dtype="float64"), np.array([1.0, 2.0]))
    same(sn.tensor(sn.tensor([1.7]), dtype=sn.int32), np.array([1], np.int32))


@pytest.mark.parametrize(
    ("data", "dtype", "error", "words"),
    [
        ([[1.0], [2.0, 3.0]], None, ArgumentError, "no array"),
        ("text", None, DTypeError, "numbers or booleans"),
        ([1j], None, DTypeError, "complex"),
        ([None], None, DTypeError, "object"),
        (2**70, None, DTypeError, "object"),
        ([300], "uint8", DTypeError, "300"),
        ([-1], "uint8", DTypeError, "-1"),
        ([1.0], "float13", DTypeError, "float13"),
    ],
)
def test_data_that_is_no_tensor(data, dtype, error, words):
    with pytest.raises(error, match=words):
        sn.tensor(data, dtype=dtype)


def test_data_are_copied():
    array = A.copy()
    tensor, product = sn.tensor(array), sn.tensor(1.0) * array
    array[:] = 0
    same(tensor, A)
    same(product, A)
    values = tensor.numpy()
    values[:] = 7
    same(tensor, A)


def test_big_endian_and_strided_data():
    swapped = A.astype(">f4")[:, ::-1]
    same(sn.tensor(swapped) + 1, A[:, ::-1] + 1)
    same(sn.tensor(2.0) * swapped.T, 2 * A[:, ::-1].T)


# ---- operators


@pytest.mark.parametrize("function", [*ARITHMETIC, *COMPARISONS], ids=lambda f: f.__name__)
def test_binary_operators(function):
    same(function(sn.tensor(A), sn.tensor(B)), function(A, B))
    same(function(sn.tensor(A), B), function(A, B))
    same(function(A, sn.tensor(B)), function(A, B))
    same(function(sn.tensor(A), 2), function(A, 2))
    same(function(2.5, sn.tensor(B)), function(np.float32(2.5), B))


def test_powers_and_products():
    same(sn.tensor(B) ** 2, B**2)
    np.testing.assert_allclose((2 ** sn.tensor(B)).numpy(), 2**B, rtol=1e-6)
    np.testing.assert_allclose((sn.tensor(A) @ B.T).numpy(), A @ B.T, rtol=1e-6)
    np.testing.assert_allclose((A @ sn.tensor(B.T)).numpy(), A @ B.T, rtol=1e-6)


def test_unary_operators():
    t = sn.tensor(A)
    same(-t, -A)
    same(abs(t), abs(A))
    assert +t is t
    same(~(t > 0), A <= 0)
    same((t > 0) & (t < 4), (A > 0) & (A < 4))
    same((t > 0) | True, np.ones((2, 3), bool))
    same(False ^ (t > 0), A > 0)


def test_an_array_on_the_left_gives_one_tensor():
    result = np.ones(2) + sn.tensor([1.0, 2.0])
    assert type(result) is sn.Tensor
    assert result.shape == (2,)
    same(result, np.array([2.0, 3.0]))
    same(np.float32(2) * sn.tensor([1.0, 2.0]), np.array([2, 4], np.float32))


@pytest.mark.parametrize("scalar", [1, 2.0, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
def test_python_numbers_take_the_partners_dtype(dtype, scalar):
    array = np.array([1, 2], dtype)
    same(sn.tensor(array) * scalar, array * scalar)


def test_an_integer_that_does_not_fit():
    with pytest.raises(DTypeError, match="300"):
        sn.tensor(np.zeros(2, np.uint8)) + 300


def test_in_place_operators_bind_anew():
    t = before = sn.tensor([1.0, 2.0])
    t += 1
    assert t is not before
    same(t, np.array([2, 3], np.float32))
    same(before, np.array([1, 2], np.float32))


def test_hash_is_identity():
    a, b = sn.tensor([1.0]), sn.tensor([1.0])
    assert len({a, b}) == 2
    assert {a: "a", b: "b"}[a] == "a"
    assert a != None  # noqa: E711
    assert a != "text"


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(2,\)") as caught:
        sn.tensor(A) + sn.tensor([1.0, 2.0])
    assert "test_tensor.py" in str(caught.value)
    assert "sn.tensor(A) + sn.tensor([1.0, 2.0])" in str(caught.value)


# ---- methods, indexing, sequences


def test_methods():
    t = sn.tensor(A)
    np.testing.assert_allclose(t.sum(axis=0).numpy(), A.sum(axis=0))
    same(t.max(), A.max())
    same(t.argmax(axis=1), A.argmax(axis=1))
    same(t.reshape(3, 2), A.reshape(3, 2))
    same(t.reshape((3, -1)), A.reshape(3, 2))
    same(t.T, A.T)
    same(t.transpose(1, 0), A.T)
    same(t.astype("int32"), A.astype("int32"))
    same(t.clamp(-1, 1), A.clip(-1, 1))
    same(t.flatten(), A.ravel())
    same(t.detach(), A)


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(None), (slice(None), 1), (..., slice(None, None, -1)), None, (1, 2), (slice(0, 1), slice(1, 3, 2))],
    ids=str,
)
def test_indexing(index):
    same(sn.tensor(A)[index], A[index])


def test_indexing_by_a_tensor():
    same(sn.tensor(A)[sn.tensor([1, 0, 1])], A[[1, 0, 1]])


def test_sizes():
    t = sn.tensor(A)
    assert (t.shape, t.ndim, t.size, len(t), t.dtype.name) == ((2, 3), 2, 6, 2, "float32")
    assert [row.tolist() for row in t] == A.tolist()
    _, second = t
    same(second, A[1])
    assert 5 in t
    assert 7 not in t


@pytest.mark.parametrize("function", [len, list])
def test_no_axes_no_sequence(function):
    with pytest.raises(TypeError, match="no axes"):
        function(sn.tensor(1.0))


# ---- values


def test_python_numbers():
    assert float(sn.tensor([[2.5]])) == 2.5
    assert int(sn.tensor(3)) == 3
    assert bool(sn.tensor(1.0) > 0) is True
    assert sn.tensor(True).item() is True
    assert type(sn.tensor(2).item()) is int
    assert [10, 20, 30][sn.tensor(1)] == 20
    assert sn.tensor(A).tolist() == A.tolist()


@pytest.mark.parametrize("use", [float, int, bool, lambda t: t.item()])
def test_several_elements_are_no_number(use):
    with pytest.raises(ArgumentError, match="has 6"):
        use(sn.tensor(A))


@pytest.mark.parametrize("data", [1.5, [1]])
def test_what_is_no_index(data):
    with pytest.raises(DTypeError, match="an index is an integer"):
        [1, 2][sn.tensor(data)]


def test_numpy_takes_tensors():
    t = sn.tensor(A)
    array = np.asarray(t)
    assert type(array) is np.ndarray
    np.testing.assert_array_equal(array, A)
    assert np.asarray(t, np.float64).dtype == np.float64
    with pytest.raises(ArgumentError, match="copy"):
        np.array(t, copy=False)


def test_copies():
    t = sn.tensor(A) * 2
    assert copy.copy(t) is t
    same(copy.deepcopy(t), 2 * A)
    same(pickle.loads(pickle.dumps(t)), 2 * A)


# ---- text


def test_repr_of_a_value():
    assert repr(sn.tensor([[1.0, -20.0], [0.5, 3.0]])) == "tensor([[  1. , -20. ],\n        [  0.5,   3. ]])"
    assert repr(sn.tensor(1.5)) == "tensor(1.5)"
    assert repr(sn.tensor(3)) == "tensor(3)"
    assert repr(sn.tensor([True])) == "tensor([ True])"
    assert repr(sn.tensor([1.0], dtype="float64")) == "tensor([1.], dtype=float64)"
    assert repr(sn.tensor(np.zeros((2, 0), np.float32))) == "tensor([], shape=(2, 0))"
    assert str(sn.tensor(1.5) * 2) == "tensor(3.)"


def test_format():
    assert f"{sn.tensor(1 / 3):.3f}" == "0.333"
    assert f"{sn.tensor([3]):03d}" == "003"
    assert f"{sn.tensor(1.5)}" == "tensor(1.5)"
    with pytest.raises(ArgumentError, match="has 6"):
        format(sn.tensor(A), ".2f")


def test_names():
    t = sn.tensor(1.0) * 2
    assert t.name is None
    t.name = "loss"
    assert t.name == "loss"
    assert float(t) == 2
    assert t.name == "loss"
    for bad in ("", None, "a\nb", 3):
        with pytest.raises(ArgumentError, match="printable"):
            t.name = bad


# ---- habits


@pytest.mark.parametrize(
    ("use", "advice"),
    [
        (lambda t: t.backward(), "sn.grad"),
        (lambda t: t.backward, "compile_train_step"),
        (lambda t: t.grad, "sn.grad"),
        (lambda t: t.requires_grad_(), "sn.grad"),
        (lambda t: setattr(t, "requires_grad", True), "detach"),
        (lambda t: setattr(t, "grad", None), "sn.grad"),
        (lambda t: t.view(2), "reshape"),
        (lambda t: t.permute(0), "transpose"),
        (lambda t: t.cuda(), r"model\.to"),
        (lambda t: t.data, "detach"),
        (lambda t: operator.setitem(t, 0, 1.0), r"sn\.where"),
    ],
)
def test_habits_are_explained(use, advice):
    with pytest.raises(HabitError, match=advice) as caught:
        use(sn.tensor([1.0, 2.0]))
    assert "test_tensor.py" in str(caught.value)


def test_unknown_attributes():
    t = sn.tensor(1.0)
    assert not hasattr(t, "grad")
    assert not hasattr(t, "nonsense")
    with pytest.raises(AttributeError, match="nonsense"):
        _ = t.nonsense
    with pytest.raises(AttributeError):
        t.nonsense = 1


# ---- errors show one line of ours


def frames_of_ours(error: BaseException) -> int:
    entries = traceback.extract_tb(error.__traceback__)
    return sum("test_tensor.py" not in entry.filename and "pytest" not in entry.filename for entry in entries)


@pytest.mark.parametrize(
    "use",
    [
        lambda: sn.tensor(A) + sn.tensor(B.T),
        lambda: sn.tensor(A) @ B,
        lambda: sn.tensor(A).sum(axis=5),
        lambda: sn.tensor(A)[7],
        lambda: sn.exp("text"),
        lambda: sn.exp(),
        lambda: float(sn.tensor(A)),
        lambda: sn.tensor(A).backward(),
        lambda: sn.tensor(1.0).T.nonsense,
        lambda: sn.trace(lambda x: x + A.T, sn.TensorSpec((2, 3))),
    ],
)
def test_errors_show_one_line_of_ours(use, monkeypatch):
    monkeypatch.delenv("STATICNET_TRACEBACK", raising=False)
    with pytest.raises(Exception) as caught:
        use()
    assert frames_of_ours(caught.value) <= 1


def test_everything_is_shown_when_asked(monkeypatch):
    monkeypatch.setenv("STATICNET_TRACEBACK", "full")
    with pytest.raises(ShapeError) as caught:
        sn.tensor(A) + sn.tensor(B.T)
    assert frames_of_ours(caught.value) > 3


# ---- inside a trace there is no value


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda x: x.numpy(), "numpy"),
        (lambda x: x.item(), "item"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: float(x.sum()), "float"),
        (lambda x: int(x.sum()), "int"),
        (lambda x: f"{x.sum():.2f}", "format"),
        (lambda x: np.asarray(x), "NumPy"),
        (lambda x: 1 if x.sum() > 0 else 2, r"sn\.where"),
        (lambda x: x.sum() and x, r"sn\.where"),
        (lambda x: 3.0 in x, r"sn\.where"),
        (lambda x: list(x), "`batch`"),
        (lambda x: len(x), "`batch`"),
        (lambda x: list(range(x.shape[0])), "`batch`"),
        (lambda x: pickle.dumps(x), "pickling"),
    ],
)
def test_values_are_not_known_in_a_trace(use, words):
    with pytest.raises(TraceError, match=words) as caught:
        sn.trace(use, sn.TensorSpec(("batch", 3), name="features"))
    assert "test_tensor.py" in str(caught.value)


def test_repr_in_a_trace():
    seen = []

    def function(x):
        y = x.exp()
        y.name = "grown"
        seen.extend([repr(x), repr(y), repr(y + 1), f"{y}"])
        return y

    sn.trace(function, sn.TensorSpec(("batch", 3), name="features"))
    assert seen == [
        "Tensor('features', shape=(batch, 3), dtype=float32, op=input)",
        "Tensor('grown', shape=(batch, 3), dtype=float32, op=exp)",
        "Tensor(shape=(batch, 3), dtype=float32, op=add)",
        "Tensor('grown', shape=(batch, 3), dtype=float32, op=exp)",
    ]


def test_a_static_axis_can_be_iterated_in_a_trace():
    graph = sn.trace(lambda x: sum(row * (i + 1) for i, row in enumerate(x)), sn.TensorSpec((3, "n")))
    assert graph.outputs[0].aval.ndim == 1
