"""Activation layers: functions of each element, and softmax along an axis."""

from __future__ import annotations

from staticnet import functional
from staticnet.nn.module import Module
from staticnet.tensors import Tensor


class _Plain(Module):
    """An activation without arguments: the function of its class's name in lower case."""

    def __init__(self, inplace: bool = False):
        # Whether memory is reused is decided when the graph is compiled.
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return getattr(functional, type(self).__name__.lower())(x)


class ReLU(_Plain):
    """max(x, 0)."""


class Sigmoid(_Plain):
    """1 / (1 + exp(-x))."""

    def __init__(self) -> None:
        super().__init__()


class Tanh(_Plain):
    """The hyperbolic tangent."""

    def __init__(self) -> None:
        super().__init__()


class SiLU(_Plain):
    """x * sigmoid(x) (Hendrycks and Gimpel 2016)."""


class LeakyReLU(Module):
    """x where positive, `negative_slope` * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """x where positive, `alpha` * (exp(x) - 1) elsewhere (Clevert et al. 2015)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return functional.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class GELU(Module):
    """x * Phi(x), Phi the normal distribution; `approximate` is "none" or "tanh" (Hendrycks and Gimpel 2016)."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, without overflow."""

    def __init__(self, beta: float = 1.0):
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x) if self.beta == 1 else functional.softplus(x * self.beta) / self.beta

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) along the axis `dim`."""

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return functional.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of softmax along the axis `dim`, accurate where that underflows."""

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
