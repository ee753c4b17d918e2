"""Convolution: blocks of every size, special values, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Type, apply
from staticnet.compiler.ops import conv_kernels
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad
from tests.ops.harness import garbage, lay_out, run_into
from tests.ops.helpers import node, run, slope
from tests.ops.rows_conv import convolve

CASES: list[tuple[tuple, tuple, dict[str, Any]]] = [
    ((5, 4, 9, 7), (6, 4, 3, 2), {}),
    ((5, 4, 9, 7), (6, 2, 3, 3), {"stride": (2, 1), "padding": ((1, 1), (2, 0)), "dilation": (1, 2), "groups": 2}),
    ((1, 4, 9, 7), (4, 1, 3, 3), {"padding": ((1, 1), (1, 1)), "groups": 4}),
    ((3, 4, 9, 9), (8, 2, 1, 1), {"groups": 2}),
    ((3, 4, 9, 9), (8, 4, 1, 1), {"stride": (2, 2)}),
    ((20, 2, 5, 5), (3, 2, 5, 5), {"padding": ((4, 4), (4, 4))}),
    ((2, 3, 4, 4), (2, 3, 1, 1), {"stride": (3, 3), "padding": ((5, 5), (5, 5))}),
    ((3, 2, 10, 8), (3, 2, 3, 3), {"stride": (4, 3), "padding": ((0, 0), (1, 0))}),
]


@pytest.mark.parametrize("layout", ["dense", "transposed", "reversed", "repeated along axis 1"])
@pytest.mark.parametrize("block_bytes", [600, 3000, 1 << 22])
@pytest.mark.parametrize("case", CASES)
def test_every_way_to_cut_the_work_gives_the_same(
    case: Any, block_bytes: int, layout: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward against the plain sum; the gradients as transposes: <conv(h, w), g> = <h, gradient>."""
    monkeypatch.setattr(conv_kernels, "_BLOCK_BYTES", block_bytes)
    x_shape, w_shape, options = case
    attributes = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1, **options}
    x, w = (lay_out(rng.normal(size=shape), layout) for shape in (x_shape, w_shape))

    def compute(card: Any, *arrays: np.ndarray) -> np.ndarray:
        result = apply(card, *(node(*array.shape, dtype="float64") for array in arrays))
        out = garbage(result.shape, "float64")
        run_into(result, arrays, {}, out)
        return out

    y = compute(Conv2d(**attributes), x, w)
    np.testing.assert_allclose(y, convolve(x, w, **attributes), rtol=1e-10, atol=1e-10)
    g = lay_out(rng.normal(size=y.shape), layout)
    h, k = rng.normal(size=x_shape), rng.normal(size=w_shape)
    to_x = compute(Conv2dInputGrad(**attributes, size=x_shape[2:]), g, w)
    to_w = compute(Conv2dWeightGrad(**attributes, kernel_size=w_shape[2:]), x, g)
    np.testing.assert_allclose(np.sum(to_x * h), np.sum(convolve(h, w, **attributes) * g), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.sum(to_w * k), np.sum(convolve(x, k, **attributes) * g), rtol=1e-9, atol=1e-9)


def test_workspace_stays_near_the_caches() -> None:
    """Whatever the number of images and rows, beside one copy of the weights."""
    card = Conv2d(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)
    for x, w in [
        ((64, 32, 13, 13), (64, 32, 3, 3)),
        ((512, 16, 9, 9), (8, 16, 3, 3)),
        ((1, 64, 224, 224), (64, 64, 3, 3)),
    ]:
        weights = int(np.prod(w)) * 4
        assert card.scratch(Type(x, "float32"), Type(w, "float32")) <= 1.5 * conv_kernels._BLOCK_BYTES + weights


def test_infinity_and_nan_stay_in_their_windows() -> None:
    x = np.zeros((2, 1, 5, 5), np.float32)
    x[0, 0, 0, 4], x[1, 0, 4, 0] = np.inf, np.nan
    y = run(lambda x: F.conv2d(x, np.ones((1, 1, 2, 2), np.float32)), x)
    assert np.flatnonzero(np.isinf(y)).tolist() == [3] and np.flatnonzero(np.isnan(y)).tolist() == [28]
    gw = slope(lambda w, x: F.conv2d(x, w), np.ones((1, 1, 2, 2), np.float32), x[:1])
    assert np.isinf(gw).tolist() == [[[[False, True], [False, False]]]] and not np.isnan(gw).any()


@pytest.mark.parametrize("x", [(0, 2, 4, 4), (2, 0, 4, 4)])
def test_nothing_in_nothing_out(x: tuple[int, ...]) -> None:
    w = np.ones((3, x[1], 2, 2), np.float32)
    images = np.ones(x, np.float32)
    assert run(F.conv2d, images, w).tolist() == np.zeros((x[0], 3, 3, 3)).tolist()
    assert slope(F.conv2d, images, w).shape == x
    assert not slope(F.conv2d, images, w, wrt=1).any()


def test_same_keeps_the_size_with_the_odd_pixel_behind() -> None:
    y = F.conv2d(node("N", 1, "H", "W"), node(1, 1, 4, 3), padding="same", dilation=(1, 2))
    assert [str(size) for size in y.shape] == ["N", "1", "H", "W"]
    assert y.op.padding == ((1, 2), (2, 2))


def test_valid_is_no_padding() -> None:
    assert F.conv2d(node(1, 1, 5, 5), node(1, 1, 3, 3), padding="valid").shape == (1, 1, 3, 3)


def test_symbolic_sizes_in_the_shape() -> None:
    y = F.conv2d(node("N", 3, "H", "W"), node(8, 3, 3, 3), stride=2, padding=1)
    assert [str(size) for size in y.shape] == ["N", "8", "(H + 1)//2", "(W + 1)//2"]


def test_operands_are_promoted() -> None:
    assert F.conv2d(node(1, 1, 3, 3), node(1, 1, 3, 3, dtype="float64")).dtype.name == "float64"


def test_the_same_bits_every_time(rng: np.random.Generator) -> None:
    x, w = node(9, 3, 8, 8), node(4, 3, 3, 3, label="w")
    arrays = {x: rng.normal(size=(9, 3, 8, 8)).astype("f"), w: rng.normal(size=(4, 3, 3, 3)).astype("f")}
    y = F.conv2d(x, w)
    assert evaluate([y], arrays)[0].tobytes() == evaluate([y], arrays)[0].tobytes()


# -- refusals ---------------------------------------------------------------------------------


def refuse(error: type[Exception], match: str, x: Any = (2, 4, 5, 5), w: Any = (6, 4, 3, 3), **options: Any) -> None:
    with pytest.raises(error, match=match):
        F.conv2d(node(*x), node(*w), **options)


def test_shapes_that_do_not_fit() -> None:
    refuse(ShapeError, r"x has the shape \(4, 5, 5\).*reshape a single image", x=(4, 5, 5))
    refuse(ShapeError, r"weight has the shape \(6, 4, 3\)", w=(6, 4, 3))
    refuse(ShapeError, r"\(N, 3, H, W\) has 3 channels.*\(6, 4, 3, 3\) in 1 group takes 4", x=("N", 3, "H", "W"))
    refuse(ShapeError, r"has 4 channels.*in 2 groups takes 8", groups=2)
    refuse(ShapeError, "6 output channels.*do not divide into 4 groups", w=(6, 1, 3, 3), groups=4)
    refuse(ShapeError, r"kernel of height 3 with dilation 3 spans 7 pixels.*height 5 with its padding 0 \+ 1",
           padding=((0, 1), (1, 1)), dilation=3)
    refuse(ShapeError, r"kernel of width 6", w=(6, 4, 3, 6))


def test_the_bias_has_one_number_for_each_output() -> None:
    with pytest.raises(ShapeError, match=r"bias has the shape \(4,\).*must be \(6,\)"):
        F.conv2d(node(2, 4, 5, 5), node(6, 4, 3, 3), node(4))


@pytest.mark.parametrize("value", [0, -1, (1, 0), (1, 2, 3), 1.5, True, "2", None])
@pytest.mark.parametrize("argument", ["stride", "dilation"])
def test_steps_are_whole_numbers_from_one_up(argument: str, value: Any) -> None:
    refuse(ArgumentError, f"conv2d: {argument}", **{argument: value})


@pytest.mark.parametrize("padding", [-1, (1, -1), ((0, 0), (0, -1)), (1, 2, 3), 0.5, "full"])
def test_paddings_that_mean_nothing(padding: Any) -> None:
    refuse(ArgumentError, "conv2d: padding", padding=padding)


@pytest.mark.parametrize("groups", [0, -2, 1.0, True])
def test_groups_are_counted_from_one(groups: Any) -> None:
    refuse(ArgumentError, "conv2d: groups", groups=groups)


def test_same_is_for_stride_one_and_a_fixed_kernel() -> None:
    refuse(ArgumentError, r'padding="same" is for stride 1, not \(2, 2\)', padding="same", stride=2)
    refuse(ShapeError, "needs a kernel of fixed size", w=(6, 4, "K", 3), padding="same")


def test_booleans_are_refused() -> None:
    with pytest.raises(DTypeError, match="not bool"):
        F.conv2d(node(1, 1, 3, 3, dtype="bool"), node(1, 1, 3, 3, dtype="bool"))


def test_a_gradient_of_another_shape_is_refused() -> None:
    common = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    with pytest.raises(ShapeError, match=r"has the shape \(2, 6, 4, 4\), but .* has \(2, 6, 3, 3\)"):
        apply(Conv2dInputGrad(**common, size=(5, 5)), node(2, 6, 4, 4), node(6, 4, 3, 3))
    with pytest.raises(ShapeError, match=r"has the shape \(2, 6, 4, 4\)"):
        apply(Conv2dWeightGrad(**common, kernel_size=(3, 3)), node(2, 4, 5, 5), node(2, 6, 4, 4))
