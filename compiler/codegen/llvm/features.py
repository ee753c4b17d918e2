"""Which instructions beyond plain arithmetic a machine has: of those without, LLVM calls libraries or gives up."""

from __future__ import annotations

from staticnet.compiler.codegen.machine import Machine


def _is_x86(machine: Machine) -> bool:
    return machine.triple.startswith(("x86", "i386", "i686"))


def has_half(machine: Machine) -> bool:
    """Whether float16 and float32 are converted into each other by an instruction."""
    if not _is_x86(machine) or machine.vector_bytes >= 64:
        return True
    # A processor without a list of features is one of LLVM's levels: that of AVX2 has it.
    return "+f16c" in machine.features.split(",") or (not machine.features and machine.vector_bytes >= 32)


def has_rounding(machine: Machine) -> bool:
    """Whether floor, ceil, rint and trunc are instructions."""
    return not _is_x86(machine) or machine.vector_bytes >= 32 or "+sse4.1" in machine.features.split(",")


def has_scalef(machine: Machine) -> bool:
    """Whether AVX-512 can multiply by powers of two, beyond the normal range too; with AVX-512VL in all widths."""
    return _is_x86(machine) and machine.vector_bytes >= 64
