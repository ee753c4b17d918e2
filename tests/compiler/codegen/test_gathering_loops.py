"""Reading and adding at computed positions in loops, and refusing positions that do not exist."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.gathering
import staticnet.compiler.codegen.loops.scattering  # noqa: F401
from staticnet.compiler.codegen.loops.form import Store, statements
from staticnet.compiler.codegen.loops.interpret import Failed
from staticnet.compiler.ops.index import (
    Gather,
    GatherElements,
    GatherND,
    ScatterAdd,
    ScatterElementsAdd,
    ScatterNDAdd,
)
from staticnet.compiler.ops.loss import CheckLabels
from tests.compiler.codegen.placed import check, dense, described, execute, result_types

RNG = np.random.default_rng(0)


def numbers(*shape, dtype="float32"):
    return ((RNG.random(shape) - 0.5) * 100).astype(dtype)


def indices(size, *shape, dtype="int64"):
    return RNG.integers(-size, max(size, 1), shape).astype(dtype)


GATHERS = [
    (0, (5, 7), (3, 2)),
    (1, (5, 7), (4,)),
    (1, (2, 5, 18), ()),
    (2, (2, 5, 9), (20,)),
    (0, (6,), (2, 3)),
    (0, (6, 0), (2,)),
    (1, (0, 4), (3,)),
    (0, (4, 3), (0, 2)),
]


@pytest.mark.parametrize("axis, shape, places", GATHERS, ids=str)
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_gather(axis, shape, places, dtype):
    assert check(Gather(axis=axis), [numbers(*shape), indices(shape[axis], *places, dtype=dtype)]) >= 8


@pytest.mark.parametrize("axis, shape, places", GATHERS, ids=str)
def test_scatter_add(axis, shape, places):
    size = shape[axis]
    updates = numbers(*shape[:axis], *places, *shape[axis + 1 :])
    assert check(ScatterAdd(axis=axis, size=size), [indices(size, *places), updates]) >= 8


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "uint8", "bool"])
def test_dtypes(dtype):
    x = numbers(4, 6, dtype=dtype)
    assert check(Gather(axis=0), [x, indices(4, 9)]) >= 8
    if dtype != "bool":
        assert check(ScatterAdd(axis=0, size=3), [indices(3, 4), x]) >= 8


def test_equal_positions_of_long_rows_are_added_to_in_order():
    updates = numbers(40, 150)
    assert check(ScatterAdd(axis=0, size=3), [indices(3, 40), updates]) >= 8


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("places", [(), (4,), (2, 3)], ids=str)
def test_positions_in_several_axes(length, places):
    shape = (3, 4, 5)
    found = np.stack([indices(shape[k], *places) for k in range(length)], -1)
    assert check(GatherND(), [numbers(*shape), found]) >= 8
    assert check(ScatterNDAdd(shape=shape), [found, numbers(*places, *shape[length:])]) >= 8


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_elements(axis):
    shape = [3, 4, 17]
    wanted = list(shape)
    wanted[axis] = 6
    found = indices(shape[axis], *wanted)
    assert check(GatherElements(axis=axis), [numbers(*shape), found]) >= 8
    assert check(ScatterElementsAdd(axis=axis, size=shape[axis]), [found, numbers(*wanted)]) >= 8
    assert check(ScatterElementsAdd(axis=axis, size=shape[axis]), [found, numbers(*wanted, dtype="float16")]) >= 8


BAD = [
    (Gather(axis=0), [numbers(4, 3), np.array([0, 4])]),
    (Gather(axis=1), [numbers(4, 3), np.array([[-4]])]),
    (Gather(axis=0), [numbers(4, 0), np.array([0, 4])]),
    (Gather(axis=0), [numbers(0, 3), np.array([0])]),
    (Gather(axis=0), [numbers(4), np.array([0, np.iinfo(np.int64).min])]),
    (GatherND(), [numbers(4, 3), np.array([[0, 0], [1, 3]])]),
    (GatherElements(axis=1), [numbers(2, 3), np.array([[0, 1], [2, 3]])]),
    (ScatterAdd(axis=0, size=3), [np.array([0, 3]), numbers(2, 5)]),
    (ScatterAdd(axis=0, size=0), [np.array([0]), numbers(1, 5)]),
    (ScatterNDAdd(shape=(3, 2)), [np.array([[0, 2]]), numbers(1)]),
    (ScatterElementsAdd(axis=0, size=2), [np.array([[0, 1], [-3, 0]]), numbers(2, 2)]),
    (CheckLabels(classes=3), [np.array([0, 1, 3])]),
    (CheckLabels(classes=3), [np.array([0, -1], np.int8)]),
    (CheckLabels(classes=0), [np.array([0], np.uint8)]),
]


@pytest.mark.parametrize("op, arrays", BAD, ids=lambda value: value.name if hasattr(value, "name") else "")
def test_a_position_that_does_not_exist_fails(op, arrays):
    run = described(op, arrays, [dense(a.ndim) for a in (*arrays, *result_types(op, arrays))])
    with pytest.raises(Failed):
        execute(run)


@pytest.mark.parametrize("op, arrays", BAD[7:11], ids=lambda value: value.name if hasattr(value, "name") else "")
def test_a_scatter_checks_before_it_writes(op, arrays):
    run = described(op, arrays, [dense(a.ndim) for a in (*arrays, *result_types(op, arrays))])
    assert not [s for s in statements((run.routine.kernels[0].loop,)) if isinstance(s, Store)]
    before = run.outputs[0].memory.tobytes()
    with pytest.raises(Failed):
        execute(run)
    assert run.outputs[0].memory.tobytes() == before


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
@pytest.mark.parametrize("classes", [5, 1000])
def test_labels_are_checked_and_copied(dtype, classes):
    assert check(CheckLabels(classes=classes), [RNG.integers(0, 5, (3, 4)).astype(dtype)]) >= 4
    assert check(CheckLabels(classes=classes), [np.zeros((0,), dtype)]) >= 2


def test_labels_may_be_checked_in_their_own_memory():
    labels = np.arange(5)
    run = described(CheckLabels(classes=5), [labels], [dense(1), dense(1)])
    from staticnet.compiler.codegen.loops.interpret import run_routine

    x, y = run.inputs[0], run.outputs[0]
    run_routine(run.routine, {x.view.array: x.memory, y.view.array: x.memory})
    np.testing.assert_array_equal(x.memory, labels)
