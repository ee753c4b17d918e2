"""The generated code of one step: its loops, or the LLVM IR that is printed of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from staticnet.compiler.codegen.generate import code_of
from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops.form import Kernel
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.program import Program


class Printed(NamedTuple):
    """A kernel with the LLVM IR of its module, under a symbol of its own."""

    kernel: Kernel
    symbol: str
    text: str


def step_kernels(program: Program, index: int) -> tuple[Kernel, ...]:
    """The kernels of a step, described anew.

    Raises ArgumentError for a step that there is not, and for one that has no code.
    """
    steps, machine = program.steps, program.target.machine
    if not 0 <= index < len(steps):
        raise ArgumentError(f"{program.name} has {len(steps)} steps, numbered from 0: there is no step {index}")
    where = f"step {index} of {program.name} ({steps[index].label})"
    if machine is None:
        raise ArgumentError(f"{where} runs as its op's own kernel: {program.target.name} programs have no code")
    found: list[Kernel] = []
    for instruction in steps[index].instructions:
        routine = code_of(program, instruction, machine).routine
        if routine is None:
            raise ArgumentError(f"{where} runs as its op's own kernel, in Python: it has no code")
        found += routine.kernels
    return tuple(found)


def step_loops(program: Program, index: int) -> str:
    """The loops of a step, kernel after kernel; errors as of `step_kernels`."""
    return "\n".join(map(str, step_kernels(program, index)))


def step_llvm(program: Program, index: int) -> str:
    """The LLVM IR of a step, one module a kernel; errors as of `step_kernels`."""
    return "\n".join(f"; {printed.symbol}\n{printed.text}" for printed in printed_kernels(program, index))


def printed_kernels(program: Program, index: int) -> Iterator[Printed]:
    """The kernels of a step printed for the program's machine."""
    machine = program.target.machine
    for number, kernel in enumerate(step_kernels(program, index)):
        assert machine is not None
        symbol = f"step{index}_{number}_{re.sub(r'[^a-zA-Z0-9_]', '_', kernel.name)}"
        yield Printed(kernel, symbol, print_kernel(kernel, machine, symbol))
