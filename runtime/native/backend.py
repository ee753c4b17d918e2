"""The native backend: NumPy's arrays, steps as generated machine code, what has none as the cards' kernels."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from staticnet.compiler import flags
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import Graph
from staticnet.compiler.program import Program
from staticnet.compiler.target import NATIVE
from staticnet.runtime.bound import Bound
from staticnet.runtime.ceilings import Ceilings
from staticnet.runtime.native import ceilings, host, recorded, source
from staticnet.runtime.native.bound import NativeBound
from staticnet.runtime.native.code import load_code
from staticnet.runtime.native.guard import GuardedBound
from staticnet.runtime.native.threads import pool
from staticnet.runtime.numpy_backend import NumpyBackend


class NativeBackend(NumpyBackend):
    """The CPU with generated code for this processor."""

    def __init__(self) -> None:
        super().__init__()
        self.xp, self.target = np, replace(NATIVE, machine=host.machine())

    def program(
        self, graph: Graph, binding: Mapping[str, int], budget: int | None, make: Callable[[], Program]
    ) -> Program:
        key = recorded.key_of(graph, binding, self.target, budget)
        if key is None:
            return make()
        return recorded.recall(key) or replace(make(), key=key)

    def binder(self, program: Program) -> Callable[..., Bound]:
        assert self.target.machine is not None
        try:
            code = load_code(program, self.target.machine)
            source.show(program)
            if program.key is not None and program.loaded is None:
                recorded.remember(program.key, program, code)
        except CompilerError as error:
            warnings.warn(f"{program.name} runs without native code: {error}", RuntimeWarning, stacklevel=2)
            return Bound

        def bind(*given: Any) -> Bound:
            workers = self.workers()
            kind = GuardedBound if flags.guard() else NativeBound
            return kind(*given, code=code, workers=min(workers, pool().ensure(workers)))

        return bind

    def settings(self) -> Any:
        return self.workers()

    def ceilings(self) -> Ceilings | None:
        assert self.target.machine is not None
        return ceilings.ceilings(self.target.machine, self.workers())

    def workers(self) -> int:
        """Threads that a program may take: as set, as OMP_NUM_THREADS says, or one for each usable processor."""
        if self.threads is not None:
            return max(1, self.threads)
        given = os.environ.get("OMP_NUM_THREADS", "")
        return int(given) if given.isdigit() and int(given) else host.usable_cores()


@functools.cache
def native_backend() -> NativeBackend:
    """The one native backend of the process."""
    return NativeBackend()
