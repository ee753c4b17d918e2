"""Cutting vector loops into strips: how many lanes at a time, and what becomes of the rest."""

from __future__ import annotations

from dataclasses import dataclass

from staticnet.compiler.codegen.llvm.memory import has_masks
from staticnet.compiler.codegen.llvm.survey import Survey
from staticnet.compiler.codegen.loops.form import For, Kernel, Store, Var
from staticnet.compiler.codegen.machine import Machine

#: what a pass over wider strips may cost, by the number of vectors in a strip
_BUDGETS = ((4, 8), (2, 24))


@dataclass(frozen=True)
class Strip:
    """`times` passes of `lanes` lanes each, from `first` on; `count` of the lanes of a single pass are there."""

    first: int
    times: int
    lanes: int
    count: int


def lanes_of(survey: Survey, var: Var, machine: Machine) -> int:
    """Lanes in one vector of the element type that a loop mostly works on: the widest floating-point one, if any.

    Elements that lie apart are fetched one by one or four bytes each, so short ones make no more lanes.
    """
    floats = [max(4, dtype.itemsize) for dtype in survey.dtypes if dtype.is_float]
    sizes = floats or [dtype.itemsize for dtype in survey.dtypes] or [8]
    return machine.lanes(max(*sizes, 4 if survey.scattered(var) else 1))


def unrolling(survey: Survey, var: Var) -> int:
    """How many vectors one pass takes: several if it is short, so that their instructions overlap."""
    if survey.scattered(var):
        return 1
    cells = sum(max(1, _size(register.shape)) for register in survey.modified)
    cost = max(survey.cost, cells)
    return next((times for times, budget in _BUDGETS if cost <= budget), 1)


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def masks_all(survey: Survey, var: Var, machine: Machine) -> bool:
    """Whether a vector of which some lanes are not there can be loaded and stored."""
    stores = (access for access in survey.scattered(var) if isinstance(access, Store))
    return all(has_masks(machine.features, dtype) for dtype in survey.accessed) and all(
        "+avx512f" in machine.features.split(",") and store.array.dtype.itemsize >= 4 for store in stores
    )


def strips(extent: int, width: int, times: int, masks: bool) -> list[Strip]:
    """The strips of a loop of known extent: wide ones, then narrower ones, then a masked one or ever narrower ones."""
    while times > 1 and width * times > extent:
        times //= 2
    found: list[Strip] = []
    done = 0
    lanes = width * times
    while lanes:
        if lanes < width and masks:
            break
        if number := (extent - done) // lanes:
            found.append(Strip(done, number, lanes, lanes))
            done += number * lanes
        lanes //= 2
    if rest := extent - done:
        lanes = 1 << (rest - 1).bit_length()
        found.append(Strip(done, 1, lanes, rest))
    return found


def lanes_loops_width(kernel: Kernel, machine: Machine) -> tuple[int, bool]:
    """Lanes in a vector, and whether they can be masked: one answer for all `lanes` loops, for they share registers."""
    loops = [s for s in Survey((kernel.loop,)).statements if isinstance(s, For) and s.kind == "lanes"]
    surveys = [(Survey(loop.body), loop.var, machine) for loop in loops]
    width = min((lanes_of(*survey) for survey in surveys), default=1)
    return width, all(masks_all(*survey) for survey in surveys)
