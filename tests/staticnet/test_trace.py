"""Tracing: specs in, names and structure out, states, and what cannot be traced."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, trees
from staticnet.compiler import dims
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError, TraceError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import format_shape

BATCH = ("batch", 3)


def run(graph, *feeds, **binding):
    """The outputs of a traced graph, put together as the function returned them."""
    values = dict(zip(graph.feeds, feeds, strict=True))
    values.update({node: state.numpy() for node, state in graph.states.items()})
    return graph.unflatten(evaluate(graph.outputs, values, binding))


# ---- TensorSpec


def test_specs():
    spec = sn.TensorSpec(("batch", 3, "2*batch"), "int32", name="x")
    assert format_shape(spec.shape) == "(batch, 3, 2*batch)"
    assert dims.same(spec.shape[2], 2 * spec.shape[0])
    assert (spec.dtype.name, spec.name, spec.ndim) == ("int32", "x", 3)
    assert repr(spec) == "TensorSpec(('batch', 3, '2*batch'), 'int32', name='x')"
    assert sn.TensorSpec(5).shape == (5,)
    assert sn.TensorSpec("n").shape == (dims.symbol("n"),)
    assert sn.TensorSpec(()).shape == ()
    assert sn.TensorSpec([2, np.int64(3)]).shape == (2, 3)


def test_specs_of_arrays():
    spec = sn.TensorSpec.of(np.zeros((2, 3), np.uint8), name="image")
    assert spec == sn.TensorSpec((2, 3), "uint8", "image")
    assert hash(spec) == hash(sn.TensorSpec((2, 3), "uint8", "image"))
    assert spec != sn.TensorSpec((2, 3), "uint8")
    assert sn.TensorSpec.of(sn.tensor([1.0])) == sn.TensorSpec((1,))


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        (((-2, 3),), ShapeError, "negative"),
        (((None, 3),), ArgumentError, "a name, such as 'batch'"),
        (((-1, 3),), ArgumentError, "a name, such as 'batch'"),
        (((2.0, 3),), DTypeError, "2.0"),
        (((True, 3),), DTypeError, "True"),
        (({"a": 1},), ArgumentError, "tuple of sizes"),
        ((("", 3),), ArgumentError, "non-empty"),
        (((2,), "float13"), DTypeError, "float13"),
        (((2,), "float32", ""), ArgumentError, "name"),
        (((2,), "float32", 3), ArgumentError, "name"),
    ],
)
def test_specs_that_make_no_sense(args, error, words):
    with pytest.raises(error, match=words) as caught:
        sn.TensorSpec(*args)
    assert "test_trace.py" in str(caught.value)


# ---- inputs


def test_inputs_are_called_as_the_arguments():
    graph = sn.trace(lambda left, right: left + right, sn.TensorSpec(BATCH), sn.TensorSpec((3,), name="bias"))
    assert [node.op.label for node in graph.inputs] == ["left", "bias"]
    assert graph.symbols == ("batch",)


def test_nested_inputs():
    def function(pair, *, options):
        (a, b), scale = pair, options["scale"]
        return a * scale + b

    graph = sn.trace(function, (sn.TensorSpec(BATCH), [sn.TensorSpec(BATCH)][0]), options={"scale": sn.TensorSpec(())})
    assert [node.op.label for node in graph.inputs] == ["pair.0", "pair.1", "options.scale"]
    a, b = np.ones((2, 3), np.float32), np.full((2, 3), 5, np.float32)
    np.testing.assert_array_equal(run(graph, a, b, np.float32(2), batch=2), 2 * a + b)


def test_what_is_no_spec_is_passed_on():
    graph = sn.trace(lambda x, axis, keep: x.sum(axis, keep), sn.TensorSpec((2, 3)), 1, True)
    assert graph.outputs[0].shape == (2, 1)


def test_arrays_stand_for_their_specs():
    graph = sn.trace(lambda x: x + 1, np.zeros((2, 3), np.int32))
    assert repr(graph.inputs[0].type) == "i32[2, 3]"


def test_variadic_functions():
    graph = sn.trace(lambda first, *rest: sum(rest, first), *[sn.TensorSpec((2,))] * 3)
    assert [node.op.label for node in graph.inputs] == ["first", "rest0", "rest1"]


def test_inputs_that_are_not_used_stay():
    graph = sn.trace(lambda x, unused: x + 1, sn.TensorSpec((2,)), sn.TensorSpec((5,)))
    assert [node.op.label for node in graph.inputs] == ["x", "unused"]


def test_two_inputs_of_one_name():
    spec = sn.TensorSpec((2,), name="x")
    with pytest.raises(ArgumentError, match=r"two inputs .* 'x'"):
        sn.trace(lambda a, b: a + b, spec, spec)


def test_too_many_specs():
    with pytest.raises(ArgumentError, match="takes 1 inputs"):
        sn.trace(lambda x: x, sn.TensorSpec((2,)), sn.TensorSpec((2,)))


# ---- outputs


def named(x):
    y = x + 1
    y.name = "shifted"
    return y, x * 2, y * 3


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x + 1, ["output"]),
        (lambda x: x, ["output"]),
        (lambda x: (x + 1, x * 2), ["output", "output1"]),
        (named, ["shifted", "output1", "output2"]),
        (lambda x: {"loss": x.sum(), "grown": x * 2}, ["loss", "grown"]),
        (lambda x: {"a": [x, x + 1], "b": {"c": x}}, ["a.0", "a.1", "b.c"]),
        (lambda x: Pair(x, x + 1), ["output", "output1"]),
        (lambda x: (named(x)[0], named(x)[0]), ["shifted", "output1"]),
    ],
)
def test_names_and_structure_of_outputs(function, names):
    graph = sn.trace(function, sn.TensorSpec((2,)))
    assert list(graph.output_names) == names
    x = np.array([1, 2], np.float32)
    lazily = function(sn.tensor(x))
    traced = run(graph, x)
    assert type(traced) is (np.ndarray if isinstance(lazily, sn.Tensor) else type(lazily))
    for a, b in zip(trees.leaves(traced), trees.leaves(lazily), strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_arrays_and_lazy_tensors_may_be_returned():
    held = sn.tensor([7.0])
    graph = sn.trace(lambda x: (x, np.arange(3), held), sn.TensorSpec((2,)))
    _, count, seven = run(graph, np.zeros(2, np.float32))
    np.testing.assert_array_equal(count, [0, 1, 2])
    np.testing.assert_array_equal(seven, [7])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: None, "forget the `return`"),
        (lambda x: 3.0, "float"),
        (lambda x: (x, "text"), "at '1'"),
        (lambda x: {"a": {"b": None}}, r"at 'a\.b'"),
        (lambda x: (), "at least one tensor"),
    ],
)
def test_results_that_are_no_tensors(function, words):
    with pytest.raises(TraceError, match=words):
        sn.trace(function, sn.TensorSpec((2,)))


# ---- what stands in the graph


def test_names_reach_the_graph():
    def function(x):
        hidden = x.tanh()
        hidden.name = "hidden"
        return hidden * 2

    text = sn.trace(function, sn.TensorSpec(BATCH)).text()
    assert "graph function(" in text
    assert "%hidden = tanh(%x)" in text


def test_each_node_knows_its_line_and_module():
    class Inner(nn.Module):
        def forward(self, x):
            return x.exp()

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Inner(), Inner()])

        def forward(self, x):
            return sum(block(x) for block in self.blocks) + 1

    graph = sn.trace(Outer(), sn.TensorSpec(BATCH))
    places = {node.op.name: graph.origins[node][0] for node in graph.nodes if node in graph.origins}
    exps = [graph.origins[node][0].module for node in graph.nodes if node.op.name == "exp"]
    assert exps == ["blocks.0", "blocks.1"]
    assert places["exp"].source == "return x.exp()"
    assert places["exp"].short.startswith("test_trace.py:")
    assert places["add"].module == ""


def test_tensors_and_arrays_from_outside_are_constants():
    offset = np.array([1.0, 2.0, 3.0], np.float32)
    graph = sn.trace(lambda x: x + offset + sn.tensor([1.0]), sn.TensorSpec(BATCH))
    offset[:] = 0
    np.testing.assert_array_equal(run(graph, np.zeros((1, 3), np.float32), batch=1), [[2, 3, 4]])
    assert len(graph.inputs) == 1


def test_a_graph_without_inputs():
    graph = sn.trace(lambda: sn.ones((2,)) * 3)
    np.testing.assert_array_equal(run(graph), [3, 3])


def test_text_is_the_same_each_time():
    def function(x):
        return {"loss": sn.softmax(x @ np.ones((3, 2), np.float32)).sum(), "x": x}

    assert sn.trace(function, sn.TensorSpec(BATCH)).text() == sn.trace(function, sn.TensorSpec(BATCH)).text()


def test_a_trace_within_a_trace():
    inner = []

    def function(x):
        inner.append(sn.trace(lambda y: y * 2, sn.TensorSpec((5,))))
        return x + 1

    outer = sn.trace(function, sn.TensorSpec((2,)))
    assert [node.op.name for node in outer.nodes] == ["input", "constant", "add"]
    assert [node.op.name for node in inner[0].nodes] == ["input", "constant", "multiply"]


def test_a_failed_trace_leaves_nothing_open():
    with pytest.raises(ZeroDivisionError):
        sn.trace(lambda x: 1 // 0, sn.TensorSpec((2,)))
    assert float(sn.tensor(1.0) + 1) == 2


# ---- states


def test_states_in_order_of_first_use():
    a, b = nn.Parameter([1.0]), nn.Buffer([2.0])
    graph = sn.trace(lambda x: x * b + a + b, sn.TensorSpec((1,)))
    assert list(graph.states.values()) == [b.state, a.state]
    assert [node.op.kind for node in graph.inputs] == ["feed", "state", "state"]
    assert graph.updates == {}
    np.testing.assert_array_equal(run(graph, np.array([3], np.float32)), [9])


def test_updates():
    count, total = nn.Buffer(0), nn.Buffer([0.0, 0.0])

    def function(x):
        count.assign(count + 1)
        total.assign(total + x * count.astype(x.dtype))
        total.assign(total + 1)
        return total * 1

    graph = sn.trace(function, sn.TensorSpec((2,)))
    values = {graph.feeds[0]: np.array([1, 2], np.float32)}
    values.update({node: state.numpy() for node, state in graph.states.items()})
    new = {graph.states[node]: value for node, value in graph.updates.items()}
    counted, summed, returned = evaluate([new[count.state], new[total.state], graph.outputs[0]], values)
    assert counted == 1
    np.testing.assert_array_equal(summed, [2, 3])
    np.testing.assert_array_equal(returned, [2, 3])
    assert count.item() == 0


def test_a_state_may_be_swapped_with_another():
    a, b = nn.Buffer([1.0]), nn.Buffer([2.0])

    def swap(x):
        old = a + 0
        a.assign(b)
        b.assign(old)
        return x

    step = sn.compile(swap)
    step(np.zeros(1, np.float32))
    assert (a.item(), b.item()) == (2, 1)


@pytest.mark.parametrize("value", [np.zeros(3, np.float32), 1.0, np.zeros(2), np.zeros(2, np.int32)])
def test_updates_keep_the_type(value):
    buffer = nn.Buffer([0.0, 0.0])
    with pytest.raises(ShapeError, match=r"f32\[2\]"):
        sn.trace(lambda x: buffer.assign(sn.tensor(value)), sn.TensorSpec((2,)))


def test_random_numbers_in_a_trace():
    def function(x):
        return x + sn.random.rand(4), sn.random.randn(4)

    graph = sn.trace(function, sn.TensorSpec((4,)))
    streams = [node.op.stream for node in graph.nodes if node.op.name.startswith("random_")]
    assert streams == [0, 1]
    (node,) = graph.updates
    assert graph.states[node].name == "random.key"
    sn.manual_seed(5)
    step = sn.compile(function)
    x = np.zeros(4, np.float32)
    first, second = step(x), step(x)
    assert sn.random.get_state().tolist() == [5, 2]
    assert not np.array_equal(first[0], second[0])
    sn.manual_seed(5)
    for a, b in zip(step(x), first, strict=True):
        np.testing.assert_array_equal(a, b)
    sn.manual_seed(5)
    np.testing.assert_array_equal(sn.random.rand(4).numpy(), first[0])
