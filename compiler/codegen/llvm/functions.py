"""Functions of vectors that stand beside the kernels: long ones, ones with loops, and ones with hard cases.

A hard case goes to the C library, number by number; the vector in which there is none pays a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticnet.compiler.codegen.llvm.arithmetic import Emitter, Number, call, suffix
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import DType, bool_


class Body:
    """The code of one function: an emitter that also takes labels and jumps."""

    def __init__(self, outer: Emitter):
        self.outer = outer
        self.lines: list[str] = []
        self._names: dict[str, str] = {}
        self._count = 0

    @property
    def lanes(self) -> int:
        return self.outer.lanes

    @property
    def machine(self) -> Machine:
        return self.outer.machine

    def type_of(self, dtype: DType) -> str:
        return self.outer.type_of(dtype)

    def const(self, value: Any, dtype: DType) -> str:
        return self.outer.const(value, dtype)

    def declare(self, text: str) -> None:
        self.outer.declare(text)

    def do(self, template: str, type: str) -> str:
        if template not in self._names:
            self._names[template] = f"%t{self._count}"
            self._count += 1
            self.lines.append(f"  {self._names[template]} = {template}")
        return self._names[template]

    def put(self, line: str) -> None:
        """An instruction with an effect, or one that names its result itself."""
        self.lines.append(f"  {line}")

    def label(self, name: str) -> None:
        """Begin a block; what was computed before must be named by whoever uses it."""
        self.lines.append(f"{name}:")
        self._names.clear()


def out_of_line(
    name: str, operands: Sequence[Number], result: DType, body: Callable[[Body, Sequence[Number]], Number]
) -> Number:
    """A call of a function without side effects whose code `body` emits; it gives what the function returns."""
    emitter = operands[0].emitter
    inside = Body(emitter)
    parameters = [Number(inside, f"%x{number}", operand.dtype) for number, operand in enumerate(operands)]
    full = f"@{name}.{operands[0].dtype}.{emitter.lanes}"
    value = body(inside, parameters)
    inside.put(f"ret {value.type} {value.name}")
    header = f"define internal {value.type} {full}({', '.join(f'{p.type} {p.name}' for p in parameters)})"
    emitter.declare("\n".join([f"{header} noinline nounwind {{", *inside.lines, "}"]))
    return call(full, operands, result, declare=False)


def with_library(hard: Number, fast: Number, operands: Sequence[Number], function: str) -> Number:
    """`fast`, but where `hard` holds what the C library's function gives; ends a block of the body."""
    body, lanes = fast.emitter, fast.emitter.lanes
    assert isinstance(body, Body)
    scalar = "double" if fast.dtype.itemsize == 8 else "float"
    body.declare(f"declare {scalar} @{function}({', '.join([scalar] * len(operands))})")
    if lanes == 1:
        return _scalar_library(body, hard, fast, operands, f"call {scalar} @{function}")
    any_hard = any_of(hard)
    put = body.put
    put(f"br i1 {any_hard}, label %slow, label %done")
    body.label("slow")
    put("br label %lane")
    body.label("lane")
    put("%i = phi i32 [ 0, %slow ], [ %following, %kept ]")
    put(f"%mixed = phi {fast.type} [ {fast.name}, %slow ], [ %result, %kept ]")
    put(f"%needed = extractelement {hard.type} {hard.name}, i32 %i")
    put("br i1 %needed, label %library, label %kept")
    body.label("library")
    for number, operand in enumerate(operands):
        put(f"%a{number} = extractelement {operand.type} {operand.name}, i32 %i")
    arguments = ", ".join(f"{scalar} %a{number}" for number in range(len(operands)))
    put(f"%exact = call {scalar} @{function}({arguments})")
    put(f"%replaced = insertelement {fast.type} %mixed, {scalar} %exact, i32 %i")
    put("br label %kept")
    body.label("kept")
    put(f"%result = phi {fast.type} [ %mixed, %lane ], [ %replaced, %library ]")
    put("%following = add i32 %i, 1")
    put(f"%more = icmp ult i32 %following, {lanes}")
    put("br i1 %more, label %lane, label %done")
    body.label("done")
    # The block before the first label has no name of its own in LLVM but its number.
    put(f"%final = phi {fast.type} [ {fast.name}, %0 ], [ %result, %kept ]")
    return fast.like("%final")


def _scalar_library(body: Body, hard: Number, fast: Number, operands: Sequence[Number], callee: str) -> Number:
    body.put(f"br i1 {hard.name}, label %slow, label %done")
    body.label("slow")
    body.put(f"%exact = {callee}({', '.join(f'{operand.type} {operand.name}' for operand in operands)})")
    body.put("br label %done")
    body.label("done")
    body.put(f"%final = phi {fast.type} [ {fast.name}, %0 ], [ %exact, %slow ]")
    return fast.like("%final")


def any_of(condition: Number) -> str:
    """Whether a condition holds in any lane, as one bit."""
    emitter = condition.emitter
    if emitter.lanes == 1:
        return condition.name
    name = f"@llvm.vector.reduce.or.{suffix(condition)}"
    assert condition.dtype == bool_
    emitter.declare(f"declare i1 {name}({condition.type})")
    return emitter.do(f"call i1 {name}({condition.type} {condition.name})", "i1")
