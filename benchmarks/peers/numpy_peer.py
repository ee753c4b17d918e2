"""Plain NumPy, written by hand with care: the perceptrons, and the functions of one array without needless copies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import workloads
from benchmarks.peers import Made, Side, Start
from benchmarks.workloads import ADAM_RATE, Network, Workload

PACKAGE = "numpy"
NAME = "NumPy"
Array = np.ndarray


def prepare(threads: int) -> None:
    """Nothing: the threads of its products were limited before NumPy was imported."""


def sides(workload: Workload, start: Start, quick: bool) -> Made:
    """Nothing for convolutions and the LSTM."""
    if workload.kind == "stream":
        return {NAME: lambda: _adam_stream(start) if workload.subject == "adam" else _stream(workload, start)}
    if workload.kind == "function":
        return {NAME: lambda: Side(FUNCTIONS[workload.subject], workloads.batches(workload))}
    if workload.subject not in ACTIVATIONS:
        return {}
    return {NAME: lambda: _perceptron(workload, start)}


# ---- one hidden layer


def _perceptron(workload: Workload, start: Start) -> Side:
    weights = {name: np.array(value) for name, value in start.items()}
    activate, slope = ACTIVATIONS[workload.subject]

    def hidden(x: Array) -> Array:
        return activate(x @ weights["0.weight"].T + weights["0.bias"])

    def logits(y: Array) -> Array:
        return y @ weights["2.weight"].T + weights["2.bias"]

    def step(x: Array, labels: Array) -> float:
        y = hidden(x)
        scores = logits(y)
        scores -= scores.max(axis=1, keepdims=True)
        chosen = (np.arange(len(labels)), labels)
        right = scores[chosen]
        np.exp(scores, out=scores)
        sums = scores.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(sums[:, 0]) - right))
        scores /= sums
        scores[chosen] -= 1
        scores /= np.float32(len(labels))
        inner = scores @ weights["2.weight"] * slope(y)
        _descend(weights, workload.network, "2", scores, y)
        _descend(weights, workload.network, "0", inner, x)
        return loss

    if workload.kind == "infer":
        return Side(lambda x: logits(hidden(x)), workloads.batches(workload))
    return Side(step, workloads.batches(workload), lambda: {name: value.copy() for name, value in weights.items()})


def _descend(weights: dict[str, Array], network: Network, layer: str, slopes: Array, inputs: Array) -> None:
    rate = np.float32(network.lr)
    weights[f"{layer}.weight"] -= rate * (slopes.T @ inputs)
    weights[f"{layer}.bias"] -= rate * slopes.sum(axis=0)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# An activation, and its slope as a function of its value.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "mlp": (lambda x: np.maximum(x, 0, out=x), lambda y: y > 0),
    "tiny": (_sigmoid, lambda y: y * (1 - y)),
}


# ---- functions of one array


def _stream(workload: Workload, start: Start) -> Side:
    x, y, function = start["x"], np.array(start["y"]), STREAMS[workload.subject]
    return Side(lambda: function(x, y), [()], lambda: {"y": y})


def _softmax(x: Array, y: Array) -> None:
    np.subtract(x, x.max(axis=-1, keepdims=True), out=y)
    np.exp(y, out=y)
    np.divide(y, y.sum(axis=-1, keepdims=True), out=y)


def _layer_norm(x: Array, y: Array) -> None:
    np.subtract(x, x.mean(axis=-1, keepdims=True), out=y)
    variance = np.einsum("rc,rc->r", y, y)[:, None] / np.float32(y.shape[-1])
    y *= 1 / np.sqrt(variance + np.float32(1e-5))


def _adam_stream(start: Start) -> Side:
    gradient, spare = start["x"], np.zeros_like(start["x"])
    p, mean, square = (np.array(start[name]) for name in ("p", "exp_avg", "exp_avg_sq"))
    steps = 0

    def update() -> None:
        nonlocal steps
        steps += 1
        root = np.sqrt(1 - 0.999**steps)
        rate = ADAM_RATE * root / (1 - 0.9**steps)
        _move(mean, np.float32(0.9), np.multiply(gradient, np.float32(0.1), out=spare))
        np.multiply(gradient, gradient, out=spare)
        spare[...] *= np.float32(1 - 0.999)
        _move(square, np.float32(0.999), spare)
        np.sqrt(square, out=spare)
        spare[...] += np.float32(1e-8 * root)
        np.divide(mean, spare, out=spare)
        spare[...] *= np.float32(rate)
        np.subtract(p, spare, out=p)

    return Side(update, [()], lambda: {"p": p})


def _move(average: Array, kept: np.float32, news: Array) -> None:
    average *= kept
    average += news


def _gelu(x: Array) -> Array:
    y = x * x
    y *= np.float32(0.044715)
    y += 1
    y *= x
    y *= np.float32(np.sqrt(2 / np.pi))
    np.tanh(y, out=y)
    y += 1
    y *= x
    y *= np.float32(0.5)
    return y


STREAMS: dict[str, Callable[[Array, Array], object]] = {
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "relu": lambda x, y: np.maximum(x, 0, out=y),
}
FUNCTIONS: dict[str, Callable[[Array], Array]] = {"gelu": _gelu, "tanh": np.tanh}
