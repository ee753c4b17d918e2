"""Every op can be written, or says why not; and what is refused is refused by name and line."""

from __future__ import annotations

import inspect

import numpy as np
import onnx
import pytest

from staticnet.compiler import ops  # noqa: F401  fills the registry
from staticnet.compiler.errors import ExportError
from staticnet.compiler.ir import REGISTRY, Op, Type, apply, has_rule
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.exporters.onnx import versions
from staticnet.exporters.onnx.dtypes import TAKES
from staticnet.exporters.onnx.export import to_model
from staticnet.exporters.onnx.lowering import CONDITIONS, LOWERING, NOT_EXPORTABLE, SINCE
from staticnet.exporters.onnx.windows import EXPANSIONS
from tests.exporters.onnx_models import feed, graph_of, model_of, state

#: what only the exporter makes
FUSED = {"gemm", "element"}


@pytest.mark.parametrize("name", [name for name, card in REGISTRY.items() if card.__module__.startswith("staticnet.")])
def test_every_op_has_a_form_an_expansion_or_a_reason(name):
    card = REGISTRY[name]
    has_form = name in LOWERING or card.onnx is not None or name in EXPANSIONS or has_rule(card, "expand")
    assert has_form != (name in NOT_EXPORTABLE)


@pytest.mark.parametrize("table", [LOWERING, CONDITIONS, SINCE, EXPANSIONS, NOT_EXPORTABLE])
def test_no_table_names_an_op_that_is_not_there(table):
    assert set(table) - FUSED <= set(REGISTRY)


def test_operators_that_the_tables_name_exist():
    named = {*TAKES, *(card.onnx for card in REGISTRY.values() if card.onnx)}
    assert {name for name in named if not onnx.defs.has(name)} == set()


# -- refusals ---------------------------------------------------------------------------------


def line_of(function) -> int:
    return inspect.getsourcelines(function)[1]


def test_an_unknown_op_is_named_with_its_line():
    class Mystery(Op):
        name = "mystery"

        def infer(self, x: Type) -> Type:
            return x

    def function(x):
        return F.exp(apply(Mystery(), x))

    try:
        with pytest.raises(ExportError, match="mystery has no ONNX form") as caught:
            model_of(function, feed(3))
    finally:
        del REGISTRY["mystery"]
    assert caught.value.origin.file == __file__
    assert caught.value.origin.line == line_of(function) + 1
    assert "apply(Mystery(), x)" in str(caught.value)


def test_random_numbers_are_refused_with_the_reason():
    def function(x, key):
        return F.dropout(x, key, 0.5)

    with pytest.raises(ExportError, match=r"random_mask cannot be exported to ONNX: .*Philox.* eval mode") as caught:
        model_of(function, feed(3), feed(2, dtype="uint64", label="key"))
    assert caught.value.origin.line == line_of(function) + 1


def test_dropout_that_does_not_train_is_nothing():
    model = model_of(
        lambda x, key: F.dropout(x, key, training=False) + 1, feed(3), feed(2, dtype="uint64", label="key")
    )
    assert [node.op_type for node in model.graph.node] == ["Add"]


def test_an_op_without_a_form_at_the_opset():
    def function(x, indices):
        return F.take(x, indices, 0).sum()

    from staticnet.compiler.autodiff import gradients

    x, indices = feed(3), feed(2, dtype="int64", label="indices")
    graph = graph_of(lambda x, indices: gradients([function(x, indices)], [x])[0], x, indices)
    assert to_model(graph, opset=16).graph.node
    with pytest.raises(ExportError, match="scatter_nd_add has no form at opset 15; take opset 16 or a later one"):
        to_model(graph, opset=15)


@pytest.mark.parametrize("opset", [12, 0, -1, 10_000])
def test_opsets_out_of_range_are_refused_with_the_range(opset):
    newest = versions.newest_opset()
    with pytest.raises(ExportError, match=rf"opset {opset} cannot be written: take one from 13 to {newest} \(onnx"):
        model_of(F.exp, feed(3), opset=opset)


@pytest.mark.parametrize("version", [6, 10_000])
def test_ir_versions_out_of_range_are_refused_with_the_range(version):
    with pytest.raises(ExportError, match=rf"ir_version {version} cannot be written: take one from 7 to "):
        model_of(F.exp, feed(3), ir_version=version)


@pytest.mark.parametrize("opset", ["18", 18.0, None, True])
def test_an_opset_is_a_whole_number(opset):
    with pytest.raises(ExportError, match="opset is a whole number, not "):
        model_of(F.exp, feed(3), opset=opset)


def test_the_newest_versions_are_honoured():
    opset, ir = versions.newest_opset(), versions.newest_ir()
    assert opset >= 21 and ir >= 10
    model = model_of(F.exp, feed(3), opset=opset, ir_version=ir)
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir)


def test_without_onnxruntime_onnx_alone_decides(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    versions.newest_opset.cache_clear()
    try:
        assert versions.newest_opset() == onnx.defs.onnx_opset_version()
        with pytest.raises(ExportError, match="knows no newer"):
            model_of(F.exp, feed(3), opset=10_000)
    finally:
        versions.newest_opset.cache_clear()


def test_more_than_a_file_holds():
    weight = state("table", 40_000, 20_000)
    # One row, seen from every place: the size counts, and nothing is allocated.
    array = np.broadcast_to(np.zeros(1, np.float32), weight.shape)
    with pytest.raises(ExportError, match=r"2\.98 GiB \(the largest: table 3052 MiB\).*less than 2 GiB"):
        to_model(graph_of(lambda x, w: x @ w, feed("n", 40_000), weight), {weight: array})


def test_a_state_without_an_array():
    x, weight = feed(3), state("layer.weight", 3)
    with pytest.raises(ExportError, match=r"no array was given for state 'layer\.weight'"):
        to_model(graph_of(lambda x, w: x + w, x, weight))


def test_a_state_of_another_type():
    x, weight = feed(3), state("w", 3)
    with pytest.raises(ExportError, match=r"state 'w' is f32\[3\] but its array is float64 of shape \(3,\)"):
        to_model(graph_of(lambda x, w: x + w, x, weight), {weight: np.zeros(3)})


def test_states_can_be_given_by_label():
    x, weight = feed(3), make_input("w", Type((3,), "float32"), "state")
    model = to_model(graph_of(lambda x, w: x + w, x, weight), {"w": np.ones(3, np.float32)})
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


# -- the checks see what they should see ------------------------------------------------------


def test_wrong_types_are_found():
    from staticnet.exporters.onnx.checks import check_model

    model = model_of(lambda x: F.exp(x) + 1, feed("n", 3))
    (name,) = [node.output[0] for node in model.graph.node if node.op_type == "Exp"]
    for wrong in (Type((5, 4), "float32"), Type((3,), "float32"), Type((5, 3), "float64")):
        with pytest.raises(ExportError, match=f"shape inference gives '{name}'"):
            check_model(model, {name: wrong})


def test_invalid_models_are_found():
    from staticnet.exporters.onnx.checks import check_model

    model = model_of(lambda x: F.exp(x), feed("n", 3))
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match="onnx checker"):
        check_model(model, {})
