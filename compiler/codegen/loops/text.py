"""Kernels as text: one line a statement, for people and for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Apply,
    Bound,
    Const,
    Fail,
    For,
    Get,
    If,
    Kernel,
    Load,
    Position,
    Set,
    Statement,
    Store,
    Value,
    When,
)

_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "greater": ">", "equal": "=="}


def kernel_text(kernel: Kernel) -> str:
    """A kernel as indented text."""
    arrays = ", ".join(f"{a.name}: {a.role} {a.dtype.short}[{a.size}]" for a in kernel.arrays)
    return "\n".join([f"kernel {kernel.name}({arrays})", *_lines((kernel.loop,), "  ")]) + "\n"


def _lines(body: Sequence[Statement], indent: str) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, For):
            kind = "" if statement.kind == "serial" else f" {statement.kind}"
            yield f"{indent}for {statement.var.name} in {statement.extent}{kind}"
            yield from _lines(statement.body, indent + "  ")
        elif isinstance(statement, If):
            yield f"{indent}if {_bounds(statement.condition)}"
            yield from _lines(statement.then, indent + "  ")
            if statement.otherwise:
                yield f"{indent}else"
                yield from _lines(statement.otherwise, indent + "  ")
        elif isinstance(statement, When):
            yield f"{indent}when {value_text(statement.condition)}"
            yield from _lines(statement.then, indent + "  ")
        else:
            yield indent + _line(statement)


def _line(statement: Statement) -> str:
    if isinstance(statement, Store):
        guard = f" if {_bounds(statement.guard)}" if statement.guard else ""
        place = _place(statement.array.name, statement.index, statement.offset)
        return f"{place} = {value_text(statement.value)}{guard}"
    if isinstance(statement, Set):
        index = f"[{', '.join(map(str, statement.index))}]" if statement.index else ""
        return f"{statement.register.name}{index} := {value_text(statement.value)}"
    if isinstance(statement, Accumulate):
        return f"{statement.register.name} {statement.operation}= {value_text(statement.value)}"
    assert isinstance(statement, Fail)
    return f"fail if {value_text(statement.condition)}"


def value_text(value: Value) -> str:
    """A value as an expression."""
    if isinstance(value, Const):
        return f"{value.value}" if value.dtype.is_float else f"{value.value}{value.dtype.short}"
    if isinstance(value, Load):
        text = _place(value.array.name, value.index, value.offset)
        if not value.guard:
            return text
        otherwise = value_text(value.otherwise) if value.otherwise is not None else "0"
        return f"({text} if {_bounds(value.guard)} else {otherwise})"
    if isinstance(value, Get):
        index = f"[{', '.join(map(str, value.index))}]" if value.index else ""
        return value.register.name + index
    if isinstance(value, Position):
        return f"position({value.index})"
    assert isinstance(value, Apply)
    parts = [value_text(argument) for argument in value.arguments]
    if value.operation in _INFIX:
        return f"({parts[0]} {_INFIX[value.operation]} {parts[1]})"
    name = value.operation if value.operation not in {"cast", "bitcast"} else f"{value.operation}.{value.dtype.short}"
    return f"{name}({', '.join(parts)})"


def _place(name: str, index: object, offset: Value | None) -> str:
    return f"{name}[{index}]" if offset is None else f"{name}[{index} + {value_text(offset)}]"


def _bounds(bounds: Sequence[Bound]) -> str:
    return " and ".join(map(str, bounds))
