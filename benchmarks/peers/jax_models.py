"""The networks of benchmarks/models.py as functions of a dict of weights, for JAX, in either layout of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

Weights = Mapping[str, Any]
#: shape, channels first, of what the CNN flattens
FLATTENED = (64, 5, 5)


def is_trained(name: str) -> bool:
    """Whether a weight of that name has a gradient."""
    return "running" not in name and "num_batches" not in name


def to_rows(subject: str, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights for images with channels last: kernels as (height, width, in, out), flattened inputs in that order."""
    found = {name: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for name, value in weights.items()}
    if subject == "cnn":
        first = weights["7.weight"]
        found["7.weight"] = first.reshape(-1, *FLATTENED).transpose(0, 2, 3, 1).reshape(first.shape)
    return found


def from_rows(subject: str, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `to_rows` was given."""
    found = {name: value.transpose(3, 2, 0, 1) if value.ndim == 4 else value for name, value in weights.items()}
    if subject == "cnn":
        channels, *window = FLATTENED
        first = weights["7.weight"]
        found["7.weight"] = first.reshape(-1, *window, channels).transpose(0, 3, 1, 2).reshape(first.shape)
    return found


def mnist_cnn(weights: Weights, x: Any, channels_last: bool, training: bool) -> tuple[Any, dict[str, Any]]:
    """Convolutions 1 -> 32 -> 64, two pools, 128, 10."""
    for layer in ("0", "3"):
        bias = weights[f"{layer}.bias"]
        x = _conv(x, weights[f"{layer}.weight"], channels_last, padding=0)
        x = jax.nn.relu(x + (bias if channels_last else bias[:, None, None]))
        x = _max_pool(x, channels_last)
    x = x.reshape(x.shape[0], -1)
    return _linear(weights, "9", jax.nn.relu(_linear(weights, "7", x))), {}


def perceptron(
    weights: Weights, x: Any, channels_last: bool, training: bool, activate: Any = jax.nn.relu
) -> tuple[Any, dict[str, Any]]:
    """One hidden layer."""
    return _linear(weights, "2", activate(_linear(weights, "0", x))), {}


def forecaster(weights: Weights, x: Any, channels_last: bool, training: bool) -> tuple[Any, dict[str, Any]]:
    """An LSTM as a scan over time, and a linear layer on what it gives last."""
    inner, recurrent = weights["lstm.weight_ih_l0"], weights["lstm.weight_hh_l0"]
    bias = weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]

    def advance(carry: Any, gates: Any) -> tuple[Any, None]:
        hidden, cell = carry
        entry, forget, fresh, exit = jnp.split(gates + hidden @ recurrent.T, 4, axis=1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(entry) * jnp.tanh(fresh)
        return (jax.nn.sigmoid(exit) * jnp.tanh(cell), cell), None

    nothing = jnp.zeros((x.shape[0], recurrent.shape[1]), x.dtype)
    # The products with the inputs of all times are one, outside the loop.
    (hidden, _), _ = lax.scan(advance, (nothing, nothing), jnp.swapaxes(x @ inner.T + bias, 0, 1))
    return _linear(weights, "linear", hidden), {}


def resnet20(weights: Weights, x: Any, channels_last: bool, training: bool) -> tuple[Any, dict[str, Any]]:
    """Three stages of three blocks, 16, 32 and 64 channels; also the running statistics moved by this batch."""
    moved: dict[str, Any] = {}
    conv = partial(_conv, channels_last=channels_last)
    norm = partial(_batch_norm, weights, moved, channels_last=channels_last, training=training)
    x = jax.nn.relu(norm("norm", conv(x, weights["conv.weight"])))
    for number in range(9):
        name = f"blocks.{number}"
        stride = 2 if number in (3, 6) else 1
        y = jax.nn.relu(norm(f"{name}.norm1", conv(x, weights[f"{name}.conv1.weight"], stride=stride)))
        y = norm(f"{name}.norm2", conv(y, weights[f"{name}.conv2.weight"]))
        if stride != 1:
            x = conv(x, weights[f"{name}.shortcut.0.weight"], stride=stride, padding=0)
            x = norm(f"{name}.shortcut.1", x)
        x = jax.nn.relu(y + x)
    return _linear(weights, "linear", x.mean(axis=(1, 2) if channels_last else (2, 3))), moved


def _linear(weights: Weights, layer: str, x: Any) -> Any:
    return x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]


def _conv(x: Any, kernel: Any, channels_last: bool, stride: int = 1, padding: int = 1) -> Any:
    layout = ("NHWC", "HWIO", "NHWC") if channels_last else ("NCHW", "OIHW", "NCHW")
    around = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(x, kernel, (stride, stride), around, dimension_numbers=layout)


def _max_pool(x: Any, channels_last: bool) -> Any:
    window = (1, 2, 2, 1) if channels_last else (1, 1, 2, 2)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def _batch_norm(
    weights: Weights, moved: dict[str, Any], name: str, x: Any, channels_last: bool, training: bool
) -> Any:
    axes, spread = ((0, 1, 2), (slice(None),)) if channels_last else ((0, 2, 3), (slice(None), None, None))
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    if training:
        count = x.size // mean.size
        batch_mean, batch_variance = x.mean(axis=axes), x.var(axis=axes)
        moved[f"{name}.running_mean"] = 0.9 * mean + 0.1 * batch_mean
        moved[f"{name}.running_var"] = 0.9 * variance + 0.1 * batch_variance * (count / (count - 1))
        mean, variance = batch_mean, batch_variance
    scale = weights[f"{name}.weight"] * lax.rsqrt(variance + 1e-5)
    return (x - mean[spread]) * scale[spread] + weights[f"{name}.bias"][spread]


MODELS: dict[str, Callable[..., tuple[Any, dict[str, Any]]]] = {
    "cnn": mnist_cnn,
    "resnet20": resnet20,
    "mlp": perceptron,
    "tiny": partial(perceptron, activate=jax.nn.sigmoid),
    "lstm": forecaster,
}
