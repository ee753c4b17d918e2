"""Kernels run by plain NumPy: the meaning of the loop form, for tests.

Vector and lanes loops are evaluated for all their values at once, everything else one by one in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Affine,
    Apply,
    Array,
    Bound,
    Const,
    Fail,
    For,
    Get,
    If,
    Kernel,
    Load,
    Position,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    Var,
    When,
)
from staticnet.compiler.codegen.loops.operations import OPERATIONS


class Failed(Exception):
    """A Fail statement's condition held."""


def run_routine(routine: Routine, memory: Mapping[Array, np.ndarray]) -> None:
    """Run all kernels on flat arrays; workspace that `memory` lacks is made here, full of NaN or ones."""
    arrays = dict(memory)
    for array in routine.workspace:
        if array not in arrays:
            arrays[array] = np.full(array.size, np.nan if array.dtype.is_float else 1).astype(array.dtype.numpy)
    for kernel in routine.kernels:
        run_kernel(kernel, arrays)


def run_kernel(
    kernel: Kernel, memory: Mapping[Array, np.ndarray], begin: int = 0, end: int | None = None
) -> None:
    """Run one kernel over a range of its loop."""
    with np.errstate(all="ignore"):
        loop = kernel.loop
        _Run(memory).loop(loop, range(begin, loop.extent if end is None else end))


class _Run:
    def __init__(self, memory: Mapping[Array, np.ndarray]):
        self.memory = memory
        self.variables: dict[Var, Any] = {}
        self.registers: dict[Register, Any] = {}
        #: the values of the vector loop that is running
        self.lanes: np.ndarray | None = None
        self.lane_var: Var | None = None

    def block(self, body: Sequence[Statement]) -> None:
        for statement in body:
            if isinstance(statement, For):
                self.loop(statement, range(statement.extent))
            elif isinstance(statement, If):
                holds = all(self.holds(bound) for bound in statement.condition)
                self.block(statement.then if holds else statement.otherwise)
            elif isinstance(statement, When):
                self.when(statement)
            else:
                self.run(statement)

    def when(self, statement: When) -> None:
        assert self.lanes is None, "a condition computed inside a vector loop"
        if not self.value(statement.condition):
            return
        before = {register: np.copy(content) for register, content in self.registers.items()}
        self.block(statement.then)
        self.registers = before

    def loop(self, loop: For, values: range) -> None:
        if loop.kind in {"vector", "lanes"}:
            assert self.lanes is None, "a vector loop inside another"
            if len(values):
                self.lanes, self.lane_var = np.arange(values.start, values.stop), loop.var
                self.variables[loop.var] = self.lanes
                self.block(loop.body)
                self.lanes = self.lane_var = None
            return
        for value in values:
            self.variables[loop.var] = value
            self.block(loop.body)

    def run(self, statement: Statement) -> None:
        if isinstance(statement, Store):
            self.store(statement)
        elif isinstance(statement, Set):
            self.set(statement)
        elif isinstance(statement, Accumulate):
            self.accumulate(statement)
        elif isinstance(statement, Fail) and np.any(self.value(statement.condition)):
            raise Failed

    def store(self, statement: Store) -> None:
        place = self.place(statement.index, statement.offset)
        value = self.value(statement.value)
        assert np.asarray(value).dtype == statement.array.dtype.numpy, statement
        if statement.guard:
            place, value, holds = np.broadcast_arrays(place, value, self.guard(statement.guard))
            place, value = place[holds], value[holds]
        if np.size(place):
            self.check(statement.array, place)
            self.memory[statement.array][place] = value

    def set(self, statement: Set) -> None:
        register, value = statement.register, np.asarray(self.value(statement.value))
        assert value.dtype == register.dtype.numpy, statement
        shape = register.shape
        lane = self.lane_var
        if self.lanes is not None and lane is not None and not any(part.factor(lane) for part in statement.index):
            value = np.broadcast_to(value, self.lanes.shape)
            shape = (*shape, len(self.lanes))
        if not register.shape:
            self.registers[register] = value.copy()
            return
        if register not in self.registers or self.registers[register].shape != shape:
            self.registers[register] = np.zeros(shape, register.dtype.numpy)
        self.registers[register][self.indexes(statement.index)] = value

    def accumulate(self, statement: Accumulate) -> None:
        register, value = statement.register, self.value(statement.value)
        current = self.registers[register]
        meaning = OPERATIONS[statement.operation].meaning
        if self.lanes is not None and np.ndim(current) == 0:
            values = np.broadcast_to(value, self.lanes.shape)
            value = meaning.reduce(values, dtype=values.dtype)  # type: ignore[attr-defined]  # they are all ufuncs
        self.registers[register] = np.asarray(meaning(current, value))

    def value(self, value: Value) -> Any:
        if isinstance(value, Const):
            return value.dtype.numpy.type(value.value)
        if isinstance(value, Load):
            return self.load(value)
        if isinstance(value, Get):
            content = self.registers[value.register]
            return content[self.indexes(value.index)] if value.index else content
        if isinstance(value, Position):
            return np.int64(self.index(value.index))
        assert isinstance(value, Apply)
        arguments = [self.value(argument) for argument in value.arguments]
        if value.operation == "cast":
            return np.asarray(arguments[0]).astype(value.dtype.numpy)
        if value.operation == "bitcast":
            return np.asarray(arguments[0]).view(value.dtype.numpy)
        return np.asarray(OPERATIONS[value.operation].meaning(*arguments)).astype(value.dtype.numpy, copy=False)

    def load(self, value: Load) -> Any:
        memory, place = self.memory[value.array], self.place(value.index, value.offset)
        if not value.guard:
            self.check(value.array, place)
            return memory[place]
        holds = self.guard(value.guard)
        otherwise = self.value(value.otherwise) if value.otherwise is not None else memory.dtype.type(0)
        place, holds = np.broadcast_arrays(place, holds)
        safe = np.where(holds, place, 0)
        self.check(value.array, safe[holds])
        return np.where(holds, memory[safe], otherwise) if memory.size else np.full(holds.shape, otherwise)

    def check(self, array: Array, place: Any) -> None:
        if np.size(place) and not (np.min(place) >= 0 and np.max(place) < array.size):
            raise IndexError(f"{array.name}[{np.min(place)} to {np.max(place)}] is outside its {array.size} elements")

    def guard(self, bounds: Sequence[Bound]) -> Any:
        return reduce(np.logical_and, [np.asarray(self.holds(bound)) for bound in bounds])

    def holds(self, bound: Bound) -> Any:
        index = self.index(bound.index)
        return (bound.low <= index) & (index < bound.high)

    def place(self, index: Affine, offset: Value | None) -> Any:
        place = self.index(index)
        return place if offset is None else place + self.value(offset)

    def index(self, index: Affine) -> Any:
        total: Any = index.constant
        for var, factor in index.terms:
            total = total + self.variables[var] * factor
        return total

    def indexes(self, index: tuple[Affine, ...]) -> tuple:
        return tuple(self.index(part) for part in index)
