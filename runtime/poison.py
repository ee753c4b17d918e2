"""The dynamic twin of the plan checker: run with every dead byte poisoned and see that nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticnet.compiler.program import Program
from staticnet.runtime.bound import Bound

#: 0xFF bytes: NaN in every float type, -1 in signed integers
POISON = 0xFF


def run_poisoned(bound: Bound, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """As `Bound.run`, with the arena poisoned at the start, workspace before each step, each storage when it dies.

    The binding must be a fresh one. Where the plan is right the results are those of the plain run, bit for bit.
    """
    program, backend = bound.program, bound.backend
    backend.enter(program)
    backend.fill(bound.arena, POISON)
    for target, source in zip(bound.feeds, feeds, strict=True):
        backend.write(target, source)
    dying, workspaces = deaths(program), _workspaces(bound)
    with np.errstate(all="ignore"):
        for instruction, call in zip(program.instructions, bound.calls, strict=True):
            for memory in workspaces:
                backend.fill(memory, POISON)
            call()
            for storage in dying.get(instruction.time, ()):
                backend.fill(bound.memory[storage], POISON)
    return bound.finish()


def _workspaces(bound: Bound) -> list[Any]:
    """Memory whose contents no step may find again; what outlasts a call is kept."""
    found = [] if bound.scratch is None else [bound.scratch]
    regions = getattr(bound, "regions", {})  # of native code
    return found + [memory for name, memory in regions.items() if name != "kept"]


def deaths(program: Program) -> dict[int, list[int]]:
    """For each time the arena storages that are read for the last time then, from the instructions alone."""
    last: dict[int, int] = {}
    for instruction in program.instructions:
        for index in (*instruction.inputs, *instruction.outputs):
            storage = program.buffers[index].storage
            if program.storages[storage].place == "arena":
                last[storage] = instruction.time
    for index in (*(slot.buffer for slot in program.outputs), *(copy.buffer for copy in program.copies)):
        last.pop(program.buffers[index].storage, None)
    table: dict[int, list[int]] = {}
    for storage, time in last.items():
        table.setdefault(time, []).append(storage)
    return table
