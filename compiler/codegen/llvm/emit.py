"""Kernels as LLVM IR in its final form: loops with phis, vectors in strips, and nothing left for passes to find.

    text = print_kernel(kernel, machine, "name")

Names follow from the order of things in the kernel, so kernels that differ only in names, or in the extent
of the outer loop, have the same text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from staticnet.compiler.codegen.llvm.context import Lanes, Operand
from staticnet.compiler.codegen.llvm.registers import Cells
from staticnet.compiler.codegen.llvm.statements import Statements
from staticnet.compiler.codegen.llvm.strips import Strip, lanes_loops_width, lanes_of, masks_all, strips, unrolling
from staticnet.compiler.codegen.llvm.survey import Survey
from staticnet.compiler.codegen.llvm.types import first, steps
from staticnet.compiler.codegen.loops.form import Array, For, Kernel, Register
from staticnet.compiler.codegen.machine import Machine


def print_kernel(kernel: Kernel, machine: Machine, symbol: str) -> str:
    """The LLVM IR module of one kernel: `i32 symbol(pointers of its arrays, i64 begin, i64 end)`, 1 if a Fail held."""
    return _Printer(kernel, machine).module(symbol)


class _Printer(Statements):
    def __init__(self, kernel: Kernel, machine: Machine):
        super().__init__(kernel, machine)
        self.lanes_width, self.lanes_masks = lanes_loops_width(kernel, machine)
        self._pieces: dict[int, list[Strip]] = {}
        #: registers that are kept in lanes from one vector loop to the next
        self.kept: set[Register] = set()

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
        self.context.ranges[loop.var.name] = (0, None)
        with self.counting(loop, "%begin0", "%end0", 1):
            self.block(loop.body)

    def outer_vector(self, loop: For) -> None:
        """Wide strips as long as they fit, then narrow ones under a mask (or one by one where there are no masks)."""
        survey, text = self.survey(loop.body), self.text
        width = lanes_of(survey, loop.var, self.machine)
        wide = width * unrolling(survey, loop.var)
        masks = masks_all(survey, loop.var, self.machine)
        self.context.ranges[loop.var.name] = (0, None)
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
                left = text.do(f"sub i64 %end0, {self.context.variables[loop.var.name]}")
                left = self.context.call("llvm.smin.i64", "i64", f"i64 {left}", f"i64 {lanes}")
                short = Operand(text.do(f"trunc i64 {left} to i32"))
                limit = self.context.spread_type(short, "i32", lanes)
                mask = text.do(f"icmp ult <{lanes} x i32> {steps(1, lanes, 'i32')}, {limit}")
                self.strip(loop, survey, lanes, mask, {})

    # -- loops inside ---------------------------------------------------------------------------------

    def loop(self, loop: For) -> None:
        if loop.kind in {"vector", "lanes"}:
            self.vector_loop(loop)
            return
        with self.keeping(loop):
            if loop.kind == "unroll" or loop.extent == 1:
                for value in range(loop.extent):
                    self.context.variables[loop.var.name] = value
                    self.block(loop.body)
            elif loop.extent:
                self.context.ranges[loop.var.name] = (0, loop.extent - 1)
                with self.counting(loop, "0", str(loop.extent), 1):
                    self.block(loop.body)

    @contextmanager
    def keeping(self, loop: For) -> Iterator[None]:
        """What only vector loops inside accumulate to is brought together once, after this loop.

        Until then the register has a cell for each number of lanes, named by its negative.
        """
        registers, survey = self.registers, self.survey(loop.body)
        found: dict[Register, Operand] = {}
        if not self.context.lanes:
            for register, loops in survey.gathered.items():
                if register not in self.kept:
                    found[register] = registers.get(register, ())
                    widths = sorted({piece.lanes for inner in loops for piece in self.pieces(inner)})
                    registers.cells[register] = {
                        (-lanes,): registers.neutral(survey.reductions[register], register.dtype, lanes)
                        for lanes in widths
                    }
        self.kept |= found.keys()
        yield
        self.kept -= found.keys()
        for register, before in found.items():
            parts = list(registers.cells[register].values())
            registers.finish(register, survey.reductions[register], before, parts)

    # -- vector loops -------------------------------------------------------------------------------------

    def vector_loop(self, loop: For) -> None:
        """Strip after strip; what is accumulated is kept in lanes and brought together at the end."""
        survey, registers = self.survey(loop.body), self.registers
        outside = registers.take(survey.set_without(loop.var))
        saved = registers.take(survey.reductions)
        parts: dict[Register, list[Operand]] = {register: [] for register in saved}
        for piece in self.pieces(loop):
            width = (-piece.lanes,)
            for register, operation in survey.reductions.items():
                kept = saved[register].get(width) if register in self.kept else None
                start = kept or registers.neutral(operation, register.dtype, piece.lanes)
                registers.cells[register] = {(): start}
            self.piece(loop, survey, piece, outside)
            for register in saved:
                made = registers.get(register, ())
                if register in self.kept:
                    saved[register][width] = made
                else:
                    parts[register].append(made)
        for register, operation in survey.reductions.items():
            if register in self.kept:
                registers.cells[register] = saved[register]
            else:
                registers.finish(register, operation, saved[register][()], parts[register])

    def pieces(self, loop: For) -> list[Strip]:
        """What a vector or lanes loop is cut into."""
        if id(loop) not in self._pieces:
            self._pieces[id(loop)] = self.cut(loop)
        return self._pieces[id(loop)]

    def cut(self, loop: For) -> list[Strip]:
        if loop.kind == "vector":
            survey = self.survey(loop.body)
            width = lanes_of(survey, loop.var, self.machine)
            masks = masks_all(survey, loop.var, self.machine)
            return strips(loop.extent, width, unrolling(survey, loop.var), masks)
        return [
            Strip(piece.first + i * piece.lanes, 1, piece.lanes, piece.count)
            for piece in strips(loop.extent, self.lanes_width, 1, self.lanes_masks)
            for i in range(piece.times)
        ]

    def piece(self, loop: For, survey: Survey, piece: Strip, outside: Cells) -> None:
        """One strip: a loop if it has several passes."""
        last = piece.first + piece.times * piece.lanes
        self.context.ranges[loop.var.name] = (piece.first, min(last, loop.extent) - 1)
        if piece.times > 1:
            with self.counting(loop, str(piece.first), str(last), piece.lanes):
                self.strip(loop, survey, piece.lanes, None, outside)
            return
        self.context.variables[loop.var.name] = piece.first
        mask = first(piece.count, piece.lanes) if piece.count < piece.lanes else None
        self.strip(loop, survey, piece.lanes, mask, outside)

    def strip(self, loop: For, survey: Survey, lanes: int, mask: str | None, outside: Cells) -> None:
        """One pass over so many lanes, from the variable's value on.

        `outside` is what registers held before the loop that it gives one number for each lane.
        """
        registers, own = self.registers, survey.set_without(loop.var)
        registers.cells.update({register: dict(cells) for register, cells in outside.items()})
        if lanes > 1:
            self.context.lanes, registers.per_lane = Lanes(loop.var.name, lanes, mask), own
        self.block(loop.body)
        self.context.lanes, registers.per_lane = None, frozenset()
        registers.take(own)
