"""What the body of a loop does, found before it is printed: registers, arrays, costs, orders of evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Apply,
    Array,
    For,
    Get,
    If,
    Load,
    Position,
    Register,
    Set,
    Statement,
    Store,
    Value,
    Var,
    When,
    values_of,
)
from staticnet.compiler.codegen.loops.form import statements as all_statements
from staticnet.compiler.dtypes import DType

#: roughly how many instructions an operation takes, where that is not one
_COSTS = dict.fromkeys(("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "softplus", "erf"), 16) | {
    "power": 40,
    "floor_divide": 8,
    "remainder": 8,
    "divide": 4,
    "sqrt": 4,
    "reciprocal": 4,
}


def children(value: Value) -> Sequence[Value]:
    return value.children()


def ordered(root: Value, parts: Callable[[Value], Sequence[Value]] = children) -> tuple[Value, ...]:
    """All parts of a value, each once, operands before what is made of them; `parts` gives those of one value."""
    found: dict[int, Value] = {}
    stack: list[tuple[Value, bool]] = [(root, False)]
    while stack:
        value, ready = stack.pop()
        if ready:
            found[id(value)] = value
        elif id(value) not in found:
            stack.append((value, True))
            stack.extend((child, False) for child in reversed(parts(value)))
    return tuple(found.values())


@dataclass(frozen=True, eq=False)
class Survey:
    """Facts about a block of statements."""

    body: tuple[Statement, ...]
    _without: dict[Var, frozenset[Register]] = field(default_factory=dict, repr=False)

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        return tuple(all_statements(self.body))

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """All values in it, each object once."""
        roots = (root for statement in self.statements for root in values_of(statement))
        return tuple({id(part): part for root in roots for part in ordered(root)}.values())

    @cached_property
    def set(self) -> frozenset[Register]:
        return frozenset(s.register for s in self.statements if isinstance(s, Set))

    def set_without(self, var: Var) -> frozenset[Register]:
        """Registers that are set at places that do not depend on a variable."""
        if var not in self._without:
            sets = (s for s in self.statements if isinstance(s, Set))
            found = frozenset(s.register for s in sets if not any(part.factor(var) for part in s.index))
            self._without[var] = found
        return self._without[var]

    @cached_property
    def modified(self) -> tuple[Register, ...]:
        """Registers set or accumulated to, in order."""
        return tuple(dict.fromkeys(s.register for s in self.statements if isinstance(s, (Set, Accumulate))))

    @cached_property
    def reductions(self) -> dict[Register, str]:
        """Registers only accumulated to, with the operation."""
        found = {s.register: s.operation for s in self.statements if isinstance(s, Accumulate)}
        return {register: operation for register, operation in found.items() if register not in self.set}

    @cached_property
    def gathered(self) -> dict[Register, list[For]]:
        """Registers that nothing here sets or reads and only vector and lanes loops accumulate to, with those loops."""
        loops = [s for s in self.statements if isinstance(s, For) and s.kind in {"vector", "lanes"}]
        users = [(loop, Survey(loop.body)) for loop in loops]
        accumulated = Counter(s.register for s in self.statements if isinstance(s, Accumulate))
        inside = Counter(s.register for _, user in users for s in user.statements if isinstance(s, Accumulate))
        read = {value.register for value in self.values if isinstance(value, Get)}
        return {
            register: [loop for loop, user in users if register in user.reductions]
            for register in self.reductions
            if register not in read and accumulated[register] == inside[register]
        }

    @cached_property
    def stores(self) -> tuple[Store, ...]:
        return tuple(s for s in self.statements if isinstance(s, Store))

    @cached_property
    def stored(self) -> tuple[Array, ...]:
        """Arrays stored to, in order."""
        return tuple(dict.fromkeys(s.array for s in self.stores))

    @cached_property
    def dtypes(self) -> frozenset[DType]:
        """Element types that decide how many lanes there are: of memory, registers and floating-point work."""
        found = {s.array.dtype for s in self.stores} | {register.dtype for register in self.modified}
        found |= {v.dtype for v in self.values if isinstance(v, Load) or (isinstance(v, Apply) and v.dtype.is_float)}
        return frozenset(found - {v.dtype for v in self._offsets if v.dtype.name == "int64"} or found)

    @cached_property
    def _offsets(self) -> tuple[Value, ...]:
        """Values that offsets are made of, unless something else than offsets uses int64 memory."""
        stored = any(s.array.dtype.name == "int64" for s in self.stores)
        if stored or any(register.dtype.name == "int64" for register in self.modified):
            return ()
        roots = [v.offset for v in self.values if isinstance(v, Load) and v.offset is not None]
        roots += [s.offset for s in self.stores if s.offset is not None]
        return tuple(part for root in roots for part in ordered(root))

    @cached_property
    def accessed(self) -> frozenset[DType]:
        """Element types in memory."""
        return frozenset(v.array.dtype for v in (*self.values, *self.stores) if isinstance(v, (Load, Store)))

    def scattered(self, var: Var) -> tuple[Load | Store, ...]:
        """Loads and stores whose places for neighbours of a loop variable are neither the same nor neighbours."""
        accesses = (v for v in (*self.values, *self.stores) if isinstance(v, (Load, Store)))
        return tuple(a for a in accesses if a.offset is not None or a.index.factor(var) not in {0, 1})

    @cached_property
    def cost(self) -> int:
        """Roughly how many instructions one pass takes, loops inside counted once."""
        return sum(self._costs(self.body))

    def _costs(self, body: tuple[Statement, ...]) -> Iterator[int]:
        for statement in body:
            if isinstance(statement, For):
                inner = sum(self._costs(statement.body))
                yield inner * statement.extent if statement.kind != "serial" else inner
            elif isinstance(statement, If):
                yield sum(self._costs(statement.then)) + sum(self._costs(statement.otherwise))
            elif isinstance(statement, When):
                yield 1 + sum(self._costs(statement.then))
            else:
                yield 1 + sum(_cost(part) for root in values_of(statement) for part in ordered(root))


def _cost(value: Value) -> int:
    if isinstance(value, Apply):
        return _COSTS.get(value.operation, 1)
    return 1 if isinstance(value, (Load, Position)) else 0
