"""Makes a profile: runs a bound program by the clock, and counts what its instructions do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from staticnet.compiler.program import Instruction, Program
from staticnet.runtime.bound import Bound
from staticnet.runtime.profile import Profile, StepTime
from staticnet.runtime.segments import segments_of
from staticnet.runtime.times import Times
from staticnet.runtime.work import kind_of, work_of

if TYPE_CHECKING:
    from staticnet.runtime.ceilings import Ceilings


def profile_of(bound: Bound, rounds: Sequence[Times], ceilings: Ceilings | None) -> Profile:
    """The profile of a bound program, from the times of some of its runs."""
    program = bound.program
    medians = [statistics.median(seconds) for seconds in zip(*(times.seconds for times in rounds), strict=True)]
    entries: list[StepTime] = []
    for step in program.steps:
        for instruction in step.instructions:
            number = len(entries)
            entries.append(_entry(bound, step.index, number, instruction, medians[number], ceilings))
    ordered = sorted(rounds, key=lambda times: times.call)
    beside = [max(times.call - sum(times.seconds), 0.0) for times in rounds]
    return Profile(
        program.name,
        tuple(entries),
        overhead=statistics.median(beside),
        calls=tuple(times.call for times in rounds),
        threads=ceilings.threads if ceilings else 1,
        ceilings=ceilings,
        segments=segments_of(program, bound.runs_natively),
        run=ordered[len(ordered) // 2],
    )


def _entry(
    bound: Bound, step: int, number: int, instruction: Instruction, seconds: float, ceilings: Ceilings | None
) -> StepTime:
    program, op = bound.program, instruction.op
    work = work_of(program, instruction)
    out = program.buffers[instruction.outputs[0]].type
    is_native, threads = bound.runs_natively(number), bound.threads_of(number)
    limit = None
    if ceilings is not None:
        size = _itemsize(program, instruction)
        limit = ceilings.limit(work.flops, work.read, work.written, itemsize=size, threads=threads)
    return StepTime(
        step=step,
        op=op.title,
        seconds=seconds,
        flops=work.flops,
        bytes=work.bytes,
        shape=tuple(out.shape),  # type: ignore[arg-type]
        origin=instruction.origin,
        kind=kind_of(op),
        dtype=out.dtype.name,
        threads=threads,
        is_native=is_native,
        limit=limit,
    )


def _itemsize(program: Program, instruction: Instruction) -> int:
    """Bytes of the numbers that it computes with: the widest floating ones among operands and results."""
    types = [program.buffers[index].type for index in (*instruction.inputs, *instruction.outputs)]
    return max((type.dtype.itemsize for type in types if type.dtype.is_float), default=4)
