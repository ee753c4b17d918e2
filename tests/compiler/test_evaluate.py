"""The plain meaning of a graph: order, sharing, composites, tuples, sizes, and memory that is nobody else's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler import evaluate as evaluation
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import REGISTRY, Node, Op, TupleType, Type, apply
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import Item, Pack, item, make_input
from tests import standin

N = dims.symbol("N")


def value(shape: tuple = (3,), dtype: str = "float64", label: str = "x") -> Node:
    return make_input(label, Type(shape, dtype))


@pytest.fixture
def calls(monkeypatch):
    """The names of the ops whose kernels run, in order."""
    names: list[str] = []
    run = evaluation.run_kernel

    def counted(node: Node, *args: Any) -> Any:
        names.append(node.op.name)
        return run(node, *args)

    monkeypatch.setattr(evaluation, "run_kernel", counted)
    return names


@pytest.fixture
def composite(monkeypatch):
    """A card without a kernel, with two results: x + y and the first of another such card, x * y."""

    class Inner(Op):
        name = "inner_of_a_test"

        def infer(self, x: Type, y: Type) -> Type:
            return x

        def expand(self, x: Node, y: Node) -> Node:
            return x * y

    class Outer(Op):
        name = "outer_of_a_test"

        def infer(self, x: Type, y: Type) -> TupleType:
            return TupleType((x, x))

        def expand(self, x: Node, y: Node) -> tuple[Node, Node]:
            return x + y, apply(Inner(), x, y)

    yield Outer
    del REGISTRY["inner_of_a_test"], REGISTRY["outer_of_a_test"]


def test_roots_in_their_order_and_as_often_as_asked_for():
    x = value()
    y = F.negative(x)
    array = np.array([1.0, 2.0, 3.0])
    found = evaluate([y, x, y], {x: array})
    assert [result.tolist() for result in found] == [[-1, -2, -3], [1, 2, 3], [-1, -2, -3]]
    assert evaluate([], {}) == []


def test_shared_nodes_run_once(calls):
    x = value()
    y = F.exp(x)
    evaluate([y + y, y * y], {x: np.ones(3)})
    assert sorted(calls) == ["add", "exp", "multiply"]


def test_only_what_is_needed_runs(calls):
    x = value()
    F.log(x)
    evaluate([F.exp(x)], {x: np.ones(3)})
    assert calls == ["exp"]


def test_values_in_the_middle_may_be_given(calls):
    x = value()
    middle = F.exp(x)
    (result,) = evaluate([middle + 1], {middle: np.zeros(3)})
    assert result.tolist() == [1, 1, 1] and calls == ["constant", "add"]


def test_an_input_without_a_value_is_an_error():
    with pytest.raises(CompilerError, match=r"input\(label='x'.*has neither a value"):
        evaluate([F.exp(value())], {})


def test_composites_run_by_their_expansion(composite, calls):
    x, y = value(label="x"), value(label="y")
    both = apply(composite(), x, y)
    total, product = evaluate([item(both, 0), item(both, 1)], {x: np.full(3, 2.0), y: np.full(3, 5.0)})
    assert (total.tolist(), product.tolist()) == ([7, 7, 7], [10, 10, 10])
    assert sorted(calls) == ["add", "multiply"]


def test_tuples_are_packed_and_taken_apart(calls):
    x, y = value(label="x"), value((), "int64", "y")
    pair = apply(Pack(), x, y)
    first, second = evaluate([apply(Item(index=0), pair), apply(Item(index=1), pair)], {x: np.ones(3), y: np.int64(4)})
    assert first.tolist() == [1, 1, 1] and second == 4 and calls == []


def test_symbolic_sizes_are_bound():
    x = value((N, 3))
    (result,) = evaluate([F.reshape(x, (3, N))], {x: np.arange(6.0).reshape(2, 3)}, {"N": 2})
    assert result.tolist() == [[0, 1], [2, 3], [4, 5]]
    (size,) = evaluate([F.size_of(x, 0) * 2], {x: np.zeros((5, 3))}, {"N": 5})
    assert size == 10


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_small_and_empty_arrays(shape):
    x = value(shape)
    array = np.full(shape, 0.5)
    (result,) = evaluate([F.erf(F.where(x > 0, x, 0)) + 1], {x: array})
    assert result.shape == shape and result.dtype == np.float64
    np.testing.assert_allclose(result, 1.5204998778130465, rtol=1e-15)


def test_results_are_fresh_and_operands_stay():
    x = value()
    array = np.array([3.0, 1.0, 2.0])
    array.flags.writeable = False
    first, second = evaluate([F.identity(x), F.reshape(x, (3, 1))], {x: array})
    assert not np.shares_memory(first, array) and not np.shares_memory(second, array)
    assert array.tolist() == [3, 1, 2]


def test_warnings_are_not_raised():
    x = value()
    with np.errstate(all="raise"):
        (result,) = evaluate([F.log(x) / x], {x: np.array([0.0, -1.0, 1.0])})
    assert result[0] == -np.inf and np.isnan(result[1]) and result[2] == 0


def test_it_runs_on_another_array_module():
    x = value((2, 3), "float32")
    y = F.sum(F.sigmoid(x) * 2, axis=0)
    array = np.linspace(-3, 3, 6, dtype=np.float32).reshape(2, 3)
    (host,), (device,) = evaluate([y], {x: array}), evaluate([y], {x: standin.asarray(array)}, xp=standin)
    assert isinstance(device, standin.ndarray)
    np.testing.assert_array_equal(device.get(), host)


def test_deep_graphs_need_no_recursion():
    x = value(())
    y = x
    for _ in range(10_000):
        y = F.negative(y)
    assert evaluate([y], {x: np.float64(2.0)}) == [2.0]
