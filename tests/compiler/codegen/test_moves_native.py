"""What moves, gathers, pools and draws, as machine code: the same results as the kernels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.describers  # noqa: F401
from staticnet.compiler.codegen.loops.interpret import Failed
from staticnet.compiler.dtypes import as_dtype
from staticnet.compiler.ir import Type
from staticnet.compiler.ops.avg_pool import AvgPool2d, AvgPool2dGrad
from staticnet.compiler.ops.fill import Iota
from staticnet.compiler.ops.index import Gather, GatherElements, ScatterAdd, ScatterElementsAdd
from staticnet.compiler.ops.leaf import Identity
from staticnet.compiler.ops.max_pool import MaxPool2d, MaxPool2dGrad
from staticnet.compiler.ops.random import RandomBits, RandomMask, RandomNormal, RandomUniform
from staticnet.compiler.ops.reduce import ArgMax
from staticnet.compiler.ops.shape import Transpose
from staticnet.compiler.ops.slice import Concat, Pad, SliceScatter
from tests.compiler.codegen.native import host, run_native
from tests.compiler.codegen.placed import Placement, check, dense, described, execute, kernel_results

RNG = np.random.default_rng(0)
KEY = np.array([3, 2**63 + 1], np.uint64)
PLANES, PIXELS = dense(4), Placement((0, 2, 3, 1))


def check_native(op, arrays, *layouts, ulp=0, ranges=3):
    """Against the kernel, each kernel's range in three parts."""
    layouts = layouts or ([dense(array.ndim) for array in (*arrays, *kernel_results(op, arrays))],)
    runner = partial(run_native, ranges=ranges)
    assert check(op, arrays, ulp, runner, [host()], layouts) == len(layouts)


def numbers(*shape, dtype="float32"):
    return RNG.integers(0, 9, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 50), (37, 41)], ids=str)
def test_transpose(shape, dtype):
    check_native(Transpose(axes=(1, 0)), [numbers(*shape, dtype=dtype)])


def test_images_by_planes_and_by_pixels():
    for channels in (3, 20):
        check_native(Identity(), [numbers(2, channels, 7, 9)], [PLANES, PIXELS], [PIXELS, PLANES])


@pytest.mark.parametrize(
    "op, arrays",
    [
        (Pad(low=(1, 3), high=(0, 20), value=2.5), [numbers(4, 30)]),
        (SliceScatter(shape=(5, 40), starts=(1, 39), stops=(4, 1), steps=(1, -2)), [numbers(3, 19)]),
        (Concat(axis=1), [numbers(3, 5), numbers(3, 0), numbers(3, 40)]),
        (Concat(axis=0), [numbers(3, 5), numbers(1, 5)]),
        (Iota(shape=(3, 50), axis=1, dtype=as_dtype("float32")), []),
        (Gather(axis=0), [numbers(9, 37), RNG.integers(-9, 9, (2, 7))]),
        (Gather(axis=1), [numbers(3, 9), RNG.integers(-9, 9, 40).astype(np.int32)]),
        (GatherElements(axis=1), [numbers(3, 9), RNG.integers(-9, 9, (3, 20))]),
        (ScatterAdd(axis=0, size=4), [RNG.integers(-4, 4, 20), numbers(20, 150)]),
        (ScatterAdd(axis=1, size=4), [RNG.integers(-4, 4, 20), numbers(3, 20, dtype="int64")]),
        (ScatterElementsAdd(axis=0, size=4), [RNG.integers(-4, 4, (9, 20)), numbers(9, 20)]),
        (ArgMax(axis=1), [numbers(5, 40)]),
        (ArgMax(axis=0), [numbers(5, 40)]),
        (RandomBits(shape=(3, 50), stream=7), [KEY]),
        (RandomMask(shape=(8, 32), stream=7, rate=0.25), [KEY]),
        (RandomUniform(shape=(50,), stream=7, dtype=as_dtype("float32")), [KEY]),
        (RandomUniform(shape=(50,), stream=7, dtype=as_dtype("float64")), [KEY]),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_moves_and_draws(op, arrays):
    check_native(op, arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normals(dtype):
    check_native(RandomNormal(shape=(100,), stream=1, dtype=as_dtype(dtype)), [KEY], ulp=4)


@pytest.mark.parametrize("size, stride, padding", [(2, 2, 0), (3, 2, 1), (2, 1, 0)])
def test_pooling(size, stride, padding):
    pair = ((padding, padding), (padding, padding))
    attributes = {"kernel_size": (size, size), "stride": (stride, stride), "padding": pair, "dilation": (1, 1)}
    x = numbers(2, 20, 9, 7)
    x[0, 0, 0, 0] = np.nan
    (y,) = kernel_results(MaxPool2d(**attributes), [x])
    g = RNG.standard_normal(y.shape).astype("float32")
    for planes in (PLANES, PIXELS):
        check_native(MaxPool2d(**attributes), [x], [planes] * 2)
        check_native(MaxPool2dGrad(**attributes), [x, y, g], [planes] * 4)
        check_native(AvgPool2d(**attributes, count_include_pad=False), [g[:, :, :3, :3]], [planes] * 2)
        check_native(AvgPool2dGrad(**attributes, size=(9, 7), count_include_pad=False), [g], [planes] * 2)


@pytest.mark.parametrize(
    "op, arrays, result",
    [
        (Gather(axis=0), [numbers(4, 30), np.array([0, 4])], Type((2, 30), "float32")),
        (Gather(axis=0), [numbers(4), np.array([0, -5])], Type((2,), "float32")),
        (ScatterAdd(axis=0, size=3), [np.array([3]), numbers(1, 5)], Type((3, 5), "float32")),
        (ArgMax(axis=None), [numbers(0, 5)], Type((), "int64")),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_what_cannot_be_fails(op, arrays, result):
    at = [dense(array.ndim) for array in arrays] + [dense(len(result.shape))]
    run = described(op, arrays, at, host(), [result])
    with pytest.raises(Failed):
        execute(run, run_native)
