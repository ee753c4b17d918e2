"""Standing work: kernels whose results follow from states and constants alone, so that they outlast a call.

A program that only reads its states (inference) packs its weights once, not at every call: such kernels run
again when a state they read was written, and their results keep a place of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticnet.compiler.codegen.loops.form import Array, Kernel, Load, Routine, statements, subvalues, values_of
from staticnet.compiler.program import Generated, Program

#: (instruction, kernel of its routine) -> numbers of the states that the kernel's results follow from
Standing = Mapping[tuple[int, int], frozenset[int]]


def standing_kernels(program: Program) -> dict[tuple[int, int], frozenset[int]]:
    """The kernels that stand.

    It reads states that the program does not write, constants, and workspace that such kernels fill; it writes
    workspace that no other kernel writes, and it never refuses anything.
    """
    changing = {buffer for instruction in program.instructions for buffer in instruction.outputs}
    unstable = {program.buffers[index].storage for index in changing}
    unstable |= {program.buffers[program.states[copy.state].buffer].storage for copy in program.copies}
    found: dict[tuple[int, int], frozenset[int]] = {}
    for number, generated in enumerate(program.code):
        if generated.routine is None:
            continue
        for place, states in _standing(program, generated, generated.routine, unstable).items():
            found[number, place] = states
    return found


def _standing(
    program: Program, generated: Generated, routine: Routine, unstable: set[int]
) -> dict[int, frozenset[int]]:
    made: dict[Array, frozenset[int]] = {}
    found: dict[int, frozenset[int]] = {}
    for place, kernel in enumerate(routine.kernels):
        read = [array for array in _read(kernel) if array.role != "local"]
        sources = [_source(program, generated, array, unstable, made) for array in read]
        others = [other for other in routine.kernels if other is not kernel]
        written = [array for array in kernel.written if array.role != "local"]
        is_own = all(array.role == "shared" and not any(array in o.written for o in others) for array in written)
        if not written or not is_own or routine.can_fail or any(source is None for source in sources):
            continue
        states = frozenset().union(*(source for source in sources if source is not None))
        found[place] = states
        made.update(dict.fromkeys(written, states))
    return found


def _source(
    program: Program, generated: Generated, array: Array, unstable: set[int], made: dict[Array, frozenset[int]]
) -> frozenset[int] | None:
    """The states that the contents of an array follow from; None where they differ from call to call."""
    if array in made:
        return made[array]
    if array.role != "input":
        return None
    storage = program.storages[program.buffers[generated.operand(array).buffer].storage]
    if storage.place == "constant":
        return frozenset()
    return frozenset({storage.slot}) if storage.place == "state" and storage.index not in unstable else None


def _read(kernel: Kernel) -> set[Array]:
    parts = (part for s in statements((kernel.loop,)) for value in values_of(s) for part in subvalues(value))
    return {part.array for part in parts if isinstance(part, Load)}

