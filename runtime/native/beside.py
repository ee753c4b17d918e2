"""Native code beside the cards' kernels: which instruction of a program is the first to give another result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staticnet.compiler.errors import StaticnetError
from staticnet.compiler.program import Instruction
from staticnet.runtime.native.bound import NativeBound


def first_difference(bound: NativeBound, feeds: Sequence[np.ndarray], rtol: float, atol: float) -> str | None:
    """The first instruction whose results differ from those of its card's kernel on the same operands, and how.

    Runs the program on a fresh binding, so states are written. Floats may differ within `rtol` and `atol`, NaN
    equals NaN; all else must be equal. None where no instruction differs.
    """
    for own, source in zip(bound.feeds, feeds, strict=True):
        own[...] = source
    for number, instruction in enumerate(bound.program.instructions):
        expected = _by_kernel(bound, instruction)
        try:
            bound.calls[number]()
            refusal = None
        except StaticnetError as error:
            refusal = error.message
        if isinstance(expected, str) or refusal is not None:
            if expected == refusal:
                return None
            return f"{_name(instruction)}: {refusal or 'it runs'}, where its kernel gives {expected}"
        for index, wanted in zip(instruction.outputs, expected, strict=True):
            found = _difference(np.array(bound.arrays[index]), wanted, rtol, atol)
            if found:
                return f"{_name(instruction)}: {found}"
    return None


def _by_kernel(bound: NativeBound, instruction: Instruction) -> list[np.ndarray] | str:
    """What the kernel makes of copies of the operands, or how it refuses them."""
    inputs = [np.array(bound.arrays[index], order="K") for index in instruction.inputs]
    outputs = [np.empty(bound.arrays[index].shape, bound.arrays[index].dtype) for index in instruction.outputs]
    types = [bound.program.buffers[index].type for index in instruction.inputs]
    need = instruction.op.scratch(*types)
    out = outputs[0] if len(outputs) == 1 else tuple(outputs)
    with np.errstate(all="ignore"):
        try:
            instruction.op.kernel(np, *inputs, out=out, scratch=bound.backend.empty(need) if need else None)
        except StaticnetError as error:
            return error.message
    return outputs


def _difference(got: np.ndarray, wanted: np.ndarray, rtol: float, atol: float) -> str | None:
    if wanted.dtype.kind == "f":
        differs = ~np.isclose(got, wanted, rtol=rtol, atol=atol, equal_nan=True)
    else:
        differs = np.asarray(got != wanted)
    if not differs.any():
        return None
    place = tuple(int(i) for i in np.argwhere(differs)[0])
    return f"{got[place]!r} instead of {wanted[place]!r} at {place}, {int(differs.sum())} elements differ"


def _name(instruction: Instruction) -> str:
    where = f" ({instruction.origin.short})" if instruction.origin else ""
    return f"instruction {instruction.time}, {instruction.op.title}{where}"
