"""The generated code of steps for people: loops, LLVM IR and assembly, on request or as the environment asks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from staticnet.compiler import flags
from staticnet.compiler.codegen.source import printed_kernels, step_llvm, step_loops
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.program import Program
from staticnet.runtime.native import jit


def step_assembly(program: Program, index: int) -> str:
    """The assembly of a step's kernels, as LLVM makes it; ArgumentError for a step that has no code."""
    printed = list(printed_kernels(program, index))
    machine = program.target.machine
    assert machine is not None
    return "\n".join(jit.assembly(each.symbol, each.text, machine) for each in printed)


#: form -> what makes it, and the ending of its files
_FORMS: Mapping[str, tuple[Callable[[Program, int], str], str]] = {
    "loops": (step_loops, "loops.txt"),
    "llvm": (step_llvm, "ll"),
    "assembly": (step_assembly, "s"),
}


def step_source(program: Program, index: int, form: str = "loops") -> str:
    """The generated code of a step as 'loops', 'llvm' or 'assembly'.

    Raises ArgumentError for another form, for a step that there is not, and for one that runs as its op's kernel.
    """
    if form not in _FORMS:
        raise ArgumentError(f"there is no form {form!r} of a step's code; take {', '.join(map(repr, _FORMS))}")
    return _FORMS[form][0](program, index)


def show(program: Program) -> None:
    """Print the code of all steps under STATICNET_DEBUG=4, and write it to files under STATICNET_DUMP.

    Loops are printed with the program already: here LLVM IR and assembly follow.
    """
    level, folder = flags.debug_level(), flags.dump_folder()
    if level < 4 and not folder:
        return
    number = 0
    for step in program.steps:
        codes = program.code[number : number + len(step.instructions)]
        number += len(step.instructions)
        if any(code.routine is None for code in codes):
            continue
        for form, (make, ending) in _FORMS.items():
            text = make(program, step.index)
            if level >= 4 and form != "loops":
                print(f"{program.name} step {step.index} {step.label}: {form}\n{text}", file=sys.stderr)
            if folder:
                sizes = "".join(f".{name}{size}" for name, size in program.binding.items())
                flags.dump(folder, f"{program.name}{sizes}.step{step.index:03}.{ending}", text)
