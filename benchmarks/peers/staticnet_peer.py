"""staticnet itself, as one of the sides."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticnet as sn
from benchmarks import workloads
from benchmarks.peers import OURS, Made, Side, Start
from benchmarks.workloads import ADAM_RATE, ROW, Network, Workload
from staticnet import nn, optim
from staticnet.summary import multiply_adds

PACKAGE = "staticnet"


def prepare(threads: int) -> None:
    """Limit the threads."""
    sn.config.num_threads = threads


def sides(workload: Workload, start: Start, quick: bool) -> Made:
    """The compiled form."""
    makers = {"train": _train, "infer": _infer, "stream": _stream, "function": _function}
    return {OURS: lambda: makers[workload.kind](workload, start)}


def first_weights(workload: Workload) -> dict[str, np.ndarray]:
    """The weights that all sides begin with."""
    sn.manual_seed(0)
    return workload.network.make().state_dict()


def flops(workload: Workload) -> int:
    """Operations in the products and convolutions of one call as traced, a multiply-add being two."""
    if workload.kind not in ("train", "infer"):
        return 0
    if workload.kind == "train":
        specs = [sn.TensorSpec(array.shape, array.dtype.name) for array in workloads.batches(workload)[0]]
        graph = train_step(workload.network, None, *specs)[1].graph
    else:
        graph = sn.trace(workload.network.make().eval(), sn.TensorSpec((workload.batch, *workload.network.sample)))
    return 2 * sum(int(multiply_adds(node)) for node in graph.nodes)


def train_step(network: Network, start: Start | None, *specs: Any) -> tuple[Any, Any]:
    """A model and its compiled training step."""
    model = _model(network, start)
    loss = nn.CrossEntropyLoss() if network.classes else nn.MSELoss()
    parameters = model.parameters()
    if network.optimizer == "Adam":
        optimizer: Any = optim.Adam(parameters, lr=network.lr)
    else:
        optimizer = optim.SGD(parameters, lr=network.lr, momentum=network.momentum)
    return model, sn.compile_train_step(model, loss, optimizer, *specs)


def _model(network: Network, start: Start | None) -> Any:
    model = network.make()
    if start is not None:
        model.load_state_dict(start)
    return model


def _train(workload: Workload, start: Start) -> Side:
    model, step = train_step(workload.network, start)
    return Side(lambda *batch: float(step(*batch)), workloads.batches(workload), model.state_dict)


def _infer(workload: Workload, start: Start) -> Side:
    return Side(sn.compile(_model(workload.network, start).eval()), workloads.batches(workload))


def _function(workload: Workload, start: Start) -> Side:
    return Side(sn.compile(FUNCTIONS[workload.subject]), workloads.batches(workload))


def _stream(workload: Workload, start: Start) -> Side:
    stream = AdamStream(start) if workload.subject == "adam" else Stream(start, FUNCTIONS[workload.subject])
    written = ("p",) if workload.subject == "adam" else ("y",)
    return Side(sn.compile(stream), [()], lambda: {name: getattr(stream, name).numpy() for name in written})


class Stream(nn.Module):
    """A function from one state to another: no array is copied in or out."""

    def __init__(self, start: Start, function: Any):
        super().__init__()
        self.x, self.y = nn.Buffer(start["x"]), nn.Buffer(start["y"])
        self.function = function

    def forward(self) -> Any:
        self.y.assign(self.function(self.x))
        return sn.ones(1)


class AdamStream(nn.Module):
    """The update of one parameter whose gradient is a state."""

    def __init__(self, start: Start):
        super().__init__()
        self.p, self.gradient = nn.Parameter(start["p"]), nn.Buffer(start["x"])
        self.optimizer = optim.Adam([self.p], lr=ADAM_RATE)

    def forward(self) -> Any:
        self.optimizer.update([self.p], [self.gradient])
        return sn.ones(1)


FUNCTIONS = {
    "softmax": lambda x: sn.softmax(x, axis=-1),
    "layer_norm": lambda x: sn.layer_norm(x, (ROW,)),
    "relu": sn.relu,
    "gelu": lambda x: sn.gelu(x, approximate="tanh"),
    "tanh": sn.tanh,
}
