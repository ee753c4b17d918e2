"""Symbolic reverse mode: what the driver does for every rule, what it refuses, and higher orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler.autodiff import differentiate, gradients
from staticnet.compiler.errors import CompilerError, GradientError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import REGISTRY, Builder, Graph, Node, Op, TupleType, Type, apply, building, topological
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import item, make_input

N = dims.symbol("N")


def value(shape: tuple = (), dtype: str = "float64", label: str = "x") -> Node:
    return make_input(label, Type(shape, dtype))


def numbers(nodes: Sequence[Node], values: dict[Node, Any], binding: dict[str, int] | None = None) -> list[Any]:
    known = {node: np.asarray(number, node.dtype.numpy) for node, number in values.items()}
    return [result.tolist() for result in evaluate(nodes, known, binding)]


def slope(function: Any, at: Any) -> Any:
    """The derivative of sum(function(x)) by the elements of x."""
    x = value(np.shape(at))
    return numbers(gradients([F.sum(function(x))], [x]), {x: at})[0]


@pytest.fixture
def tuple_op():
    """A card with two results, x * y and x + y, and gradients for both."""

    class Both(Op):
        name = "both_of_a_test"

        def infer(self, x: Type, y: Type) -> TupleType:
            return TupleType((x, x))

        def kernel(self, xp: Any, x: Any, y: Any, *, out: Any, scratch: Any) -> None:
            xp.multiply(x, y, out=out[0])
            xp.add(x, y, out=out[1])

        def grad(self, g: tuple[Node, Node], y: Node, a: Node, b: Node) -> tuple:
            assert isinstance(g, tuple) and len(g) == 2
            return g[0] * b + g[1], g[0] * a + g[1]

    yield Both
    del REGISTRY["both_of_a_test"]


# -- what the driver adds up and undoes ----------------------------------------------------------


def test_paths_that_meet_again_are_added():
    x = value()
    square = x * x
    y = F.sin(square) + F.exp(square) * square
    (g,) = numbers(gradients([y], [x]), {x: 0.7})
    s = 0.49
    assert g == pytest.approx(2 * 0.7 * (math.cos(s) + math.exp(s) * (1 + s)), rel=1e-14)


def test_a_value_used_twice_by_one_op_counts_twice():
    assert slope(lambda x: x * x, 3.0) == 6.0
    assert slope(lambda x: x - x, 3.0) == 0.0
    assert slope(lambda x: x + x, 3.0) == 2.0


def test_many_uses_are_added():
    assert slope(lambda x: sum((x * number for number in range(1, 11)), F.constant(0.0, "float64")), 1.0) == 55.0


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (2, 3)), ((1, 3), (2, 3)), ((2, 1), (1, 3)), ((), (2, 3)), ((1, 1, 1), (2, 3)), ((4, 1, 3), (2, 1))],
)
def test_broadcasting_is_undone(a, b, rng):
    x, y = value(a), value(b, label="y")
    arrays = {x: rng.normal(size=a), y: rng.normal(size=b)}
    g = gradients([F.sum(x * y)], [x, y])
    assert [node.aval for node in g] == [x.aval, y.aval]
    shape = np.broadcast_shapes(a, b)
    for node, (have, other) in zip(g, (((x), (y)), ((y), (x))), strict=True):
        full = np.broadcast_to(arrays[other], shape)
        extra = tuple(range(len(shape) - have.ndim))
        ones = tuple(k + len(extra) for k, size in enumerate(have.shape) if size == 1)
        wanted = full.sum(axis=(*extra, *ones), keepdims=True).reshape(have.shape)
        np.testing.assert_allclose(evaluate([node], arrays)[0], wanted, rtol=1e-13)


def test_symbolic_sizes_are_undone_where_they_were_literally_one():
    x, y = value((N, 1)), value((N, 3), label="y")
    first, second = gradients([F.sum(x * y)], [x, y])
    assert (first.aval, second.aval) == (x.aval, y.aval)
    found = numbers([first, second], {x: [[2.0]], y: [[1.0, 2.0, 3.0]]}, {"N": 1})
    assert found == [[[6.0]], [[2.0, 2.0, 2.0]]]


def test_gradients_have_the_dtype_of_their_operand():
    x = value((2,), "float32")
    y = F.sum(F.cast(x, "float64") * np.array([1.0, 1e-9]))
    (g,) = gradients([y], [x])
    assert g.aval == x.aval
    half = value((2,), "float16")
    assert gradients([F.sum(F.cast(half, "float32"))], [half])[0].aval == half.aval


def test_several_values_are_differentiated_together():
    x = value()
    assert numbers(gradients([x * x, F.sin(x)], [x]), {x: 0.5}) == [pytest.approx(1.0 + math.cos(0.5))]
    assert numbers(gradients([x, x], [x]), {x: 0.5}) == [2.0]


def test_seeds_weigh_the_elements():
    x = value((3,))
    seed = np.array([1.0, 10.0, 100.0])
    assert numbers(gradients([x * x], [x], [F.constant(seed)]), {x: [1.0, 2.0, 3.0]}) == [[2.0, 40.0, 600.0]]
    assert numbers(gradients([x * 2, F.sum(x)], [x], [F.constant(seed), None]), {x: [1, 2, 3]}) == [[3.0, 21.0, 201.0]]


def test_a_seed_may_depend_on_the_value():
    x = value((2,))
    y = x * x
    assert numbers(gradients([y], [x], [y]), {x: [1.0, 2.0]}) == [[2.0, 16.0]]


# -- with respect to what ------------------------------------------------------------------------


def test_with_respect_to_intermediates():
    x = value()
    middle = x * x
    y = F.exp(middle) + x
    assert numbers(gradients([y], [middle]), {x: 0.5}) == [pytest.approx(math.exp(0.25))]


def test_with_respect_to_values_that_depend_on_each_other():
    x = value()
    middle = x * x
    y = middle * x
    # The one total over all paths, the other with its own way cut.
    assert numbers(gradients([y], [x, middle]), {x: 3.0}) == [27.0, 3.0]
    assert numbers(gradients([y], [middle, x]), {x: 3.0}) == [3.0, 27.0]


def test_with_respect_to_the_value_itself():
    x = value((2,))
    y = F.exp(x)
    assert numbers(gradients([F.sum(y)], [y]), {x: [0.0, 1.0]}) == [[1.0, 1.0]]
    total = F.sum(y)
    assert numbers(gradients([total], [total]), {x: [0.0, 1.0]}) == [1.0]


def test_with_respect_to_one_value_twice():
    x = value()
    assert numbers(gradients([x * x], [x, x]), {x: 3.0}) == [6.0, 6.0]


def test_values_that_play_no_part():
    x, y, z = value(), value(label="y"), value((2, N), label="z")
    with pytest.raises(GradientError, match=r"does not depend on y : f64\[\].*unconnected='zero'"):
        gradients([x * x], [x, y])
    zeros = gradients([x * x], [x, y, z], unconnected="zero")
    assert [node.aval for node in zeros] == [x.aval, y.aval, z.aval]
    assert numbers(zeros, {x: 3.0, y: 0.0}, {"N": 2}) == [6.0, 0.0, [[0.0, 0.0], [0.0, 0.0]]]


def test_a_value_that_comes_later_plays_no_part():
    x = value()
    y = x * x
    with pytest.raises(GradientError, match="does not depend"):
        gradients([x], [y])


# -- what is refused -----------------------------------------------------------------------------


def test_a_value_that_is_no_scalar_needs_a_seed():
    x = value((3,), label="weights")
    with pytest.raises(GradientError, match=r"f64\[3\] needs a seed of the same shape; .*sum.*seed="):
        gradients([x * 2], [x])


@pytest.mark.parametrize("shape", [(2,), (), (1, 3), (3, 1)])
def test_a_seed_must_have_the_shape_of_its_value(shape):
    x = value((3,))
    with pytest.raises(GradientError, match=r"the seed has shape .* the value \(3,\)"):
        gradients([x * 2], [x], [F.constant(np.ones(shape))])


def test_as_many_seeds_as_values():
    x = value()
    with pytest.raises(GradientError, match="2 values but 1 seeds"):
        gradients([x, x], [x], [None])


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
def test_only_floats_have_gradients(dtype):
    x, whole = value(), value((), dtype, "count")
    with pytest.raises(GradientError, match=r"with respect to count.*only float"):
        gradients([x * x], [whole])
    with pytest.raises(GradientError, match=r"cannot differentiate count.*only float"):
        gradients([whole], [x])


def test_integers_on_the_way_stop_the_gradient():
    x = value((3,))
    whole = F.cast(F.cast(x, "int64"), "float64")
    assert numbers(gradients([F.sum(x * whole)], [x]), {x: [1.5, 2.5, 3.5]}) == [[1.0, 2.0, 3.0]]
    with pytest.raises(GradientError, match="in a way that has a gradient"):
        gradients([F.sum(whole)], [x])
    with pytest.raises(GradientError, match="in a way that has a gradient"):
        gradients([F.sum(F.cast(x > 0, "float64"))], [x])


def test_a_rule_that_gives_too_few_gradients_is_our_mistake(monkeypatch):
    x = value()
    monkeypatch.setattr(REGISTRY["multiply"], "grad", lambda self, g, y, a, b: (g,))
    with pytest.raises(CompilerError, match="multiply gave 1 values for 2 inputs"):
        gradients([x * x], [x])


def test_an_op_without_any_rule_is_named(monkeypatch):
    x = value()
    monkeypatch.delattr(REGISTRY["exp"], "grad")
    with pytest.raises(CompilerError, match="exp has no gradient rule"):
        gradients([F.exp(x)], [x])


# -- stopping, composites, tuples ----------------------------------------------------------------


def test_stop_gradient():
    assert slope(lambda x: x * F.stop_gradient(x), 3.0) == 3.0
    assert slope(lambda x: x * x.detach() * x.detach(), 3.0) == 9.0
    x = value()
    with pytest.raises(GradientError, match="in a way that has a gradient"):
        gradients([F.stop_gradient(x)], [x])


@pytest.fixture
def composite_sigmoid(monkeypatch):
    """The sigmoid as a card without a gradient of its own."""
    monkeypatch.delattr(REGISTRY["sigmoid"], "grad")
    monkeypatch.setattr(REGISTRY["sigmoid"], "expand", lambda self, x: F.reciprocal(1 + F.exp(-x)), raising=False)


@pytest.mark.usefixtures("composite_sigmoid")
def test_composites_are_differentiated_through_their_expansion():
    s = 1 / (1 + math.exp(-0.3))
    assert slope(F.sigmoid, 0.3) == pytest.approx(s * (1 - s), rel=1e-14)
    wanted = 0.25 / (1 + math.exp(-0.5)) / (1 + math.exp(0.5))
    assert slope(lambda x: F.sigmoid(F.sigmoid(x)), 0.0) == pytest.approx(wanted)


@pytest.mark.usefixtures("composite_sigmoid")
def test_with_respect_to_a_composite_and_through_it():
    x = value()
    s = F.sigmoid(x)
    number = 1 / (1 + math.exp(-0.3))
    found = numbers(gradients([s * s], [s, x]), {x: 0.3})
    assert found == [pytest.approx(2 * number), pytest.approx(2 * number * number * (1 - number))]


@pytest.mark.usefixtures("composite_sigmoid")
def test_composites_aside_of_the_way_stay():
    x, y = value(), value(label="y")
    (g,) = gradients([x * F.sigmoid(y)], [x])
    assert [node.op.name for node in topological([g])].count("sigmoid") == 1


def test_tuples_gather_the_gradients_of_their_items(tuple_op):
    x, y = value(), value(label="y")
    both = apply(tuple_op(), x, y)
    product, total = item(both, 0), item(both, 1)
    assert numbers(gradients([product * total], [x, y]), {x: 2.0, y: 3.0}) == [15.0 + 6.0, 10.0 + 6.0]


def test_items_that_are_not_used_count_as_zero(tuple_op):
    x, y = value((2,)), value((2,), label="y")
    both = apply(tuple_op(), x, y)
    found = numbers(gradients([F.sum(item(both, 1))], [x, y]), {x: [2.0, 2.0], y: [3.0, 4.0]})
    assert found == [[1.0, 1.0], [1.0, 1.0]]
    product = item(both, 0)
    found = numbers(gradients([F.sum(product * product)], [x]), {x: [2.0, 2.0], y: [3.0, 4.0]})
    assert found == [[36.0, 64.0]]


def test_with_respect_to_an_item(tuple_op):
    x, y = value(), value(label="y")
    product = item(apply(tuple_op(), x, y), 0)
    assert numbers(gradients([product * product + x], [product, x]), {x: 2.0, y: 3.0}) == [12.0, 37.0]


def test_tuples_by_expansion(tuple_op, monkeypatch):
    monkeypatch.delattr(tuple_op, "grad")
    monkeypatch.setattr(tuple_op, "expand", lambda self, x, y: (x * y, x + y), raising=False)
    x, y = value(), value(label="y")
    both = apply(tuple_op(), x, y)
    found = numbers(gradients([item(both, 0) * item(both, 1)], [x, y]), {x: 2.0, y: 3.0})
    assert found == [21.0, 16.0]


# -- higher orders -------------------------------------------------------------------------------


def test_a_polynomial_to_the_third_order():
    x = value()
    y = x**4 - 2 * x**2
    (first,) = gradients([y], [x])
    (second,) = gradients([first], [x])
    (third,) = gradients([second], [x])
    assert numbers([first, second, third], {x: 2.0}) == [24.0, 44.0, 48.0]


def test_tanh_to_the_fifth_order():
    x = value((5,))
    at = np.array([-1.5, -0.3, 0.0, 0.4, 2.0])
    t = np.tanh(at)
    closed = [
        1 - t**2,
        -2 * t + 2 * t**3,
        -2 + 8 * t**2 - 6 * t**4,
        16 * t - 40 * t**3 + 24 * t**5,
        16 - 136 * t**2 + 240 * t**4 - 120 * t**6,
    ]
    y = F.tanh(x)
    for wanted in closed:
        (y,) = gradients([F.sum(y)], [x])
        np.testing.assert_allclose(evaluate([y], {x: at})[0], wanted, rtol=1e-12, atol=1e-12)


def test_mixed_second_derivatives():
    x, y = value(), value(label="y")
    z = F.sin(x * y)
    gx, gy = gradients([z], [x, y])
    (gxy,), (gyx,) = gradients([gx], [y]), gradients([gy], [x])
    wanted = math.cos(0.6) - 0.6 * math.sin(0.6)
    assert numbers([gxy, gyx], {x: 2.0, y: 0.3}) == [pytest.approx(wanted, rel=1e-14)] * 2


def test_gradient_through_a_gradient_step():
    """d loss(w - r * dloss/dw) / dr, as meta-learning has it: loss = w^2 / 2, w' = (1 - r) w."""
    w, rate = value(), value(label="rate")
    (g,) = gradients([w * w * 0.5], [w])
    after = w - rate * g
    assert numbers(gradients([after * after * 0.5], [rate, w]), {w: 3.0, rate: 0.1}) == pytest.approx(
        [-(1 - 0.1) * 9.0, (1 - 0.1) ** 2 * 3.0]
    )


# -- graphs --------------------------------------------------------------------------------------


def test_no_recursion_and_no_explosion():
    """10,000 nodes in a chain; and 60 diamonds in a row, which have 2**60 paths."""
    x = value()
    y = x
    for _ in range(10_000):
        y = y * 0.9999
    assert numbers(gradients([y], [x]), {x: 1.0}) == [pytest.approx(0.9999**10_000, rel=1e-10)]
    y = x
    for _ in range(60):
        y = y * 0.5 + y * 0.5
    (g,) = gradients([y], [x])
    assert len(topological([g])) < 1000
    assert numbers([g], {x: 1.0}) == [1.0]


def test_only_what_is_needed_is_differentiated():
    """A branch that does not depend on x costs nothing, though it has no gradient."""
    x, other = value((3,)), value((3,), label="other")
    y = x * F.cast(F.argmax(other), "float64")
    (g,) = gradients([F.sum(y)], [x])
    names = [node.op.name for node in topological([g])]
    assert names.count("argmax") == 1 and "tanh" not in names


def test_gradient_nodes_come_from_where_their_value_comes_from():
    with building(Builder()) as builder:
        x = value()
        y = F.tanh(x)
        place = builder.origins[y]
        (g,) = gradients([y], [x])
    made = [node for node in topological([g]) if node not in topological([y])]
    assert all(builder.origins[node] == place for node in made if node.op.name in ("square", "subtract"))
    assert place[0].file == __file__


def test_differentiate_adds_outputs_and_keeps_the_rest():
    with building(Builder()) as builder:
        x, w = value((2,)), make_input("w", Type((2,), "float64"), kind="state")
        y = F.sum(x * w)
        graph = Graph([x, w], [y], output_names=["loss"], updates={w: w * 2}, names=builder.names, name="step")
    after = differentiate(graph, [y], [w])
    assert after.output_names == ("loss", "grad0")
    assert (after.inputs, after.updates, after.name) == (graph.inputs, graph.updates, "step")
    assert after.outputs[0] is y and after.outputs[1].aval == w.aval
    assert after.names[w] == "w"


def test_every_gradient_can_be_rebuilt():
    """Rules make nodes whose types agree with what their ops infer, so that a rebuild changes nothing."""
    x, w = value((N, 3)), value((3,), label="w")
    y = F.mean(F.softplus(x * w) ** 2)
    graph = Graph([x, w], gradients([y], [x, w]))
    again = graph.rebuild(lambda node, inputs: apply(node.op, *inputs) if inputs else None)
    arrays = {x: np.arange(6.0).reshape(2, 3), w: np.array([0.1, -0.2, 0.3])}
    for first, second in zip(graph.outputs, again.outputs, strict=True):
        a, b = evaluate([first, second], arrays, {"N": 2})
        np.testing.assert_array_equal(a, b)
