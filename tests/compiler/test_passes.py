"""The graph passes: a graph goes in as text, another comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import Graph, Node, Type, apply
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import Constant, Input, Pack, item, make_input
from staticnet.compiler.passes import LOWERED_PASSES, PASSES
from staticnet.compiler.passes.cse import cse
from staticnet.compiler.passes.eliminate import eliminate
from staticnet.compiler.passes.fold import KEEP_BYTES, fold
from staticnet.compiler.passes.modes import to_inference, to_training
from staticnet.compiler.passes.simplify import accelerate, simplify
from staticnet.compiler.passes.stabilise import stabilise
from staticnet.compiler.passes.verify import verify
from staticnet.compiler.pipeline import run_passes
from staticnet.compiler.target import REFERENCE
from tests.compiler.graphs import expected, make_graph, text

ALL = tuple(dict.fromkeys((*PASSES, *LOWERED_PASSES)))


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes if node not in set(graph.inputs)]


# -- fold ---------------------------------------------------------------------------------------


def test_fold_computes_what_depends_on_constants_alone() -> None:
    graph = make_graph(lambda x: F.exp(F.constant(0.0)) * x + F.constant(np.arange(3, dtype="float32")) * 2, x=(2, 3))
    assert text(graph) == expected(
        """
        graph graph(%x: f32[2, 3])
          %0 = constant(value=0.) : f32[]
          %1 = exp(%0) : f32[]
          %2 = multiply(%1, %x) : f32[2, 3]
          %3 = constant(value=[0., 1., 2.]) : f32[3]
          %4 = constant(value=2.) : f32[]
          %5 = multiply(%3, %4) : f32[3]
          %6 = add(%2, %5) : f32[2, 3]
          return output=%6
        """
    )
    assert text(fold(graph)) == expected(
        """
        graph graph(%x: f32[2, 3])
          %0 = constant(value=1.) : f32[]
          %1 = multiply(%0, %x) : f32[2, 3]
          %2 = constant(value=[0., 2., 4.]) : f32[3]
          %3 = add(%1, %2) : f32[2, 3]
          return output=%3
        """
    )


@pytest.mark.parametrize(
    "build", [lambda x: x * 0, lambda x: x - x, lambda x: 0 / x, lambda x: F.where(x == x, x, x + 1)]
)
def test_no_pass_folds_what_nan_would_survive(build: Any) -> None:
    graph = make_graph(build, x=(3,))
    assert run_passes(graph, ALL).outputs[0].op.name != "constant"
    assert graph.inputs[0] in run_passes(graph, ALL).nodes


def test_fold_leaves_large_results_of_small_constants_to_the_run() -> None:
    count = KEEP_BYTES // 4
    small = make_graph(lambda x: x + F.broadcast_to(F.constant(1.0), (count,)), x=(count,))
    large = make_graph(lambda x: x + F.broadcast_to(F.constant(1.0), (count + 1,)), x=(count + 1,))
    assert "broadcast" not in ops(fold(small))
    assert "broadcast" in ops(fold(large))


def test_fold_leaves_errors_to_the_run() -> None:
    labels = F.constant(np.array([7]))
    graph = make_graph(lambda x: x + F.cast(F.check_labels(labels, 3), "float32"), x=(1,))
    assert "check_labels" in ops(fold(graph))


def test_folded_constants_are_read_only() -> None:
    graph = fold(make_graph(lambda x: x + F.constant(1.0) * 3, x=(2,)))
    (value,) = [node.op.value for node in graph.nodes if isinstance(node.op, Constant)]
    assert not value.flags.writeable


# -- cse ----------------------------------------------------------------------------------------


def test_cse_merges_equal_nodes_and_swapped_operands() -> None:
    graph = make_graph(lambda x, y: (F.exp(x + y) * F.exp(y + x), x - y, y - x), x=(3,), y=(3,))
    assert text(cse(graph)) == expected(
        """
        graph graph(%x: f32[3], %y: f32[3])
          %0 = add(%x, %y) : f32[3]
          %1 = exp(%0) : f32[3]
          %2 = subtract(%x, %y) : f32[3]
          %3 = subtract(%y, %x) : f32[3]
          %4 = multiply(%1, %1) : f32[3]
          return output=%4, output1=%2, output2=%3
        """
    )


ONE_ATTRIBUTE_APART = {
    "the sign of zero": lambda x: (x + 0.0, x + -0.0),
    "the axes": lambda x: (F.sum(x, 0), F.sum(x, 1)),
    "keepdims": lambda x: (F.sum(x, 0), F.sum(x, 0, keepdims=True)),
    "the dtype": lambda x: (F.cast(x, "float64"), F.cast(x, "float16")),
    "the dtype of a constant": lambda x: (F.constant(np.int32(1)), F.constant(np.float32(1))),
    "the shape of a constant": lambda x: (F.constant(np.ones((1, 2))), F.constant(np.ones((2, 1)))),
    "a bound": lambda x: (F.clip(x, 0, 1), F.clip(x, 0.0, 1)),
    "a step": lambda x: (x[:, ::-1], x[:, 1:-1:-1]),
    "the stream of a draw": lambda x: tuple(
        F.random_uniform(F.constant(np.zeros(2, "uint64")), (2,), "float32", s) for s in (0, 1)
    ),
}


@pytest.mark.parametrize("difference", ONE_ATTRIBUTE_APART)
def test_cse_keeps_what_differs_in(difference: str) -> None:
    graph = make_graph(ONE_ATTRIBUTE_APART[difference], x=(2, 2))
    first, second = cse(graph).outputs
    assert first is not second


def test_cse_keeps_two_inputs_of_one_label_apart() -> None:
    one, two = (make_input("x", Type((2,), "float32")) for _ in range(2))
    graph = cse(Graph([one, two], [F.exp(one), F.exp(two)]))
    assert graph.outputs[0] is not graph.outputs[1]


def test_cse_treats_equal_nan_constants_as_one() -> None:
    graph = cse(make_graph(lambda x: (x + np.nan, x + np.nan), x=(2,)))
    assert graph.outputs[0] is graph.outputs[1]


def test_an_input_card_is_never_equal_to_another() -> None:
    type_ = Type((2,), "float32")
    assert Input(label="x", type=type_, serial=1) != Input(label="x", type=type_, serial=2)


# -- eliminate ----------------------------------------------------------------------------------


def test_eliminate_drops_what_does_no_work() -> None:
    def build(x: Node) -> Any:
        same = F.stop_gradient(F.identity(x))
        packed = apply(Pack(), same, F.exp(same))
        return item(packed, 1) + item(packed, 0)

    graph = make_graph(build, x=(2,))
    assert text(eliminate(graph)) == expected(
        """
        graph graph(%x: f32[2])
          %0 = exp(%x) : f32[2]
          %1 = add(%0, %x) : f32[2]
          return output=%1
        """
    )


def test_eliminate_drops_an_update_of_a_state_by_itself() -> None:
    graph = make_graph(lambda x, s, t: ((x,), {"s": F.identity(s), "t": t + x}), {"s": (2,), "t": (2,)}, x=(2,))
    assert [state.op.label for state in eliminate(graph).updates] == ["t"]


# -- simplify, accelerate, stabilise -------------------------------------------------------------


def test_simplify_gives_both_forms_of_a_reduction_one_node() -> None:
    graph = make_graph(lambda x: (F.sum(x, 0), F.sum(x, 0, keepdims=True)), x=(2, 3))
    assert text(simplify(graph)) == expected(
        """
        graph graph(%x: f32[2, 3])
          %0 = sum(%x, axes=(0,), keepdims=True) : f32[1, 3]
          %1 = reshape(%0, shape=(3,)) : f32[3]
          return output=%1, output1=%0
        """
    )


def test_simplify_reads_through_broadcasts_where_the_other_operand_has_the_shape() -> None:
    graph = make_graph(lambda x, y: (F.broadcast_to(x, (2, 3)) * y, F.exp(F.broadcast_to(x, (2, 3)))), x=(3,), y=(2, 3))
    assert text(simplify(graph)) == expected(
        """
        graph graph(%x: f32[3], %y: f32[2, 3])
          %0 = broadcast(%x, shape=(2, 3)) : f32[2, 3]
          %1 = exp(%0) : f32[2, 3]
          %2 = multiply(%x, %y) : f32[2, 3]
          return output=%2, output1=%1
        """
    )


def test_simplify_keeps_one_broadcast_when_two_give_the_shape_together() -> None:
    def build(x: Node, y: Node) -> Node:
        return F.broadcast_to(x, (4, 2, 3)) + F.broadcast_to(y, (4, 2, 3))

    graph = simplify(make_graph(build, x=(3,), y=(2, 1)))
    assert sorted(ops(graph)) == ["add", "broadcast"]
    assert graph.outputs[0].shape == (4, 2, 3)


def test_accelerate_joins_factors() -> None:
    graph = make_graph(lambda x: -(x * 2.0) * 3.0 + 0.0, x=(3,))
    assert text(accelerate(graph)) == expected(
        """
        graph graph(%x: f32[3])
          %0 = constant(value=-6.) : f32[]
          %1 = multiply(%x, %0) : f32[3]
          return output=%1
        """
    )


def test_stabilise_finds_the_stable_forms() -> None:
    def build(x: Node) -> Any:
        return F.log(F.softmax(x)), F.log(F.sum(F.exp(x), 1)), 1 / (1 + F.exp(-x))

    assert text(stabilise(cse(make_graph(build, x=(2, 3))))) == expected(
        """
        graph graph(%x: f32[2, 3])
          %0 = log_softmax(%x, axis=1) : f32[2, 3]
          %1 = log_sum_exp(%x, axes=(1,), keepdims=False) : f32[2]
          %2 = sigmoid(%x) : f32[2, 3]
          return output=%0, output1=%1, output2=%2
        """
    )


def test_stabilise_does_not_match_the_stable_forms_own_expansions() -> None:
    from staticnet.compiler.lowering import lower

    graph = lower(make_graph(lambda x: F.log(F.softmax(x)), x=(2, 3)), REFERENCE)
    assert "log_sum_exp" not in ops(stabilise(graph))
    assert "softmax" not in ops(stabilise(graph))


@pytest.mark.parametrize("one_pass", ALL, ids=lambda each: each.__name__)
def test_a_pass_keeps_names_outputs_and_the_order_of_inputs(one_pass: Any) -> None:
    def build(x: Node, unused: Node, s: Node) -> Any:
        return (F.log(F.softmax(x)) * 1.0, x), {"s": s + F.sum(x)}

    graph = make_graph(build, {"s": ()}, x=(2, 3), unused=(1,))
    done = one_pass(graph)
    assert [node.op.label for node in done.inputs] == ["x", "unused", "s"]
    assert done.output_names == graph.output_names
    assert [state.op.label for state in done.updates] == ["s"]
    assert [node.type for node in done.outputs] == [node.type for node in graph.outputs]
    assert done.names[done.inputs[0]] == "x"
    assert one_pass(done).equals(done)


@pytest.mark.parametrize("one_pass", ALL, ids=lambda each: each.__name__)
def test_a_pass_takes_a_chain_longer_than_any_stack(one_pass: Any) -> None:
    def build(x: Node) -> Node:
        for _ in range(2000):
            x = F.tanh(x) * 1.5
        return x

    assert len(one_pass(make_graph(build, x=(2,))).nodes) >= 4000


# -- modes --------------------------------------------------------------------------------------


def trained(x: Node, weight: Node, mean: Node, key: Node) -> Any:
    y, new_mean, _ = batch_norm(x, weight, mean)
    return F.dropout(F.relu(y), key, 0.5, 0), {"mean": new_mean, "key": key + F.constant(np.array([0, 1], "uint64"))}


def batch_norm(x: Node, weight: Node, mean: Node) -> tuple[Node, ...]:
    from staticnet.compiler.ops.normalise import BatchNorm

    made = apply(BatchNorm(epsilon=1e-5, momentum=0.1, training=True), x, weight, weight, mean, weight)
    return tuple(item(made, index) for index in range(3))


TRAINED_STATES = {"weight": (3,), "mean": (3,), "key": (2, "uint64")}


def test_to_inference_has_no_dropout_no_batch_statistics_no_updates_and_no_key() -> None:
    graph = make_graph(trained, TRAINED_STATES, x=(4, 3))
    done = to_inference(graph)
    assert [node.op.label for node in done.inputs] == ["x", "weight", "mean"]
    assert ops(done) == ["batch_norm", "item", "relu"]
    assert not done.nodes[3].op.training and not done.updates


def test_to_training_brings_back_what_is_still_there() -> None:
    graph = make_graph(trained, TRAINED_STATES, x=(4, 3))
    back = to_training(to_inference(graph))
    assert [node.op.training for node in back.nodes if node.op.name == "batch_norm"] == [True]
    assert to_training(graph).equals(graph)


def test_to_inference_keeps_feeds_that_are_not_needed_any_more() -> None:
    graph = make_graph(lambda x, key: F.dropout(x, key, 0.5, 0), x=(3,), key=(2, "uint64"))
    assert [node.op.label for node in to_inference(graph).inputs] == ["x", "key"]


# -- verify -------------------------------------------------------------------------------------


def broken_graphs() -> dict[str, tuple[Graph, str]]:
    x, y = (make_input(name, Type((2,), "float32")) for name in "xy")
    state = make_input("s", Type((2,), "float32"), "state")
    wide = make_input("w", Type((3,), "float32"))
    add = F.add(x, y).op
    unknown = type("Unknown", (type(F.exp(x).op),), {"name": "unknown_to_all"}, abstract=True)
    late = F.exp(x)
    early = Node(late.op, (x,), late.type)
    object.__setattr__(early, "inputs", (late,))
    early.serial = late.serial - 1
    return {
        "a wrong type": (Graph([x], [Node(F.exp(x).op, (x,), Type((3,), "float32"))]), "shape rule says"),
        "a wrong dtype": (Graph([x], [Node(F.exp(x).op, (x,), Type((2,), "float64"))]), "shape rule says"),
        "an input twice": (Graph([x, x], [x]), "lists an input twice"),
        "an input that is not listed": (Graph([x], [Node(add, (x, y), x.type)]), "does not list"),
        "an input that is none": (Graph([F.exp(x), x], [x]), "lists something that is none"),
        "an op that is not registered": (Graph([x], [Node(unknown(), (x,), x.type)]), "not registered"),
        "a node before what it reads": (Graph([x], [early]), "before it is computed"),
        "an update of a feed": (Graph([x], [x], updates={x: F.exp(x)}), "no state"),
        "an update of a state that is not listed": (
            Graph([x], [x], updates={state: F.exp(x)}),
            "no state|does not list",
        ),
        "an update of another type": (
            Graph([x, state, wide], [x], updates={state: F.exp(wide)}),
            "updates a state of type",
        ),
    }


@pytest.mark.parametrize("kind", broken_graphs())
def test_verify_refuses(kind: str) -> None:
    graph, message = broken_graphs()[kind]
    with pytest.raises(CompilerError, match=message):
        verify(graph)


def test_verify_refuses_operands_that_do_not_fit() -> None:
    x, wide = make_input("x", Type((2,), "float32")), make_input("w", Type((3,), "float32"))
    graph = Graph([x, wide], [Node(F.add(x, x).op, (x, wide), x.type)])
    with pytest.raises(ValueError, match="add"):
        verify(graph)


def test_verify_passes_a_right_graph_through() -> None:
    graph = make_graph(trained, TRAINED_STATES, x=(4, 3))
    assert verify(graph) is graph
