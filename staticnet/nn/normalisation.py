"""Batch normalisation layers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from staticnet import functional
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.nn.checks import number, require_axes, require_size, settled_size, whole
from staticnet.nn.module import Module
from staticnet.nn.parameter import Buffer, Parameter
from staticnet.tensors import Tensor


class _BatchNorm(Module):
    """What the batch normalisations share; they differ in the inputs they take."""

    layouts: ClassVar[tuple[str, ...]] = ()

    @boundary
    def __init__(
        self,
        num_features: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = "float32",
    ):
        super().__init__()
        self.num_features = None if num_features is None else whole(self, "num_features", num_features)
        self.eps = number(self, "eps", eps)
        self.momentum = None if momentum is None else number(self, "momentum", momentum)
        if self.momentum is not None and not 0 <= self.momentum <= 1:
            raise ArgumentError(f"{type(self).__name__}: momentum lies from 0 to 1, got {momentum}")
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        self.dtype = dtype
        self.weight = Parameter() if affine else None
        self.bias = Parameter() if affine else None
        self.running_mean = Buffer() if track_running_stats else None
        self.running_var = Buffer() if track_running_stats else None
        self.num_batches_tracked = Buffer(0, dtype="int64") if track_running_stats else None
        if self.num_features is not None:
            self._settle(self.num_features)

    def _settle(self, features: int) -> None:
        for tensor, fill in (
            (self.weight, np.ones),
            (self.bias, np.zeros),
            (self.running_mean, np.zeros),
            (self.running_var, np.ones),
        ):
            if tensor is not None:
                tensor.materialize((features,), fill, self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        require_axes(self, x, *self.layouts)
        if self.num_features is None:
            self.num_features = settled_size(self, "num_features", x, 1)
            self._settle(self.num_features)
        require_size(self, "features", self.num_features, x, 1)
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            zeros, ones = functional.zeros(x.shape[1:2], x.dtype), functional.ones(x.shape[1:2], x.dtype)
            return self._normalised(x, zeros, ones)[0]
        if not self.training:
            return self._normalised(x, self.running_mean, self.running_var)[0]
        self.num_batches_tracked.assign(self.num_batches_tracked + 1)
        y, mean, var = self._normalised(x, self.running_mean, self.running_var)
        if self.momentum is None:
            share = 1 / self.num_batches_tracked.astype(x.dtype)
            mean = self.running_mean + (mean - self.running_mean) * share
            var = self.running_var + (var - self.running_var) * share
        self.running_mean.assign(mean)
        self.running_var.assign(var)
        return y

    def _normalised(self, x: Tensor, mean: Any, var: Any) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised input, and the next mean and variance: the batch's own where all batches count the same."""
        return functional.batch_norm(
            x,
            mean,
            var,
            self.weight,
            self.bias,
            training=self.training or not self.track_running_stats,
            momentum=1.0 if self.momentum is None else self.momentum,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Each feature less its mean and divided by its deviation, over (N, C) or (N, C, L) (Ioffe and Szegedy 2015).

    Training normalises by the batch and moves `running_mean` and `running_var` by `momentum` towards the
    batch's mean and unbiased variance (None: the average of all batches so far); evaluation normalises
    by the running ones. With `affine` the result is scaled by `weight` and shifted by `bias`. With
    `num_features` None it is settled by the first input.
    """

    layouts = ("(N, C)", "(N, C, L)")


class BatchNorm2d(_BatchNorm):
    """Each channel less its mean and divided by its deviation, over (N, C, H, W); the rest is as in BatchNorm1d."""

    layouts = ("(N, C, H, W)",)
