"""Rounding to whole numbers, also on machines that have no instruction for it."""

from __future__ import annotations

from staticnet.compiler.codegen.llvm.arithmetic import Number, select
from staticnet.compiler.codegen.llvm.features import has_rounding


def floor(x: Number) -> Number:
    if has_rounding(x.emitter.machine):
        return x.intrinsic("llvm.floor")
    near = rint(x)
    return (near - select(near > x, x.number(1), 0)).copysign(x)


def ceil(x: Number) -> Number:
    if has_rounding(x.emitter.machine):
        return x.intrinsic("llvm.ceil")
    near = rint(x)
    return (near + select(near < x, x.number(1), 0)).copysign(x)


def rint(x: Number) -> Number:
    """To the nearest, ties to even."""
    if has_rounding(x.emitter.machine):
        return x.intrinsic("llvm.rint")
    # From here on every number is whole, and adding it to a smaller one leaves no room for a fraction.
    whole = 2.0**23 if x.dtype.itemsize == 4 else 2.0**52
    magnitude = x.absolute()
    near = ((magnitude + whole) - whole).copysign(x)
    return select(magnitude < whole, near, x)


def trunc(x: Number) -> Number:
    """Toward zero."""
    if has_rounding(x.emitter.machine):
        return x.intrinsic("llvm.trunc")
    magnitude = x.absolute()
    near = rint(magnitude)
    return (near - select(near > magnitude, x.number(1), 0)).copysign(x)
