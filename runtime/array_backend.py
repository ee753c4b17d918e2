"""What backends over a NumPy-like array module share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from staticnet.compiler.ir import Graph, Layout
from staticnet.compiler.program import Instruction, Program
from staticnet.compiler.target import Target
from staticnet.runtime import changes
from staticnet.runtime.backend import Call
from staticnet.runtime.bound import Bound
from staticnet.runtime.ceilings import Ceilings


class ArrayBackend:
    """A backend that runs each instruction as its card's kernel on the array module `xp`."""

    def __init__(self, name: str, xp: Any, target: Target):
        self.name, self.xp, self.target = name, xp, target
        #: the most threads that programs may take on the host; None leaves it to the backend
        self.threads: int | None = None

    def limit_threads(self, most: int | None) -> None:
        if most != self.threads:
            self.threads = most
            changes.note()

    def empty(self, nbytes: int) -> Any:
        alignment = self.target.alignment
        memory = self.xp.empty(nbytes + alignment, np.uint8)
        start = -self.address(memory) % alignment
        return memory[start : start + nbytes]

    def address(self, memory: Any) -> int:
        """Where an array begins."""
        return memory.ctypes.data

    def view(self, memory: Any, offset: int, layout: Layout, dtype: np.dtype) -> Any:
        start = offset + layout.offset * dtype.itemsize
        if 0 in layout.shape:
            return self.xp.empty(layout.shape, dtype)
        # A negative stride reaches below the first element: count from the lowest byte.
        below = sum((n - 1) * -s for n, s in zip(layout.shape, layout.strides, strict=True) if s < 0)
        above = sum((n - 1) * s for n, s in zip(layout.shape, layout.strides, strict=True) if s > 0)
        low = start - below * dtype.itemsize
        flat = memory[low : low + (below + above + 1) * dtype.itemsize].view(dtype)
        strides = tuple(stride * dtype.itemsize for stride in layout.strides)
        return self.strided(flat[below:], layout.shape, strides)

    def strided(self, flat: Any, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
        """A view with any strides, in bytes, that starts at the first element of `flat`."""
        return self.xp.lib.stride_tricks.as_strided(flat, shape, strides)

    def to_device(self, array: np.ndarray) -> Any:
        return self.xp.array(array, order="C")

    def to_host(self, array: Any) -> np.ndarray:
        return np.array(array, order="C")

    def write(self, target: Any, source: np.ndarray) -> None:
        self.xp.copyto(target, source)

    def copy(self, target: Any, source: Any) -> None:
        self.xp.copyto(target, source)

    def call(self, instruction: Instruction, inputs: tuple, outputs: tuple, scratch: Any) -> Call:
        out = outputs[0] if len(outputs) == 1 else outputs
        return partial(instruction.op.kernel, self.xp, *inputs, out=out, scratch=scratch)

    def program(
        self, graph: Graph, binding: Mapping[str, int], budget: int | None, make: Callable[[], Program]
    ) -> Program:
        return make()

    def binder(self, program: Program) -> Callable[..., Bound]:
        return Bound

    def settings(self) -> Any:
        return None

    def ceilings(self) -> Ceilings | None:
        return None

    def fill(self, memory: Any, byte: int) -> None:
        memory[...] = byte

    def enter(self, program: Program) -> None:
        pass

    def synchronize(self) -> None:
        pass
