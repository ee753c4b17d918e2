"""Kernels as LLVM IR in its final form: loops with phis, vectors in strips, and nothing left for passes to find.

    text = print_kernel(kernel, machine, "name")

Names follow from the order of things in the kernel, so kernels that differ only in names, or in the extent
of the outer loop, have the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from staticnet.compiler.codegen.llvm.block import Scope
from staticnet.compiler.codegen.llvm.context import Context, Lanes, Operand
from staticnet.compiler.codegen.llvm.memory import Memory
from staticnet.compiler.codegen.llvm.registers import Cells, Registers
from staticnet.compiler.codegen.llvm.strips import Strip, lanes_loops_width, lanes_of, masks_all, strips, unrolling
from staticnet.compiler.codegen.llvm.survey import Survey
from staticnet.compiler.codegen.llvm.types import first, spread, steps, value_type, vector
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
)
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import bool_


def print_kernel(kernel: Kernel, machine: Machine, symbol: str) -> str:
    """The LLVM IR module of one kernel: `i32 symbol(pointers of its arrays, i64 begin, i64 end)`, 1 if a Fail held."""
    return _Printer(kernel, machine).module(symbol)


class _Printer:
    def __init__(self, kernel: Kernel, machine: Machine):
        self.kernel, self.machine = kernel, machine
        self.context = Context(machine)
        self.text = self.context.text
        self.memory = Memory(self.context, kernel.arrays)
        self.registers = Registers(self.context)
        self.values = Values(self.context, self.memory, self.registers)
        self.lanes_width, self.lanes_masks = lanes_loops_width(kernel, machine)
        self.fails = False
        self._surveys: dict[int, Survey] = {}

    # -- the module -------------------------------------------------------------------------------

    def module(self, symbol: str) -> str:
        self.function()
        parameters = [f"ptr {''.join(self.traits(array))}{name}" for array, name in self.memory.pointers.items()]
        lines = [
            f'target triple = "{self.machine.triple}"',
            f"define i32 @{symbol}({', '.join([*parameters, 'i64 %begin0', 'i64 %end0'])}) #0 {{",
            "entry:",
            *self.text.scope.lines,
            "}",
            *self.context.declarations,
            f"attributes #0 = {{ {' '.join(self.attributes())} }}",
        ]
        return "\n".join(lines) + "\n"

    def traits(self, array: Array) -> Iterator[str]:
        if array.role in {"local", "shared"}:
            yield "noalias "
        if array not in self.kernel.written:
            yield "readonly "

    def attributes(self) -> Iterator[str]:
        yield "nounwind"
        yield f'"target-cpu"="{self.machine.name}"'
        if self.machine.features:
            yield f'"target-features"="{self.machine.features}"'
        if self.machine.vector_bytes > 16:
            yield f'"prefer-vector-width"="{self.machine.vector_bytes * 8}"'

    def function(self) -> None:
        text = self.text
        text.levels.update({"%begin0": 0, "%end0": 0})
        some = text.do("icmp slt i64 %begin0, %end0")
        text.put(f"br i1 {some}, label %start, label %done")
        text.start("start")
        (self.outer_vector if self.kernel.loop.kind == "vector" else self.outer_serial)(self.kernel.loop)
        text.put("br label %done")
        text.start("done")
        text.put("ret i32 0")
        if self.fails:
            text.start("fail")
            text.put("ret i32 1")

    # -- the outer loop -----------------------------------------------------------------------------

    def outer_serial(self, loop: For) -> None:
        self.context.ranges[loop.var] = (0, None)
        with self.counting(loop, "%begin0", "%end0", 1):
            self.block(loop.body)

    def outer_vector(self, loop: For) -> None:
        """Wide strips as long as they fit, then narrow ones under a mask (or one by one where there are no masks)."""
        survey, text = self.survey(loop.body), self.text
        width = lanes_of(survey, self.machine)
        wide = width * unrolling(survey)
        masks = masks_all(self.machine, survey.accessed)
        self.context.ranges[loop.var] = (0, None)
        count = text.do("sub i64 %end0, %begin0")
        whole = text.do(f"and i64 {count}, {-wide}")
        middle = text.do(f"add i64 %begin0, {whole}")
        some = text.do(f"icmp slt i64 %begin0, {middle}")
        with self.perhaps(some, certain=True), self.counting(loop, "%begin0", middle, wide):
            self.strip(loop, survey, wide, None, {})
        if wide == 1:
            return
        with self.perhaps(text.do(f"icmp slt i64 {middle}, %end0"), certain=True):
            lanes = width if masks else 1
            with self.counting(loop, middle, "%end0", lanes):
                if lanes == 1:
                    self.strip(loop, survey, 1, None, {})
                    return
                left = text.do(f"sub i64 %end0, {self.context.variables[loop.var]}")
                left = self.context.call("llvm.smin.i64", "i64", f"i64 {left}", f"i64 {lanes}")
                short = Operand(text.do(f"trunc i64 {left} to i32"))
                limit = self.context.spread_type(short, "i32", lanes)
                mask = text.do(f"icmp ult <{lanes} x i32> {steps(1, lanes, 'i32')}, {limit}")
                self.strip(loop, survey, lanes, mask, {})

    # -- statements -----------------------------------------------------------------------------------

    def block(self, body: Sequence[Statement]) -> None:
        for statement in body:
            if isinstance(statement, For):
                self.loop(statement)
            elif isinstance(statement, If):
                self.branch(statement)
            elif isinstance(statement, Store):
                self.store(statement)
            elif isinstance(statement, Set):
                self.registers.set(statement.register, statement.index, self.values.print(statement.value))
            elif isinstance(statement, Accumulate):
                self.accumulate(statement)
            else:
                self.fail(statement)

    def store(self, statement: Store) -> None:
        condition, mask = self.context.holds(statement.guard)
        if condition.text == "false":
            return
        with self.perhaps(condition.text):
            value = self.values.print(statement.value)
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

    def loop(self, loop: For) -> None:
        if loop.kind in {"vector", "lanes"}:
            self.vector_loop(loop)
        elif loop.kind == "unroll" or loop.extent == 1:
            for value in range(loop.extent):
                self.context.variables[loop.var] = value
                self.block(loop.body)
        elif loop.extent:
            self.context.ranges[loop.var] = (0, loop.extent - 1)
            with self.counting(loop, "0", str(loop.extent), 1):
                self.block(loop.body)

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
        self.context.variables[loop.var] = name
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
        return self.memory.changed_by([s.array for s in stores])

    def survey(self, body: tuple[Statement, ...]) -> Survey:
        found = self._surveys.get(id(body))
        if found is None or found.body is not body:
            found = self._surveys[id(body)] = Survey(body)
        return found

    # -- vector loops -------------------------------------------------------------------------------------

    def vector_loop(self, loop: For) -> None:
        """Strip after strip; what is accumulated is kept in lanes and brought together at the end."""
        survey, registers = self.survey(loop.body), self.registers
        masks = masks_all(self.machine, survey.accessed)
        if loop.kind == "lanes":
            pieces = [
                Strip(piece.first + i * piece.lanes, 1, piece.lanes, piece.count)
                for piece in strips(loop.extent, self.lanes_width, 1, self.lanes_masks)
                for i in range(piece.times)
            ]
        else:
            pieces = strips(loop.extent, lanes_of(survey, self.machine), unrolling(survey), masks)
        outside = registers.take(survey.set_without(loop.var))
        saved = {register: registers.get(register, ()) for register in survey.reductions}
        parts: dict[Register, list[Operand]] = {register: [] for register in saved}
        for piece in pieces:
            for register, operation in survey.reductions.items():
                registers.cells[register] = {(): registers.neutral(operation, register.dtype, piece.lanes)}
            self.piece(loop, survey, piece, outside)
            for register in saved:
                parts[register].append(registers.get(register, ()))
        for register, operation in survey.reductions.items():
            total = saved[register]
            if parts[register]:
                reduced = registers.reduce(operation, parts[register], register.dtype)
                total = registers.combine(operation, total, reduced, register.dtype)
            registers.cells[register] = {(): total}

    def piece(self, loop: For, survey: Survey, piece: Strip, outside: Cells) -> None:
        """One strip: a loop if it has several passes."""
        last = piece.first + piece.times * piece.lanes
        self.context.ranges[loop.var] = (piece.first, min(last, loop.extent) - 1)
        if piece.times > 1:
            with self.counting(loop, str(piece.first), str(last), piece.lanes):
                self.strip(loop, survey, piece.lanes, None, outside)
            return
        self.context.variables[loop.var] = piece.first
        mask = first(piece.count, piece.lanes) if piece.count < piece.lanes else None
        self.strip(loop, survey, piece.lanes, mask, outside)

    def strip(self, loop: For, survey: Survey, lanes: int, mask: str | None, outside: Cells) -> None:
        """One pass over so many lanes, from the variable's value on.

        `outside` is what registers held before the loop that it gives one number for each lane.
        """
        registers, own = self.registers, survey.set_without(loop.var)
        registers.cells.update({register: dict(cells) for register, cells in outside.items()})
        if lanes > 1:
            self.context.lanes, registers.per_lane = Lanes(loop.var, lanes, mask), own
        self.block(loop.body)
        self.context.lanes, registers.per_lane = None, frozenset()
        registers.take(own)
