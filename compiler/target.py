"""What a backend takes: a frozen description that only lowering and what follows it ever see."""

from __future__ import annotations

from dataclasses import dataclass

from staticnet.compiler import dtypes


@dataclass(frozen=True)
class Target:
    """A backend as the compiler sees it.

    `composites` are ops with an expansion that the backend nevertheless computes itself.
    `alignment` is in bytes. `fusion_limit` is the largest number of nodes in one step.
    """

    name: str
    dtypes: frozenset[str] = frozenset(dtype.name for dtype in dtypes.ALL)
    composites: frozenset[str] = frozenset()
    alignment: int = 64
    fusion_limit: int = 32

    def keeps(self, op_name: str) -> bool:
        """Whether a composite op is left whole."""
        return op_name in self.composites


REFERENCE = Target("reference")
