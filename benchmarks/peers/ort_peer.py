"""ONNX Runtime: inference, and functions of one array, from the file that staticnet exports."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

import staticnet as sn
from benchmarks import workloads
from benchmarks.peers import Made, Side, Start
from benchmarks.peers.staticnet_peer import FUNCTIONS
from benchmarks.workloads import Workload

PACKAGE = "onnxruntime"
NAME = "ONNX Runtime"
_threads = 1


def prepare(threads: int) -> None:
    """Limit the threads of the sessions to come."""
    global _threads
    _threads = threads


def sides(workload: Workload, start: Start, quick: bool) -> Made:
    """One session; none for what trains."""
    if workload.kind == "train" or workload.subject == "adam":
        return {}
    return {NAME: lambda: _stream(workload, start) if workload.kind == "stream" else _call(workload, start)}


def _call(workload: Workload, start: Start) -> Side:
    batches = workloads.batches(workload)
    session = _session(_exported(workload, start, batches[0][0].shape))
    names = [output.name for output in session.get_outputs()]
    return Side(lambda x: session.run(names, {"x": x})[0], batches)


def _stream(workload: Workload, start: Start) -> Side:
    """From a bound array to a bound array: nothing is allocated in a call."""
    session = _session(_exported(workload, start, start["x"].shape))
    x, y = (onnxruntime.OrtValue.ortvalue_from_numpy(np.array(start[name])) for name in ("x", "y"))
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, y)
    return Side(lambda: session.run_with_iobinding(binding), [()], lambda: {"y": y.numpy()})


def _exported(workload: Workload, start: Start, shape: tuple[int, ...]) -> bytes:
    spec = sn.TensorSpec(shape, "float32", name="x")
    subject: Any = FUNCTIONS.get(workload.subject)
    if workload.kind == "infer":
        subject = workload.network.make().eval()
        subject.load_state_dict(start)
    model: Any = sn.onnx.export(subject, spec)
    return model.SerializeToString()


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = _threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
