"""The reference backend: every instruction is its card's NumPy kernel, writing into its buffer."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.program import Program
from staticnet.compiler.target import REFERENCE
from staticnet.runtime import numpy_ceilings
from staticnet.runtime.array_backend import ArrayBackend
from staticnet.runtime.blas import use_threads
from staticnet.runtime.ceilings import Ceilings
from staticnet.runtime.native import host


class NumpyBackend(ArrayBackend):
    """NumPy on the host, with as many BLAS threads as a program's products are worth."""

    def __init__(self) -> None:
        super().__init__("cpu", np, REFERENCE)

    def enter(self, program: Program) -> None:
        use_threads(program.most_flops, self.threads)

    def ceilings(self) -> Ceilings | None:
        return numpy_ceilings.ceilings(self.threads or host.usable_cores())


NUMPY = NumpyBackend()
