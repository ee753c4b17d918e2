"""Statements as instructions: stores, registers, checks, branches with what they join, and counting loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from staticnet.compiler.codegen.llvm.block import Scope
from staticnet.compiler.codegen.llvm.context import Context, Operand
from staticnet.compiler.codegen.llvm.memory import Memory
from staticnet.compiler.codegen.llvm.registers import Cells, Registers
from staticnet.compiler.codegen.llvm.survey import Survey
from staticnet.compiler.codegen.llvm.types import spread, value_type, vector
from staticnet.compiler.codegen.llvm.values import Values
from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Array,
    Fail,
    For,
    If,
    Kernel,
    Register,
    Set,
    Statement,
    Store,
    Value,
    When,
)
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import bool_


class Statements(ABC):
    """Prints the statements of a kernel; how its loops are cut up is left to a subclass."""

    def __init__(self, kernel: Kernel, machine: Machine):
        self.kernel, self.machine = kernel, machine
        self.context = Context(machine)
        self.text = self.context.text
        self.memory = Memory(self.context, kernel.arrays)
        self.registers = Registers(self.context)
        self.values = Values(self.context, self.memory, self.registers)
        #: whether there is a jump to the block that reports a failure
        self.fails = False
        self._surveys: dict[int, Survey] = {}

    @abstractmethod
    def loop(self, loop: For) -> None:
        """Print a loop inside the outer one."""

    def block(self, body: Sequence[Statement]) -> None:
        known: dict[int, Operand] = {}
        for place, statement in enumerate(body):
            if isinstance(statement, Store):
                if place not in known:
                    known |= {number: self.values.print(value) for number, value in _results(body, place)}
                self.store(statement, known.get(place))
            elif isinstance(statement, For):
                self.loop(statement)
            elif isinstance(statement, If):
                self.branch(statement)
            elif isinstance(statement, When):
                self.when(statement)
            elif isinstance(statement, Set):
                self.registers.set(statement.register, statement.index, self.values.print(statement.value))
            elif isinstance(statement, Accumulate):
                self.accumulate(statement)
            else:
                self.fail(statement)

    def store(self, statement: Store, known: Operand | None = None) -> None:
        condition, mask = self.context.holds(statement.guard)
        if condition.text == "false":
            return
        with self.perhaps(condition.text):
            value = known or self.values.print(statement.value)
            offset = self.values.print(statement.offset) if statement.offset is not None else None
            self.memory.store(statement, value, offset, mask)

    def accumulate(self, statement: Accumulate) -> None:
        register, operation, dtype = statement.register, statement.operation, statement.register.dtype
        held, lanes = self.registers.get(register, ()), self.context.lanes
        factors = self.values.factors(statement.value) if operation == "add" else None
        if factors and held != self.registers.neutral("add", dtype, held.lanes):
            operands = [*map(self.values.print, factors), held]
            total = self.values.apply("multiply_add", operands, [dtype] * 3, dtype)
        else:
            value = self.values.print(statement.value)
            if lanes:
                value = Operand(self.context.spread(value, dtype, lanes.count), lanes.count)
            total = self.registers.combine(operation, held, value, dtype)
        if lanes and register not in self.registers.per_lane:
            total = Operand(self.context.masked(lanes.mask, total.text, held.text, dtype), lanes.count)
        self.registers.cells[register][()] = total

    def fail(self, statement: Fail) -> None:
        condition, text = self.values.print(statement.condition), self.text
        lanes = self.context.lanes
        if condition.text == "false":
            return
        if condition.lanes > 1:
            assert lanes
            held = self.context.masked(lanes.mask, condition.text, spread("false", "i1", lanes.count), bool_)
            bits = text.do(f"bitcast <{lanes.count} x i1> {held} to i{lanes.count}")
            condition = Operand(text.do(f"icmp ne i{lanes.count} {bits}, 0"))
        self.fails = True
        after = text.fresh("after")
        text.put(f"br i1 {condition.text}, label %fail, label %{after}")
        text.start(after)

    def branch(self, statement: If) -> None:
        condition, mask = self.context.holds(statement.condition)
        assert mask is None, f"the condition of an If differs from lane to lane: {statement.condition}"
        if condition.is_constant:
            self.block(statement.then if condition.text == "true" else statement.otherwise)
            return
        text, registers = self.text, self.registers
        modified = self.survey((statement,)).modified
        if self.context.lanes:
            registers.spread_all(modified)
        before = registers.copy()
        labels = [text.fresh("then"), text.fresh("else")]
        after = text.fresh("after")
        ended: list[tuple[Scope, Cells]] = []
        for label, body in zip(labels, (statement.then, statement.otherwise), strict=True):
            registers.cells = {register: dict(cells) for register, cells in before.items()}
            self.memory.open(label, False, frozenset(), certain=False)
            self.block(body)
            ended.append((self.memory.close(), registers.cells))
        text.put(f"br i1 {condition.text}, label %{labels[0]}, label %{labels[1]}")
        for label, (scope, _) in zip(labels, ended, strict=True):
            text.scope.lines += [f"{label}:", *scope.lines, f"  br label %{after}"]
        text.start(after)
        (then, one), (otherwise, other) = ended
        registers.cells = before
        for register in modified:
            self.merge(register, (then.label, one.get(register, {})), (otherwise.label, other.get(register, {})))

    def when(self, statement: When) -> None:
        assert self.context.lanes is None, "a condition computed inside a vector loop"
        condition, before = self.values.print(statement.condition), self.registers.copy()
        if condition.text == "false":
            return
        with self.perhaps(condition.text):
            self.block(statement.then)
        self.registers.cells = before

    def merge(self, register: Register, *ways: tuple[str, dict[tuple[int, ...], Operand]]) -> None:
        """The content of a register's cells after two branches."""
        cells = self.registers.cells.setdefault(register, {})
        for key in dict.fromkeys(key for _, held in ways for key in held):
            found = [(label, held.get(key)) for label, held in ways]
            lanes = max(operand.lanes for _, operand in found if operand)
            texts = {operand.text if operand else "poison" for _, operand in found}
            if len(texts) == 1:
                cells[key] = Operand(texts.pop(), lanes)
                continue
            name = self.text.define("%p")
            arrivals = ", ".join(f"[ {operand.text if operand else 'poison'}, %{label} ]" for label, operand in found)
            self.text.put(f"{name} = phi {vector(value_type(register.dtype), lanes)} {arrivals}")
            cells[key] = Operand(name, lanes)

    @contextmanager
    def perhaps(self, condition: str, *, certain: bool = False) -> Iterator[None]:
        """A scope that runs if a condition holds, and leaves nothing but what it stores.

        With `certain` its loads may stand before it all the same: something that needs them runs.
        """
        if condition == "true":
            yield
            return
        label, after = self.text.fresh("there"), self.text.fresh("after")
        self.memory.open(label, False, frozenset(), certain=certain)
        yield
        inner = self.memory.close()
        self.text.put(f"br i1 {condition}, label %{label}, label %{after}")
        self.text.scope.lines += [f"{label}:", *inner.lines, f"  br label %{after}"]
        self.text.start(after)

    # -- loops ------------------------------------------------------------------------------------------

    @contextmanager
    def counting(self, loop: For, begin: str, end: str, step: int) -> Iterator[None]:
        """A loop of the text, at least one pass: the variable goes from begin to end (a whole number of steps or
        one that ends beyond)."""
        text, registers, survey = self.text, self.registers, self.survey(loop.body)
        if self.context.lanes:
            registers.spread_all(survey.modified)
        self.memory.change(*survey.stored)
        label, after = text.fresh("loop"), text.fresh("after")
        self.memory.open(label, True, self.changing(loop, survey), certain=True)
        name = text.define("%i")
        self.context.variables[loop.var.name] = name
        entered = registers.enter(survey.modified)
        yield
        following = text.define("%i")
        text.put(f"{following} = add i64 {name}, {step}")
        again = text.define()
        text.put(f"{again} = icmp slt i64 {following}, {end}")
        text.put(f"br i1 {again}, label %{label}, label %{after}")
        inner = self.memory.close()
        before = text.scope.label
        merges = registers.merges(entered, before, inner.label)
        text.put(f"br label %{label}")
        text.scope.lines += [
            f"{label}:",
            f"  {name} = phi i64 [ {begin}, %{before} ], [ {following}, %{inner.label} ]",
            *merges,
            *inner.lines,
        ]
        text.start(after)
        registers.surface(survey.modified)

    def changing(self, loop: For, survey: Survey) -> frozenset[Array]:
        """Arrays that may change while a loop runs, where a load finds them the same each time.

        Passes of the outer loop and of vector loops do not depend on each other: what one loads from a place that
        is the same in all passes, none of them stores to.
        """
        independent = loop.kind == "vector" or (loop is self.kernel.loop and loop.extent != 1)
        stores = survey.stores
        if independent:
            stores = tuple(s for s in stores if s.offset is not None or not s.index.factor(loop.var))
        return frozenset(s.array for s in stores)

    def survey(self, body: tuple[Statement, ...]) -> Survey:
        found = self._surveys.get(id(body))
        if found is None or found.body is not body:
            found = self._surveys[id(body)] = Survey(body)
        return found


def _results(body: Sequence[Statement], place: int) -> list[tuple[int, Value]]:
    """The values of stores that follow each other, where they lie in the body, if they are several results.

    A result may lie where an operand of the next does: so all are known before one is stored.
    """
    found: dict[Array, tuple[int, Value]] = {}
    for number, statement in enumerate(body[place:], place):
        if not isinstance(statement, Store) or statement.guard or statement.array.role != "output":
            break
        if statement.array in found:
            break
        found[statement.array] = number, statement.value
    return list(found.values()) if len(found) > 1 else []
