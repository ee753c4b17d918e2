"""A batch norm that keeps no running statistics normalises by the batch, in an ONNX file too."""

import pytest

import staticnet as sn
from staticnet import nn

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("training", [False, True])
def test_without_running_statistics(training):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)).train(training)
    spec = sn.TensorSpec(("batch", 3, 4, 4), name="x")
    made = sn.onnx.export(model, spec)
    sn.onnx.verify(made, model, batch=(1, 2, 7)).raise_for_status()
    assert [node.op_type for node in made.graph.node].count("BatchNormalization") == 1


def test_of_a_training_graph():
    """Running statistics that are kept are used, also where the graph was traced in training mode."""
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    graph = sn.trace(model, sn.TensorSpec(("batch", 3), name="x"))
    sn.onnx.verify(sn.onnx.export(graph), model.eval(), batch=(2, 7)).raise_for_status()
