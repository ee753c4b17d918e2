"""Moving elements in loops: copies of views, pad, slice_scatter, concat, fills."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.filling
import staticnet.compiler.codegen.loops.movement  # noqa: F401
from staticnet.compiler.codegen.loops.form import For, statements
from staticnet.compiler.codegen.loops.movement import common_refinement
from staticnet.compiler.codegen.loops.nest import plan_nest
from staticnet.compiler.dtypes import as_dtype
from staticnet.compiler.ops.fill import Iota
from staticnet.compiler.ops.leaf import Identity, SizeOf
from staticnet.compiler.ops.shape import Broadcast, Reshape, Transpose
from staticnet.compiler.ops.slice import Concat, Pad, Slice, SliceScatter
from tests.compiler.codegen.placed import Placement, check, combinations, dense, described

RNG = np.random.default_rng(0)


def numbers(*shape, dtype="float32"):
    if dtype == "bool":
        return RNG.random(shape) < 0.5
    return (RNG.random(shape) * 100).astype(dtype)


SHAPES = [(), (1,), (7,), (0, 3), (2, 3), (1, 5, 1), (3, 20, 21), (2, 3, 4, 5), (2, 17, 3, 6)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_identity_copies_in_every_layout(shape):
    assert check(Identity(), [numbers(*shape)]) >= 4


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float64"])
def test_every_dtype_is_copied(dtype):
    assert check(Transpose(axes=(2, 0, 1)), [numbers(3, 18, 5, dtype=dtype)]) >= 4


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_transpose(axes):
    check(Transpose(axes=axes), [numbers(33, 2, 19)])


@pytest.mark.parametrize(
    "op, shape",
    [
        (Broadcast(shape=(3, 4)), ()),
        (Broadcast(shape=(2, 3, 4)), (3, 1)),
        (Broadcast(shape=(0, 4)), (4,)),
        (Slice(starts=(1, 7), stops=(5, -1), steps=(2, -3)), (6, 8)),
        (Slice(starts=(0, 9), stops=(6, 3), steps=(1, 1)), (6, 8)),
        (Slice(starts=(5,), stops=(-1,), steps=(-1,)), (6,)),
    ],
    ids=str,
)
def test_views_are_copied(op, shape):
    assert check(op, [numbers(*shape)]) >= 4


def test_a_slice_that_does_not_exist_is_left_to_its_kernel():
    op = Slice(starts=(0, 0), stops=(1, 2), steps=(1, 1))
    from staticnet.compiler.codegen.loops.describe import describe
    from staticnet.compiler.codegen.machine import SMALL

    x = dense(2).place("x", np.zeros((0, 2), "f"), "input", 0).view
    y = dense(2).place("y", np.zeros((1, 2), "f"), "output", 0).view
    assert describe(op, [x], [y], SMALL) is None


@pytest.mark.parametrize(
    "old, new",
    [((6, 4), (3, 8)), ((6, 4), (24,)), ((24,), (2, 3, 4)), ((2, 3, 4), (4, 3, 2)), ((1, 6), (6, 1))],
    ids=str,
)
def test_reshape(old, new):
    op = Reshape(shape=new)
    check(op, [numbers(*old)])
    # a dense side can be seen in the other's shape
    for at in combinations(len(old), len(new)):
        if at[0] == dense(len(old)) or at[1] == dense(len(new)):
            assert described(op, [numbers(*old)], at) is not None


def test_a_reshape_of_two_crooked_sides_goes_through_a_common_refinement():
    at = (Placement((1, 0)), Placement((1, 0)))
    assert described(Reshape(shape=(8, 3)), [numbers(4, 6)], at) is not None
    assert described(Reshape(shape=(3, 2)), [numbers(2, 3)], at) is None
    assert common_refinement((4, 6), (8, 3)) == (4, 2, 3)
    assert common_refinement((2, 3), (3, 2)) is None
    assert common_refinement((1, 1), ()) == ()


@pytest.mark.parametrize(
    "low, high, shape",
    [((1, 2), (0, 3), (3, 4)), ((0, 0), (0, 2), (3, 40)), ((1, 1), (1, 1), (0, 2)), ((2, 0), (2, 0), (20, 3))],
    ids=str,
)
@pytest.mark.parametrize("dtype, value", [("float32", float("-inf")), ("int16", 7), ("bool", True)])
def test_pad(low, high, shape, dtype, value):
    assert check(Pad(low=low, high=high, value=value), [numbers(*shape, dtype=dtype)]) >= 4


def test_pad_of_images():
    assert check(Pad(low=(0, 0, 1, 2), high=(0, 0, 1, 0)), [numbers(2, 3, 5, 18)]) >= 5


@pytest.mark.parametrize(
    "starts, stops, steps",
    [
        ((0, 0), (3, 4), (1, 1)),
        ((2, 1), (5, 5), (1, 1)),
        ((4, 0), (1, 4), (-1, 1)),
        ((0, 1), (5, 8), (2, 2)),
        ((5, 0), (6, 4), (3, 1)),
        ((8, 0), (8, 4), (1, 1)),
    ],
)
def test_slice_scatter(starts, stops, steps):
    op = SliceScatter(shape=(7, 8), starts=starts, stops=stops, steps=steps)
    assert check(op, [numbers(*op.sizes)]) >= 4


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sizes", [(1, 1), (5, 0, 7), (4, 17, 6)], ids=str)
def test_concat(axis, sizes):
    shape = [3, 5, 20]
    arrays = []
    for size in sizes:
        shape[axis] = size
        arrays.append(numbers(*shape))
    assert check(Concat(axis=axis), arrays) >= 4


def test_concat_of_nothing():
    assert check(Concat(axis=0), [numbers(0, 3), numbers(0, 3)]) >= 4


@pytest.mark.parametrize("dtype", ["int32", "float32", "float16", "uint8", "int64"])
@pytest.mark.parametrize("shape, axis", [((5,), 0), ((3, 4, 20), 1), ((2, 0), 0), ((100, 2), 0)], ids=str)
def test_iota(dtype, shape, axis):
    assert check(Iota(shape=shape, axis=axis, dtype=as_dtype(dtype)), []) >= 4


def test_size_of():
    assert check(SizeOf(size=2**40), []) >= 1


def test_axes_that_lie_behind_each_other_are_one_loop():
    nest = plan_nest((2, 3, 4, 5), [(60, 20, 5, 1), (60, 20, 5, 1)])
    assert nest.extents == (120,)
    nest = plan_nest((2, 3, 4, 5), [(60, 20, 5, 1), (0, 0, 5, 1)])
    assert nest.extents == (6, 20)
    nest = plan_nest((2, 3, 4, 5), [(60, 20, 5, 1)], keep=(1,))
    assert nest.extents == (2, 3, 20)
    assert plan_nest((1, 1), [(7, 9)]).extents == ()


def test_the_innermost_loop_follows_the_first_array_backwards_where_that_runs_so():
    nest = plan_nest((3, 4), [(1, -3), (4, 1)])
    assert nest.extents == (4, 3)
    assert [loop.step for loop in nest.loops] == [-1, 1]
    assert nest.starts == (0, 3)


def test_a_transposing_copy_is_tiled():
    run = described(Transpose(axes=(1, 0)), [numbers(64, 46)], (dense(2), dense(2)))
    loops = [s for kernel in run.routine.kernels for s in statements((kernel.loop,)) if isinstance(s, For)]
    assert [(loop.extent, loop.kind) for loop in loops] == [
        (16, "serial"),
        (12, "serial"),
        (4, "unroll"),
        (4, "lanes"),
        (4, "unroll"),
        (4, "lanes"),
    ]
