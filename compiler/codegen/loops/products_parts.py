"""What the loop descriptions of matrix products share: the product as sums over lines of two operands.

    result[m, n] = sum over k of x[m, k] * y[n, k]

Both operands are sets of lines along k: rows of the first matrix and columns of the second. So either may
take either part, whichever lies better in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from staticnet.compiler.codegen.loops.form import (
    Affine,
    Apply,
    Array,
    Index,
    Load,
    Statement,
    Value,
    Var,
    affine,
    const,
    subvalues,
    values_of,
)
from staticnet.compiler.codegen.loops.form import statements as all_statements
from staticnet.compiler.codegen.loops.operations import cast
from staticnet.compiler.codegen.loops.tiles import Names
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import DType, as_dtype


@dataclass(frozen=True)
class Side:
    """One operand: `count` lines; element k of line i lies at `start + i * line + k * step`."""

    array: Array
    start: Affine
    count: int
    line: int
    step: int

    def load(self, line: Index, k: Index, dtype: DType) -> Value:
        """An element in the given dtype."""
        place = self.start + affine(line) * self.line + affine(k) * self.step
        return cast(Load(self.array.dtype, self.array, place), dtype)


@dataclass(frozen=True)
class Stack:
    """One loop over the stack: its variable and extent, and whether the lines of x and of y change with it."""

    variable: Affine
    extent: int
    moves_x: bool
    moves_y: bool

    @property
    def loop(self) -> Var:
        """The variable."""
        ((variable, _),) = self.variable.terms
        return variable


@dataclass(frozen=True)
class Product:
    """The sums to be made. `finish(m, n, value)` disposes of one; lanes may run along m or n.

    `dense` is the operand along whose lines the result is contiguous: 'x', 'y', or '' if neither.
    """

    name: str
    x: Side
    y: Side
    depth: int
    stack: tuple[Stack, ...]
    dense: str
    dtype: DType
    finish: Callable[[Index, Index, Value], list[Statement]]
    names: Names
    machine: Machine

    @property
    def lanes(self) -> int:
        return self.machine.lanes(self.dtype.itemsize)

    @property
    def stacked(self) -> int:
        """How many products there are."""
        total = 1
        for axis in self.stack:
            total *= axis.extent
        return total

    def flipped(self) -> Product:
        """The same with the operands in each other's place."""
        return replace(
            self,
            x=self.y,
            y=self.x,
            stack=tuple(replace(axis, moves_x=axis.moves_y, moves_y=axis.moves_x) for axis in self.stack),
            dense={"x": "y", "y": "x"}.get(self.dense, ""),
            finish=lambda m, n, value: self.finish(n, m, value),
        )

    def weight(self) -> int:
        """How much is to be done with a result: the operations in finish."""
        made = self.finish(0, 0, const(0, self.dtype))
        values = {part for s in all_statements(made) for root in values_of(s) for part in subvalues(root)}
        return sum(isinstance(part, (Apply, Load)) for part in values)


def clashes(side: Side, machine: Machine) -> bool:
    """Whether the same places of neighbouring lines fall into the same few places of the nearest cache."""
    return side.count > 1 and side.line * side.array.dtype.itemsize % (machine.l1_bytes // 16) == 0 != side.line


def accumulator(dtype: DType) -> DType:
    """What sums are kept in: integers wrap around as their own type does."""
    return as_dtype(dtype.accumulator) if dtype.is_float else dtype
