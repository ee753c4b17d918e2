"""What an iteration of a kernel's loop costs, roughly: so that workers are not woken for trifles."""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.loops.form import Apply, For, If, Kernel, Load, Statement, Store, subvalues, values_of
from staticnet.compiler.codegen.machine import Machine

#: nanoseconds of an operation on one vector, all in all
_OPERATION = 0.4
_COSTLY = dict.fromkeys(("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "sin", "cos"), 20)
_COSTLY |= {"power": 60, "divide": 6, "sqrt": 8, "remainder": 20, "floor_divide": 20}


def iteration_cost(kernel: Kernel, machine: Machine) -> float:
    """Estimated nanoseconds of one iteration of the outer loop."""
    lanes = machine.lanes(4)
    own = _cost(kernel.loop.body, lanes)
    return own / lanes if kernel.loop.kind == "vector" else own


def _cost(body: Sequence[Statement], lanes: int) -> float:
    total = 0.0
    for statement in body:
        if isinstance(statement, For):
            times = statement.extent
            if statement.kind in {"vector", "lanes"}:
                times = -(-times // lanes)
            total += times * _cost(statement.body, lanes)
        elif isinstance(statement, If):
            total += max(_cost(statement.then, lanes), _cost(statement.otherwise, lanes))
        else:
            total += isinstance(statement, Store) * _OPERATION
            for value in values_of(statement):
                for part in subvalues(value):
                    if isinstance(part, Apply):
                        total += _OPERATION * _COSTLY.get(part.operation, 1)
                    elif isinstance(part, Load):
                        total += _OPERATION
    return total
