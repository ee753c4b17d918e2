"""What a backend takes: a frozen description that only lowering and what follows it ever see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from staticnet.compiler import dtypes

if TYPE_CHECKING:
    from staticnet.compiler.codegen.machine import Machine


@dataclass(frozen=True)
class Target:
    """A backend as the compiler sees it.

    `composites` are ops with an expansion that the backend nevertheless computes itself.
    `alignment` is in bytes. `fusion_limit` is the largest number of nodes in one step. With `fuses_loops` a
    group of nodes runs as one loop nest (a Fused node); `anchors` are the ops that can head one.
    `machine` is the processor that code is generated for, None where steps run as their cards' kernels.
    `channels_last` are ops whose images are best stored with the channels as the fastest axis.
    """

    name: str
    dtypes: frozenset[str] = frozenset(dtype.name for dtype in dtypes.ALL)
    composites: frozenset[str] = frozenset()
    alignment: int = 64
    fusion_limit: int = 32
    fuses_loops: bool = False
    anchors: frozenset[str] = frozenset()
    channels_last: frozenset[str] = frozenset()
    machine: Machine | None = None

    def keeps(self, op_name: str) -> bool:
        """Whether a composite op is left whole."""
        return op_name in self.composites


REFERENCE = Target("reference")

_CONVOLUTIONS = frozenset({"conv2d", "conv2d_input_grad", "conv2d_weight_grad"})
_POOLS = frozenset({"max_pool2d", "max_pool2d_grad", "max_pool2d_pick", "avg_pool2d", "avg_pool2d_grad"})

#: generated code for the CPU
NATIVE = Target(
    "native",
    fusion_limit=64,
    fuses_loops=True,
    anchors=frozenset({"conv2d", "conv2d_input_grad", "matmul"}) | _POOLS,
    channels_last=_CONVOLUTIONS | _POOLS,
)
