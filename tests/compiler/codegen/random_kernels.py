"""Random kernels for tests of printers: loops, guards, registers, gathers and mixed dtypes, all within bounds."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Affine,
    Array,
    For,
    If,
    Kernel,
    Load,
    Register,
    Set,
    Statement,
    Store,
    Value,
    Var,
    affine,
    const,
    position,
    within,
)
from staticnet.compiler.codegen.loops.operations import apply, cast, identity, select
from staticnet.compiler.dtypes import DType, bool_, float16, float32, float64, int8, int32, int64, uint8

DTYPES = (float32, float32, float32, float64, int32, int64, bool_, uint8, int8, float16)
COMPARISONS = ("less", "greater", "equal", "not_equal", "less_equal")


class RandomKernel:
    """A kernel made from a seed, with `memory` for it; results are small whole numbers, so that order is no matter."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.arrays: list[Array] = []
        self.extents: dict[Var, int] = {}
        self.vector: Var | None = None
        self.kind = ""
        self.registers: list[Register] = []
        self.made_in: dict[Register, Var | None] = {}
        self.kernel = self.build()
        self.memory = {array: self.content(array) for array in self.kernel.arrays}

    def pick(self, items):
        return items[int(self.random.integers(len(items)))]

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def content(self, array: Array) -> np.ndarray:
        high = 2 if array.dtype.is_bool else 4
        return self.random.integers(0, high, array.size).astype(array.dtype.numpy)

    # -- indexes --------------------------------------------------------------------------------

    def variable(self, extent: int) -> Var:
        var = Var(f"v{len(self.extents)}")
        self.extents[var] = extent
        return var

    def span(self, index: Affine) -> tuple[int, int]:
        low = high = index.constant
        for var, factor in index.terms:
            edge = factor * (self.extents[var] - 1)
            low, high = low + min(edge, 0), high + max(edge, 0)
        return low, high

    def some_index(self, *, distinct: bool = False) -> Affine:
        """An index that is never negative; `distinct`: no two iterations of the loops around have the same."""
        index = affine(0)
        if distinct:
            stride = self.pick((1, 1, 2))
            for var in sorted(self.extents, key=lambda var: var != self.vector):
                index = index + var * stride
                stride *= self.extents[var]
            return index + int(self.random.integers(3))
        for var in self.extents:
            if var == self.vector:
                index = index + var * self.pick((1, 1, 1, 1, 0, 2, 3, -1))
            elif self.chance(0.6):
                index = index + var * int(self.random.integers(-1, 5))
        return index - min(0, self.span(index)[0]) + int(self.random.integers(3))

    def new_array(self, dtype: DType, size: int, role: str) -> Array:
        array = Array(f"m{len(self.arrays)}", dtype, size, role, len(self.arrays))
        self.arrays.append(array)
        return array

    def bounds(self, *, lanes: bool):
        """Bounds that sometimes hold."""
        found = []
        for _ in range(int(self.random.integers(1, 3))):
            usable = [var for var in self.extents if lanes or var != self.vector]
            index = affine(int(self.random.integers(-2, 3)))
            for var in usable:
                index = index + var * int(self.random.integers(-1, 2))
            low, high = self.span(index)
            low += int(self.random.integers(-1, 3))
            found.append(within(index, low, max(low, high - int(self.random.integers(-2, 3)))))
        return tuple(found)

    # -- values ---------------------------------------------------------------------------------

    def value(self, dtype: DType, depth: int = 3) -> Value:
        choice = self.random.random()
        readable = [register for register in self.registers if register.dtype == dtype]
        if readable and choice < 0.3:
            return self.pick(readable).value
        if depth == 0 or choice < 0.5:
            return self.leaf(dtype, depth)
        if choice < 0.6:
            return select(self.value(bool_, depth - 1), self.value(dtype, depth - 1), self.value(dtype, depth - 1))
        if choice < 0.7:
            return cast(self.value(self.pick((bool_, uint8, int32)), depth - 1), dtype)
        if dtype.is_bool:
            if self.chance(0.5):
                of = self.pick(DTYPES)
                return apply(self.pick(COMPARISONS), self.value(of, depth - 1), self.value(of, depth - 1))
            operation = self.pick(("logical_and", "logical_or", "logical_xor"))
        else:
            operation = self.pick(("add", "maximum", "minimum", "add"))
        return apply(operation, self.value(dtype, depth - 1), self.value(dtype, depth - 1))

    def leaf(self, dtype: DType, depth: int) -> Value:
        if self.chance(0.15):
            return const(int(self.random.integers(0, 2 if dtype.is_bool else 4)), dtype)
        if self.chance(0.1) and not dtype.is_bool:
            return cast(apply("minimum", position(self.some_index()), const(3, int64)), dtype)
        known = [a for a in self.arrays if a.dtype == dtype and a.role == "input" and a.size > 4]
        index = self.some_index()
        offset, extra = None, 0
        if self.chance(0.2) and depth:
            offset, extra = apply("minimum", self.value(int64, 0), const(3, int64)), 4
            offset = apply("maximum", offset, const(0, int64))
        if not self.chance(0.35):
            size = self.span(index)[1] + 1 + extra
            fitting = [a for a in known if a.size >= size]
            array = self.pick(fitting) if fitting and self.chance(0.5) else self.new_array(dtype, size, "input")
            return Load(dtype, array, index, offset)
        otherwise = self.value(dtype, 0) if self.chance(0.5) else None
        if offset is not None:
            guard = self.bounds(lanes=True)
            array = self.new_array(dtype, self.span(index)[1] + 1 + extra, "input")
            return Load(dtype, array, index, offset, guard, otherwise)
        index = index - int(self.random.integers(4))
        high = max(1, self.span(index)[1] - int(self.random.integers(4)))
        array = self.new_array(dtype, high, "input")
        return Load(dtype, array, index, None, (within(index, 0, high),), otherwise)

    # -- statements -------------------------------------------------------------------------------

    def block(self, depth: int) -> list[Statement]:
        """Statements, the last of which stores something; registers made in it are gone after it."""
        kept = list(self.registers)
        body: list[Statement] = []
        for _ in range(int(self.random.integers(1, 3))):
            choice = self.random.random()
            if choice < 0.25:
                body += self.register()
            elif choice < 0.4 and depth:
                body += self.summed(depth)
            elif choice < 0.5:
                body.append(If(self.bounds(lanes=False), tuple(self.changes()), tuple(self.changes())))
            elif choice < 0.75 and depth:
                body.append(self.inner(depth))
            else:
                body.append(self.store())
        body.append(self.store())
        self.registers = kept
        return body

    def store(self) -> Store:
        dtype = self.pick(DTYPES)
        index = self.some_index(distinct=True)
        array = self.new_array(dtype, self.span(index)[1] + 4, "output")
        guard = self.bounds(lanes=True) if self.chance(0.3) else ()
        if self.chance(0.15):
            return Store(array, index, self.value(dtype), const(2, int64), guard)
        return Store(array, index, self.value(dtype), None, guard)

    def register(self) -> list[Statement]:
        register = Register(f"r{len(self.arrays)}_{len(self.registers)}", self.pick(DTYPES))
        statement = Set(register, self.value(register.dtype))
        self.keep(register)
        return [statement]

    def keep(self, register: Register) -> None:
        """Let statements to come use a register."""
        self.registers.append(register)
        self.made_in[register] = self.vector

    def changes(self) -> list[Statement]:
        """What a branch does: sets registers and stores."""
        body: list[Statement] = [self.store()] if self.chance(0.5) else []
        for register in self.registers:
            # One from outside a vector loop would be of no use after it.
            if self.chance(0.5) and self.vector == self.made_in[register]:
                body.append(Set(register, self.value(register.dtype, 1)))
        return body

    def summed(self, depth: int) -> list[Statement]:
        """A register that a loop accumulates to."""
        dtype = self.pick((float32, float64, int32, int64, bool_, float32))
        operation = self.pick(("logical_or", "logical_and") if dtype.is_bool else ("add", "maximum", "minimum"))
        register = Register(f"s{len(self.arrays)}_{len(self.extents)}", dtype)
        body: list[Statement] = [Set(register, self.pick((identity(operation, dtype), const(1, dtype))))]
        var, kind = self.loop_variable()
        outer = self.enter(var, kind)
        hidden, self.registers = self.registers, [] if kind == "vector" else self.registers
        inside: list[Statement] = [Accumulate(register, operation, self.value(dtype, 2))]
        if depth > 1 and self.chance(0.3):
            deeper = self.variable(int(self.random.integers(1, 4)))
            inside = [For(deeper, self.extents[deeper], tuple(inside), self.pick(("serial", "unroll")))]
            del self.extents[deeper]
        self.registers = hidden
        self.leave(var, outer)
        self.keep(register)
        return [*body, For(var, self.size, tuple(inside), kind)]

    def loop_variable(self) -> tuple[Var, str]:
        kinds = ("serial", "unroll") if self.vector else ("serial", "unroll", "vector", "vector", "lanes")
        kind = self.pick(kinds)
        wide = kind in {"vector", "lanes"}
        var = self.variable(int(self.random.integers(1, 70 if wide else 5)))
        return var, kind

    def enter(self, var: Var, kind: str) -> tuple[Var | None, str]:
        outer = self.vector, self.kind
        if kind in {"vector", "lanes"}:
            self.vector, self.kind = var, kind
        return outer

    def leave(self, var: Var, outer: tuple[Var | None, str]) -> None:
        self.size = self.extents.pop(var)
        self.vector, self.kind = outer

    def inner(self, depth: int) -> Statement:
        var, kind = self.loop_variable()
        outer = self.enter(var, kind)
        body = tuple(self.block(depth - 1))
        self.leave(var, outer)
        return For(var, self.size, body, kind)

    def build(self) -> Kernel:
        kind = self.pick(("serial", "vector"))
        var = self.variable(int(self.random.integers(1, 150 if kind == "vector" else 6)))
        if kind == "vector":
            self.vector, self.kind = var, kind
        return Kernel("random", For(var, self.extents[var], tuple(self.block(2)), kind))
