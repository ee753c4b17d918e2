"""Losses as modules: each is a function of what a model gave and what was right, reduced as `reduction` says.

`reduction` is "mean", "sum" or "none" (one loss per element, of cross entropies per example).
"""

from __future__ import annotations

from typing import Any, ClassVar

from staticnet import functional
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.nn.module import Module
from staticnet.tensors import Tensor


class _Loss(Module):
    """Base of the losses: the function of the name `function`."""

    function: ClassVar[str] = ""

    @boundary
    def __init__(self, reduction: str = "mean"):
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ArgumentError(f"{type(self).__name__}: reduction is 'mean', 'sum' or 'none', not {reduction!r}")
        self.reduction = reduction

    def forward(self, input: Any, target: Any) -> Tensor:
        return getattr(functional, self.function)(input, target, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """How unlikely the right classes are under softmax(input), in nats.

    `input` are logits (N, C) or (N, C, d1, ...); `target` holds integer labels of that shape without the axis
    of classes, or class probabilities of that shape. A label outside 0 to C - 1 is a RunError when it is met.
    """

    function = "cross_entropy"


class NLLLoss(_Loss):
    """Minus the log-probability of the right classes; `input` is what LogSoftmax gave, `target` integer labels."""

    function = "nll_loss"


class MSELoss(_Loss):
    """(input - target) ** 2 of two float tensors of one shape."""

    function = "mse_loss"


class L1Loss(_Loss):
    """|input - target| of two float tensors of one shape."""

    function = "l1_loss"


class BCEWithLogitsLoss(_Loss):
    """How unlikely targets from 0 to 1 are under sigmoid(input), in nats, without overflow."""

    function = "binary_cross_entropy_with_logits"


class BCELoss(_Loss):
    """How unlikely targets from 0 to 1 are under the probabilities `input`, in nats."""

    function = "binary_cross_entropy"
