"""Programs run by their loop descriptions in plain NumPy: every described step against its card's kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from staticnet.compiler.codegen.generate import with_code
from staticnet.compiler.codegen.loops.form import Array, Routine
from staticnet.compiler.codegen.loops.interpret import run_routine
from staticnet.compiler.codegen.machine import SMALL, Machine
from staticnet.compiler.program import Generated, Instruction, Program
from staticnet.runtime.bound import Bound
from staticnet.runtime.numpy_backend import NUMPY

Run = Callable[[Routine, Mapping[Array, np.ndarray]], None]


def step_through(
    program: Program,
    feeds: Sequence[np.ndarray],
    states: Sequence = (),
    machine: Machine = SMALL,
    run: Run = run_routine,
) -> int:
    """Run the program by its cards' kernels, and before each step its routine on the same operands; compare.

    `run` interprets the routine, or compiles and runs it. Returns how many steps have a routine.
    """
    constants = [np.array(value) for value in program.constants]
    bound = Bound(program, NUMPY, states, constants)
    for target, source in zip(bound.feeds, feeds, strict=True):
        target[...] = source
    count = 0
    code = with_code(program, machine).code
    with np.errstate(all="ignore"):
        for generated, instruction, call in zip(code, program.instructions, bound.calls, strict=True):
            got = _results(generated, instruction, program, bound, run) if generated.routine is not None else None
            call()
            if got is None:
                continue
            count += 1
            for index, result in zip(instruction.outputs, got, strict=True):
                _compare(instruction, bound.arrays[index], result)
    return count


def _results(
    generated: Generated, instruction: Instruction, program: Program, bound: Bound, run: Run
) -> list[np.ndarray]:
    """What the routine makes of copies of the step's operands, results in the step's layouts."""
    memory: dict[Array, np.ndarray] = {}
    routine = generated.routine
    assert routine is not None
    arrays = {array for kernel in routine.kernels for array in kernel.arrays}
    for array in arrays:
        if array.role in {"shared", "local"}:
            continue
        operand = generated.operand(array)
        buffer = program.buffers[operand.buffer]
        flat = bound.memory[buffer.storage].reshape(-1).view(np.uint8).view(array.dtype.numpy)
        memory[array] = flat[operand.start : operand.start + array.size].copy()
    run(routine, memory)
    found = []
    for number, index in enumerate(instruction.outputs):
        buffer = program.buffers[index]
        flat = next((m for a, m in memory.items() if a.role == "output" and a.number == number), np.empty(0))
        strides = [stride * buffer.type.dtype.itemsize for stride in buffer.layout.strides]
        shape = buffer.layout.shape
        empty = 0 in shape
        found.append(
            np.empty(shape, buffer.type.dtype.numpy) if empty else np.lib.stride_tricks.as_strided(flat, shape, strides)
        )
    return found


def _compare(instruction: Instruction, expected: np.ndarray, got: np.ndarray) -> None:
    title = instruction.op.title
    assert got.dtype == expected.dtype and got.shape == expected.shape, title
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected, err_msg=title)
        return
    epsilon = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(got, expected, rtol=200 * epsilon, atol=200 * epsilon, equal_nan=True, err_msg=title)
