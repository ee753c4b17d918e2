"""The machine code of one program: distinct functions, and in which order they are called on what."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from staticnet.compiler.codegen.cost import iteration_cost
from staticnet.compiler.codegen.generate import workspace, workspace_bytes
from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops.form import Kernel
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.program import Program
from staticnet.runtime.native import jit
from staticnet.runtime.native.driver import entry_symbol, wrap

_NAME = "kernel"
#: nanoseconds of work below which a part of a loop is not worth another worker
_WORTHWHILE = 5000


class Place(NamedTuple):
    """Where an array of a kernel lies: `offset` bytes into a 'buffer' of the program, or 'shared' or 'local' workspace."""

    region: str
    buffer: int
    offset: int


@dataclass(frozen=True)
class Entry:
    """One call of a function: on which arrays, how many iterations, and how many at least for one worker."""

    instruction: int
    kernel: Kernel
    address: int
    places: tuple[Place, ...]
    extent: int
    grain: int
    #: estimated nanoseconds of all its iterations
    cost: float


@dataclass(frozen=True)
class Code:
    """All entries of a program in order; instructions that have none run as their cards' kernels."""

    entries: tuple[Entry, ...]
    shared_bytes: int
    local_bytes: int


def load_code(program: Program, machine: Machine) -> Code:
    """The program's machine code, compiled unless it was before; raises CompilerError where that fails."""
    calls: list[tuple[int, Kernel, tuple[Place, ...]]] = []
    for number, generated in enumerate(program.code):
        routine = generated.routine
        if routine is None:
            continue
        spots, _, _ = workspace(routine)
        for kernel in routine.kernels:
            places = []
            for array in kernel.arrays:
                if array in spots:
                    places.append(Place(array.role, -1, spots[array]))
                else:
                    operand = generated.operand(array)
                    places.append(Place("buffer", operand.buffer, operand.start * array.dtype.itemsize))
            if kernel.loop.extent:
                calls.append((number, kernel, tuple(places)))
    # Steps that are alike share their routine, so kernels are told apart by identity before they are printed.
    kernels = {id(kernel): kernel for _, kernel, _ in calls}
    functions = {key: _function(kernel, machine) for key, kernel in kernels.items()}
    addresses = dict(zip(functions, jit.load(list(functions.values()), machine), strict=True))
    costs = {key: iteration_cost(kernel, machine) for key, kernel in kernels.items()}
    entries = tuple(
        _entry(number, kernel, addresses[id(kernel)], places, costs[id(kernel)]) for number, kernel, places in calls
    )
    return Code(entries, *workspace_bytes(program.code))


def _function(kernel: Kernel, machine: Machine) -> tuple[str, str]:
    """A kernel's entry: its symbol, a digest of what it computes, and the text of its module."""
    text = print_kernel(kernel, machine, _NAME)
    name = f"{_NAME}_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
    text = text.replace(f"@{_NAME}(", f"@{name}(")
    return entry_symbol(name), text + wrap(name, len(kernel.arrays))


def _entry(number: int, kernel: Kernel, address: int, places: tuple[Place, ...], cost: float) -> Entry:
    extent = kernel.loop.extent
    grain = max(1, round(_WORTHWHILE / max(cost, 1e-3)))
    if kernel.loop.kind == "vector":
        grain = -(-grain // 64) * 64  # whole cache lines
    return Entry(number, kernel, address, places, extent, grain, cost * extent)
