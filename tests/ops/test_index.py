"""Indexing against NumPy on known and symbolic sizes, indices out of range, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler.autodiff import gradients
from staticnet.compiler.errors import ArgumentError, DTypeError, RunError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Layout, Node, Op, Type
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.index import (
    CHUNK,
    LONG_ROW,
    Gather,
    GatherElements,
    GatherND,
    ScatterAdd,
    ScatterElementsAdd,
    ScatterNDAdd,
)
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.ops.slice import Slice

N, M = dims.symbol("N"), dims.symbol("M")
at = np.s_

INDICES = {
    "0": at[0],
    "-1": at[-1],
    "integers": at[0, -1, 2],
    "NumPy integer": at[np.int32(1), ..., 1:2],
    "everything": at[...],
    "no index": at[()],
    "1:": at[1:],
    ":-1": at[:-1],
    "::2": at[::2],
    "::-1": at[::-1],
    "-3:-1": at[-3:-1],
    "1:4:2, ::-2": at[1:4:2, ::-2],
    "beyond": at[100:],
    "up to beyond": at[:100],
    "from before": at[-100:],
    "up to before": at[:-100],
    "backwards from beyond": at[100::-3],
    "backwards to before": at[:-100:-1],
    "empty": at[5:2],
    "empty backwards": at[3:100:-1],
    "2:1:-1": at[2:1:-1],
    "-2::-2": at[-2::-2],
    "..., 0": at[..., 0],
    "new axes": at[None, 1:, None, ..., None],
    "array": at[[0, 1]],
    "array of rank 2": at[np.array([[0, 1], [1, 0]])],
    "no elements": at[[]],
    "array inside": at[:, [0, 2, 1]],
    "array and integer": at[1, [1, 2]],
    "array and integer apart": at[0, :, [1, 2]],
    "array and integer behind": at[:, 0, [1, 2]],
    "two arrays": at[[0, -1], [1, 2]],
    "two arrays broadcast": at[[[0], [1]], [0, 1, 2]],
    "two arrays apart": at[[[0], [1]], :, [0, 1]],
    "two arrays apart by a new axis": at[[0, 1], None, [1, 1]],
    "array and a new axis": at[..., [0, 0], None],
    "three arrays": at[[0, 1], [2, 1], [0, 0]],
}


def value(shape: Any, dtype: str = "float64", label: str = "x") -> Node:
    return make_input(label, Type(shape, dtype))


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
@pytest.mark.parametrize("sizes", [None, (4, 5), (2, 3), (1, 3)], ids=str)
def test_an_index_means_what_it_means_in_numpy(index: Any, sizes: tuple | None, rng):
    binding = {} if sizes is None else {"N": sizes[0], "M": sizes[1]}
    shape = (4, 3, 5) if sizes is None else (N, 3, M)
    x = value(shape)
    array = rng.normal(size=[dims.evaluate(size, binding) for size in shape])
    y = x[index]
    try:
        expected = array[index]
    except IndexError:
        with pytest.raises(RunError):
            evaluate([y], {x: array}, binding)
        return
    seed, weights = value(y.shape), rng.normal(size=expected.shape)
    result, grad = evaluate([y, *gradients([y], [x], [seed])], {x: array, seed: weights}, binding)
    np.testing.assert_array_equal(result, expected)
    assert result.shape == tuple(dims.evaluate(size, binding) for size in y.shape)
    transposed = np.zeros_like(array)
    np.add.at(transposed, index, weights)
    np.testing.assert_allclose(grad, transposed, rtol=1e-12)


BOUNDS = [None, 0, 1, 2, 5, -1, -2, -5]


@pytest.mark.parametrize("step", [1, 2, 3, -1, -2, -3])
def test_every_slice_of_every_size(step: int):
    x = value((N,))
    for start, stop in itertools.product(BOUNDS, BOUNDS):
        index = slice(start, stop, step)
        y = x[index]
        grad = gradients([F.sum(y)], [x])[0]
        for size in range(6):
            array = np.arange(float(size))
            binding = {"N": size}
            result, slope = evaluate([y, grad], {x: array}, binding)
            np.testing.assert_array_equal(result, array[index], err_msg=f"{index} of {size}")
            ones = np.zeros(size)
            ones[index] = 1
            np.testing.assert_array_equal(slope, ones, err_msg=f"{index} of {size}")
            if grad.op.name == "slice_scatter":
                (expanded,) = evaluate([grad.op.expand(*grad.inputs)], {x: array}, binding)
                np.testing.assert_array_equal(expanded, ones, err_msg=f"{index} of {size}")


def test_symbolic_shapes_of_slices():
    x = value((N, 3))
    shapes = [x[1:].shape, x[:-1].shape, x[0].shape, x[-1].shape, x[::2].shape, x[::-1].shape, x[:4].shape]
    assert [str(shape[0]) for shape in shapes] == ["max(N - 1, 0)"] * 2 + ["3", "3", "(N + 1)//2", "N", "min(N, 4)"]
    assert dims.same_shape((x[1:] - x[:-1]).shape, (dims.maximum(N - 1, 0), 3))


def test_symbolic_bounds_and_positions():
    x = value((N,))
    array = np.arange(6.0)
    made = [x[N - 1], x[: N // 2], x[N // 2 :], x[N - 2 :], x[: N - 1], x[-N:], x[N - 1 :: -1]]
    results = evaluate(made, {x: array}, {"N": 6})
    expected = [array[5], array[:3], array[3:], array[4:], array[:5], array, array[::-1]]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_whole_slices_are_the_value_itself():
    x = value((N, 3))
    assert x[...] is x
    assert x[:] is x
    assert x[:N, 0:3] is x
    assert x[:, :3:1] is x


def test_an_element_of_a_symbolic_axis_that_turns_out_empty():
    x = value((N, 3))
    for index in (0, -1):
        with pytest.raises(RunError, match=r"element -?\d of axis 0 of an array of shape \(0, 3\) does not exist"):
            evaluate([x[index]], {x: np.zeros((0, 3))}, {"N": 0})
    with pytest.raises(RunError, match="element 4"):
        Slice(starts=(4,), stops=(5,), steps=(1,)).view(Layout.dense((3,)), (1,))


# -- what is refused ----------------------------------------------------------------------------


def test_indices_known_to_be_out_of_range():
    x = value((3, N))
    for index in (3, -4, np.int64(7)):
        with pytest.raises(ShapeError, match=rf"index {int(index)} is out of range for axis 0 of size 3"):
            x[index]
    with pytest.raises(ShapeError, match=r"getitem: index 3 at position \(1,\) is out of range for axis 0 of size 3"):
        x[[0, 3]]
    with pytest.raises(ShapeError, match=r"index -4 at position \(1, 0\).*it takes -3 to 2"):
        F.take(x, [[0, 1], [-4, 5]], 0)
    with pytest.raises(ShapeError, match=r"index 5 .*axis 1 of size 3"):
        F.take_along_axis(value((2, 3)), [[0], [5]], 1)
    with pytest.raises(ShapeError, match="it has no elements"):
        value((0,))[[0]]
    with pytest.raises(ShapeError, match="3 indices are too many for the 2 axes"):
        x[0, 0, 0]
    with pytest.raises(ShapeError, match="index N is out of range for axis 1 of size N"):
        x[0, N]


@pytest.mark.parametrize("mask", [True, [True, False, True], np.array([True, False, True])], ids=str)
def test_boolean_masks_are_refused(mask: Any):
    with pytest.raises(DTypeError, match=r"shape of the result would depend on the data; .* where\(mask, x, y\)"):
        value((3,))[mask]


def test_a_computed_mask_is_refused():
    x = value((3,))
    with pytest.raises(DTypeError, match="boolean mask"):
        x[x > 0]


def test_indices_of_other_kinds_are_refused():
    x = value((3, 4))
    with pytest.raises(DTypeError, match="indices must be integers, not float"):
        x[[0.5]]
    with pytest.raises(ArgumentError, match="not 'a' of type str"):
        x["a"]
    with pytest.raises(ArgumentError, match=r"not 1\.5 of type float"):
        x[1.5]
    with pytest.raises(ArgumentError, match="one Ellipsis"):
        x[..., ...]
    with pytest.raises(ArgumentError, match="other than 0"):
        x[::0]
    with pytest.raises(ArgumentError, match=r"whole numbers, not 1\.5"):
        x[1.5:]
    with pytest.raises(ArgumentError, match="must be known before the run"):
        x[: value((), "int64")]
    with pytest.raises(ShapeError, match="do not broadcast"):
        x[[0, 1], [0, 1, 2]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_every_integer_type_can_index(dtype: str):
    indices = value((2,), dtype, "i")
    (result,) = evaluate([F.take(np.arange(5.0), indices)], {indices: np.array([3, 1], dtype)})
    assert result.tolist() == [3, 1]


CASES: list[tuple[Op, list[tuple], int]] = [
    (Gather(axis=0), [(3, 2), (2, 2)], 1),
    (GatherElements(axis=0), [(3, 2), (2, 2)], 1),
    (GatherND(), [(3, 3, 2), (2, 2)], 1),
    (ScatterAdd(axis=0, size=3), [(2, 2), (2, 2, 4)], 0),
    (ScatterElementsAdd(axis=0, size=3), [(2, 2), (2, 2)], 0),
    (ScatterNDAdd(shape=(3, 3)), [(2, 2), (2,)], 0),
]


@pytest.mark.parametrize(("op", "shapes", "place"), CASES, ids=lambda case: getattr(case, "name", ""))
@pytest.mark.parametrize("index", [3, -4, 2**40])
def test_an_index_met_out_of_range_stops_before_anything_is_written(op: Op, shapes: list, place: int, index: int):
    arrays = [np.zeros(shape) for shape in shapes]
    arrays[place] = np.array([[0, 1], [index, 2]])
    types = [Type(array.shape, array.dtype) for array in arrays]
    out = np.full([*op.infer(*types).shape], 7.0)
    assert op.may_fail
    message = rf"{op.name}: index {index} at position \(1(, 0)?,?\) is out of range for axis 0"
    with pytest.raises(RunError, match=message):
        op.kernel(np, *arrays, out=out, scratch=np.empty(op.scratch(*types), np.uint8))
    assert (out == 7).all()


def test_cards_refuse_what_does_not_fit():
    index, narrow = Type((2, 3), "int64"), Type((2,), "int8")
    x = Type((4, 5), "float32")
    with pytest.raises(DTypeError, match="gather: indices must be int32 or int64, not int8"):
        Gather(axis=0).infer(x, narrow)
    with pytest.raises(ShapeError, match=r"gather_elements: \(4, 5\) and indices \(2, 3\) must agree"):
        GatherElements(axis=1).infer(x, index)
    with pytest.raises(ShapeError, match=r"last axis of indices \(2, 3\) must hold positions in 1 to 2 axes"):
        GatherND().infer(x, index)
    with pytest.raises(ShapeError, match=r"scatter_add: indices \(2, 3\) take updates of \(2, 3\), not \(4, 5\)"):
        ScatterAdd(axis=0, size=3).infer(index, x)
    with pytest.raises(DTypeError, match="does not add up bool"):
        ScatterAdd(axis=0, size=3).infer(index, Type((2, 3), "bool"))
    with pytest.raises(ShapeError, match="differ in their numbers of axes"):
        F.take_along_axis(value((2, 3)), [0], 0)


# -- gathers and scatters -----------------------------------------------------------------------


def test_repeated_indices_accumulate(rng):
    picks = rng.integers(-4, 4, 300)
    for width in (1, LONG_ROW, LONG_ROW + 1):
        updates = rng.normal(size=(300, width))
        indices, values = value((300,), "int64", "i"), value((300, width))
        table = value((4, width))
        (result,) = evaluate(gradients([table[indices]], [table], [values]), {indices: picks, values: updates})
        expected = np.zeros((4, width))
        np.add.at(expected, picks, updates)
        np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_half_float_updates_accumulate_in_single_precision():
    op = ScatterAdd(axis=0, size=2)
    arrays = [np.zeros(4000, np.int64), np.ones(4000, np.float16)]
    types = [Type(array.shape, array.dtype) for array in arrays]
    out = np.empty(2, np.float16)
    op.kernel(np, *arrays, out=out, scratch=np.empty(op.scratch(*types), np.uint8))
    assert out.tolist() == [4000, 0]


@pytest.mark.parametrize("axis", [0, 1])
def test_more_elements_than_one_chunk(axis: int, rng):
    array = rng.normal(size=(70, 90))
    picks = rng.integers(0, 70, (70, 90))
    x, indices = value((70, 90)), value((70, 90), "int64", "i")
    assert picks.size > 2 * CHUNK
    y = F.take_along_axis(x.T if axis else x, indices.T if axis else indices, axis)
    result, grad = evaluate([y, *gradients([F.sum(y * y)], [x])], {x: array, indices: picks})
    np.testing.assert_array_equal(result.T if axis else result, np.take_along_axis(array, picks, 0))
    expected = np.zeros_like(array)
    np.add.at(expected, (picks, np.arange(90)), 2 * np.take_along_axis(array, picks, 0))
    np.testing.assert_allclose(grad, expected, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take_from_a_value_that_does_not_lie_in_order(axis: int, rng):
    array = np.asfortranarray(rng.normal(size=(30, 20, 25)))
    picks = rng.integers(-20, 20, (3, 40))
    op = Gather(axis=axis)
    types = [Type(a.shape, a.dtype) for a in (array, picks)]
    out = np.empty([*op.infer(*types).shape])
    for operand in (array, array[:, ::-1], np.broadcast_to(array[:1], array.shape)):
        op.kernel(np, operand, picks, out=out, scratch=np.empty(op.scratch(*types), np.uint8))
        np.testing.assert_array_equal(out, np.take(operand, picks, axis))


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_no_indices(shape: tuple):
    x, indices = value((3, 2)), value(shape, "int64", "i")
    y = F.take(x, indices, 0)
    result, grad = evaluate(
        [y, *gradients([F.sum(y)], [x])], {x: np.ones((3, 2)), indices: np.zeros(shape, np.int64)}
    )
    assert result.shape == (*shape, 2)
    assert grad.tolist() == [[0, 0]] * 3


def test_scalar_indices_and_operands():
    x, i = value((3,)), value((), "int32", "i")
    result, grad = evaluate([x[i], *gradients([x[i]], [x])], {x: np.arange(3.0), i: np.array(-1, np.int32)})
    assert result == 2
    assert grad.tolist() == [0, 0, 1]


# -- pad, concat, stack, split ------------------------------------------------------------------


def test_pad_takes_numpys_forms(rng):
    array = rng.normal(size=(2, 3))
    x = value((2, 3))
    for width in (2, (1, 2), ((1, 0), (0, 2)), ((1, 2),), [[0, 0], [3, 1]]):
        (result,) = evaluate([F.pad(x, width, constant_values=9)], {x: array})
        np.testing.assert_array_equal(result, np.pad(array, width, constant_values=9))
    assert F.pad(x, 0) is x


def test_pad_by_symbolic_widths():
    x = value((N,))
    (result,) = evaluate([F.pad(x, (N, 1), constant_values=-np.inf)], {x: np.zeros(2)}, {"N": 2})
    assert result.tolist() == [-np.inf, -np.inf, 0, 0, -np.inf]


def test_pad_refuses():
    x = value((2, 3), "int32")
    with pytest.raises(ShapeError, match="no width may be negative; -1 is"):
        F.pad(x, -1)
    with pytest.raises(ShapeError, match="no width may be negative; N - 1 can be"):
        F.pad(x, (N - 1, 0))
    with pytest.raises(ShapeError, match="has 3 pairs for 2 axes"):
        F.pad(x, ((1, 1), (1, 1), (1, 1)))
    with pytest.raises(ArgumentError, match="'reflect' is not known"):
        F.pad(x, 1, "reflect")
    with pytest.raises(DTypeError, match=r"0\.5 does not fit int32"):
        F.pad(x, 1, constant_values=0.5)


def test_concat_promotes_and_adds_sizes():
    whole, real = value((N, 2), "int32"), value((3, 2), "float32")
    y = F.concat([whole, real])
    assert y.type == Type((N + 3, 2), "float64")
    assert F.concat([whole]) is whole


def test_concat_refuses():
    x, y = value((2, 3)), value((2, 4))
    with pytest.raises(ShapeError, match=r"concat: \(2, 3\) and \(2, 4\) must agree on every axis but 0"):
        F.concat([x, y])
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(3,\) must agree"):
        F.concat([x, value((3,))])
    with pytest.raises(ShapeError, match=r"stack: \(2, 3\) and \(2, 4\) must be equal"):
        F.stack([x, y])
    with pytest.raises(ArgumentError, match="the list is empty"):
        F.concat([])
    with pytest.raises(ArgumentError, match="a list of values, not one value"):
        F.stack(x)
    with pytest.raises(ShapeError, match="axis 0 is out of range for 0 axes"):
        F.concat([1.0, 2.0])


def test_split_of_symbolic_axes():
    x = value((2 * N, 3))
    first, second = F.split(x, 2)
    assert dims.same_shape(first.shape, (N, 3))
    results = evaluate([first, second], {x: np.arange(12.0).reshape(4, 3)}, {"N": 2})
    np.testing.assert_array_equal(np.concatenate(results), np.arange(12.0).reshape(4, 3))
    with pytest.raises(ShapeError, match="axis 1 of size 3 is not known to divide into 2 equal parts"):
        F.split(x, 2, 1)
    with pytest.raises(ShapeError, match="not known to divide into 0 equal parts"):
        F.split(x, 0, 1)
