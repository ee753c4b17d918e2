"""The processor as the code generators see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A CPU: `vector_bytes` of one vector register, how many of them there are, and bytes of the caches of one core.

    `name` and `features` are LLVM's; `features` is a comma-separated list such as '+avx2,+fma'.
    """

    name: str
    features: str
    triple: str
    vector_bytes: int
    registers: int
    l1_bytes: int = 32 << 10
    l2_bytes: int = 1 << 20
    has_fma: bool = True

    def lanes(self, itemsize: int) -> int:
        """Elements of this size in one vector."""
        return max(1, self.vector_bytes // itemsize)


#: what tests that only interpret kernels take
SMALL = Machine("generic", "", "x86_64-unknown-linux-gnu", 16, 16, 32 << 10, 256 << 10, False)
