"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable

from staticnet import functional
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.nn.parameter import Parameter
from staticnet.optim.hyperparameters import Hyperparameter, at_least_zero
from staticnet.optim.optimizer import Optimizer, Rates
from staticnet.tensors import Tensor


class SGD(Optimizer):
    """`p -= lr * v` with `v = momentum * v + (1 - dampening) * g`, `g` the gradient plus `weight_decay * p`.

    The first `v` of a parameter is `g` itself. With `nesterov` the step is `lr * (g + momentum * v)`.
    As torch.optim.SGD (Sutskever et al. 2013).
    """

    lr = at_least_zero()
    momentum = at_least_zero()
    dampening = Hyperparameter(lambda value: True, "")
    weight_decay = at_least_zero()
    nesterov: bool

    @boundary
    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        values = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(parameters, values)
        if nesterov and (not momentum or dampening):
            raise ArgumentError(
                f"nesterov needs a momentum and no dampening, got momentum={momentum}, dampening={dampening}"
            )
        self.nesterov = bool(nesterov)

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.uses("momentum") else ()

    @property
    def counts_steps(self) -> bool:
        return self.uses("momentum") and self.uses("dampening")

    def rates(self, step: Tensor | None) -> Rates:
        used = [name for name in ("momentum", "weight_decay") if self.uses(name)]
        rates = {name: self.rate(name) for name in ("lr", *used)}
        if step is not None:
            rates["fresh"] = functional.where(step == 1, 1.0, 1.0 - self.rate("dampening"))
        return rates

    def move(self, parameter: Parameter, gradient: Tensor, rates: Rates) -> None:
        step = gradient
        if "weight_decay" in rates:
            gradient = step = gradient + rates["weight_decay"] * parameter
        if "momentum" in rates:
            slot = self.slot("momentum_buffer", parameter)
            fresh = gradient * rates["fresh"] if "fresh" in rates else gradient
            step = rates["momentum"] * slot + fresh
            slot.assign(step)
        if self.nesterov:
            step = gradient + rates["momentum"] * step
        parameter.assign(parameter - rates["lr"] * step)
