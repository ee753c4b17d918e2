"""Pooling layers."""

from __future__ import annotations

from typing import Any

from staticnet import functional
from staticnet.boundary import boundary
from staticnet.compiler.ops.windows import as_padding, as_pair
from staticnet.nn.checks import require_axes
from staticnet.nn.module import Module
from staticnet.tensors import Tensor

_LAYOUT = "(N, C, H, W)"
Sizes = int | tuple[int, int]


class MaxPool2d(Module):
    """The largest element of each window of images (N, C, H, W); the stride is the kernel's size by default."""

    @boundary
    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Any = 0, dilation: Sizes = 1):
        super().__init__()
        self.kernel_size = as_pair("MaxPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else as_pair("MaxPool2d", "stride", stride)
        self.padding = as_padding("MaxPool2d", padding)
        self.dilation = as_pair("MaxPool2d", "dilation", dilation)

    def forward(self, x: Tensor) -> Tensor:
        require_axes(self, x, _LAYOUT)
        return functional.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}"


class AvgPool2d(Module):
    """The mean of each window of images (N, C, H, W); padding counts as zeros unless `count_include_pad` is False."""

    @boundary
    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Any = 0, *, count_include_pad: bool = True
    ):
        super().__init__()
        self.kernel_size = as_pair("AvgPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else as_pair("AvgPool2d", "stride", stride)
        self.padding = as_padding("AvgPool2d", padding)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Tensor) -> Tensor:
        require_axes(self, x, _LAYOUT)
        return functional.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, count_include_pad=self.count_include_pad
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Images (N, C, H, W) averaged down to `output_size`: a number or a pair, None keeping an axis as it is."""

    def __init__(self, output_size: int | tuple[int | None, int | None] | None):
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        require_axes(self, x, _LAYOUT)
        return functional.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
