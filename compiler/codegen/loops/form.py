"""The loop form: kernels as loop nests over affine indexes, with registers, vectors and nothing implicit.

    kernel = arrays + one outer loop, whose range may be split among workers
    loop   = serial | unroll | vector | lanes, over statements
    value  = constant, load, register, position, or a scalar operation on values

Every value has a dtype. Indexes into arrays count elements and are affine in the loop variables; a load
or store may add a computed offset (gather, scatter). Values inside a `vector` or `lanes` loop are vectors
when they depend on its variable; nothing says so, the printers find out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from staticnet.compiler.dtypes import DType, bool_, int64
from staticnet.compiler.ir import Layout

# -- indexes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Var:
    """A loop variable; its name is unique in its kernel."""

    name: str

    def __add__(self, other: Index) -> Affine:
        return affine(self) + other

    def __sub__(self, other: Index) -> Affine:
        return affine(self) - other

    def __mul__(self, factor: int) -> Affine:
        return affine(self) * factor

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Index) -> Affine:
        return affine(other) - self


@dataclass(frozen=True)
class Affine:
    """constant + sum of factor * variable; the terms are sorted by name and none is zero."""

    terms: tuple[tuple[Var, int], ...] = ()
    constant: int = 0

    def __add__(self, other: Index) -> Affine:
        other = affine(other)
        if not other.terms:
            return Affine(self.terms, self.constant + other.constant) if other.constant else self
        factors = dict(self.terms)
        for var, factor in other.terms:
            factors[var] = factors.get(var, 0) + factor
        return Affine(_sorted(factors), self.constant + other.constant)

    def __sub__(self, other: Index) -> Affine:
        return self + affine(other) * -1

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(tuple((var, own * factor) for var, own in self.terms), self.constant * factor)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Index) -> Affine:
        return affine(other) - self

    def factor(self, var: Var) -> int:
        """By how much the index grows when `var` grows by one."""
        return dict(self.terms).get(var, 0)

    def substitute(self, values: dict[Var, Affine]) -> Affine:
        """The index with some variables replaced."""
        result = Affine((), self.constant)
        for var, factor in self.terms:
            result = result + values.get(var, affine(var)) * factor
        return result

    def __str__(self) -> str:
        parts = [var.name if factor == 1 else f"{factor}*{var.name}" for var, factor in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts).replace("+ -", "- ")


Index = int | Var | Affine


def _sorted(factors: dict[Var, int]) -> tuple[tuple[Var, int], ...]:
    return tuple(sorted(((var, factor) for var, factor in factors.items() if factor), key=lambda term: term[0].name))


def affine(index: Index) -> Affine:
    """An index as an Affine."""
    if isinstance(index, Affine):
        return index
    return Affine(((index, 1),)) if isinstance(index, Var) else Affine((), index)


# -- arrays -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """A run of elements in memory.

    `role` is 'input' or 'output' (`number` says which of the step's), 'shared' (workspace of the whole step,
    seen by all its kernels) or 'local' (workspace of one worker). `size` counts elements from the array's
    pointer on; for inputs and outputs the pointer is that of the first element of the storage's view.
    """

    name: str
    dtype: DType
    size: int
    role: str
    number: int = 0


@dataclass(frozen=True)
class View:
    """An array seen through a layout: `at(i, j)` is where element (i, j) lies."""

    array: Array
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return self.layout.strides

    @property
    def dtype(self) -> DType:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return len(self.layout.shape)

    def at(self, *index: Index) -> Affine:
        """The place of the element at `index`, one index an axis."""
        place = Affine((), self.layout.offset)
        for part, stride in zip(index, self.layout.strides, strict=True):
            place = place + affine(part) * stride
        return place

    def broadcast_at(self, *index: Index) -> Affine:
        """As `at`, for an index of a wider shape that this one broadcasts to: axes of size 1 stay at 0."""
        own = index[len(index) - self.ndim :]
        return self.at(*(0 if size == 1 else part for part, size in zip(own, self.shape, strict=True)))


def dense(array: Array, *shape: int) -> View:
    """A row-major view of a workspace."""
    return View(array, Layout.dense(shape))


# -- values -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """Base of all values; `dtype` is what a scalar of it is."""

    dtype: DType

    def children(self) -> tuple[Value, ...]:
        return ()

    @cached_property
    def _hash(self) -> int:
        return hash((type(self).__name__, *(getattr(self, name) for name in self.__dataclass_fields__)))


def _hashed(cls: Any) -> Any:
    """Values are compared by structure; their hash is computed once, for they are deep."""
    cls.__hash__ = lambda self: self._hash
    return cls


@_hashed
@dataclass(frozen=True)
class Const(Value):
    """A number; floats by value, NaN and infinities included."""

    value: Any


@dataclass(frozen=True)
class Bound:
    """low <= index < high."""

    index: Affine
    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} <= {self.index} < {self.high}"


@_hashed
@dataclass(frozen=True)
class Load(Value):
    """The element of `array` at `index`, plus `offset` elements if that is given (an int64 value).

    Where a bound of `guard` does not hold nothing is read and the value is `otherwise` (0 when None).
    """

    array: Array
    index: Affine
    offset: Value | None = None
    guard: tuple[Bound, ...] = ()
    otherwise: Value | None = None

    def children(self) -> tuple[Value, ...]:
        return tuple(value for value in (self.offset, self.otherwise) if value is not None)


@_hashed
@dataclass(frozen=True)
class Get(Value):
    """The content of a register; the index may use variables of `unroll` and `lanes` loops alone.

    A lanes variable in another place than the last reads across: register[lane, 3] is element 3 of each row.
    """

    register: Register
    index: tuple[Affine, ...] = ()


@_hashed
@dataclass(frozen=True)
class Position(Value):
    """An index as an int64 number."""

    index: Affine


@_hashed
@dataclass(frozen=True)
class Apply(Value):
    """A scalar operation (`operations.OPERATIONS` lists them) on values."""

    operation: str
    arguments: tuple[Value, ...]

    def children(self) -> tuple[Value, ...]:
        return self.arguments


@dataclass(frozen=True)
class Register:
    """Numbers kept in registers: one, or an array of fixed shape, the last axis of which may be lanes."""

    name: str
    dtype: DType
    shape: tuple[int, ...] = ()

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Get:
        items = index if isinstance(index, tuple) else (index,)
        return Get(self.dtype, self, tuple(map(affine, items)))

    @property
    def value(self) -> Get:
        """The content of a single register."""
        return Get(self.dtype, self)


# -- statements ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Store:
    """array[index + offset] = value, where the bounds of `guard` hold."""

    array: Array
    index: Affine
    value: Value
    offset: Value | None = None
    guard: tuple[Bound, ...] = ()


@dataclass(frozen=True)
class Set:
    """A register takes a value. Set inside a vector loop it holds one number for each lane until that loop ends."""

    register: Register
    value: Value
    index: tuple[Affine, ...] = ()


@dataclass(frozen=True)
class Accumulate:
    """register = register `operation` value: 'add', 'multiply', 'maximum', 'minimum', 'logical_or', 'logical_and'.

    In a `vector` loop the values of all lanes are combined into the one register, which must have been set
    before the loop; in which order is left to the printer, but is the same in every run.
    """

    register: Register
    operation: str
    value: Value


@dataclass(frozen=True)
class Fail:
    """Stop with an error where the condition (bool) holds: what then is stored elsewhere does not matter."""

    condition: Value


@dataclass(frozen=True)
class If:
    """Run one of two blocks; the bounds must be of scalar loop variables (not lanes)."""

    condition: tuple[Bound, ...]
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class When:
    """Run a block where a computed condition (bool) holds; it is no lanes' own.

    The block leaves nothing but what it stores: registers it sets are its own.
    """

    condition: Value
    then: tuple[Statement, ...]


#: serial: one after another. unroll: the body printed once for each value. vector: as many at a time as a vector
#: has lanes, the rest masked. lanes: as vector, but printed out whole, so that registers can be indexed by it.
KINDS = ("serial", "unroll", "vector", "lanes")


@dataclass(frozen=True)
class For:
    """The body for var = 0 ... extent - 1. Vector and lanes loops contain no other vector or lanes loop."""

    var: Var
    extent: int
    body: tuple[Statement, ...]
    kind: str = "serial"


Statement = Store | Set | Accumulate | Fail | If | When | For


@dataclass(frozen=True)
class Kernel:
    """One native function: `loop` (serial or vector) runs over a range within 0 ... extent that the caller gives.

    Iterations of `loop` are independent of each other (workers take ranges of it), but for an extent of 1.
    Only the range is passed at run time, so kernels that differ in that extent alone are the same function.
    """

    name: str
    loop: For

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """Arrays it uses, in the order of first use: how its function takes them."""
        return tuple(dict.fromkeys(_arrays((self.loop,))))

    @cached_property
    def written(self) -> frozenset[Array]:
        """Arrays it stores to."""
        return frozenset(s.array for s in statements((self.loop,)) if isinstance(s, Store))

    def __str__(self) -> str:
        from staticnet.compiler.codegen.loops.text import kernel_text

        return kernel_text(self)


@dataclass(frozen=True)
class Routine:
    """What a step does: kernels one after another, each seeing what those before it wrote."""

    kernels: tuple[Kernel, ...] = field(default=())

    @cached_property
    def workspace(self) -> tuple[Array, ...]:
        """Shared and local arrays of all kernels."""
        found = dict.fromkeys(array for kernel in self.kernels for array in kernel.arrays)
        return tuple(array for array in found if array.role in {"shared", "local"})

    @property
    def can_fail(self) -> bool:
        return any(isinstance(s, Fail) for kernel in self.kernels for s in statements((kernel.loop,)))

    def __str__(self) -> str:
        return "\n".join(map(str, self.kernels))


# -- walking ------------------------------------------------------------------------------------


def statements(body: Sequence[Statement]) -> Iterator[Statement]:
    """All statements, outer before inner."""
    for statement in body:
        yield statement
        if isinstance(statement, For):
            yield from statements(statement.body)
        elif isinstance(statement, If):
            yield from statements(statement.then)
            yield from statements(statement.otherwise)
        elif isinstance(statement, When):
            yield from statements(statement.then)


def values_of(statement: Statement) -> tuple[Value, ...]:
    """The values a statement names itself, not those inside its body."""
    if isinstance(statement, Store):
        return (statement.value,) if statement.offset is None else (statement.value, statement.offset)
    if isinstance(statement, (Set, Accumulate)):
        return (statement.value,)
    return (statement.condition,) if isinstance(statement, (Fail, When)) else ()


def subvalues(value: Value) -> Iterator[Value]:
    """A value and all it is made of, each distinct one once."""
    seen: set[Value] = set()
    stack = [value]
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            yield current
            stack.extend(current.children())


def _arrays(body: Sequence[Statement]) -> Iterator[Array]:
    for statement in statements(body):
        if isinstance(statement, Store):
            yield statement.array
        for value in values_of(statement):
            yield from (part.array for part in subvalues(value) if isinstance(part, Load))


# -- building -----------------------------------------------------------------------------------


def const(value: Any, dtype: DType) -> Const:
    """A number of a dtype."""
    return Const(dtype, dtype.numpy.type(value).item())


def load(view: View, *index: Index) -> Load:
    """The element of a view at an index of its own rank."""
    return Load(view.dtype, view.array, view.at(*index))


def store(view: View, index: Sequence[Index], value: Value) -> Store:
    """view[index] = value."""
    return Store(view.array, view.at(*index), value)


def position(index: Index) -> Position:
    """An index as an int64 number."""
    return Position(int64, affine(index))


def within(index: Index, low: int, high: int) -> Bound:
    """low <= index < high."""
    return Bound(affine(index), low, high)


TRUE = Const(bool_, True)
