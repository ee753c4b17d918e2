"""Convolution and its gradients in loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import staticnet.compiler.codegen.loops.convolution
import staticnet.compiler.codegen.loops.convolution_input
import staticnet.compiler.codegen.loops.convolution_weight  # noqa: F401
from staticnet.compiler.codegen.loops.convolution_parts import forward_axis, gradient_axes
from staticnet.compiler.codegen.loops.convolution_tiles import blocks, choose_rows, choose_tile, split
from staticnet.compiler.codegen.loops.describe import ANCHORS
from staticnet.compiler.codegen.loops.form import Store, load
from staticnet.compiler.codegen.loops.interpret import run_routine
from staticnet.compiler.codegen.loops.operations import add
from staticnet.compiler.codegen.machine import SMALL
from staticnet.compiler.ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad
from tests.compiler.codegen.native import host, run_native, smaller_machines
from tests.compiler.codegen.placed import WIDE, Placement, described, execute, kernel_results

RNG = np.random.default_rng(0)
PLANES, PIXELS, CROOKED = Placement((0, 1, 2, 3)), Placement((0, 2, 3, 1)), Placement((1, 3, 2, 0), 2, (0, 2))
NONE = ((0, 0), (0, 0))

# x, w, stride, padding, dilation, groups
CASES = [
    ((2, 1, 6, 7), (5, 1, 3, 3), (1, 1), NONE, (1, 1), 1),
    ((9, 3, 3, 4), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 9, 4, 6), (17, 9, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((9, 8, 4, 3), (6, 8, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 15, 3, 2), (33, 15, 1, 1), (1, 1), NONE, (1, 1), 1),
    ((1, 10, 5, 6), (3, 10, 1, 1), (2, 2), NONE, (1, 1), 1),
    ((1, 8, 7, 8), (4, 8, 3, 2), (2, 3), ((1, 2), (0, 3)), (2, 3), 1),
    ((1, 8, 3, 4), (2, 8, 3, 3), (1, 1), ((2, 2), (3, 2)), (1, 1), 1),
    ((1, 2, 3, 12), (2, 2, 2, 9), (1, 1), ((0, 1), (4, 4)), (1, 1), 1),
    ((2, 3, 9, 8), (2, 3, 2, 2), (3, 4), NONE, (1, 1), 1),
    ((1, 6, 4, 5), (9, 2, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    ((1, 18, 3, 4), (4, 9, 3, 3), (2, 1), ((1, 0), (1, 1)), (1, 1), 2),
    ((9, 5, 3, 4), (5, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 5),
    ((1, 6, 7, 5), (12, 1, 3, 2), (2, 2), ((1, 1), (0, 1)), (1, 2), 6),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), NONE, (1, 1), 1),
    ((0, 3, 5, 5), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 0, 5, 5), (4, 0, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 3, 5, 5), (0, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
]
IDS = [" ".join(map(str, case)) for case in CASES]
each_case = pytest.mark.parametrize("case", CASES, ids=IDS)
each_card = pytest.mark.parametrize("number", range(3), ids=["forward", "input", "weight"])


def numbers(*shape, dtype="float32"):
    """Small whole numbers: their sums are exact in any order."""
    return RNG.integers(-3, 4, shape).astype(dtype)


def card(number, case, dtype="float32"):
    """One of the three cards of a case with operands."""
    x, w, stride, padding, dilation, groups = case
    common = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    forward = Conv2d(**common)
    images, weights = numbers(*x, dtype=dtype), numbers(*w, dtype=dtype)
    if number == 0:
        return forward, [images, weights]
    counts = forward._windows(w).counts("conv2d", x[2:])
    slopes = numbers(x[0], w[0], *counts, dtype=dtype)
    if number == 1:
        return Conv2dInputGrad(**common, size=x[2:]), [slopes, weights]
    return Conv2dWeightGrad(**common, kernel_size=w[2:]), [images, slopes]


def layouts(number):
    """Operands and result as pixels, as planes, and crooked; weights row-major but in the last."""
    kinds = "xwx" if number < 2 else "xxw"
    for first, second in ((PIXELS, PIXELS), (PLANES, PLANES)):
        images = iter((first, second))
        yield [next(images) if kind == "x" else PLANES for kind in kinds]
    yield [CROOKED] * 3


@each_card
@each_case
def test_equals_the_kernel_in_every_layout(case, number):
    op, arrays = card(number, case)
    (expected,) = kernel_results(op, arrays)
    for at, machine in zip(layouts(number), itertools.cycle((SMALL, WIDE)), strict=False):
        run = described(op, arrays, at, machine)
        execute(run)
        np.testing.assert_array_equal(run.results[0], expected, err_msg=f"{at} {machine.name}")


@each_card
@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint16", "int64"])
@pytest.mark.parametrize("case", [CASES[3], CASES[1], CASES[12]], ids=["wide", "narrow", "depthwise"])
def test_other_dtypes(case, number, dtype):
    op, arrays = card(number, ((1, *case[0][1:]), *case[1:]), dtype)
    (expected,) = kernel_results(op, arrays)
    run = described(op, arrays, next(layouts(number)), WIDE)
    execute(run)
    np.testing.assert_array_equal(run.results[0], expected)


def test_half_precision_is_summed_in_single():
    x, w = np.full((1, 8, 3, 3), 16, "float16"), np.full((1, 8, 3, 3), 28.45, "float16")
    x[0, 0, 0, 0] = 0.01
    run = described(Conv2d(stride=(1, 1), padding=NONE, dilation=(1, 1), groups=1), [x, w], [PIXELS, PLANES, PIXELS])
    execute(run)
    assert run.results[0].item() == np.float16(np.sum(x.astype("f8") * w.astype("f8")))


@each_card
@pytest.mark.parametrize("case", CASES[:1] + CASES[5:16])
def test_each_result_is_finished_once(case, number):
    op, arrays = card(number, case)
    (expected,) = kernel_results(op, arrays)
    run = described(op, arrays, next(layouts(number)))
    result, bias = run.outputs[0].view, numbers(expected.shape[1])

    def finish(index, value):
        return [Store(result.array, result.at(*index), add(load(result, *index), value))]

    routine = ANCHORS[type(op)](op, [placed.view for placed in run.inputs], result, finish, SMALL)
    run.outputs[0].seen[...] = bias[:, None, None]
    run_routine(routine, {placed.view.array: placed.memory for placed in (*run.inputs, *run.outputs)})
    np.testing.assert_array_equal(run.results[0], expected + bias[:, None, None])


@each_card
@pytest.mark.parametrize("machine", smaller_machines(), ids=lambda machine: machine.name)
def test_native_code_does_not_depend_on_the_ranges(machine, number):
    for case in ((9, *CASES[2][0][1:]), *CASES[2][1:]), CASES[2], CASES[3], CASES[12], CASES[0]:
        op, arrays = card(number, case)
        arrays = [array + RNG.standard_normal(array.shape).astype("float32") for array in arrays]
        (expected,) = kernel_results(op, arrays)
        found = []
        for ranges in (1, 3):
            run = described(op, arrays, next(layouts(number)), machine)
            execute(run, lambda routine, memory, ranges=ranges: run_native(routine, memory, machine, ranges))
            found.append(run.results[0])
        np.testing.assert_array_equal(*found)
        np.testing.assert_allclose(found[0], expected, 1e-4, 1e-4)


@pytest.mark.parametrize("ranges", [1, 7])
def test_chunks_of_images_that_do_not_divide(ranges):
    op, arrays = card(2, ((13, 1, 11, 11), (3, 1, 2, 2), (1, 1), NONE, (1, 1), 1))
    run = described(op, arrays, [PIXELS, PIXELS, PLANES], WIDE)
    assert [kernel.loop.extent for kernel in run.routine.kernels] == [7, 1]
    run = described(op, arrays, [PIXELS, PIXELS, PLANES], host())
    execute(run, lambda routine, memory: run_native(routine, memory, host(), ranges))
    np.testing.assert_array_equal(run.results[0], kernel_results(op, arrays)[0])


@each_card
def test_big_images_are_cut_into_rows(number):
    machine = type(SMALL)("small caches", "", SMALL.triple, 16, 16, 1 << 10, 2 << 10, False)
    for images in (1, 9):
        op, arrays = card(number, ((images, 8, 8, 3), (4, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1))
        (expected,) = kernel_results(op, arrays)
        run = described(op, arrays, list(layouts(number))[images > 1], machine)
        execute(run)
        np.testing.assert_array_equal(run.results[0], expected)


@pytest.mark.parametrize(
    "size, kernel, stride, before, dilation",
    [(7, 3, 1, 1, 1), (8, 3, 2, 1, 1), (9, 4, 3, 2, 2), (10, 2, 4, 0, 1), (6, 5, 2, 0, 2), (5, 1, 2, 0, 1)],
)
def test_the_axes_of_both_directions_list_the_same_products(size, kernel, stride, before, dilation):
    count = (size + 2 * before - dilation * (kernel - 1) - 1) // stride + 1
    windows = forward_axis(count, kernel, stride, before, dilation)
    forward = {
        (o, o * windows.stride + windows.offset + k * windows.step, k) for o in range(count) for k in range(kernel)
    }
    backward = {
        (i * axis.stride + axis.offset + t * axis.step, axis.result(i).constant, axis.element + t * axis.element_step)
        for axis in gradient_axes(size, kernel, stride, before, dilation)
        for i, t in itertools.product(range(axis.count), range(axis.taps))
    }
    assert {each for each in forward if 0 <= each[1] < size} == {each for each in backward if 0 <= each[0] < count}


def test_clipped_is_what_lies_inside():
    axis = forward_axis(7, 3, 2, 3, 2)
    for start, count in ((0, 7), (0, 2), (3, 2), (5, 2)):
        inside = [[i for i in range(count) if 0 <= (start + i) * 2 - 3 + tap * 2 < 11] for tap in range(3)]
        found = axis.clipped(start, count, 11) or [(0, count)] * 3
        assert [list(range(*each)) for each in found] == inside


def test_splits_cover_all_once():
    for total, most in itertools.product(range(0, 40), (1, 3, 14)):
        for cut in (split, blocks):
            covered = [
                place + i for segment in cut(total, most) for piece in segment.pieces()
                for i, place in enumerate([piece.start] * piece.size)
            ]  # fmt: skip
            assert covered == list(range(total))


@pytest.mark.parametrize("machine", [SMALL, WIDE])
def test_tiles_fit_the_registers(machine):
    lanes = machine.lanes(4)
    for height, width, channels, depth in itertools.product((1, 7), (1, 8, 26, 32), (1, 16, 33, 64), (9, 600)):
        tile, _ = choose_tile(height, width, channels, depth, lanes, machine)
        held = max(down.size for down in split(height, tile.rows)) * max(s.size for s in split(width, tile.columns))
        assert held * tile.vectors + tile.vectors + 1 <= machine.registers
        rows, _ = choose_rows((3, width), channels, 100, lanes, machine.registers)
        assert rows.rows * rows.vectors + rows.vectors + 1 <= machine.registers


def test_wide_tiles_are_taken_where_they_fit():
    tile, _ = choose_tile(11, 11, 64, 288, 16, WIDE)
    assert (tile.rows, tile.columns, tile.vectors) == (1, 11, 2)
