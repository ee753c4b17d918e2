"""Random draws in loops: the same bits as the kernels."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.random_numbers  # noqa: F401
from staticnet.compiler.dtypes import as_dtype
from staticnet.compiler.ops.random import RandomBits, RandomMask, RandomNormal, RandomUniform
from tests.compiler.codegen.placed import Placement, check, dense, described

KEY = np.array([0x0123456789ABCDEF, 0xFEDCBA9876543210], np.uint64)
SHAPES = [(), (1,), (3,), (4, 4), (5, 13), (0, 3), (2, 300), (4, 96)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits(shape):
    assert check(RandomBits(shape=shape, stream=2**32 - 1), [KEY]) >= 2


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_masks(rate):
    assert check(RandomMask(shape=(7, 9), stream=3, rate=rate), [KEY]) >= 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 96)], ids=str)
def test_uniform(shape, dtype):
    assert check(RandomUniform(shape=shape, stream=1, dtype=as_dtype(dtype)), [KEY]) >= 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 96)], ids=str)
def test_normal(shape, dtype):
    assert check(RandomNormal(shape=shape, stream=1, dtype=as_dtype(dtype)), [KEY], ulp=4) >= 2


def test_a_draw_into_a_transpose_is_left_to_its_kernel():
    op = RandomBits(shape=(2, 3), stream=0)
    assert described(op, [KEY], [dense(1), Placement((1, 0))]) is None
    assert described(op, [KEY], [dense(1), dense(2)]) is not None
