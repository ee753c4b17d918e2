"""Registers as values: what each holds now, joined where ways meet, and lanes brought together at the end of a loop.

A single register is one cell; of an array each index is a cell, or, where the index runs over lanes, each
run of lanes is, by the place of its first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from staticnet.compiler.codegen.llvm.context import Context, Operand
from staticnet.compiler.codegen.llvm.operations import print_operation
from staticnet.compiler.codegen.llvm.turning import Turned
from staticnet.compiler.codegen.llvm.types import value_type, vector
from staticnet.compiler.codegen.loops.form import Affine, Register
from staticnet.compiler.codegen.loops.operations import identity
from staticnet.compiler.dtypes import DType

Key = tuple[int, ...]
Cells = dict[Register, dict[Key, Operand]]


class Registers:
    """The contents of all registers at the point that is being printed."""

    def __init__(self, context: Context):
        self.context, self.text = context, context.text
        self.cells: Cells = {}
        #: registers that the vector loop being printed sets at one place, with one number for each lane
        self.per_lane: frozenset[Register] = frozenset()

    # -- reading and writing ----------------------------------------------------------------------

    def get(self, register: Register, index: tuple[Affine, ...]) -> Operand:
        """The content of a cell, in lanes if the index runs over them."""
        key, lanes, axis = self._key(index)
        if lanes > 1 and axis != len(key) - 1:
            return self._across(register, key, lanes, axis)
        found = self.cells.get(register, {}).get(key)
        if found is not None and (found.lanes == lanes or not key or register in self.per_lane):
            return found
        return self._assembled(register, key, lanes)

    def set(self, register: Register, index: tuple[Affine, ...], value: Operand) -> None:
        """Give a cell a content; inside a vector loop that is one number a lane."""
        key, lanes, axis = self._key(index)
        assert axis == len(key) - 1, f"lanes of register {register.name} set across: {index}"
        running = self.context.lanes
        if running:
            value = Operand(self.context.spread(value, register.dtype, running.count), running.count)
            if lanes > 1:
                self._clear(register, key, lanes)
        elif self._insert(register, key, value):
            return
        self.cells.setdefault(register, {})[key] = value

    def _clear(self, register: Register, key: Key, lanes: int) -> None:
        """Take away what a run is about to replace."""
        cells = self.cells.get(register, {})
        if key not in cells or cells[key].lanes != lanes:
            for place in range(key[-1], key[-1] + lanes):
                cells.pop((*key[:-1], place), None)

    def take(self, registers: Iterable[Register]) -> Cells:
        """Leave some registers empty, and give what they held."""
        return {register: self.cells.pop(register) for register in registers if register in self.cells}

    def _key(self, index: tuple[Affine, ...]) -> tuple[Key, int, int]:
        """The cell that an index names, in how many lanes it runs, and along which axis."""
        key: list[int] = []
        lanes, along = 1, len(index) - 1
        for axis, part in enumerate(index):
            constant, named = self.context.parts(part)
            step = self.context.step(part)
            assert not named, f"the index {part} of a register is not known when the kernel is printed"
            if step:
                assert step == 1 and self.context.lanes, part
                lanes, along = self.context.lanes.count, axis
            key.append(constant)
        return tuple(key), lanes, along

    def _place(self, register: Register, key: Key) -> tuple[Key, int] | None:
        """The run that holds one number, and its place there."""
        for start, found in self.cells.get(register, {}).items():
            if start[:-1] == key[:-1] and start[-1] <= key[-1] < start[-1] + found.lanes:
                return start, key[-1] - start[-1]
        return None

    def _across(self, register: Register, key: Key, lanes: int, axis: int) -> Operand:
        """The numbers at one place of several runs, each the run of a lane; runs that are not there are poison."""
        cells = self.cells.get(register, {})
        places = [
            self._place(register, (*key[:axis], key[axis] + lane, *key[axis + 1 :])) for lane in range(lanes)
        ]
        found = {(place[0][-1], place[1], cells[place[0]].lanes) for place in places if place}
        assert places[0] and len(found) == 1, f"register {register.name}{list(key)} is read across what is not there"
        ((_, place, width),) = found
        rows = [cells[row[0]].text if row else "poison" for row in places]
        kind = value_type(register.dtype)
        if width == 1:
            total = "poison"
            for lane, row in enumerate(rows):
                total = self.text.do(f"insertelement {vector(kind, lanes)} {total}, {kind} {row}, i64 {lane}")
            return Operand(total, lanes)
        size = max(4, register.dtype.itemsize) if register.dtype.is_float else register.dtype.itemsize
        return Operand(Turned(self.text, rows, width, kind, size).column(place), lanes)

    def _insert(self, register: Register, key: Key, value: Operand) -> bool:
        """Set one number of a run; False where there is no run."""
        place = self._place(register, key) if key else None
        if place is None or self.cells[register][place[0]].lanes == 1:
            return False
        run = self.cells[register][place[0]]
        kind = value_type(register.dtype)
        wide = vector(kind, run.lanes)
        name = self.text.do(f"insertelement {wide} {run.text}, {kind} {value.text}, i64 {place[1]}")
        self.cells[register][place[0]] = Operand(name, run.lanes)
        return True

    def _assembled(self, register: Register, key: Key, lanes: int) -> Operand:
        """A number out of a run, or a run out of numbers and other runs."""
        kind = value_type(register.dtype)
        numbers: list[str] = []
        for lane in range(lanes):
            wanted = (*key[:-1], key[-1] + lane) if key else key
            place = self._place(register, wanted) if key else None
            if place is None:
                assert lane, f"register {register.name}{list(key)} is read before it is set"
                numbers.append("poison")
                continue
            run = self.cells[register][place[0]]
            if run.lanes == 1:
                numbers.append(run.text)
                continue
            numbers.append(self.text.do(f"extractelement {vector(kind, run.lanes)} {run.text}, i64 {place[1]}"))
        if lanes == 1:
            return Operand(numbers[0])
        total = "poison"
        for lane, text in enumerate(numbers):
            total = self.text.do(f"insertelement {vector(kind, lanes)} {total}, {kind} {text}, i64 {lane}")
        return Operand(total, lanes)

    # -- where ways meet ----------------------------------------------------------------------------

    def copy(self) -> Cells:
        return {register: dict(cells) for register, cells in self.cells.items()}

    def enter(self, modified: Iterable[Register]) -> list[tuple[Register, Key, Operand, str]]:
        """At the start of a loop's scope: what its body modifies becomes names, each with what it was before."""
        entered = []
        for register in modified:
            for key, before in self.cells.get(register, {}).items():
                name = self.text.define("%p")
                entered.append((register, key, before, name))
                self.cells[register][key] = Operand(name, before.lanes)
        return entered

    def spread_all(self, modified: Iterable[Register]) -> None:
        """Inside a vector loop: let registers hold one number a lane, before a loop that will set them so."""
        assert self.context.lanes
        count = self.context.lanes.count
        for register in modified:
            for key, held in self.cells.get(register, {}).items():
                if held.lanes == 1 and (not key or register in self.per_lane):
                    self.cells[register][key] = Operand(self.context.spread(held, register.dtype, count), count)

    def merges(
        self, entered: Sequence[tuple[Register, Key, Operand, str]], before: str, latch: str
    ) -> list[str]:
        """The lines that make those names, once the body is printed."""
        lines = []
        for register, key, first, name in entered:
            last = self.cells[register][key]
            kind = vector(value_type(register.dtype), first.lanes)
            assert last.lanes == first.lanes, (register, key)
            lines.append(f"  {name} = phi {kind} [ {first.text}, %{before} ], [ {last.text}, %{latch} ]")
        return lines

    def surface(self, modified: Iterable[Register]) -> None:
        """After a scope that ran for certain: what it left is there for those around it."""
        for register in modified:
            for held in self.cells.get(register, {}).values():
                self.text.surface(held.text)

    # -- lanes together -------------------------------------------------------------------------------

    def neutral(self, operation: str, dtype: DType, lanes: int) -> Operand:
        """In each lane what leaves the other operand as it is."""
        return Operand(self.context.emitter(lanes).const(identity(operation, dtype).value, dtype), lanes)

    def combine(self, operation: str, x: Operand, y: Operand, dtype: DType) -> Operand:
        """x operation y, lane by lane."""
        assert x.lanes == y.lanes
        neutral = self.neutral(operation, dtype, x.lanes).text
        if neutral in {x.text, y.text}:
            return y if x.text == neutral else x
        emitter = self.context.emitter(x.lanes)
        return Operand(print_operation(emitter, operation, [x.text, y.text], dtype, dtype), x.lanes)

    def reduce(self, operation: str, parts: Sequence[Operand], dtype: DType) -> Operand:
        """All lanes of all parts as one number: the widest are joined, then halved, again and again."""
        left = sorted(parts, key=lambda part: -part.lanes)
        while left[0].lanes > 1 or len(left) > 1:
            if len(left) > 1 and left[0].lanes == left[1].lanes:
                width = left[0].lanes
                same = [part for part in left if part.lanes == width]
                joined = [self.combine(operation, x, y, dtype) for x, y in zip(same[::2], same[1::2], strict=False)]
                left = [*joined, *same[len(joined) * 2 :], *left[len(same) :]]
            else:
                left = sorted([self._halved(operation, left[0], dtype), *left[1:]], key=lambda part: -part.lanes)
        return left[0]

    def finish(self, register: Register, operation: str, before: Operand, parts: Sequence[Operand]) -> None:
        """Let a register hold what it held before, combined with all lanes of all parts."""
        if parts:
            before = self.combine(operation, before, self.reduce(operation, parts, register.dtype), register.dtype)
        self.cells[register] = {(): before}

    def _halved(self, operation: str, x: Operand, dtype: DType) -> Operand:
        half, kind = x.lanes // 2, value_type(dtype)
        wide = vector(kind, x.lanes)
        if half == 1:
            low, high = (self.text.do(f"extractelement {wide} {x.text}, i64 {lane}") for lane in (0, 1))
        else:
            low, high = (
                self.text.do(
                    f"shufflevector {wide} {x.text}, {wide} poison, "
                    f"<{half} x i32> <{', '.join(f'i32 {start + lane}' for lane in range(half))}>"
                )
                for start in (0, half)
            )
        return self.combine(operation, Operand(low, half), Operand(high, half), dtype)
