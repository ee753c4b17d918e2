"""PyTorch: eager, eager with channels last, and torch.compile; optimisers in their fused form, which is the fastest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import workloads
from benchmarks.peers import Made, Side, Start
from benchmarks.peers.torch_models import MODELS
from benchmarks.workloads import ADAM_RATE, ROW, Network, Workload

PACKAGE = "torch"
EAGER, CHANNELS_LAST, COMPILED = "PyTorch", "PyTorch channels_last", "torch.compile"


def prepare(threads: int) -> None:
    """Limit the threads."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


def sides(workload: Workload, start: Start, quick: bool) -> Made:
    """Eager; channels last for images; compiled where the compiler takes it, unless `quick`."""
    if workload.kind == "stream":
        return {EAGER: lambda: _stream(workload, start)}
    if workload.kind == "function":
        function = FUNCTIONS[workload.subject]
        if quick:
            return {EAGER: lambda: _function(workload, function)}
        compiled = torch.compile(function, dynamic=False)
        return {EAGER: lambda: _function(workload, function), COMPILED: lambda: _function(workload, compiled)}
    make = {"train": train, "infer": infer}[workload.kind]
    made: Made = {EAGER: partial(make, workload, start)}
    is_image = len(workload.network.sample) == 3
    if is_image:
        made[CHANNELS_LAST] = partial(make, workload, start, channels_last=True)
    if not quick and workload.subject != "lstm":  # its compiler leaves nn.LSTM to the eager kernels
        made[COMPILED] = partial(make, workload, start, channels_last=is_image, compiled=True)
    return made


def train(workload: Workload, start: Start, channels_last: bool = False, compiled: bool = False) -> Side:
    """Forward, loss, backward and update; the loss as a float."""
    network = workload.network
    model = _placed(_model(workload.subject, start), channels_last).train()
    loss_of = nn.CrossEntropyLoss() if network.classes else nn.MSELoss()
    optimizer = _optimizer(network, model)

    def forward(inputs: Any, targets: Any) -> Any:
        return loss_of(model(inputs), targets)

    # One size, known when it is compiled: the compiler's best case.
    loss_from = torch.compile(forward, dynamic=False) if compiled else forward

    def step(inputs: Any, targets: Any) -> float:
        optimizer.zero_grad()
        loss = loss_from(inputs, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    def states() -> dict[str, np.ndarray]:
        return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}

    return Side(step, _tensors(workload, channels_last), states)


def infer(workload: Workload, start: Start, channels_last: bool = False, compiled: bool = False) -> Side:
    """The forward pass of the model in evaluation mode."""
    model = _placed(_model(workload.subject, start), channels_last).eval()
    if compiled:
        # Freezing makes the weights constants, so that their layout and batch norm are settled at compile time.
        model = torch.compile(model, dynamic=False, options={"freezing": True})

    def call(inputs: Any) -> Any:
        # Freezing asks for no_grad; for eager code inference_mode is the cheaper one.
        with torch.no_grad() if compiled else torch.inference_mode():
            return model(inputs)

    return Side(call, _tensors(workload, channels_last))


def _model(subject: str, start: Start) -> Any:
    model = MODELS[subject]()
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in start.items()})
    return model


def _placed(model: Any, channels_last: bool) -> Any:
    return model.to(memory_format=torch.channels_last) if channels_last else model


def _optimizer(network: Network, model: Any) -> Any:
    if network.optimizer == "Adam":
        return torch.optim.Adam(model.parameters(), lr=network.lr, fused=True)
    return torch.optim.SGD(model.parameters(), lr=network.lr, momentum=network.momentum, fused=True)


def _tensors(workload: Workload, channels_last: bool = False) -> list[tuple[Any, ...]]:
    def tensor(array: np.ndarray) -> Any:
        made = torch.from_numpy(array)
        return made.contiguous(memory_format=torch.channels_last) if channels_last and made.ndim == 4 else made

    return [tuple(map(tensor, batch)) for batch in workloads.batches(workload)]


def _function(workload: Workload, function: Callable[[Any], Any]) -> Side:
    def call(x: Any) -> Any:
        with torch.no_grad():
            return function(x)

    return Side(call, _tensors(workload))


def _stream(workload: Workload, start: Start) -> Side:
    if workload.subject == "adam":
        return _adam_stream(start)
    x, y = torch.from_numpy(start["x"]), torch.zeros(start["y"].shape)
    call = STREAMS[workload.subject]
    return Side(lambda: call(x, y), [()], lambda: {"y": y.numpy()})


def _adam_stream(start: Start) -> Side:
    parameter = torch.nn.Parameter(torch.from_numpy(start["p"].copy()))
    parameter.grad = torch.from_numpy(start["x"])
    optimizer = torch.optim.Adam([parameter], lr=ADAM_RATE, fused=True)
    return Side(optimizer.step, [()], lambda: {"p": parameter.detach().numpy()})


def _layer_norm(x: Any, y: Any) -> None:
    mean, deviation = torch.empty((*x.shape[:-1], 1)), torch.empty((*x.shape[:-1], 1))
    torch.ops.aten.native_layer_norm.out(x, [ROW], None, None, 1e-5, out0=y, out1=mean, out2=deviation)


STREAMS = {
    "softmax": lambda x, y: torch.softmax(x, -1, out=y),
    "layer_norm": _layer_norm,
    "relu": lambda x, y: torch.clamp_min(x, 0, out=y),
}
FUNCTIONS = {"gelu": lambda x: F.gelu(x, approximate="tanh"), "tanh": torch.tanh}
