"""Layers of weighted sums over features: Linear, and Identity."""

from __future__ import annotations

from typing import Any

from staticnet import functional
from staticnet.boundary import boundary
from staticnet.compiler.errors import ShapeError
from staticnet.nn import init
from staticnet.nn.checks import require_size, settled_size, whole
from staticnet.nn.module import Module
from staticnet.nn.parameter import Parameter
from staticnet.tensors import Tensor


class Identity(Module):
    """The input itself, whatever arguments it is made with."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Linear(Module):
    """`x @ weight.T + bias` over the last axis: (..., in_features) to (..., out_features).

    With `in_features` None it is settled by the first input. Initial values are spread evenly over
    +-1 / sqrt(in_features), as in PyTorch.
    """

    @boundary
    def __init__(self, in_features: int | None, out_features: int, bias: bool = True, dtype: Any = "float32"):
        super().__init__()
        self.in_features = None if in_features is None else whole(self, "in_features", in_features, 0)
        self.out_features = whole(self, "out_features", out_features, 0)
        self.dtype = dtype
        self.weight = Parameter()
        self.bias = Parameter() if bias else None
        if self.in_features is not None:
            self._settle(self.in_features)

    def _settle(self, in_features: int) -> None:
        spread = init.inverse_root_uniform(in_features)
        self.weight.materialize((self.out_features, in_features), spread, self.dtype)
        if self.bias is not None:
            self.bias.materialize((self.out_features,), spread, self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if not x.ndim:
            self._reject(ShapeError, f"expects (..., {self.in_features or 'features'}), got an input without axes")
        if self.in_features is None:
            self.in_features = settled_size(self, "in_features", x, -1)
            self._settle(self.in_features)
        require_size(self, "input features", self.in_features, x, -1)
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class LazyLinear(Linear):
    """Linear whose `in_features` is settled by the first input."""

    def __init__(self, out_features: int, bias: bool = True, dtype: Any = "float32"):
        super().__init__(None, out_features, bias, dtype)
