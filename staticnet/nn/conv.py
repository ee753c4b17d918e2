"""Convolution layers."""

from __future__ import annotations

from typing import Any

from staticnet import functional
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.ops.windows import as_padding, as_pair
from staticnet.nn import init
from staticnet.nn.checks import require_axes, require_size, settled_size, whole
from staticnet.nn.module import Module
from staticnet.nn.parameter import Parameter
from staticnet.tensors import Tensor

_LAYOUT = "(N, C, H, W)"


class Conv2d(Module):
    """The sum of each window of an image times `weight`, plus `bias`.

    Inputs are (N, in_channels, H, W), results (N, out_channels, OH, OW) with
    OH = (H + padding - dilation * (kernel - 1) - 1) // stride + 1. Sizes are one number or a pair
    (height, width); `padding` also ((top, bottom), (left, right)), "valid", or, for stride 1, "same". With
    `in_channels` None it is settled by the first input. Initial values are spread evenly over
    +-1 / sqrt(in_channels / groups * kernel height * kernel width), as in PyTorch.
    """

    @boundary
    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = "float32",
    ):
        super().__init__()
        self.in_channels = None if in_channels is None else whole(self, "in_channels", in_channels)
        self.out_channels = whole(self, "out_channels", out_channels)
        self.kernel_size = as_pair("Conv2d", "kernel_size", kernel_size)
        self.stride = as_pair("Conv2d", "stride", stride)
        self.padding = padding
        self.dilation = as_pair("Conv2d", "dilation", dilation)
        self.groups = whole(self, "groups", groups)
        self.dtype = dtype
        self._check_padding()
        if self.out_channels % self.groups:
            raise ArgumentError(f"Conv2d: {self.groups} groups do not divide out_channels={self.out_channels}")
        self.weight = Parameter()
        self.bias = Parameter() if bias else None
        if self.in_channels is not None:
            self._settle(self.in_channels)

    def _check_padding(self) -> None:
        if self.padding == "same" and self.stride != (1, 1):
            raise ArgumentError(f"Conv2d: padding='same' goes with stride 1, not {self.stride}; give it in numbers")
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ArgumentError(f"Conv2d: padding is sizes, 'same' or 'valid', not {self.padding!r}")
        if not isinstance(self.padding, str):
            as_padding("Conv2d", self.padding)

    def _settle(self, in_channels: int) -> None:
        if in_channels % self.groups:
            raise ArgumentError(f"Conv2d: {self.groups} groups do not divide in_channels={in_channels}")
        shape = (self.out_channels, in_channels // self.groups, *self.kernel_size)
        spread = init.inverse_root_uniform(init.fans(shape)[0])
        self.weight.materialize(shape, spread, self.dtype)
        if self.bias is not None:
            self.bias.materialize((self.out_channels,), spread, self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        require_axes(self, x, _LAYOUT)
        if self.in_channels is None:
            self.in_channels = settled_size(self, "in_channels", x, 1)
            self._settle(self.in_channels)
        require_size(self, "input channels", self.in_channels, x, 1)
        return functional.conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        defaults = {"padding": (0, "valid"), "dilation": ((1, 1),), "groups": (1,)}
        values = {name: getattr(self, name) for name in defaults}
        parts += [f"{name}={value!r}" for name, value in values.items() if value not in defaults[name]]
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))


class LazyConv2d(Conv2d):
    """Conv2d whose `in_channels` is settled by the first input."""

    def __init__(self, out_channels: int, kernel_size: int | tuple[int, int], *args: Any, **kwargs: Any):
        super().__init__(None, out_channels, kernel_size, *args, **kwargs)
