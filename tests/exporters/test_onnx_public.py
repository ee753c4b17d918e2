"""`sn.onnx`: modules, functions and traced graphs become files, in eval mode and in one step."""

from __future__ import annotations

import os
import warnings

import numpy as np
import onnx
import pytest

import staticnet as sn
from staticnet import nn
from staticnet.compiler.errors import ArgumentError, ExportError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32))
        self.scale = nn.Parameter(np.array([1, 2, 3, 4], np.float32))
        self.bias = nn.Parameter(np.zeros(4, np.float32))
        self.running_mean = nn.Buffer(np.full(4, 0.5, np.float32))
        self.running_var = nn.Buffer(np.full(4, 2, np.float32))

    def forward(self, x):
        x = sn.conv2d(x, self.weight, padding=1)
        x, mean, var = sn.batch_norm(
            x, self.running_mean, self.running_var, self.scale, self.bias, training=self.training
        )
        if self.training:
            self.running_mean.assign(mean)
            self.running_var.assign(var)
        return sn.max_pool2d(sn.relu(x), 2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.head = nn.Linear(64, 10)

    def forward(self, image):
        return self.head(sn.flatten(self.block(image), 1))


IMAGES = sn.TensorSpec(("batch", 1, 8, 8), "float32", name="input")


@pytest.fixture
def net():
    return Net()


def test_a_module_is_exported_and_verified(tmp_path, net):
    path = tmp_path / "net.onnx"
    assert sn.onnx.export(net, (IMAGES,), path) == path
    report = sn.onnx.verify(path, net, batch=(1, 2, 7)).raise_for_status()
    assert [row.shape for row in report.rows] == [(1, 10), (2, 10), (7, 10)]
    model = onnx.load(path)
    assert [node.name for node in model.graph.node] == [
        "/block/Conv", "/block/BatchNormalization", "/block/Relu", "/block/MaxPool", "/Flatten", "/head/Gemm",
    ]  # fmt: skip
    assert {tensor.name for tensor in model.graph.initializer} == set(net.state_dict())
    assert model.graph.input[0].name == "input"
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_mode_of_each_module_is_what_it_was(tmp_path, net):
    net.block.eval()
    sn.onnx.export(net, IMAGES, tmp_path / "net.onnx")
    sn.onnx.verify(tmp_path / "net.onnx", net)
    assert (net.training, net.block.training, net.head.training) == (True, False, True)


def test_the_mode_is_what_it_was_after_an_error(tmp_path, net):
    with pytest.raises(ArgumentError):
        sn.onnx.export(net, IMAGES, tmp_path / "no" / "such" / "folder.onnx")
    with pytest.raises(Exception, match="conv2d"):
        sn.onnx.export(net, sn.TensorSpec(("batch", 2, 8, 8)), tmp_path / "net.onnx")
    assert net.training and net.block.training


def test_a_training_graph_becomes_an_inference_graph(tmp_path, net):
    net.train()
    graph = sn.trace(net, IMAGES)
    assert graph.updates
    path = sn.onnx.export(graph, tmp_path / "net.onnx")
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators == ["Conv", "BatchNormalization", "Relu", "MaxPool", "Flatten", "Gemm"]
    sn.onnx.verify(path, graph, batch=3).raise_for_status()


def test_a_graph_needs_no_specs(net):
    graph = sn.trace(net.eval(), IMAGES)
    with pytest.raises(ArgumentError, match="a traced graph knows its inputs"):
        sn.onnx.export(graph, IMAGES)


def test_without_a_path_there_is_the_model(net):
    model = sn.onnx.export(net, IMAGES, opset=20, ir_version=9, description="digits")
    assert (model.opset_import[0].version, model.ir_version, model.doc_string) == (20, 9, "digits")
    sn.onnx.verify(model, net, batch=2).raise_for_status()


def test_functions_with_several_inputs_and_results(tmp_path):
    def function(x, y):
        return {"sum": x + y, "parts": (x * 2, y)}

    specs = (sn.TensorSpec(("n", 3)), sn.TensorSpec(("n", 3)))
    path = sn.onnx.export(function, specs, tmp_path / "f.onnx")
    model = onnx.load(path)
    assert [value.name for value in model.graph.output] == ["sum", "parts.0", "parts.1"]
    sn.onnx.verify(path, lambda x, y: [x + y, x * 2, y]).raise_for_status()


def test_weights_are_those_of_the_moment(net):
    before = sn.onnx.export(net, IMAGES)
    net.head.bias.state.set(np.full(10, 7, np.float32))
    assert not sn.onnx.verify(before, net, batch=1).ok
    assert sn.onnx.verify(sn.onnx.export(net, IMAGES), net, batch=1).ok


def test_lost_updates_are_named():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = nn.Buffer(np.float32(0))

        def forward(self, x):
            self.calls.assign(self.calls + 1)
            return x * 2

    with pytest.warns(UserWarning, match="the updates of calls are not exported"):
        sn.onnx.export(Counter(), sn.TensorSpec((3,)))


def test_nothing_is_said_where_nothing_is_lost(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sn.onnx.export(net, IMAGES)


@pytest.mark.parametrize("model", [3, None, "model"])
def test_what_cannot_be_exported(model):
    with pytest.raises(ArgumentError, match="export takes a module, a function or a traced graph"):
        sn.onnx.export(model, IMAGES)


def test_specs_are_asked_for(net):
    with pytest.raises(ArgumentError, match="export needs the specs of the inputs"):
        sn.onnx.export(net, path="m.onnx")


def test_an_unwritable_path(tmp_path, net):
    with pytest.raises(ArgumentError, match="there is no folder"):
        sn.onnx.export(net, IMAGES, tmp_path / "missing" / "m.onnx")
    with pytest.raises(ArgumentError, match="is a folder"):
        sn.onnx.export(net, IMAGES, tmp_path)


def test_a_failed_export_leaves_the_old_file(tmp_path, net):
    path = tmp_path / "m.onnx"
    sn.onnx.export(net, IMAGES, path)
    before = path.read_bytes()
    with pytest.raises(ExportError):
        sn.onnx.export(net, IMAGES, path, opset=12)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.onnx"]


def test_verify_says_what_it_takes(tmp_path):
    with pytest.raises(ArgumentError, match="verify compares with a module, a traced graph or a function"):
        sn.onnx.verify(tmp_path / "m.onnx", 3)


def test_errors_show_the_users_line(net):
    with pytest.raises(ExportError) as caught:
        sn.onnx.export(net, IMAGES, opset=12)
    assert "test_onnx_public.py" in str(caught.value)
