"""What a model looks like: operators, names, one copy of each tensor, nothing left to simplify."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest

from staticnet.compiler.autodiff import gradients
from staticnet.compiler.ir import Graph
from staticnet.compiler.ops.base import F
from staticnet.compiler.origins import inside_module
from staticnet.exporters.onnx.export import to_model
from tests.exporters.onnx_models import assert_runs, constant, feed, graph_of, model_of, operators, run, state, text

# -- layers come out as themselves ------------------------------------------------------------


def classifier(x, weight, bias, scale, shift, mean, var, dense, out):
    with inside_module("features"):
        with inside_module("0"):
            x = F.conv2d(x, weight, bias, padding=1)
        with inside_module("1"):
            x = F.batch_norm(x, mean, var, scale, shift)[0]
        x = F.max_pool2d(F.relu(x), 2)
    with inside_module("classifier"):
        return F.linear(F.flatten(x, 1), dense, out)


def classifier_inputs():
    vectors = [state(f"features.1.{name}", 4) for name in ("weight", "bias", "running_mean", "running_var")]
    return (
        feed("batch", 1, 8, 8, label="image"),
        state("features.0.weight", 4, 1, 3, 3),
        state("features.0.bias", 4),
        *vectors,
        state("classifier.weight", 10, 64),
        state("classifier.bias", 10),
    )


def test_a_small_network_as_text():
    model = model_of(classifier, *classifier_inputs(), names=["logits"])
    assert text(model) == textwrap.dedent("""\
        graph (float[batch,1,8,8] image) => (float[batch,10] logits) {
           ["/features/0/Conv"] "/features/0/Conv_output_0" = Conv <kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]> (image, "features.0.weight", "features.0.bias")
           ["/features/1/BatchNormalization"] "/features/1/BatchNormalization_output_0" = BatchNormalization <epsilon: float = 1e-05> ("/features/0/Conv_output_0", "features.1.weight", "features.1.bias", "features.1.running_mean", "features.1.running_var")
           ["/features/Relu"] "/features/Relu_output_0" = Relu ("/features/1/BatchNormalization_output_0")
           ["/features/MaxPool"] "/features/MaxPool_output_0" = MaxPool <kernel_shape: ints = [2, 2], strides: ints = [2, 2]> ("/features/Relu_output_0")
           ["/classifier/Flatten"] "/classifier/Flatten_output_0" = Flatten <axis: int = 1> ("/features/MaxPool_output_0")
           ["/classifier/Gemm"] logits = Gemm <transB: int = 1> ("/classifier/Flatten_output_0", "classifier.weight", "classifier.bias")
        }""")  # fmt: skip  # noqa: E501


def test_versions_and_producer_are_stated():
    model = model_of(F.exp, feed(3))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert (model.ir_version, model.producer_name) == (10, "staticnet")
    assert model.producer_version
    assert not model.HasField("doc_string")
    assert model_of(F.exp, feed(3), description="of three").doc_string == "of three"


@pytest.mark.parametrize("opset", range(13, 22))
def test_every_opset_is_honoured(opset):
    def function(x):
        y = F.sum(F.clip(x, 0, 1), axis=1, keepdims=True) + F.max(x, axis=0) + F.mean(x, axis=1, keepdims=True)
        return F.split(F.pad(y, 1), 2, axis=1)[0]

    model = assert_runs(function, feed("n", 4), binding={"n": 4}, opset=opset)
    assert model.opset_import[0].version == opset


@pytest.mark.parametrize(
    ("function", "shape", "wanted"),
    [
        (lambda x: F.softmax(x), ("n", 4), ["Softmax"]),
        (lambda x: F.log_softmax(x, 1), ("n", 4, 3), ["LogSoftmax"]),
        (lambda x: F.logsumexp(x, 1), ("n", 4), ["ReduceLogSumExp"]),
        (lambda x: F.clip(x, -1, 1), ("n", 4), ["Clip"]),
        (lambda x: F.avg_pool2d(x, 2), ("n", 2, 4, 4), ["AveragePool"]),
        (lambda x: F.adaptive_avg_pool2d(x, 1), ("n", 2, 4, 4), ["GlobalAveragePool"]),
        (lambda x: F.flatten(F.adaptive_avg_pool2d(x, 1), 1), ("n", 2, 4, 4), ["GlobalAveragePool", "Flatten"]),
        (lambda x: F.mean(x, axis=(2, 3)), ("n", 2, 4, 4), ["ReduceMean"]),
        (lambda x: F.leaky_relu(x, 0.2), ("n", 4), ["LeakyRelu"]),
        (lambda x: F.elu(x, 0.5), ("n", 4), ["Elu"]),
        (lambda x: F.elu(x), ("n", 4), ["Elu"]),
        (lambda x: F.silu(x), ("n", 4), ["Sigmoid", "Mul"]),
        (lambda x: x[:, 2], ("n", 4), ["Gather"]),
        (lambda x: x[..., ::-1], ("n", 4), ["Slice"]),
        (lambda x: F.concat([x, x], 1), ("n", 4), ["Concat"]),
        (lambda x: F.transpose(x), ("n", 4), ["Transpose"]),
        (lambda x: F.expand_dims(x, 1), ("n", 4), ["Reshape"]),
        (lambda x: F.expand_dims(x, 1), ("n", "m", "k"), ["Unsqueeze"]),
        (lambda x: F.squeeze(x, 1), ("n", 1, "m", "k"), ["Squeeze"]),
        (lambda x: F.stop_gradient(x) + 1, ("n", 4), ["Add"]),
        (lambda x: F.where(x > 0, x, 0), ("n", 4), ["Greater", "Where"]),
    ],
)
def test_ops_with_a_form_come_out_as_it(function, shape, wanted):
    model = assert_runs(function, feed(*shape), binding={"n": 3, "m": 2, "k": 5})
    assert operators(model) == wanted


def test_gelu_is_one_operator_where_the_opset_has_it():
    for approximate in ("none", "tanh"):
        later = assert_runs(lambda x, a=approximate: F.gelu(x, a), feed(9), opset=20)
        assert operators(later) == ["Gelu"]
        before = assert_runs(lambda x, a=approximate: F.gelu(x, a), feed(9), opset=19)
        assert "Gelu" not in operators(before)


def test_convolution_attributes():
    def function(x):
        weight = np.random.default_rng(0).standard_normal((6, 2, 3, 2)).astype(np.float32)
        return F.conv2d(x, weight, stride=(2, 1), padding=((1, 0), (2, 1)), dilation=(1, 2), groups=2)

    model = assert_runs(function, feed("n", 4, 9, 8), binding={"n": 2})
    (node,) = model.graph.node
    attributes = {a.name: list(a.ints) or a.i for a in node.attribute}
    assert attributes == {
        "kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 2, 0, 1], "dilations": [1, 2], "group": 2,
    }  # fmt: skip


# -- products ---------------------------------------------------------------------------------


def test_linear_is_one_gemm_and_keeps_the_weight_as_it_lies():
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    model = model_of(F.linear, feed("n", 4), state("w", 3, 4), state("b", 3), states={"w": weight})
    assert operators(model) == ["Gemm"]
    np.testing.assert_array_equal(constant(model, "w"), weight)


def test_a_product_with_a_bias_is_a_gemm():
    function = lambda x, w, b: b + x @ w  # noqa: E731
    model = model_of(function, feed("n", 4), state("w", 4, 3), state("b", 3))
    assert operators(model) == ["Gemm"]
    assert not model.graph.node[0].attribute


def test_a_product_of_matrices_is_a_matmul():
    assert operators(model_of(lambda x, w: x @ w, feed("n", 4), state("w", 4, 3))) == ["MatMul"]


def test_a_bias_that_would_grow_the_product_stays_apart():
    model = assert_runs(lambda x, y, b: x @ y + b, feed(1, 4), feed(4, 3, label="y"), feed(5, 3, label="b"))
    assert operators(model) == ["MatMul", "Add"]


def test_a_product_that_is_needed_twice_stays_apart():
    def function(x, w, b):
        product = x @ w
        return product + b, product

    assert operators(model_of(function, feed("n", 4), state("w", 4, 3), state("b", 3))) == ["MatMul", "Add"]


def test_integers_have_no_gemm():
    x, y, b = feed(2, 3, dtype="int32"), feed(3, 2, dtype="int32", label="y"), feed(2, dtype="int32", label="b")
    assert operators(assert_runs(lambda x, y, b: x @ y + b, x, y, b)) == ["MatMul", "Add"]


def test_of_more_axes_the_weight_is_transposed_once():
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    model = model_of(F.linear, feed("n", 5, 4), state("w", 3, 4), state("b", 3), states={"w": weight})
    assert operators(model) == ["MatMul", "Add"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w.transpose", "b"]
    np.testing.assert_array_equal(constant(model, "w.transpose"), weight.T)


def test_a_large_tied_weight_is_there_once():
    def function(tokens, table):
        return F.take(table, tokens, axis=0) @ F.transpose(table)

    model = model_of(function, feed("n", 7, dtype="int64"), state("table", 100, 64))
    assert operators(model) == ["Gather", "Transpose", "MatMul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["table"]


# -- tensors ----------------------------------------------------------------------------------


def test_equal_constants_are_one():
    model = model_of(lambda x: (x + 2.5) * 2.5 - F.clip(x, 0, 2.5), feed(3))
    values = [onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer]
    assert sorted(values) == [0.0, 2.5]


def test_states_of_equal_content_stay_apart():
    zeros = np.zeros(3, np.float32)
    model = model_of(
        lambda x, a, b: (x + a) * b, feed(3), state("a", 3), state("b", 3), states={"a": zeros, "b": zeros}
    )
    assert [tensor.name for tensor in model.graph.initializer] == ["a", "b"]


def test_what_the_outputs_do_not_need_is_not_there():
    model = model_of(lambda x, a, b: x + b, feed(3), state("a", 3), state("b", 3))
    assert [tensor.name for tensor in model.graph.initializer] == ["b"]


def test_computations_on_constants_are_done():
    model = assert_runs(lambda x: x * F.sqrt(F.constant(np.full(3, 4.0, np.float32)) + 5), feed(3))
    assert operators(model) == ["Mul"]


def test_computations_on_states_are_done():
    weight, size = np.array([3, 4], np.float32), np.array([10], np.float32)
    function = lambda x, v, g: x * (v * (g / F.sqrt(F.sum(v * v))))  # noqa: E731
    model = model_of(function, feed(2), state("v", 2), state("g", 1), states={"v": weight, "g": size})
    assert operators(model) == ["Mul"]
    (result,) = run(model, np.ones(2, np.float32))
    np.testing.assert_allclose(result, [6, 8], rtol=1e-6)


def test_a_large_result_of_a_small_constant_is_not_stored():
    model = assert_runs(lambda x: F.concat([x, F.zeros((100, 100))], 0), feed("n", 100), binding={"n": 1})
    assert operators(model) == ["Expand", "Concat"]


def test_nothing_is_left_to_simplify():
    def function(x):
        x = F.transpose(F.transpose(F.reshape(F.reshape(x, (-1, 2, 3)), (-1, 6))))
        x = F.cast(F.cast(F.identity(x), "float64"), "float32") * 1
        x = F.relu(F.relu(x))
        return F.negative(F.negative(x + F.broadcast_to(F.constant([1.0, 2, 3, 4, 5, 6]), x.shape)))

    assert operators(assert_runs(function, feed("n", 6), binding={"n": 2})) == ["Relu", "Add"]


def test_batch_norm_statistics_come_out_as_they_went_in():
    x, mean, var = feed("n", 3), feed(3, label="mean"), feed(3, label="var")
    arrays = [np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32), np.ones(3, np.float32)]
    model = assert_runs(lambda x, m, v: F.batch_norm(x, m, v), x, mean, var, arrays=arrays, binding={"n": 2})
    assert operators(model)[0] == "BatchNormalization"


# -- inputs, outputs, names -------------------------------------------------------------------


def test_outputs_that_are_inputs_constants_or_each_other():
    x = np.ones(3, np.float32)
    model = model_of(lambda x: (x, F.constant(np.arange(2)), x + 1, x + 1, x), feed(3))
    results = run(model, x)
    assert [result.tolist() for result in results] == [[1] * 3, [0, 1], [2] * 3, [2] * 3, [1] * 3]
    assert operators(model).count("Add") == 1


def test_an_input_that_nothing_reads_stays():
    model = model_of(lambda x, y: y, feed(3), feed(4, label="y"))
    assert [value.name for value in model.graph.input] == ["x", "y"]


HOSTILE = ['a"b', "new\nline", "nul\0", "\ud800", "", "a/b.c", "日本 🙂", "}", "{}", "a\tb", "\\", "' or 1"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_make_valid_files(name):
    node, weight = feed("n", 2, label=name), state(name, 2)
    graph = graph_of(lambda x, w: x * w + 1, node, weight, names=[name])
    model = to_model(graph, {weight: np.ones(2, np.float32)})
    onnx.checker.check_model(onnx.load_from_string(model.SerializeToString()), full_check=True)
    names = [
        *(value.name for value in (*model.graph.input, *model.graph.output)),
        *(tensor.name for tensor in model.graph.initializer),
    ]
    assert len(set(names)) == len(names) and all(names)
    assert all(character.isprintable() for name in names for character in name)
    (result,) = run(model, np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(result, 2)


def test_names_that_need_no_change_get_none():
    plain = "my layer/x.y: 'z' \"ü\" \\"
    assert model_of(F.exp, feed(2, label=plain)).graph.input[0].name == plain


@pytest.mark.parametrize("name", ["my batch", "2*n", "n + 1", "größe", "a'b"])
def test_sizes_keep_their_names(name):
    model = assert_runs(F.exp, feed(name, 2), binding={"n": 2, "my batch": 3, "größe": 1, "a'b": 4})
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == name


def test_values_keep_the_names_that_the_user_gave():
    def function(x):
        from staticnet.compiler.ir import current_builder

        hidden = F.exp(x)
        current_builder().names[hidden] = "hidden"
        return F.log(hidden + 1)

    assert model_of(function, feed(2)).graph.node[0].output == ["hidden"]


def test_nodes_carry_their_line():
    model = model_of(lambda x: F.exp(x), feed(2))
    assert model.graph.node[0].doc_string.startswith("test_onnx_export.py:")


# -- the whole file ---------------------------------------------------------------------------

SCRIPT = """
import hashlib
from tests.exporters.test_onnx_export import classifier, classifier_inputs
from tests.exporters.onnx_models import model_of
print(hashlib.sha256(model_of(classifier, *classifier_inputs()).SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_same_bytes_in_every_process():
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=root, check=True,
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(root)},
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(digests) == 1


def test_updates_are_not_exported():
    x, count = feed(3), state("count")
    graph = graph_of(lambda x, count: x + count, x, count)
    (total,) = graph.outputs
    with_update = Graph(graph.inputs, [total], updates={count: F.sum(total)}, names=graph.names)
    model = to_model(with_update, {count: np.float32(2)})
    assert [value.name for value in model.graph.output] == ["output"]
    assert operators(model) == ["Add"]


def test_a_long_chain():
    def function(x):
        for _ in range(3000):
            x = F.sin(x)
        return x

    assert len(model_of(function, feed(2)).graph.node) == 3000


def test_a_training_step_with_its_gradients():
    def step(image, label, weight, bias, scale, shift, mean, var, dense):
        x = F.conv2d(image, weight, bias, padding=1)
        x = F.batch_norm(x, mean, var, scale, shift, training=True)[0]
        x = F.max_pool2d(F.relu(x), 2)
        loss = F.cross_entropy(F.linear(F.flatten(x, 1), dense), label)
        return loss, *gradients([loss], [weight, bias, scale, shift, dense])

    vectors = [feed(4, label=name) for name in ("bias", "scale", "shift", "mean", "var")]
    inputs = [feed("n", 1, 8, 8), feed("n", dtype="int64", label="y"), feed(4, 1, 3, 3, label="w"), *vectors]
    assert_runs(step, *inputs, feed(10, 64, label="dense"), binding={"n": 5}, rtol=1e-4)
