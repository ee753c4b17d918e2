"""Types, nodes and graphs: equality, interning, rebuilding, text, digests, side tables, tuples."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pytest

from staticnet.compiler import dims, dtypes
from staticnet.compiler.autodiff import gradients
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Builder, Graph, Node, TupleType, Type, apply, building, topological
from staticnet.compiler.ir.text import graph_text, label_nodes
from staticnet.compiler.ops.arithmetic import Add, Clip, Multiply
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import Item, Pack, make_input
from staticnet.compiler.origins import Origin

N, C = dims.symbol("N"), dims.symbol("C")


def vector(label: str = "x", shape: tuple = (3,), dtype: str = "float32") -> Node:
    return make_input(label, Type(shape, dtype))


def kept(node: Node, inputs: tuple[Node, ...]) -> None:
    return None


# -- types -------------------------------------------------------------------------------------


def test_types_are_equal_when_their_sizes_are_provably_equal():
    assert Type((N * C, 2), "float32") == Type((C * N, 2), np.float32)
    assert Type((N * 4 // 4,), "int64") == Type((N,), int)
    assert Type((N // 2 + (N + 1) // 2,), "float32") == Type((N,), "float32")
    assert hash(Type((N * C,), "float32")) == hash(Type((C * N,), "float32"))


@pytest.mark.parametrize(
    "other",
    [Type((N,), "float64"), Type((C,), "float32"), Type((N, 1), "float32"), Type((3,), "float32"), "f32[N]", None],
)
def test_types_differ_by_dtype_rank_and_size(other):
    assert Type((N,), "float32") != other


def test_type_says_what_is_known_of_a_value():
    type = Type((N, 3), "float32")
    assert (type.ndim, type.size, type.bytes, type.is_static) == (2, 3 * N, 12 * N, False)
    assert (repr(type), repr(Type((), "bool"))) == ("f32[N, 3]", "bool[]")
    assert type.with_dtype("int8") == Type((N, 3), dtypes.int8)
    assert type.with_shape((2,)).is_static


def test_tuple_types_are_equal_item_by_item():
    pair = TupleType((Type((N,), "float32"), Type((), "int64")))
    assert pair == TupleType((Type((N,), "float32"), Type((), "int64")))
    assert pair != TupleType((Type((N,), "float32"),))
    assert repr(pair) == "(f32[N], i64[])"


# -- interning ---------------------------------------------------------------------------------


def merged(*nodes: Node) -> int:
    """How many of some nodes are left after a rebuild, the inputs apart."""
    inputs = [node for node in topological(nodes) if node.op.name == "input"]
    return len(set(Graph(inputs, nodes).rebuild(kept).outputs))


def test_equal_nodes_merge():
    x = vector()
    assert merged(F.exp(x), F.exp(x)) == 1
    assert merged(F.exp(F.exp(x)), F.exp(F.exp(x))) == 1
    assert merged(x + 1, x + 1) == 1
    assert merged(F.exp(x), F.log(x)) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [(0.0, -0.0), (1, True), (1, 1.0), (True, 1.0), (0.0, None), (1.0, math.nan), (1.0, 1.0 + 2**-52)],
    ids=repr,
)
def test_attributes_that_only_python_finds_equal_keep_nodes_apart(first, second):
    x = vector()
    assert merged(*(apply(Clip(minimum=bound, maximum=2.0), x) for bound in (first, second))) == 2
    assert Clip(minimum=first, maximum=None) != Clip(minimum=second, maximum=None)


def test_not_a_number_equals_itself_as_an_attribute():
    x = vector()
    assert merged(*(apply(Clip(minimum=float("nan"), maximum=2.0), x) for _ in range(2))) == 1


def test_constants_merge_by_their_bytes():
    def constants(*values: object) -> int:
        return merged(*(F.constant(value) for value in values))

    assert constants(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 1
    assert constants(np.float32(0.0), np.float32(-0.0)) == 2
    assert constants(np.float32(1), np.float64(1), np.int64(1), np.bool_(True)) == 4
    assert constants(np.zeros((1, 2)), np.zeros((2, 1)), np.zeros(2)) == 3


def test_inputs_never_merge():
    first, second = vector("x"), vector("x")
    assert merged(F.exp(first), F.exp(second)) == 2


def test_order_of_operands_counts():
    x, y = vector("x"), vector("y")
    assert merged(x - y, y - x) == 2


def test_a_builder_that_does_not_intern_keeps_all_nodes():
    with building(Builder()):
        x = vector()
        assert F.exp(x) is not F.exp(x)


# -- rebuild -----------------------------------------------------------------------------------


def test_rebuild_that_keeps_everything_gives_the_same_nodes():
    x = vector()
    graph = Graph([x], [F.exp(x) + 1], output_names=["y"], name="g")
    again = graph.rebuild(kept)
    assert again.nodes == graph.nodes and again.equals(graph)
    assert (again.name, again.output_names) == ("g", ("y",))


def test_rebuild_replaces_inside_out():
    x = vector()
    graph = Graph([x], [F.exp(F.exp(x))])
    seen = []

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        seen.append([source.op.name for source in inputs])
        return F.negative(*inputs) if node.op.name == "exp" else None

    assert [node.op.name for node in graph.rebuild(visit).nodes] == ["input", "negative", "negative"]
    assert seen == [[], ["input"], ["negative"]]


def test_rebuild_follows_updates_and_shared_outputs():
    x, state = vector(), make_input("w", Type((3,), "float32"), kind="state")
    y = x * state
    graph = Graph([x, state], [y, y, state], updates={state: y + 1})
    again = graph.rebuild(lambda node, inputs: F.multiply(*inputs[::-1]) if node.op.name == "multiply" else None)
    product, twin, same_state = again.outputs
    assert product is twin and same_state is state
    assert again.updates[state].inputs[0] is product


def test_a_replacement_must_have_the_type_of_what_it_replaces():
    x = vector()
    with pytest.raises(CompilerError, match=r"turned exp\(\) of type f32\[3\] into cast.* of type f64\[3\]"):
        Graph([x], [F.exp(x)]).rebuild(lambda node, inputs: F.cast(x, "float64") if node.op.name == "exp" else None)


def test_names_and_origins_follow_a_rebuild_and_gather_where_nodes_merge():
    places = [Origin("model.py", line, "features") for line in (3, 5, 7)]
    with building(Builder()) as builder:
        x = vector()
        nodes = []
        for place in places:
            with builder.at((place,)):
                nodes.append(F.exp(x))
    graph = Graph([x], nodes, names={nodes[1]: "middle", nodes[2]: "last"}, origins=builder.origins)
    again = graph.rebuild(kept)
    (node,) = set(again.outputs)
    assert again.names == {node: "middle"}
    assert again.origins[node] == tuple(places)


def test_a_replacement_takes_name_and_origin_of_what_it_replaces():
    place = Origin("model.py", 3)
    with building(Builder()) as builder, builder.at((place,)):
        x = vector()
        y = F.exp(x)
    graph = Graph([x], [y], names={y: "y"}, origins=builder.origins)
    again = graph.rebuild(lambda node, inputs: F.reciprocal(F.exp(F.negative(x))) if node is y else None)
    assert again.names == {again.outputs[0]: "y"}
    assert {again.origins[node] for node in again.nodes} == {(place,)}


def test_side_tables_hold_only_what_the_graph_holds():
    x = vector()
    y, stranger = F.exp(x), F.log(x)
    graph = Graph([x], [y], names={y: "y", stranger: "z"}, origins={stranger: (Origin("a.py", 1),)})
    assert graph.names == {y: "y"} and graph.origins == {}


def test_users_are_listed_once_each():
    x = vector()
    square, root = x * x, F.sqrt(x)
    graph = Graph([x], [square, root])
    assert graph.users == {x: [square, root], square: [], root: []}


def test_names_of_outputs_are_as_many_as_outputs():
    x = vector()
    assert Graph([x], [x, x, x]).output_names == ("output", "output1", "output2")
    with pytest.raises(CompilerError, match="2 outputs but 1 names"):
        Graph([x], [x, x], output_names=["y"])


def test_symbols_of_the_inputs():
    graph = Graph([vector(shape=(N, 3)), vector(shape=(C * N,))], [])
    assert graph.symbols == ("C", "N")


# -- text --------------------------------------------------------------------------------------


def example() -> Graph:
    with building(Builder()) as builder:
        x = vector("x", (N, 3))
        w = make_input("w", Type((3,), "float32"), kind="state")
        hidden = F.clip(x * w, -0.0, 2.0)
        builder.names[hidden] = "hidden"
        loss = F.sum(F.transpose(hidden) + np.array([1.0, 2.0, 3.0], "float32")[:, None])
        updates = {w: w * 0.5}
    return Graph([x, w], [loss, hidden], output_names=["loss", "hidden"], updates=updates, names=builder.names)


def test_text_of_a_graph():
    assert graph_text(example(), origins=False) == textwrap.dedent(
        """\
        graph graph(%x: f32[N, 3], state %w: f32[3])
          %0 = multiply(%x, %w)                         : f32[N, 3]
          %hidden = clip(%0, minimum=-0.0, maximum=2.0) : f32[N, 3]
          %1 = transpose(%hidden, axes=(1, 0))          : f32[3, N]
          %2 = constant(value=[[1.], [2.], [3.]])       : f32[3, 1]
          %3 = add(%1, %2)                              : f32[3, N]
          %4 = sum(%3, axes=(0, 1), keepdims=False)     : f32[]
          %5 = constant(value=0.5)                      : f32[]
          %6 = multiply(%w, %5)                         : f32[3]
          return loss=%4, hidden=%hidden
          update %w <- %6
        """
    )


def test_text_says_where_nodes_come_from():
    x = vector()
    y = F.exp(x)
    origins = {y: (Origin("/somewhere/model.py", 12, "features.0"), Origin("/somewhere/model.py", 14))}
    graph = Graph([x], [y], origins=origins)
    assert "  %0 = exp(%x) : f32[3] # features.0 model.py:12 +1\n" in graph.text()
    assert "#" not in graph_text(graph, origins=False)


def test_labels_are_unique_whatever_the_names():
    with building(Builder()):
        x, twin = vector("x"), vector("x")
        first, second, third = F.exp(x), F.log(x), F.exp(twin)
        graph = Graph([x, twin], [first, second, third], names={second: "0", third: "x"})
    labels = label_nodes(graph)
    assert len(set(labels.values())) == len(graph.nodes)
    assert labels[x] == "%x"
    labels = label_nodes(Graph([x], [first, second], names={first: "0"}))
    assert len(set(labels.values())) == 3


def test_large_constants_are_digested_in_text():
    graph = Graph([], [F.constant(np.arange(9.0))])
    assert re.search(r"constant\(value=<float64 \(9,\) [0-9a-f]{12}>\)", graph.text())


# -- structural equality -----------------------------------------------------------------------


def twice(order: tuple[int, ...], attribute: float = 1.0, names: tuple[str, str] = ("x", "y")) -> Graph:
    """exp(x) + clip(y), its parts created in some order."""
    x, y = (vector(name) for name in names)
    makers: list[Callable[[], Node]] = [lambda: F.exp(x), lambda: apply(Clip(minimum=None, maximum=attribute), y)]
    parts: dict[int, Node] = {}
    for number in order:
        parts[number] = makers[number]()
    return Graph([x, y], [apply(Add(), parts[0], parts[1])])


def test_structure_does_not_depend_on_the_order_of_creation():
    first, second = twice((0, 1)), twice((1, 0))
    assert [n.op.name for n in first.nodes] != [n.op.name for n in second.nodes]
    assert first.equals(second) and first.digest() == second.digest()


def test_structure_depends_on_everything_else():
    graph = twice((0, 1))
    x, y = graph.inputs
    others = {
        "an attribute": twice((0, 1), attribute=2.0),
        "the sign of a zero": twice((0, 1), attribute=-0.0),
        "another zero": twice((0, 1), attribute=0.0),
        "a label": twice((0, 1), names=("x", "z")),
        "order of inputs": Graph([y, x], graph.outputs),
        "an unused input": Graph([x, y, vector("z")], graph.outputs),
        "an op": Graph([x, y], [apply(Multiply(), *graph.outputs[0].inputs)]),
        "order of operands": Graph([x, y], [apply(Add(), *graph.outputs[0].inputs[::-1])]),
        "output names": Graph([x, y], graph.outputs, output_names=["loss"]),
        "outputs": Graph([x, y], (*graph.outputs, x)),
        "updates": Graph([x, y], graph.outputs, updates={x: graph.outputs[0]}),
        "an input's type": Graph([vector("x", (N,)), y], [x]),
    }
    digests = {what: other.digest() for what, other in others.items()}
    assert graph.digest() not in digests.values()
    assert len(set(digests.values())) == len(digests), digests


def test_sharing_is_part_of_the_structure():
    x = vector()
    y = F.exp(x)
    assert not Graph([x], [apply(Add(), y, y)]).equals(Graph([x], [apply(Add(), F.exp(x), F.exp(x))]))


def test_text_and_digest_are_the_same_in_every_process():
    script = """
        import numpy as np
        from staticnet.compiler import dims
        from staticnet.compiler.autodiff import differentiate
        from staticnet.compiler.ir import Builder, Graph, Type, building
        from staticnet.compiler.ops.base import F
        from staticnet.compiler.ops.leaf import make_input

        n, c = dims.symbol("N"), dims.symbol("C")
        with building(Builder()) as builder:
            x = make_input("x", Type((n * c, 3), "float32"))
            w = make_input("w", Type((3,), "float32"), kind="state")
            y = F.mean(F.sigmoid(F.clip(x * w, -0.0, float("nan"))) + np.linspace(0, 1, 3, dtype="float32"))
            graph = Graph([x, w], [y], updates={w: w - 1}, names=builder.names, origins=builder.origins)
        graph = differentiate(graph, [y], [w, x]).rebuild(lambda node, inputs: None)
        print(graph.text(), graph.digest())
    """
    texts = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(texts) == 1
    assert "sigmoid" in texts.pop()


# -- the prompt -------------------------------------------------------------------------------


def test_the_prompts_builder_forgets_what_nobody_holds():
    builder = Builder(weak=True)
    with building(builder):
        x = vector()
        F.exp(x)
        y = F.log(x)
    assert set(builder.origins) == {x, y}


# -- tuples ------------------------------------------------------------------------------------


def test_items_of_a_pack_are_its_operands():
    x, y = vector("x"), vector("y", (), "int64")
    pair = apply(Pack(), x, y)
    assert pair.type == TupleType((x.aval, y.aval))
    assert apply(Item(index=1), pair).type == y.type
    assert [value.tolist() for value in evaluate([apply(Item(index=0), pair)], {x: np.ones(3), y: np.int64(2)})] == [
        [1.0, 1.0, 1.0]
    ]


@pytest.mark.parametrize("index", [-1, 2])
def test_an_item_that_is_not_there(index):
    pair = apply(Pack(), vector(), vector())
    with pytest.raises(CompilerError, match=f"item {index} of"):
        apply(Item(index=index), pair)


def test_a_tuple_has_no_shape_of_its_own():
    with pytest.raises(CompilerError, match="tuple"):
        _ = apply(Pack(), vector(), vector()).shape


def test_a_node_has_no_truth():
    with pytest.raises(CompilerError, match="truth"):
        bool(vector() > 0)


def test_gradients_do_not_touch_what_is_there():
    x = vector(shape=())
    y = F.exp(x) * x
    before = topological([y])
    gradients([y], [x])
    assert topological([y]) == before
