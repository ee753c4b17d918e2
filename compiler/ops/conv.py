"""Convolution of images, and its two gradients as ops of their own.

The sum over x, w and g of x * w * g that a convolution stands for is linear in each of the three, so the
derivative of each card is made of the other two: gradients of any order stay among them.
"""

from __future__ import annotations

from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, function, lift, require_dtype
from staticnet.compiler.ops.conv_kernels import Convolution
from staticnet.compiler.ops.windows import Padding, Pair, Windows, as_padding, as_pair, require_images


class _Convolution(Op, abstract=True):
    """What the three cards share: their attributes, and the kernel of that name in `Convolution`."""

    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int

    def _shape(self, x: Shape, w: Shape) -> Shape:
        """The shape of conv(x, w); raises ShapeError where they do not fit."""
        if len(x) != 4 or len(w) != 4:
            raise ShapeError(
                f"{self.name}: shapes {format_shape(x)} and {format_shape(w)} must have four axes, "
                "(images, channels, height, width) and (outputs, channels of one group, height, width)"
            )
        if not dims.same(x[1], w[1] * self.groups):
            raise ShapeError(
                f"{self.name}: an input of shape {format_shape(x)} has {x[1]} channels, but a weight of shape "
                f"{format_shape(w)} in {self.groups} group{'s' * (self.groups > 1)} takes {w[1] * self.groups}"
            )
        if dims.divide_exact(w[0], self.groups) is None:
            raise ShapeError(
                f"{self.name}: {w[0]} output channels of the weight {format_shape(w)} do not divide into "
                f"{self.groups} groups"
            )
        return x[0], w[0], *self._windows(w).counts(self.name, x[2:])

    def _windows(self, w: Shape) -> Windows:
        return Windows((w[2], w[3]), self.stride, self.padding, self.dilation)

    def _check(self, given: Shape, x: Shape, w: Shape) -> None:
        """Raise ShapeError unless `given` is the shape of conv(x, w)."""
        expected = self._shape(x, w)
        if not dims.same_shape(given, expected):
            raise ShapeError(
                f"{self.name}: the output's gradient has the shape {format_shape(given)}, but the convolution of "
                f"{format_shape(x)} with {format_shape(w)} has {format_shape(expected)}"
            )

    def _same_dtype(self, x: Type, y: Type) -> None:
        if x.dtype != y.dtype:
            raise DTypeError(f"{self.name}: the operands {x!r} and {y!r} have different dtypes; cast one of them")

    def _numbers(self, x: Shape, w: Shape, dtype: Any) -> Convolution:
        return Convolution(x, w, self._shape(x, w), self._windows(w), self.groups, dtype)

    def _apply(self, card: type[_Convolution], x: Node, y: Node, **more: Any) -> Node:
        """Another card of the family with the same attributes."""
        common = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        return apply(card(**common, **more), x, y)


def _products(y: Shape, w: Shape) -> Size:
    return 2 * dims.product((*y, *w[1:]))


class Conv2d(_Convolution):
    """The correlation of images x (N, C, H, W) with kernels w (O, C / groups, kh, kw): (N, O, OH, OW)."""

    onnx = "Conv"

    def infer(self, x: Type, w: Type) -> Type:
        self._same_dtype(x, w)
        return x.with_shape(self._shape(x.shape, w.shape))

    def scratch(self, x: Type, w: Type) -> int:
        return self._numbers(x.shape, w.shape, x.dtype.numpy).scratch_bytes("forward")

    def kernel(self, xp: Any, x: Any, w: Any, *, out: Any, scratch: Any) -> None:
        self._numbers(x.shape, w.shape, x.dtype).forward(xp, x, w, out, scratch)

    def grad(self, g: Node, y: Node, x: Node, w: Node) -> tuple:
        return (
            self._apply(Conv2dInputGrad, g, w, size=x.shape[2:]),
            self._apply(Conv2dWeightGrad, x, g, kernel_size=w.shape[2:]),
        )

    def flops(self, out: Any, x: Type, w: Type) -> Size:
        return _products(out.shape, w.shape)


class Conv2dInputGrad(_Convolution):
    """The gradient of conv2d(x, w) to x, of height and width `size`: the transposed convolution of g with w."""

    size: tuple[Size, Size]

    def _input(self, g: Shape, w: Shape) -> Shape:
        return g[0], w[1] * self.groups, *self.size

    def infer(self, g: Type, w: Type) -> Type:
        self._same_dtype(g, w)
        x = self._input(g.shape, w.shape)
        self._check(g.shape, x, w.shape)
        return g.with_shape(x)

    def scratch(self, g: Type, w: Type) -> int:
        x = self._input(g.shape, w.shape)
        return self._numbers(x, w.shape, g.dtype.numpy).scratch_bytes("input_gradient")

    def kernel(self, xp: Any, g: Any, w: Any, *, out: Any, scratch: Any) -> None:
        self._numbers(out.shape, w.shape, g.dtype).input_gradient(xp, g, w, out, scratch)

    def grad(self, h: Node, y: Node, g: Node, w: Node) -> tuple:
        return self._apply(Conv2d, h, w), self._apply(Conv2dWeightGrad, h, g, kernel_size=w.shape[2:])

    def flops(self, out: Any, g: Type, w: Type) -> Size:
        return _products(g.shape, w.shape)


class Conv2dWeightGrad(_Convolution):
    """The gradient of conv2d(x, w) to w, of height and width `kernel_size`: x correlated with g, summed over images."""

    kernel_size: tuple[Size, Size]

    def infer(self, x: Type, g: Type) -> Type:
        self._same_dtype(x, g)
        if x.ndim != 4 or g.ndim != 4:
            raise ShapeError(f"{self.name}: {x!r} and {g!r} must have four axes")
        w = (g.shape[1], self._group(x.shape), *self.kernel_size)
        self._check(g.shape, x.shape, w)
        return x.with_shape(w)

    def _group(self, x: Shape) -> Size:
        channels = dims.divide_exact(x[1], self.groups)
        if channels is None:
            raise ShapeError(f"{self.name}: {x[1]} channels do not divide into {self.groups} groups")
        return channels

    def scratch(self, x: Type, g: Type) -> int:
        w = (g.shape[1], self._group(x.shape), *self.kernel_size)
        return self._numbers(x.shape, w, x.dtype.numpy).scratch_bytes("weight_gradient")

    def kernel(self, xp: Any, x: Any, g: Any, *, out: Any, scratch: Any) -> None:
        self._numbers(x.shape, out.shape, x.dtype).weight_gradient(xp, x, g, out, scratch)

    def grad(self, h: Node, y: Node, x: Node, g: Node) -> tuple:
        return self._apply(Conv2dInputGrad, g, h, size=x.shape[2:]), self._apply(Conv2d, x, h)

    def flops(self, out: Any, x: Type, g: Type) -> Size:
        return _products(g.shape, out.shape)


@function("conv2d")
def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Node:
    """The convolution layers' sum: each output is the window's pixels times the weight, plus the bias.

    `x` is (N, C, H, W), `weight` (O, C / groups, kh, kw), `bias` (O,), the result (N, O, OH, OW) with
    OH = (H + padding - dilation * (kh - 1) - 1) // stride + 1, floats or integers, promoted together.
    `stride`, `dilation` and `padding` are one number or a pair (height, width); padding may also be
    ((top, bottom), (left, right)), "valid" (none), or, for stride 1, "same" (the result has the input's size).
    Raises ShapeError where ranks, channels or sizes do not fit, ArgumentError for other arguments.
    """
    x, weight = lift(as_node(x), as_node(weight))
    require_images("conv2d", "x", x)
    require_images("conv2d", "weight", weight)
    require_dtype("conv2d", "x", x, "float", "integer")
    steps, spread = as_pair("conv2d", "stride", stride), as_pair("conv2d", "dilation", dilation)
    if isinstance(groups, bool) or not hasattr(groups, "__index__") or groups < 1:
        raise ArgumentError(f"conv2d: groups must be a whole number from 1 up, not {groups!r}")
    card = Conv2d(
        stride=steps, padding=_padding(padding, weight.shape, steps, spread), dilation=spread, groups=int(groups)
    )
    y = apply(card, x, weight)
    if bias is None:
        return y
    bias = as_node(bias)
    if bias.ndim != 1 or not dims.same(bias.shape[0], weight.shape[0]):
        raise ShapeError(
            f"conv2d: the bias has the shape {format_shape(bias.shape)}, but the weight {format_shape(weight.shape)} "
            f"gives {weight.shape[0]} output channels; it must be ({weight.shape[0]},)"
        )
    return y + F.reshape(bias, (bias.shape[0], 1, 1))


def _padding(padding: Any, weight: Shape, stride: Pair, dilation: Pair) -> Padding:
    if not isinstance(padding, str):
        return as_padding("conv2d", padding)
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        raise ArgumentError(f'conv2d: padding is a number, a pair, "same" or "valid", not {padding!r}')
    if stride != (1, 1):
        raise ArgumentError(f'conv2d: padding="same" is for stride 1, not {stride}; give the padding in numbers')
    if not all(map(dims.is_static, weight[2:])):
        raise ShapeError(f'conv2d: padding="same" needs a kernel of fixed size, not {format_shape(weight[2:])}')
    totals = [spread * (int(kernel) - 1) for kernel, spread in zip(weight[2:], dilation, strict=True)]
    return (totals[0] // 2, totals[0] - totals[0] // 2), (totals[1] // 2, totals[1] - totals[1] // 2)
