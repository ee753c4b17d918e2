"""Pooling and its gradients in loops."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.pooling
import staticnet.compiler.codegen.loops.pooling_gradients  # noqa: F401
from staticnet.compiler.codegen.loops.describe import ANCHORS
from staticnet.compiler.codegen.loops.form import load, store
from staticnet.compiler.codegen.loops.interpret import run_routine
from staticnet.compiler.codegen.loops.operations import add
from staticnet.compiler.codegen.machine import SMALL
from staticnet.compiler.ops.avg_pool import AvgPool2d, AvgPool2dGrad
from staticnet.compiler.ops.max_pool import MaxPool2d, MaxPool2dGrad, MaxPool2dPick
from tests.compiler.codegen import placed
from tests.compiler.codegen.placed import Placement, assert_equal, dense, described, kernel_results

RNG = np.random.default_rng(0)


def windows(kernel, stride, padding=((0, 0), (0, 0)), dilation=(1, 1)):
    return {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}


CASES = [
    ((2, 3, 6, 8), windows((2, 2), (2, 2))),
    ((1, 5, 7, 9), windows((2, 2), (2, 2))),
    ((2, 2, 7, 6), windows((3, 3), (2, 2), ((1, 1), (1, 1)))),
    ((1, 2, 6, 20), windows((3, 2), (1, 1), ((1, 0), (0, 1)))),
    ((1, 3, 9, 8), windows((2, 3), (3, 2), ((1, 1), (2, 2)))),
    ((1, 1, 9, 11), windows((3, 2), (2, 3), ((1, 2), (1, 0)), (2, 3))),
    ((2, 4, 10, 9), windows((2, 2), (3, 4))),
    ((1, 3, 5, 5), windows((5, 5), (5, 5))),
    ((1, 2, 4, 5), windows((4, 5), (1, 1), ((1, 2), (2, 1)))),
    ((3, 1, 4, 1), windows((2, 1), (2, 1))),
    ((0, 2, 4, 4), windows((2, 2), (2, 2))),
    ((1, 1, 12, 12), windows((2, 2), (1, 1), ((0, 0), (0, 0)), (5, 4))),
]
IDS = [f"{shape} {w['kernel_size']} {w['stride']} {w['padding']} {w['dilation']}" for shape, w in CASES]
def check(op, arrays):
    """The description against the kernel: by planes, by pixels, mixed, and crooked; how many were described."""
    count = len(arrays) + 1
    planes, pixels = Placement((0, 1, 2, 3)), Placement((0, 2, 3, 1))
    crooked = Placement((1, 3, 2, 0), 2, (0, 2))
    layouts = [[planes] * count, [pixels] * count, [pixels, *[planes] * (count - 1)], [crooked] * count]
    return placed.check(op, arrays, machines=[SMALL], layouts=layouts)


each_case = pytest.mark.parametrize("shape, windows", CASES, ids=IDS)


def images(*shape, dtype="float32"):
    """Few different numbers: windows have ties."""
    return RNG.integers(-3, 3, shape).astype(dtype)


def spoilt(x):
    """With NaN, infinities and zeros of both signs."""
    flat = x.reshape(-1)
    for value in (np.nan, np.inf, -np.inf, -0.0):
        flat[RNG.integers(0, flat.size, flat.size // 10)] = value
    return x


def slopes(*shape):
    return RNG.standard_normal(shape).astype("float32")


@each_case
def test_max_pool(shape, windows):
    assert check(MaxPool2d(**windows), [images(*shape)]) == 4
    assert check(MaxPool2d(**windows), [spoilt(images(*shape))]) == 4


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "float16", "float64"])
def test_max_pool_of_other_dtypes(dtype):
    x = images(2, 3, 7, 6, dtype=dtype)
    assert check(MaxPool2d(**windows((3, 3), (2, 2), ((1, 1), (1, 1)))), [x]) == 4


@each_case
def test_max_pool_grad(shape, windows):
    for x in (images(*shape), spoilt(images(*shape))):
        (y,) = kernel_results(MaxPool2d(**windows), [x])
        assert check(MaxPool2dGrad(**windows), [x, y, slopes(*y.shape)]) == 4


@each_case
def test_max_pool_pick(shape, windows):
    for x in (images(*shape), spoilt(images(*shape))):
        (y,) = kernel_results(MaxPool2d(**windows), [x])
        assert check(MaxPool2dPick(**windows), [x, y, slopes(*x.shape)]) == 4


@pytest.mark.parametrize("count_include_pad", [True, False])
@each_case
def test_avg_pool(shape, windows, count_include_pad):
    op = AvgPool2d(**windows, count_include_pad=count_include_pad)
    assert check(op, [slopes(*shape)]) == 4


@pytest.mark.parametrize("count_include_pad", [True, False])
@each_case
def test_avg_pool_grad(shape, windows, count_include_pad):
    (y,) = kernel_results(AvgPool2d(**windows, count_include_pad=True), [slopes(*shape)])
    op = AvgPool2dGrad(**windows, size=shape[2:], count_include_pad=count_include_pad)
    assert check(op, [slopes(*y.shape)]) == 4


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_gradients_of_other_dtypes(dtype):
    attributes = windows((3, 3), (2, 2), ((1, 1), (1, 1)))
    x = images(2, 3, 7, 6, dtype=dtype)
    (y,) = kernel_results(MaxPool2d(**attributes), [x])
    g = slopes(*y.shape).astype(dtype)
    assert check(MaxPool2dGrad(**attributes), [x, y, g]) == 4
    assert check(AvgPool2dGrad(**attributes, size=(7, 6), count_include_pad=False), [g]) == 4


def test_integers_have_no_gradient():
    x = images(1, 1, 4, 4, dtype="int32")
    y = images(1, 1, 2, 2, dtype="int32")
    op = MaxPool2dGrad(**windows((2, 2), (2, 2)))
    assert described(op, [x, y, y], [dense(4)] * 4) is None


@pytest.mark.parametrize("stride, padding", [((2, 2), 0), ((2, 2), 1), ((1, 1), 1)])
def test_what_follows_a_gradient_is_done_before_it_is_stored(stride, padding):
    attributes = windows((2, 2), stride, ((padding, padding), (padding, padding)))
    x = images(2, 3, 5, 7)
    (y,) = kernel_results(MaxPool2d(**attributes), [x])
    g, more = slopes(*y.shape), slopes(*x.shape)
    (gradient,) = kernel_results(MaxPool2dGrad(**attributes), [x, y, g])
    place = Placement((0, 2, 3, 1)).place
    operands = [place(f"x{k}", array, "input", k) for k, array in enumerate((x, y, g, more))]
    result = place("y0", x, "output", 0)

    def finish(index, value):
        return [store(result.view, index, add(value, load(operands[3].view, *index)))]

    card = MaxPool2dGrad(**attributes)
    routine = ANCHORS[MaxPool2dGrad](card, [o.view for o in operands[:3]], result.view, finish, SMALL)
    run_routine(routine, {placed.view.array: placed.memory for placed in (*operands, result)})
    assert_equal(result.seen, gradient + more, "")
