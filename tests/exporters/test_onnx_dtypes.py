"""Every elementwise op and reduction in every dtype: what onnxruntime gives is what NumPy gives, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler import dtypes
from staticnet.compiler.errors import ExportError
from staticnet.compiler.ir import REGISTRY, apply
from staticnet.compiler.ops.base import Elementwise, F
from tests.exporters.onnx_models import assert_runs, expected, feed, model_of, operators, run

DTYPES = [dtype.name for dtype in dtypes.ALL]
CARDS = {
    name: card
    for name, card in sorted(REGISTRY.items())
    if isinstance(card, type) and issubclass(card, Elementwise) and name not in ("clip", "power")
}
#: no operator, and no exact way round
REFUSED = {("erf", "float64")}
TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}


def operands(dtype, special=False):
    kind = np.dtype(dtype).kind
    if kind == "b":
        return np.array([1, 0, 1, 0], bool), np.array([1, 1, 0, 0], bool)
    if kind == "f" and special:
        inf, nan = np.inf, np.nan
        x = [nan, 1, inf, -inf, 0, 1e4, -1e4, inf, 3, 1e-4]
        return np.array(x, dtype), np.array([1, nan, 2, 2, 0, 1, -1, inf, inf, 1], dtype)
    if kind == "f":
        x = [-2.5, -1, -0.0, 0, 0.3, 0.5, 1, 1.5, 2, 2.5, 7, -7, 1e-3]
        return np.array(x, dtype), np.array([2, 3, -1.5, 0.1, 0.1, -0.7, 0.1, 3, -3, 2, -2, 2, 1], dtype)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    negative = kind == "i"
    x = [0, 1, 2, 5, -7 if negative else 7, most, least, most - 1, 3]
    return np.array(x, dtype), np.array([1, 2, 3, -2 if negative else 2, 1, 2, 3, 2, 5], dtype)


def check(function, arrays, opset=18):
    nodes = [feed(*array.shape, dtype=str(array.dtype), label=f"x{i}") for i, array in enumerate(arrays)]
    results = run(model_of(function, *nodes, opset=opset), *arrays)
    for result, value in zip(results, expected(function, nodes, arrays, {}), strict=True):
        assert result.dtype == value.dtype and result.shape == value.shape
        tolerance = TOLERANCE.get(str(value.dtype), 0)
        np.testing.assert_allclose(result, value, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("name", CARDS)
def test_elementwise(name, opset):
    card = CARDS[name]
    for dtype in DTYPES:
        if np.dtype(dtype).kind not in card.kinds:
            continue
        for special in (False, True)[: 1 + (np.dtype(dtype).kind == "f")]:
            arrays = operands(dtype, special)[: card.arity]
            if (name, dtype) in REFUSED:
                with pytest.raises(ExportError, match=f"{name} has no ONNX form for {dtype}"):
                    check(lambda *nodes, op=card: apply(op(), *nodes), arrays, opset)
            else:
                check(lambda *nodes, op=card: apply(op(), *nodes), arrays, opset)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("bounds", [(1, 2), (1, None), (None, 2), (2, 1)])
def test_clip(dtype, bounds):
    for special in (False, True)[: 1 + (np.dtype(dtype).kind == "f")]:
        check(lambda x: F.clip(x, *bounds), operands(dtype, special)[:1])


def test_clip_at_one_side_leaves_infinities():
    assert operators(model_of(lambda x: F.clip(x, min=0), feed(2))) == ["Clip"]
    check(lambda x: F.clip(x, min=0), [np.array([np.inf, -np.inf], np.float32)])


@pytest.mark.parametrize("dtype", DTYPES[1:8] + DTYPES[9:])
def test_powers(dtype):
    x, _ = operands(dtype)
    check(lambda x: F.power(x, 3), [x])
    check(lambda x, y: F.power(x, y), [np.array([1, 2, 3, 4], dtype), np.array([3, 2, 1, 0], dtype)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_where(dtype):
    x, y = operands(dtype)
    check(lambda x, y: F.where(F.equal(x, y), x, y), [x, y])


@pytest.mark.parametrize("old", DTYPES)
def test_casts(old):
    values = np.array([0, 1, 3, 100]).astype(old)
    check(lambda x: tuple(F.cast(x, new) for new in DTYPES if new != old), [values])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("opset", [13, 18])
def test_moves(dtype, opset):
    values = np.arange(12).reshape(3, 4).astype(dtype)

    def function(x):
        fill = True if dtype == "bool" else 3
        padded = F.pad(x, ((0, 1), (2, 0)), constant_values=fill)
        return padded, F.concat([x, x], 1), x[::-1, 1:3], F.transpose(x), F.broadcast_to(x, (2, 3, 4)), F.tile(x, 2)

    check(function, [values], opset)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "argmax", "argmin", "any", "all"])
def test_reductions(name, dtype):
    values = np.array([[0, 1, 2, 7], [100, 3, 0, 1]]).astype(dtype)
    if dtype == "uint64" and name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ExportError, match=f"{name} has no ONNX form for uint64"):
            check(getattr(F, name), [values])
        return
    for opset in (13, 18):
        check(getattr(F, name), [values], opset)
        check(lambda x: getattr(F, name)(x, axis=1), [values], opset)
        check(lambda x: getattr(F, name)(x, axis=0, keepdims=True), [values], opset)


def test_any_and_all_of_nothing():
    check(lambda x: (F.any(x, axis=1), F.all(x, axis=1)), [np.zeros((2, 0), bool)])


@pytest.mark.parametrize("dtype", ["int32", "int64", "float16", "float32", "float64", "uint8", "int16"])
def test_products(dtype):
    values = np.arange(6).astype(dtype)
    check(lambda x, y: x @ y, [values.reshape(2, 3), values.reshape(3, 2)])


def test_small_differences_survive():
    tiny = np.array([1e-7, -1e-7, 3e-5, 0.4, -0.4, 0.6, -0.6, 20, -0.999, 1e-20], np.float32)
    check(lambda x: (F.expm1(x), F.log1p(x)), [tiny])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floor_division_is_not_the_floor_of_the_rounded_quotient(dtype):
    x = np.array([1, 6, -1, 7.5, np.inf, 1, -1, 0, 5], dtype)
    y = np.array([0.1, 0.1, 0.1, -2.5, 2, 0, np.inf, 0, np.inf], dtype)
    check(lambda x, y: (x // y, x % y), [x, y])


# -- windows in dtypes that onnxruntime's operators lack --------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64"])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(dtype, groups):
    def function(x, w):
        return F.conv2d(x, w, stride=(2, 1), padding=((1, 0), (2, 1)), dilation=(1, 2), groups=groups)

    shapes = (3, 4, 7, 6), (6, 4 // groups, 3, 2)
    rng = np.random.default_rng(0)
    check(function, [(rng.standard_normal(shape) * 4).astype(dtype) for shape in shapes])


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint16", "uint8", "float64"])
def test_max_pooling(dtype):
    values = np.random.default_rng(0).integers(0, 99, (2, 3, 7, 6)).astype(dtype)
    check(lambda x: F.max_pool2d(x, (3, 2), stride=2, padding=1, dilation=(1, 2)), [values])


@pytest.mark.parametrize("included", [True, False])
def test_average_pooling_in_float64(included):
    values = np.random.default_rng(0).standard_normal((2, 3, 7, 6))
    check(lambda x: F.avg_pool2d(x, (3, 2), stride=2, padding=1, count_include_pad=included), [values])


def test_windows_of_images_of_symbolic_size():
    def function(x):
        return F.max_pool2d(F.conv2d(x, np.ones((2, 3, 3, 3)), stride=2, padding=1), 2)

    assert_runs(function, feed("n", 3, "h", "w", dtype="float64"), binding={"n": 2, "h": 9, "w": 8})
