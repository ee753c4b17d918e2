"""Initial values: each function copies fresh ones into a parameter; draws come from the global random key.

`fan_in` and `fan_out` are the numbers of connections into and out of one unit: for a weight of shape
(outputs, inputs, ...) the inputs or outputs times the sizes of the other axes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticnet import random
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, ShapeError
from staticnet.compiler.ir import format_shape
from staticnet.nn.parameter import StateTensor

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


@boundary
def zeros_(tensor: StateTensor) -> StateTensor:
    """Zero everywhere."""
    return constant_(tensor, 0.0)


@boundary
def ones_(tensor: StateTensor) -> StateTensor:
    """One everywhere."""
    return constant_(tensor, 1.0)


@boundary
def constant_(tensor: StateTensor, val: float) -> StateTensor:
    """`val` everywhere."""
    shape, dtype = _shape_and_dtype(tensor)
    return _put(tensor, np.full(shape, val, dtype))


@boundary
def uniform_(tensor: StateTensor, a: float = 0.0, b: float = 1.0) -> StateTensor:
    """Spread evenly over [a, b)."""
    return _put(tensor, random.host_uniform(*_bounds(tensor, a, b)))


@boundary
def normal_(tensor: StateTensor, mean: float = 0.0, std: float = 1.0) -> StateTensor:
    """Normally distributed."""
    shape, dtype = _shape_and_dtype(tensor)
    return _put(tensor, random.host_normal(shape, mean, std, dtype))


@boundary
def trunc_normal_(
    tensor: StateTensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> StateTensor:
    """Normally distributed, drawn again where outside [a, b]."""
    if not a < b or std <= 0 or not (mean - 8 * std < b and mean + 8 * std > a):
        raise ArgumentError(f"trunc_normal_: [{a}, {b}] has to be an interval within reach of mean {mean}, std {std}")
    shape, dtype = _shape_and_dtype(tensor)
    values = random.host_normal(shape, mean, std, dtype)
    while (outside := (values < a) | (values > b)).any():
        values = np.where(outside, random.host_normal(shape, mean, std, dtype), values)
    return _put(tensor, values)


@boundary
def xavier_uniform_(tensor: StateTensor, gain: float = 1.0) -> StateTensor:
    """Spread evenly with variance 2 gain**2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound)


@boundary
def xavier_normal_(tensor: StateTensor, gain: float = 1.0) -> StateTensor:
    """Normally distributed with variance 2 gain**2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain))


@boundary
def kaiming_uniform_(
    tensor: StateTensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> StateTensor:
    """Spread evenly with variance gain**2 / fan (He et al. 2015); `a` is the slope of leaky_relu."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


@boundary
def kaiming_normal_(
    tensor: StateTensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> StateTensor:
    """Normally distributed with variance gain**2 / fan (He et al. 2015); `a` is the slope of leaky_relu."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


@boundary
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights have to be larger for a nonlinearity to keep the variance."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ArgumentError(f"no gain is known of {nonlinearity!r}; take one of leaky_relu, {', '.join(_GAINS)}")
    return _GAINS[nonlinearity]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """fan_in and fan_out of a weight."""
    if len(shape) < 2:
        raise ShapeError(f"fan in and out are those of a weight of at least two axes, not of {format_shape(shape)}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def inverse_root_uniform(fan_in: int) -> Any:
    """An initializer that spreads values evenly over +-1 / sqrt(fan_in), PyTorch's choice for weighted sums."""
    bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
    return lambda shape: random.host_uniform(shape, -bound, bound)


def _xavier_std(tensor: StateTensor, gain: float) -> float:
    return gain * math.sqrt(2.0 / max(sum(fans(_shape_and_dtype(tensor)[0])), 1))


def _kaiming_std(tensor: StateTensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    fan = fans(_shape_and_dtype(tensor)[0])[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _bounds(tensor: StateTensor, a: float, b: float) -> tuple[Any, ...]:
    if not a <= b:
        raise ArgumentError(f"uniform_: the values lie from {a} up to {b}, so the first must not be larger")
    shape, dtype = _shape_and_dtype(tensor)
    return shape, a, b, dtype


def _shape_and_dtype(tensor: Any) -> tuple[tuple[int, ...], Any]:
    if not isinstance(tensor, StateTensor):
        raise ArgumentError(f"initial values go into a Parameter or Buffer, not into {type(tensor).__name__}")
    type_ = tensor.state.type
    return tensor.state.array.shape, type_.dtype.numpy


def _put(tensor: StateTensor, values: np.ndarray) -> StateTensor:
    tensor.set(values)
    return tensor
