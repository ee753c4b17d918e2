"""Matrix products: what they refuse, operands that BLAS cannot read, special values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler.autodiff import gradients
from staticnet.compiler.errors import DTypeError, ShapeError
from staticnet.compiler.ir import Graph, Type, topological
from staticnet.compiler.ops import matmul as family
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.matmul import MatMul
from tests.ops.harness import LAYOUTS, garbage, lay_out, run_into
from tests.ops.helpers import node, run, slope

inf, nan = np.inf, np.nan


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shapes", [((7, 5), (5, 9)), ((3, 7, 5), (5, 9)), ((2, 1, 7, 5), (3, 5, 9)), ((1, 5), (5, 1))])
def test_every_layout_agrees_when_only_few_rows_fit_the_workspace(
    layout: str, shapes: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "_PANEL_BYTES", 2 * 5 * 8)
    x, y = (lay_out(rng.normal(size=shape), layout) for shape in shapes)
    product = F.matmul(node(*x.shape, dtype="float64"), node(*y.shape, dtype="float64"))
    out = garbage(product.shape, "float64")
    run_into(product, (x, y), {}, out)
    np.testing.assert_allclose(out, np.array(x) @ np.array(y), rtol=1e-12)


def test_workspace_is_no_larger_than_the_operands_and_bounded() -> None:
    assert MatMul().scratch(Type((3, 5), "float32"), Type((5, 4), "float32")) <= 64 + 128
    assert MatMul().scratch(Type((9000, 5000), "float32"), Type((5000, 4000), "float32")) <= 2 << 20


def test_the_gradient_of_a_shared_matrix_is_one_product() -> None:
    x, w = node(8, 5, 4), node(4, 3, label="w")
    (gw,) = gradients([F.matmul(x, w).sum()], [w])
    shapes = [n.shape for n in topological([gw]) if n.op.name == "matmul"]
    assert (4, 3) in shapes and (8, 4, 3) not in shapes


def test_vectors_lose_their_axis() -> None:
    assert F.matmul(node(3), node(3)).shape == ()
    assert F.matmul(node("N", 3), node(3)).shape[1:] == ()
    assert F.matmul(node(3), node(2, 3, 5)).shape == (2, 5)
    assert F.dot(node(2, 3), node(4, 3, 5)).shape == (2, 4, 5)


def test_numbers_are_multiplied_by_dot_only() -> None:
    assert run(F.dot, np.float32(2), np.array([1.0, 3.0], np.float32)).tolist() == [2.0, 6.0]
    with pytest.raises(ShapeError, match=r"\(\) and \(3,\) must both have an axis"):
        F.matmul(node(), node(3))


def test_operands_are_promoted() -> None:
    assert F.matmul(node(2, 3), node(3, 2, dtype="float64")).dtype.name == "float64"
    assert F.matmul(node(2, 3, dtype="int32"), node(3, 2)).dtype.name == "float64"
    assert F.matmul([[1, 2]], node(2, 2, dtype="int64")).dtype.name == "int64"


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(N, 3\) and \(4, 5\).*3 elements of the first and 4"):
        F.matmul(node("N", 3), node(4, 5))
    with pytest.raises(ShapeError, match=r"\(2, K\) and \(M, 5\)"):
        F.matmul(node(2, "K"), node("M", 5))
    with pytest.raises(ShapeError, match=r"\(3,\) and \(4,\)"):
        F.dot(node(3), node(4))
    with pytest.raises(ShapeError, match=r"\(2, 2, 3\) and \(5, 3, 2\) do not fit: the axes before"):
        F.matmul(node(2, 2, 3), node(5, 3, 2))


def test_the_error_points_to_the_callers_line() -> None:
    with pytest.raises(ShapeError) as caught:
        F.matmul(node(2, 3), node(4, 5))
    assert "test_matmul.py" in str(caught.value)


def test_ranks_of_the_strict_functions() -> None:
    with pytest.raises(ShapeError, match="mm takes operands of 2 and 2 axes"):
        F.mm(node(2, 2, 2), node(2, 2))
    with pytest.raises(ShapeError, match="mv takes operands of 2 and 1 axes"):
        F.mv(node(2, 2), node(2, 2))
    with pytest.raises(ShapeError, match="bmm takes operands of 3 and 3 axes"):
        F.bmm(node(2, 2), node(2, 2))


def test_linear_names_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"input of shape \(N, 3\) and a weight of shape \(5, 4\)"):
        F.linear(node("N", 3), node(5, 4))
    with pytest.raises(ShapeError, match=r"bias has the shape \(4,\).*must be \(5,\)"):
        F.linear(node("N", 4), node(5, 4), node(4))


def test_booleans_are_refused() -> None:
    with pytest.raises(DTypeError, match="not bool"):
        F.matmul(node(2, 2, dtype="bool"), node(2, 2, dtype="bool"))


@pytest.mark.parametrize("k", [1, 4])
def test_infinities_and_nan_are_those_of_numpy(k: int) -> None:
    x = np.array([[inf, nan, 0, 1][:k], [1, 2, -inf, 0][:k]], np.float32)
    y = np.array([[0, 1], [2, inf], [inf, -inf], [1, 0]][:k], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(F.matmul, x, y), x @ y)


def test_nothing_to_sum_gives_zeros() -> None:
    assert run(F.matmul, np.ones((2, 0), "f"), np.ones((0, 3), "f")).tolist() == [[0.0] * 3] * 2
    assert run(F.matmul, np.ones((0, 2, 3), "f"), np.ones((3, 1), "f")).shape == (0, 2, 1)
    assert slope(F.matmul, np.ones((2, 0)), np.ones((0, 3))).shape == (2, 0)


def test_flops_count_products_and_sums() -> None:
    product = F.matmul(node(2, 3, 4), node(4, 5))
    assert product.op.flops(product.type, *(source.type for source in product.inputs)) == 2 * 2 * 3 * 4 * 5


def test_one_product_in_the_graph() -> None:
    x, w = node("N", 4), node(3, 4, label="w")
    assert [n.op.name for n in Graph([x, w], [F.linear(x, w)]).nodes].count("matmul") == 1
