"""How a program is cut: runs of steps that are one native call each, and what runs in Python between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from staticnet.compiler.program import Program


@dataclass(frozen=True)
class Segment:
    """Consecutive steps, `first` to `last`, that are one native call, or run one by one in Python; with their ops."""

    is_native: bool
    first: int
    last: int
    ops: tuple[str, ...]

    def __str__(self) -> str:
        steps = f"step {self.first}" if self.first == self.last else f"steps {self.first} to {self.last}"
        if self.is_native:
            return f"{steps}: one native call"
        return f"{steps}: in Python, {', '.join(dict.fromkeys(self.ops))}"


def segments_of(program: Program, is_native: Callable[[int], bool]) -> tuple[Segment, ...]:
    """The segments, given which instructions run natively."""
    found: list[Segment] = []
    number = 0
    for step in program.steps:
        for instruction in step.instructions:
            native, op = is_native(number), instruction.op.title
            number += 1
            before = found[-1] if found else None
            if before is not None and before.is_native == native:
                found[-1] = Segment(native, before.first, step.index, (*before.ops, op))
            else:
                found.append(Segment(native, step.index, step.index, (op,)))
    return tuple(found)


def say(segments: Sequence[Segment]) -> str:
    """In a few words: how many native calls there are, and which ops split them."""
    native = sum(segment.is_native for segment in segments)
    ops = [op for segment in segments if not segment.is_native for op in segment.ops]
    if not native:
        return "all in Python" if ops else "nothing to run"
    calls = f"{native} native call{'s' * (native != 1)}"
    if not ops:
        return calls
    names = list(dict.fromkeys(ops))
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else "")
    return f"{calls}, and {len(ops)} in Python: {shown}"


_SHOWN = 5
