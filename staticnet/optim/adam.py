"""Adam and AdamW: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Iterable

from staticnet import functional
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.nn.parameter import Parameter
from staticnet.optim.hyperparameters import above_zero, at_least_zero, share
from staticnet.optim.optimizer import Optimizer, Rates
from staticnet.tensors import Tensor


class Adam(Optimizer):
    """`p -= lr * m_hat / (sqrt(v_hat) + eps)`, `m` and `v` running means of the gradient and of its square.

    `m_hat = m / (1 - beta1**t)` and `v_hat = v / (1 - beta2**t)` at step t undo the start from zero;
    `weight_decay * p` is added to the gradient. As torch.optim.Adam (Kingma and Ba 2015).
    """

    lr = at_least_zero()
    beta1 = share()
    beta2 = share()
    eps = above_zero()
    weight_decay = at_least_zero()

    @boundary
    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        beta1, beta2 = _pair(betas)
        super().__init__(
            parameters, {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
        )

    @property
    def betas(self) -> tuple[float, float]:
        """(beta1, beta2), each in [0, 1)."""
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, values: tuple[float, float]) -> None:
        beta1, beta2 = _pair(values)
        type(self).beta2.checked(beta2)
        self.beta1, self.beta2 = beta1, beta2

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    @property
    def counts_steps(self) -> bool:
        return True

    def rates(self, step: Tensor | None) -> Rates:
        lr, beta1, beta2 = self.rate("lr"), self.rate("beta1"), self.rate("beta2")
        # Both corrections go into the rate and into eps, so that none is left per element.
        root = functional.sqrt(1.0 - beta2**step)
        rates = {
            "lr": lr * root / (1.0 - beta1**step),
            "eps": self.rate("eps") * root,
            "beta1": beta1,
            "beta2": beta2,
            "rest1": 1.0 - beta1,
            "rest2": 1.0 - beta2,
        }
        if self.uses("weight_decay"):
            rates["weight_decay"] = self.rate("weight_decay")
        return rates

    def move(self, parameter: Parameter, gradient: Tensor, rates: Rates) -> None:
        if "weight_decay" in rates:
            gradient = gradient + rates["weight_decay"] * parameter
        parameter.assign(parameter - self._step(parameter, gradient, rates))

    def _step(self, parameter: Parameter, gradient: Tensor, rates: Rates) -> Tensor:
        """How far the parameter moves; both averages are renewed."""
        mean, square = self.slot("exp_avg", parameter), self.slot("exp_avg_sq", parameter)
        mean.assign(rates["beta1"] * mean + rates["rest1"] * gradient)
        square.assign(rates["beta2"] * square + rates["rest2"] * (gradient * gradient))
        return rates["lr"] * mean / (functional.sqrt(square) + rates["eps"])


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself: `p *= 1 - lr * weight_decay` before the step.

    As torch.optim.AdamW (Loshchilov and Hutter 2019).
    """

    @boundary
    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def rates(self, step: Tensor | None) -> Rates:
        rates = super().rates(step)
        if "weight_decay" in rates:
            rates["kept"] = 1.0 - self.rate("lr") * rates.pop("weight_decay")
        return rates

    def move(self, parameter: Parameter, gradient: Tensor, rates: Rates) -> None:
        kept = rates["kept"] * parameter if "kept" in rates else parameter
        parameter.assign(kept - self._step(parameter, gradient, rates))


def _pair(betas: object) -> tuple[float, float]:
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise ArgumentError(f"betas are two numbers, such as (0.9, 0.999), got {betas!r}")
    return betas[0], betas[1]
