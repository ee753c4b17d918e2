"""The code of a program as text: its loops, for people who look for what a step does."""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.generate import with_code
from staticnet.compiler.program import Generated, Program


def code_text(program: Program) -> str:
    """The loops of every step, each routine once, below the numbers of the steps that run it.

    Of a program that a backend has from its cache they are described anew. Empty for a target without code.
    """
    if program.target.machine is None:
        return ""
    made = program if program.loaded is None else with_code(program, program.target.machine)
    places = [step.index for step in made.steps for _ in step.instructions]
    users: dict[int, list[int]] = {}
    for number, generated in enumerate(made.code):
        # Steps that are alike share their routine; of those that have none each stands for itself.
        users.setdefault(id(generated.routine) if generated.routine else -1 - number, []).append(number)
    return "\n".join(_part(made, numbers, [places[number] for number in numbers]) for numbers in users.values())


def _part(program: Program, numbers: Sequence[int], steps: Sequence[int]) -> str:
    """One routine: which steps run it, and its kernels."""
    generated, instruction = program.code[numbers[0]], program.instructions[numbers[0]]
    named = f"step{'s' * (len(steps) > 1)} {', '.join(map(str, steps))} {instruction.op.title}"
    if generated.routine is None:
        return f"{named}: in Python\n"
    notes = [note for number in numbers for note in _notes(program, generated, number)]
    return "".join([f"{named}\n", *dict.fromkeys(notes), str(generated.routine)])


def _notes(program: Program, generated: Generated, number: int) -> list[str]:
    """Which kernels of an instruction do not run at every call."""
    assert generated.routine is not None
    found = []
    for place, kernel in enumerate(generated.routine.kernels):
        states = program.standing.get((number, place))
        if states is not None:
            names = ", ".join(program.states[slot].name for slot in sorted(states))
            found.append(f"  {kernel.name}: {f'only after {names} has changed' if names else 'once'}\n")
    return found
