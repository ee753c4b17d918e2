"""Dropout."""

from __future__ import annotations

from typing import Any

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.nn.module import Module
from staticnet.random import apply_dropout


class Dropout(Module):
    """In training zeroes each element with probability `p` and scales the rest by 1 / (1 - p) (Srivastava et al. 2014).

    Evaluated it is the input itself. The draw follows from the global random key, see `sn.manual_seed`.
    """

    @boundary
    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise ArgumentError(f"Dropout: p is a probability from 0 to 1, got {p!r}")
        self.p = float(p)

    def forward(self, x: Any) -> Any:
        return apply_dropout(x, self.p, True) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
