"""The machine code of one program: distinct functions, and in which order they are called on what."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from staticnet.compiler.codegen.cost import iteration_cost
from staticnet.compiler.codegen.generate import Workspace, copies_code, workspace
from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops.form import Array, Kernel
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.program import Generated, Program
from staticnet.runtime.native import jit
from staticnet.runtime.native.driver import entry_symbol, wrap

_NAME = "kernel"
#: nanoseconds of work below which a part of a loop is not worth another worker
_WORTHWHILE = 20_000


class Place(NamedTuple):
    """Where an array of a kernel lies: `offset` bytes into a 'buffer' of the program, or a region of workspace."""

    region: str
    buffer: int
    offset: int


@dataclass(frozen=True)
class Entry:
    """One call of a function: on which arrays, how many iterations, and how many at least for one worker."""

    instruction: int
    #: None where the program comes from the cache
    kernel: Kernel | None
    symbol: str
    address: int
    places: tuple[Place, ...]
    extent: int
    grain: int
    #: estimated nanoseconds of all its iterations
    cost: float


@dataclass(frozen=True)
class Code:
    """All entries of a program in order; instructions that have none run as their cards' kernels.

    Those in `standing` run before the others, and only after one of the `states` was written.
    """

    entries: tuple[Entry, ...]
    standing: tuple[Entry, ...]
    states: tuple[int, ...]
    workspace: Workspace
    #: whether the copies that end the program are among the entries, as instructions beyond the last
    has_copies: bool

    def without_kernels(self) -> Code:
        """What is kept on disk: no loops, no addresses."""
        return self._each(lambda entry: replace(entry, kernel=None, address=0))

    def at(self, addresses: Mapping[str, int]) -> Code:
        """With the addresses of this process, by symbol."""
        return self._each(lambda entry: replace(entry, address=addresses[entry.symbol]))

    def _each(self, change: Callable[[Entry], Entry]) -> Code:
        return replace(self, entries=tuple(map(change, self.entries)), standing=tuple(map(change, self.standing)))


def load_code(program: Program, machine: Machine) -> Code:
    """The program's machine code, compiled unless it was before; raises CompilerError where that fails."""
    if program.loaded is not None:
        return program.loaded
    calls: list[tuple[int, Kernel, tuple[Place, ...], bool]] = []
    spaces: list[Workspace] = []
    copies = copies_code(program, machine)
    for number, generated in enumerate((*program.code, *copies)):
        space = workspace(generated.routine, number, program.standing)
        kept = Workspace.joint(spaces).kept
        spaces.append(space)
        for order, kernel in enumerate(generated.routine.kernels if generated.routine else ()):
            places = tuple(_place(generated, space, kept, array) for array in kernel.arrays)
            if kernel.loop.extent:
                calls.append((number, kernel, places, (number, order) in program.standing))
    # Steps that are alike share their routine, so kernels are told apart by identity before they are printed.
    kernels = {id(kernel): kernel for _, kernel, _, _ in calls}
    functions = {key: _function(kernel, machine) for key, kernel in kernels.items()}
    addresses = dict(zip(functions, jit.load(list(functions.values()), machine), strict=True))
    costs = {key: iteration_cost(kernel, machine) for key, kernel in kernels.items()}
    entries, standing = (
        tuple(
            _entry(number, kernel, functions[id(kernel)][0], addresses[id(kernel)], places, costs[id(kernel)])
            for number, kernel, places, stands in calls
            if stands == wanted
        )
        for wanted in (False, True)
    )
    states = frozenset().union(*program.standing.values())
    return Code(entries, standing, tuple(sorted(states)), Workspace.joint(spaces), bool(copies))


def _place(generated: Generated, space: Workspace, kept: int, array: Array) -> Place:
    if array in space.places:
        region, offset = space.places[array]
        return Place(region, -1, offset + (kept if region == "kept" else 0))
    operand = generated.operand(array)
    return Place("buffer", operand.buffer, operand.start * array.dtype.itemsize)


def _function(kernel: Kernel, machine: Machine) -> tuple[str, str]:
    """A kernel's entry: its symbol, a digest of what it computes, and the text of its module."""
    text = print_kernel(kernel, machine, _NAME)
    name = f"{_NAME}_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
    text = text.replace(f"@{_NAME}(", f"@{name}(")
    return entry_symbol(name), text + wrap(name, len(kernel.arrays))


def _entry(
    number: int, kernel: Kernel, symbol: str, address: int, places: tuple[Place, ...], cost: float
) -> Entry:
    extent = kernel.loop.extent
    grain = max(1, round(_WORTHWHILE / max(cost, 1e-3)))
    if kernel.loop.kind == "vector":
        grain = -(-grain // 64) * 64  # whole cache lines
    return Entry(number, kernel, symbol, address, places, extent, grain, cost * extent)
