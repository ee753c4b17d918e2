"""The summary table: rows, totals and text, from graphs alone."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler.ir import Builder, Graph, Type, building
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.origins import inside_module
from staticnet.nn.parameter import Buffer, Parameter
from staticnet.summary import multiply_adds, parameters_of, summarize, trainable_of
from staticnet.tracing import TracedGraph


class Model:
    """Nodes in modules, collected with their side tables."""

    def __init__(self):
        self.builder = Builder()
        self.states: list = []
        self.batch = dims.symbol("batch")

    def state(self, name: str, *shape: int, dtype: str = "float32"):
        self.states.append(make_input(name, Type(shape, dtype), "state"))
        return self.states[-1]

    def graph(self, inputs, outputs, *, updates=None, kind=Graph, **more):
        tables = {"names": self.builder.names, "origins": self.builder.origins}
        return kind([*inputs, *self.states], outputs, updates=updates, name="model", **tables, **more)


def cnn(kind=Graph, **more) -> Graph:
    model = Model()
    with building(model.builder):
        x = make_input("input", Type((model.batch, 1, 8, 8), "float32"))
        with inside_module("features"):
            with inside_module("0"):
                h = F.conv2d(x, model.state("features.0.weight", 16, 1, 3, 3), padding=1)
                h = h + F.reshape(model.state("features.0.bias", 16), (16, 1, 1))
            with inside_module("1"):
                h = F.relu(h)
            with inside_module("2"):
                h = F.max_pool2d(h, 2)
        h = F.reshape(h, (model.batch, 256))
        with inside_module("head"):
            h = F.matmul(h, model.state("head.weight", 256, 10)) + model.state("head.bias", 10)
    return model.graph([x], [h], kind=kind, **more)


def test_a_row_for_each_module_and_each_op_outside():
    rows = summarize(cnn()).rows
    assert [row.name for row in rows] == ["features.0", "features.1", "features.2", "reshape", "head"]
    assert [row.op for row in rows] == ["conv2d, reshape, add", "relu", "max_pool2d", "reshape", "matmul, add"]


def test_shapes_keep_the_names_of_symbolic_sizes():
    rows = summarize(cnn()).rows
    assert str(rows[0].output_shape) == "(Dim('batch'), 16, 8, 8)"
    assert [row.dtype for row in rows] == ["float32"] * 5
    assert str(rows[0].output_bytes) == "4096*batch" and str(rows[-1].output_bytes) == "40*batch"


def test_parameters():
    summary = summarize(cnn())
    assert [row.parameters for row in summary.rows] == [16 * 9 + 16, 0, 0, 0, 2560 + 10]
    assert summary.total_parameters == 2730 and summary.trainable_parameters == 2730
    assert summary.parameter_bytes == 4 * 2730


def test_multiply_adds():
    summary = summarize(cnn())
    assert [str(row.macs) for row in summary.rows] == ["9216*batch", "0", "0", "0", "2560*batch"]
    assert str(summary.total_macs) == "11776*batch"


def test_fixed_sizes_give_numbers():
    x = make_input("x", Type((4, 8), "float64"))
    w = make_input("w", Type((8, 3), "float64"), "state")
    summary = summarize(Graph([x, w], [F.tanh(F.matmul(x, w))]))
    assert summary.total_macs == 4 * 8 * 3 and summary.activation_bytes == 2 * 4 * 3 * 8
    assert summary.parameter_bytes == 24 * 8


def test_multiply_adds_of_groups_and_of_ops_without_any():
    x = make_input("x", Type((2, 4, 5, 5), "float32"))
    w = make_input("w", Type((8, 2, 3, 3), "float32"), "state")
    assert multiply_adds(F.conv2d(x, w, groups=2)) == 2 * 8 * 3 * 3 * 2 * 3 * 3
    assert multiply_adds(F.exp(x)) == 0


def test_activation_bytes_leave_out_views_and_inputs():
    x = make_input("x", Type((2, 3), "float32"))
    y = F.exp(F.transpose(F.reshape(x, (3, 2))))
    assert summarize(Graph([x], [y])).activation_bytes == 24


def test_a_tied_weight_counts_once():
    model = Model()
    with building(model.builder):
        x = make_input("x", Type((2, 4), "float32"))
        w = model.state("embed.weight", 4, 4)
        with inside_module("embed"):
            h = F.matmul(x, w)
        with inside_module("head"):
            h = F.matmul(h, F.transpose(w))
    summary = summarize(model.graph([x], [h]))
    assert [row.parameters for row in summary.rows] == [16, 0] and summary.total_parameters == 16


def test_a_module_called_twice_is_one_row():
    model = Model()
    with building(model.builder):
        h = x = make_input("x", Type((2, 4), "float32"))
        w = model.state("layer.weight", 4, 4)
        for _ in range(2):
            with inside_module("layer"):
                h = F.matmul(h, w)
            with inside_module("act"):
                h = F.tanh(h)
    rows = summarize(model.graph([x], [h])).rows
    assert [(row.name, row.op, row.macs, row.parameters) for row in rows] == [
        ("layer", "matmul ×2", 64, 16),
        ("act", "tanh ×2", 0, 0),
    ]
    assert rows[0].output_bytes == 2 * 32, "both values leave the module"


def test_updates_are_no_layers():
    model = Model()
    with building(model.builder):
        x = make_input("x", Type((2, 4), "float32"))
        w, rate = model.state("w", 4, 4), model.state("lr")
        with inside_module("layer"):
            y = F.matmul(x, w)
        with inside_module("optimizer"):
            new = w - rate * w
    rows = summarize(model.graph([x], [y], updates={w: new})).rows
    assert [row.name for row in rows] == ["layer"]


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_counts_weights_and_no_statistics(training):
    model = Model()
    with building(model.builder):
        x = make_input("x", Type((model.batch, 3, 2, 2), "float32"))
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, scale, bias = (model.state(f"norm.{name}", 3) for name in names)
        with inside_module("norm"):
            y, new_mean, new_var = F.batch_norm(x, mean, var, scale, bias, training=training)
        with inside_module("act"):
            z = F.relu(y)
    summary = summarize(model.graph([x], [z], updates={mean: new_mean, var: new_var} if training else {}))
    assert summary.rows[0].output_shape == x.shape and str(summary.rows[0].output_bytes) == "48*batch"
    assert summary.rows[0].parameters == 6


# -- states that know their owners ------------------------------------------------------------


def owned(owners: dict[str, object]) -> TracedGraph:
    """The CNN as a traced graph whose states belong to the given parameters and buffers."""

    class OwnedState:
        def __init__(self, owner):
            self.owner = weakref.ref(owner)

    plain = cnn()
    states = {n: OwnedState(owners[plain.names[n]]) for n in plain.inputs if plain.names[n] in owners}
    return TracedGraph(
        plain.inputs, plain.outputs, names=plain.names, origins=plain.origins, states=states, results=0, name="model"
    )


def test_buffers_and_frozen_parameters_are_told_apart():
    owners = {
        "features.0.weight": Parameter(np.zeros((16, 1, 3, 3), np.float32), requires_grad=False),
        "features.0.bias": Buffer(np.zeros(16, np.float32)),
        "head.weight": Parameter(np.zeros((256, 10), np.float32)),
        "head.bias": Parameter(np.zeros(10, np.float32)),
    }
    graph = owned(owners)
    summary = summarize(graph)
    assert summary.total_parameters == 144 + 2570 and summary.trainable_parameters == 2570
    assert summary.rows[0].parameters == 144 and summary.rows[0].trainable_parameters == 0
    assert "2,714 (2,570 trainable, 144 frozen)" in str(summary)
    names = [graph.names[node] for node in parameters_of(graph)]
    assert names == ["features.0.weight", "head.weight", "head.bias"]
    assert [graph.names[node] for node in trainable_of(graph, parameters_of(graph))] == ["head.weight", "head.bias"]


def test_integer_states_without_owner_are_no_parameters():
    model = Model()
    with building(model.builder):
        x = make_input("x", Type((2,), "float32"))
        y = x * F.cast(model.state("count", dtype="int64"), "float32")
    assert summarize(model.graph([x], [y])).total_parameters == 0


# -- text -------------------------------------------------------------------------------------


def test_the_text_is_an_aligned_table():
    text = str(summarize(cnn()))
    assert text == summarize(cnn()).text()
    lines = text.splitlines()
    assert lines[0] == "model"
    table = [line for line in lines[2:10] if not line.startswith("-")]
    ends = [line.index("output shape") for line in table[:1]] + [line.index("float32") for line in table[1:]]
    assert len(set(ends)) == 1, "columns start at one place"
    assert {len(line) for line in table} == {len(lines[1])}, "numbers end at one place"
    assert "parameters        2,730" in lines and "multiply-adds     11776*batch" in lines
    assert "float32 (batch, 16, 8, 8)" in text and "9216*batch" in text


def test_long_names_are_cut_in_the_table_only():
    model = Model()
    name = ".".join(["a_rather_long_module"] * 5)
    with building(model.builder), inside_module(name):
        x = make_input("x", Type((2,), "float32"))
        y = F.exp(x)
    summary = summarize(model.graph([x], [y]))
    assert summary.rows[0].name == name and max(map(len, str(summary).splitlines())) < 140


def test_an_empty_graph():
    x = make_input("x", Type((2,), "float32"))
    summary = summarize(Graph([x], [x]))
    assert summary.rows == () and summary.total_macs == 0 and "parameters        0" in str(summary)


@pytest.mark.parametrize("length", [10_000])
def test_a_long_chain(length):
    model = Model()
    with building(model.builder):
        x = y = make_input("x", Type((2,), "float32"))
        for step in range(length):
            with inside_module(f"block{step // 100}"):
                y = F.tanh(y)
    summary = summarize(model.graph([x], [y]))
    assert len(summary.rows) == length // 100 and summary.activation_bytes == 8 * length
