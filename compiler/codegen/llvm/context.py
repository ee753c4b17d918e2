"""Where the printer stands: loop variables, the lanes of the running vector loop, indexes, bounds and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from staticnet.compiler.codegen.llvm.block import Text
from staticnet.compiler.codegen.llvm.types import number, spread, steps, value_type, vector
from staticnet.compiler.codegen.loops.form import Affine, Bound
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import DType, bool_

_INT32 = 1 << 31


class Operand(NamedTuple):
    """What an instruction takes: a name or a constant, and in how many lanes it differs (1: a scalar)."""

    text: str
    lanes: int = 1

    @property
    def is_constant(self) -> bool:
        return not self.text.startswith("%")


@dataclass(frozen=True)
class Lanes:
    """The lanes of one pass of a vector loop: lane i is at `var` + i; where `mask` does not hold it is not there."""

    var: str
    count: int
    mask: str | None = None


class Emitter:
    """What `operations.print_operation` takes: places instructions on values of so many lanes."""

    def __init__(self, context: Context, lanes: int):
        self.lanes = lanes
        self.machine = context.machine
        self.declare = context.declare
        self._text = context.text

    def type_of(self, dtype: DType) -> str:
        """The type of a value; float16 is widened to float."""
        return vector(value_type(dtype), self.lanes)

    def do(self, template: str, type: str) -> str:
        """Place an instruction without effects whose result has this type; equal ones have one name."""
        return self._text.do(template)

    def const(self, value: Any, dtype: DType) -> str:
        """A number in every lane."""
        return spread(number(value, dtype), value_type(dtype), self.lanes)


class Context:
    """State of the printer that values, memory and loops share."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.text = Text()
        self.declarations: dict[str, None] = {}
        #: each loop variable as a number or a name; in a vector loop that of the first lane
        self.variables: dict[str, int | str] = {}
        #: the least and the greatest value of each variable; None where only the caller knows
        self.ranges: dict[str, tuple[int, int | None]] = {}
        self.lanes: Lanes | None = None
        self._emitters: dict[int, Emitter] = {}

    def declare(self, text: str) -> None:
        self.declarations[text] = None

    def emitter(self, lanes: int) -> Emitter:
        """The emitter for values of so many lanes."""
        if lanes not in self._emitters:
            self._emitters[lanes] = Emitter(self, lanes)
        return self._emitters[lanes]

    # -- lanes ----------------------------------------------------------------------------------

    def spread(self, operand: Operand, dtype: DType, lanes: int) -> str:
        """An operand in so many lanes."""
        return self.spread_type(operand, value_type(dtype), lanes)

    def spread_type(self, operand: Operand, type: str, lanes: int) -> str:
        """An operand of an LLVM type in so many lanes."""
        if operand.lanes == lanes:
            return operand.text
        assert operand.lanes == 1, (operand, lanes)
        if operand.is_constant:
            return spread(operand.text, type, lanes)
        wide = vector(type, lanes)
        one = self.text.do(f"insertelement {wide} poison, {type} {operand.text}, i64 0")
        return self.text.do(f"shufflevector {wide} {one}, {wide} poison, <{lanes} x i32> zeroinitializer")

    def join(self, *masks: str | None) -> str | None:
        """The lanes that all masks hold in; None is all lanes."""
        lanes = self.lanes.count if self.lanes else 1
        held = [mask for mask in masks if mask is not None]
        total = held[0] if held else None
        for mask in held[1:]:
            total = self.text.do(f"and {vector('i1', lanes)} {total}, {mask}") if mask != total else total
        return total

    # -- indexes --------------------------------------------------------------------------------

    def step(self, index: Affine) -> int:
        """By how much an index grows from lane to lane."""
        if self.lanes is not None:
            for var, factor in index.terms:
                if var.name == self.lanes.var:
                    return factor
        return 0

    def parts(self, index: Affine) -> tuple[int, list[tuple[str, int]]]:
        """An index (of the first lane) as a constant and names with factors, those of outer loops first."""
        constant = index.constant
        named: list[tuple[int, str, int]] = []
        for var, factor in index.terms:
            value = self.variables[var.name]
            if isinstance(value, int):
                constant += factor * value
            else:
                named.append((self.text.levels[value], value, factor))
        named.sort()
        return constant, [term[1:] for term in named]

    def scalar_index(self, index: Affine) -> Operand:
        """An index (of the first lane) as an i64."""
        constant, named = self.parts(index)
        total = ""
        for name, factor in named:
            term = self.scaled(name, factor)
            total = self.text.do(f"add i64 {total}, {term}") if total else term
        if not total:
            return Operand(str(constant))
        return Operand(self.text.do(f"add i64 {total}, {constant}") if constant else total)

    def scaled(self, name: str, factor: int) -> str:
        """A name times a constant."""
        return name if factor == 1 else self.text.do(f"mul i64 {name}, {factor}")

    def position(self, index: Affine) -> Operand:
        """An index as a number, one for each lane if the lanes differ."""
        base, step = self.scalar_index(index), self.step(index)
        if not step:
            return base
        assert self.lanes
        count = self.lanes.count
        wide = self.spread_type(base, "i64", count)
        return Operand(self.text.do(f"add <{count} x i64> {wide}, {steps(step, count)}"), count)

    # -- bounds ---------------------------------------------------------------------------------

    def holds(self, bounds: Sequence[Bound]) -> tuple[Operand, str | None]:
        """Where bounds hold, as a condition common to all lanes and a mask (None: all lanes)."""
        scalar, mask = Operand("true"), None
        for bound in bounds:
            for index, limit in ((bound.index, bound.high), (bound.index * -1, 1 - bound.low)):
                known = self._known(index, limit)
                if known is False:
                    return Operand("false"), None
                if known is True:
                    continue
                if self.step(index):
                    mask = self.join(mask, self._below_in_lanes(index, limit))
                    continue
                held = self._below(index, limit)
                scalar = Operand(held if scalar.text == "true" else self.text.do(f"and i1 {scalar.text}, {held}"))
        return scalar, mask

    def _below(self, index: Affine, limit: int) -> str:
        constant, _ = self.parts(index)
        base = self.scalar_index(index - constant)
        return self.text.do(f"icmp slt i64 {base.text}, {limit - constant}")

    def _below_in_lanes(self, index: Affine, limit: int) -> str:
        """index < limit, lane by lane: the lanes' own part, which is small, against what is left to the limit."""
        assert self.lanes
        count, step = self.lanes.count, self.step(index)
        constant, named = self.parts(index)
        room = Operand(str(max(min(limit - constant, _INT32 - 1), -_INT32)))
        if named:
            base = self.scalar_index(index - constant)
            left = self.text.do(f"sub i64 {limit - constant}, {base.text}")
            for name, bound in (("smin", _INT32 - 1), ("smax", -_INT32)):
                left = self.call(f"llvm.{name}.i64", "i64", f"i64 {left}", f"i64 {bound}")
            room = Operand(self.text.do(f"trunc i64 {left} to i32"))
        wide = self.spread_type(room, "i32", count)
        return self.text.do(f"icmp slt <{count} x i32> {steps(step, count, 'i32')}, {wide}")

    def _known(self, index: Affine, limit: int) -> bool | None:
        """Whether index < limit holds for all values the variables can have here, for none, or (None) for some."""
        low: int | None = index.constant
        high: int | None = index.constant
        for var, factor in index.terms:
            value = self.variables[var.name]
            in_lanes = self.lanes is not None and self.lanes.var == var.name
            known = (value, value) if isinstance(value, int) and not in_lanes else self.ranges[var.name]
            first, last = known if factor > 0 else known[::-1]
            low = None if low is None or first is None else low + factor * first
            high = None if high is None or last is None else high + factor * last
        if high is not None and high < limit:
            return True
        return False if low is not None and low >= limit else None

    # -- instructions ---------------------------------------------------------------------------

    def call(self, name: str, result: str, *arguments: str) -> str:
        """A call of an intrinsic without effects; each argument is its type and its text."""
        self.declare_intrinsic(name, result, arguments)
        return self.text.do(f"call {result} @{name}({', '.join(arguments)})")

    def declare_intrinsic(self, name: str, result: str, arguments: Sequence[str]) -> None:
        types = ", ".join(_type_in(argument) for argument in arguments)
        self.declare(f"declare {result} @{name}({types})")

    def masked(self, mask: str | None, value: str, other: str, dtype: DType) -> str:
        """Lane by lane `value` where the mask holds, else `other`."""
        if mask is None:
            return value
        assert self.lanes
        emitter = self.emitter(self.lanes.count)
        kind, of = emitter.type_of(dtype), emitter.type_of(bool_)
        return self.text.do(f"select {of} {mask}, {kind} {value}, {kind} {other}")


def _type_in(argument: str) -> str:
    """The type at the start of `type text`."""
    if argument.startswith("<"):
        return argument[: argument.index(">") + 1]
    return argument.split(" ", 1)[0]
