"""The backend interface: where memory lives, and how an instruction becomes a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from staticnet.compiler.ir import Graph, Layout
from staticnet.compiler.program import Instruction, Program
from staticnet.compiler.target import Target
from staticnet.runtime.ceilings import Ceilings

Call = Callable[[], None]


class Backend(Protocol):
    """One kind of device. `xp` is the array module that the cards' kernels compute with."""

    name: str
    target: Target
    xp: Any
    threads: int | None

    def limit_threads(self, most: int | None) -> None:
        """Set `threads`, the most that programs may take on the host; None leaves it to the backend."""

    def empty(self, nbytes: int) -> Any:
        """Uninitialised bytes, aligned to `target.alignment`."""

    def view(self, memory: Any, offset: int, layout: Layout, dtype: np.dtype) -> Any:
        """An array over bytes from `offset` on, in a layout counted in elements."""

    def to_device(self, array: np.ndarray) -> Any:
        """A copy of a host array on the device, row-major."""

    def to_host(self, array: Any) -> np.ndarray:
        """A new row-major host array with the values of a device array."""

    def write(self, target: Any, source: np.ndarray) -> None:
        """Copy a host array of the same shape and dtype into a device array."""

    def copy(self, target: Any, source: Any) -> None:
        """Copy one device array into another of the same type."""

    def call(self, instruction: Instruction, inputs: tuple, outputs: tuple, scratch: Any) -> Call:
        """The instruction as a call without arguments."""

    def program(
        self, graph: Graph, binding: Mapping[str, int], budget: int | None, make: Callable[[], Program]
    ) -> Program:
        """The program of a traced graph for sizes and a memory budget: what `make` gives, or the same from a cache."""

    def binder(self, program: Program) -> Callable[..., Any]:
        """What makes a Bound of (program, backend, states, constants): the class, or code made ready for it."""

    def settings(self) -> Any:
        """What bound programs depend on beside program and states; when it differs they are bound anew."""

    def ceilings(self) -> Ceilings | None:
        """What the device can do at most, measured when first asked; None where nobody knows."""

    def fill(self, memory: Any, byte: int) -> None:
        """Set every byte; how the debugging run poisons what is dead."""

    def enter(self, program: Program) -> None:
        """Called before each run of a program."""

    def synchronize(self) -> None:
        """Wait until everything asked for is done."""
