"""Batch and layer normalisation."""

from __future__ import annotations

from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.errors import DTypeError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, TupleType, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, as_shape, function, require_dtype
from staticnet.compiler.ops.leaf import item
from staticnet.compiler.ops.reduce import count_of


class BatchNorm(Op):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias per channel (axis 1), and the next running statistics.

    Training takes mean and variance of the batch, inference the running ones, which it returns unchanged.
    The running statistics follow the batch's as constants: no gradient flows from them to x.
    """

    epsilon: float
    momentum: float
    training: bool

    def infer(self, x: Type, scale: Type, bias: Type, running_mean: Type, running_var: Type) -> TupleType:
        if not x.dtype.is_float:
            raise DTypeError(f"batch_norm does not take {x.dtype}; cast the operand to a float type first")
        if not 2 <= x.ndim <= 5:
            raise ShapeError(f"batch_norm: x must have 2 to 5 axes, channels second, not shape {format_shape(x.shape)}")
        vectors = {"weight": scale, "bias": bias, "running_mean": running_mean, "running_var": running_var}
        for name, type in vectors.items():
            if not dims.same_shape(type.shape, (x.shape[1],)):
                raise ShapeError(
                    f"batch_norm: {name} has shape {format_shape(type.shape)}, but x of shape {format_shape(x.shape)} "
                    f"has {x.shape[1]} channels on axis 1"
                )
            if type.dtype != x.dtype:
                raise DTypeError(f"batch_norm: {name} is {type.dtype} and x {x.dtype}; cast one of them")
        self.check_bound(x)
        return TupleType((x, running_mean, running_var))

    def check_bound(self, x: Type, *vectors: Type) -> None:
        most = dims.upper_bound(count_of(x.shape, _others(x.shape)))
        if self.training and most is not None and most < 2:
            raise ShapeError(
                f"batch_norm: training takes the variance of each channel, so x of shape {format_shape(x.shape)} "
                "must have more than one value per channel"
            )

    def expand(self, x: Node, scale: Node, bias: Node, running_mean: Node, running_var: Node) -> tuple[Node, ...]:
        if not self.training:
            slope = scale * self.inverse_deviation(running_var)
            y = (x - _along(running_mean, x)) * _along(slope, x) + _along(bias, x)
            return y, running_mean, running_var
        mean, centred, variance = _moments(x)
        slope = scale * self.inverse_deviation(variance)
        y = centred * _along(slope, x) + _along(bias, x)
        mean, variance = F.stop_gradient(mean), F.stop_gradient(variance)
        # variance * n / (n - 1); of one value it is 0 rather than 0 / 0.
        unbiased = variance + variance / dims.maximum(count_of(x.shape, _others(x.shape)) - 1, 1)
        return y, self.follow(running_mean, mean), self.follow(running_var, unbiased)

    def follow(self, running: Node, batch: Node) -> Node:
        """The next running statistic: an exponential moving average of the batches' ones."""
        return running * (1 - self.momentum) + batch * self.momentum

    def inverse_deviation(self, variance: Node) -> Node:
        return 1 / F.sqrt(variance + self.epsilon)

    def grad(
        self, g: tuple, y: Node, x: Node, scale: Node, bias: Node, running_mean: Node, running_var: Node
    ) -> tuple[Node, ...]:
        g_y, g_mean, g_var = g
        axes = _others(x.shape)
        if self.training:
            _, centred, variance = _moments(x)
        else:
            centred, variance = x - _along(running_mean, x), running_var
        inverse = self.inverse_deviation(variance)
        slope = scale * inverse
        g_bias = F.sum(g_y, axis=axes)
        g_centred = F.sum(g_y * centred, axis=axes)
        g_scale = g_centred * inverse
        if not self.training:
            g_running_var = g_var - 0.5 * g_scale * slope * inverse
            return g_y * _along(slope, x), g_scale, g_bias, g_mean - g_bias * slope, g_running_var
        # Ioffe and Szegedy 2015, section 3, gathered into two sums per channel.
        count = count_of(x.shape, axes)
        through_variance = centred * _along(g_scale * inverse / count, x)
        g_x = _along(slope, x) * (g_y - _along(g_bias / count, x) - through_variance)
        return g_x, g_scale, g_bias, g_mean * (1 - self.momentum), g_var * (1 - self.momentum)


def _others(shape: Shape) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, len(shape)))


def _along(vector: Node, x: Node) -> Node:
    """One number per channel, shaped to broadcast against `x`."""
    return F.reshape(vector, [size if axis == 1 else 1 for axis, size in enumerate(x.shape)])


def _moments(x: Node) -> tuple[Node, Node, Node]:
    """Mean per channel, `x` less its mean, and the mean of that squared: in two passes, so nothing cancels."""
    axes = _others(x.shape)
    mean = F.mean(x, axis=axes)
    centred = x - _along(mean, x)
    return mean, centred, F.mean(F.square(centred), axis=axes)


@function("batch_norm")
def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Node, Node, Node]:
    """`x` normalised per channel, and the next running mean and variance.

    `x` is float of shape (N, C) or (N, C, d1, ...) with up to 5 axes; the others are of shape (C,) and its
    dtype, weight 1 and bias 0 unless given. Training normalises by the batch's mean and biased variance and
    moves the running ones by `momentum` towards its mean and unbiased variance; otherwise the running ones
    normalise, and are returned unchanged (Ioffe and Szegedy 2015, the conventions are PyTorch's).
    """
    x, running_mean, running_var = as_node(x), as_node(running_mean), as_node(running_var)
    channels = x.shape[1:2] or (1,)
    weight = F.ones(channels, x.dtype) if weight is None else as_node(weight)
    bias = F.zeros(channels, x.dtype) if bias is None else as_node(bias)
    card = BatchNorm(epsilon=float(eps), momentum=float(momentum), training=bool(training))
    results = apply(card, x, weight, bias, running_mean, running_var)
    return item(results, 0), item(results, 1), item(results, 2)


@function("layer_norm")
def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Node:
    """`x` less its mean and divided by its deviation over the last axes, whose sizes are `normalized_shape`.

    `x` is float; `weight` and `bias` of shape `normalized_shape` scale and shift the result
    (Ba, Kiros and Hinton 2016).
    """
    x, shape = as_node(x), as_shape("layer_norm", normalized_shape)
    require_dtype("layer_norm", "x", x, "float")
    if not shape or not dims.same_shape(x.shape[-len(shape) :], shape):
        raise ShapeError(
            f"layer_norm: normalized_shape {format_shape(shape)} must be the last sizes of x, {format_shape(x.shape)}"
        )
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    centred = x - F.mean(x, axis=axes, keepdims=True)
    y = centred / F.sqrt(F.mean(F.square(centred), axis=axes, keepdims=True) + eps)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and not dims.same_shape(as_node(value).shape, shape):
            raise ShapeError(
                f"layer_norm: {name} has shape {format_shape(as_node(value).shape)}, not {format_shape(shape)}"
            )
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
