"""Cards run through their loop descriptions on arrays in any layout, and by their own kernels, for comparison."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticnet.compiler.codegen.loops.describe import describe
from staticnet.compiler.codegen.loops.form import Array, Routine, View
from staticnet.compiler.codegen.loops.interpret import run_routine
from staticnet.compiler.codegen.machine import SMALL, Machine
from staticnet.compiler.dtypes import as_dtype
from staticnet.compiler.ir import Layout, Op, Type

#: a processor with wide vectors
WIDE = Machine("wide", "", "x86_64-unknown-linux-gnu", 64, 32)


@dataclass(frozen=True)
class Placed:
    """An array inside a run of memory: `seen` is a NumPy view of its elements there."""

    view: View
    memory: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Placement:
    """Where elements lie: axes from far to near in memory, `gap` places apart, counted backwards along `flipped`."""

    order: tuple[int, ...]
    gap: int = 1
    flipped: tuple[int, ...] = ()

    def place(self, name: str, array: np.ndarray, role: str, number: int) -> Placed:
        strides, step = [0] * array.ndim, self.gap
        for axis in reversed(self.order):
            strides[axis] = step
            step *= max(array.shape[axis], 1)
        offset = 2 if self.gap > 1 else 0
        offset += sum(strides[axis] * max(array.shape[axis] - 1, 0) for axis in self.flipped)
        strides = [-stride if axis in self.flipped else stride for axis, stride in enumerate(strides)]
        memory = garbage(array.size * self.gap + (3 if self.gap > 1 else 0), array.dtype)
        seen = np.lib.stride_tricks.as_strided(
            memory[offset if array.size else 0 :], array.shape, [stride * array.itemsize for stride in strides]
        )
        if role == "input":
            seen[...] = array
        view = View(
            Array(name, as_dtype(array.dtype), memory.size, role, number), Layout(array.shape, tuple(strides), offset)
        )
        return Placed(view, memory, seen)


def garbage(size: int, dtype: Any) -> np.ndarray:
    """What an arena may hold: NaN, -1, True."""
    dtype = np.dtype(dtype)
    fill = b"\x01" if dtype == np.bool_ else b"\xff" * dtype.itemsize
    return np.frombuffer(fill * size, dtype).copy()


def dense(ndim: int) -> Placement:
    """Row-major."""
    return Placement(tuple(range(ndim)))


def placements(ndim: int) -> Iterator[Placement]:
    """Row-major, other orders of the axes, gaps, and backwards."""
    yield dense(ndim)
    if ndim == 4:
        yield Placement((0, 2, 3, 1))
    if ndim > 1:
        yield Placement(tuple(reversed(range(ndim))))
    yield Placement(tuple(range(ndim)), 3)
    yield Placement((*range(1, ndim), 0)[:ndim], 2, tuple(range(ndim - 1)))


def combinations(*ranks: int) -> list[tuple[Placement, ...]]:
    """Placements of several arrays together: each one of each array meets the dense others, and some their own kind."""
    found = dict.fromkeys(
        tuple(options[min(k, len(options) - 1)] for options in map(list, map(placements, ranks))) for k in range(5)
    )
    for number, rank in enumerate(ranks):
        for placement in placements(rank):
            others = [dense(other) for other in ranks]
            others[number] = placement
            found[tuple(others)] = None
    return list(found)


Runner = Callable[[Routine, dict[Array, np.ndarray]], None]


@dataclass(frozen=True)
class Run:
    """One description that was run: the routine, its operands and its results in memory."""

    routine: Routine
    inputs: tuple[Placed, ...]
    outputs: tuple[Placed, ...]

    @property
    def results(self) -> list[np.ndarray]:
        return [placed.seen for placed in self.outputs]


def described(
    op: Op,
    arrays: Sequence[np.ndarray],
    at: Sequence[Placement],
    machine: Machine = SMALL,
    results: Sequence[Type] | None = None,
) -> Run | None:
    """The description of a bound card for operands and results placed so; None if there is none.

    `results` are what the card infers unless given.
    """
    results = result_types(op, arrays) if results is None else results
    empty = [np.empty(type.shape, type.dtype.numpy) for type in results]
    inputs = tuple(at[k].place(f"x{k}", array, "input", k) for k, array in enumerate(arrays))
    outputs = tuple(at[len(arrays) + k].place(f"y{k}", array, "output", k) for k, array in enumerate(empty))
    routine = describe(op, [placed.view for placed in inputs], [placed.view for placed in outputs], machine)
    return None if routine is None else Run(routine, inputs, outputs)


def result_types(op: Op, arrays: Sequence[np.ndarray]) -> list[Type]:
    """What the card says of its results."""
    found = op.infer(*(Type(array.shape, array.dtype) for array in arrays))
    return [found] if isinstance(found, Type) else list(found.items)


def execute(run: Run, runner: Runner = run_routine) -> None:
    """Run it; nothing but the results may have changed."""
    before = {placed.view.array.name: zlib.crc32(_rest(placed)) for placed in (*run.inputs, *run.outputs)}
    runner(run.routine, {placed.view.array: placed.memory for placed in (*run.inputs, *run.outputs)})
    after = {placed.view.array.name: zlib.crc32(_rest(placed)) for placed in (*run.inputs, *run.outputs)}
    assert before == after, "memory beside the results was written to"


def _rest(placed: Placed) -> bytes:
    """The bytes of the memory that must stay as they are."""
    if placed.view.array.role == "input":
        return placed.memory.tobytes()
    layout = placed.view.layout
    keep = np.ones(placed.memory.size, bool)
    for index in itertools.product(*map(range, layout.shape)):
        keep[layout.offset + sum(part * stride for part, stride in zip(index, layout.strides, strict=True))] = False
    return placed.memory[keep].tobytes()


def kernel_results(op: Op, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the card's own kernel makes of dense operands."""
    outs = [garbage(int(type.size), type.dtype.numpy).reshape(type.shape) for type in result_types(op, arrays)]
    size = op.scratch(*(Type(array.shape, array.dtype) for array in arrays))
    with np.errstate(all="ignore"):
        op.kernel(
            np,
            *(np.array(array, order="C") for array in arrays),
            out=outs[0] if len(outs) == 1 else tuple(outs),
            scratch=garbage(size, np.uint8) if size else None,
        )
    return outs


def assert_equal(actual: np.ndarray, expected: np.ndarray, what: Any, ulp: int = 0) -> None:
    """Equal to the bit but for the payload of NaN, or within so many units in the last place."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape, what
    if actual.dtype.kind == "f" and ulp:
        np.testing.assert_array_max_ulp(np.array(actual), expected, ulp)
        return
    np.testing.assert_array_equal(actual, expected, err_msg=str(what))
    if actual.dtype.kind == "f":
        numbers = ~np.isnan(expected)
        signs = np.signbit(np.array(actual))[numbers] == np.signbit(expected)[numbers]
        assert np.all(signs), f"{what}: a sign of zero differs"


def check(
    op: Op,
    arrays: Sequence[np.ndarray],
    ulp: int = 0,
    runner: Runner = run_routine,
    machines: Sequence[Machine] = (SMALL, WIDE),
    layouts: Sequence[Sequence[Placement]] | None = None,
) -> int:
    """The description against the kernel in many layouts; returns how many were described."""
    expected = kernel_results(op, arrays)
    count = 0
    for machine in machines:
        for at in layouts or combinations(*(array.ndim for array in (*arrays, *expected))):
            run = described(op, arrays, at, machine)
            if run is None:
                continue
            execute(run, runner)
            for actual, wanted in zip(run.results, expected, strict=True):
                assert_equal(actual, wanted, f"{op} at {at}\n{run.routine}", ulp)
            count += 1
    return count
