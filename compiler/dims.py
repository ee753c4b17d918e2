"""Sizes: `Size` is `int | Dim`, and a Dim is a canonical integer polynomial over named symbols, each >= 0.

Arithmetic that yields a constant gives a plain int, never a Dim. Operators may raise UndecidableSizeError:
they are for user code. Inside the compiler use `same`, `at_least` and `known_different`, which never do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy

from staticnet.compiler import polynomials, quotients
from staticnet.compiler.errors import ArgumentError, DTypeError, TraceError, UndecidableSizeError
from staticnet.compiler.polynomials import Bounds, Polynomial


class Dim:
    """A size that is not known yet. Made by `symbol`, `parse` and arithmetic; immutable, hashable.

    `==`, `<` and the like, and `bool`, answer what holds for all values of the symbols, else raise
    UndecidableSizeError. The hash is that of the canonical form, so two sizes that are equal only by a
    proof, as N//2 + (N+1)//2 and N, may hash apart.
    """

    __slots__ = ("_hash", "polynomial")
    __array_ufunc__ = None  # NumPy scalars then leave the arithmetic to Dim
    polynomial: Polynomial
    _hash: int

    def __init__(self, polynomial: Polynomial):
        object.__setattr__(self, "polynomial", polynomial)
        # Python's hash(-1) == hash(-2) would let -N and -2*N collide, and a collision asks `==`, which may raise
        object.__setattr__(self, "_hash", hash(tuple((m, 2 * c if c > 0 else 1 - 2 * c) for m, c in polynomial)))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self!r} is immutable: make a new size by arithmetic")

    def __reduce__(self) -> tuple[Any, ...]:
        return Dim, (self.polynomial,)

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return _text(self)

    def __repr__(self) -> str:
        return f"Dim({str(self)!r})"

    def __add__(self, other: object) -> Size:
        return _operate(_add, self, other)

    def __sub__(self, other: object) -> Size:
        return _operate(_subtract, self, other)

    def __mul__(self, other: object) -> Size:
        return _operate(_multiply, self, other)

    def __floordiv__(self, other: object) -> Size:
        return _operate(_floor_divide, self, other)

    def __mod__(self, other: object) -> Size:
        return _operate(_modulo, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: object) -> Size:
        return _operate(_subtract, self, other, is_reflected=True)

    def __rfloordiv__(self, other: object) -> Size:
        return _operate(_floor_divide, self, other, is_reflected=True)

    def __rmod__(self, other: object) -> Size:
        return _operate(_modulo, self, other, is_reflected=True)

    def __neg__(self) -> Size:
        return _multiply(self, -1)

    def __pow__(self, exponent: object) -> Size:
        power = _operand(exponent)
        if not isinstance(power, int):
            return NotImplemented
        if power < 0:
            raise ArgumentError(f"sizes are whole numbers and take powers from 0 up, got ({self}) ** {power}")
        return _size(quotients.power(self.polynomial, power))

    def __truediv__(self, other: object) -> Size:
        if _operand(other) is None:
            return NotImplemented
        raise DTypeError(f"sizes are whole numbers: between `{self}` and `{other}` write // or divide_exact, not /")

    __rtruediv__ = __truediv__

    def __eq__(self, other: object) -> bool:
        return self is other or _compare(self, "==", other)

    def __ne__(self, other: object) -> bool:
        return self is not other and _compare(self, "!=", other)

    def __lt__(self, other: object) -> bool:
        return _compare(self, "<", other)

    def __le__(self, other: object) -> bool:
        return _compare(self, "<=", other)

    def __gt__(self, other: object) -> bool:
        return _compare(self, ">", other)

    def __ge__(self, other: object) -> bool:
        return _compare(self, ">=", other)

    def __bool__(self) -> bool:
        return _compare(self, "!=", 0)

    def __int__(self) -> int:
        raise _no_number(self, "int()")

    def __float__(self) -> float:
        raise _no_number(self, "float()")

    def __index__(self) -> int:
        raise _no_number(self, "an index, a range or a NumPy shape")

    def __iter__(self) -> Iterator[int]:
        raise _no_number(self, "a Python loop")


Size = int | Dim


def symbol(name: str) -> Dim:
    """The size of this name, any integer >= 0; the name is any non-empty printable string."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ArgumentError(f"a dimension's name is a non-empty printable string, got {name!r}: give it another name")
    return _symbol(name)


def as_size(value: object) -> Size:
    """An int, a NumPy integer or a Dim as a Size; a bool, a float or anything else raises DTypeError."""
    size = _operand(value)
    if size is None:
        raise DTypeError(f"a size is an int or a Dim, got {value!r} of type {type(value).__name__}")
    return size


def maximum(a: Size, b: Size) -> Size:
    """The larger of two sizes."""
    return _maximum(as_size(a), as_size(b))


def minimum(a: Size, b: Size) -> Size:
    """The smaller of two sizes."""
    return _minimum(as_size(a), as_size(b))


def ceil_div(a: Size, b: Size) -> Size:
    """a / b rounded up, for b > 0."""
    a, b = as_size(a), as_size(b)
    return _floor_divide(_subtract(_add(a, b), 1), b)


def divide_exact(a: Size, b: Size) -> Size | None:
    """a / b where it is a whole number for all symbols (b not being zero), else None."""
    a, b = as_size(a), as_size(b)
    if not isinstance(b, Dim) and b == 0:
        return None
    quotient, remainder = quotients.long_division(_polynomial(a), _polynomial(b))
    return None if remainder else _size(quotient)


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are provably equal; never raises."""
    if a is b:
        return True
    if isinstance(a, Dim) and isinstance(b, Dim) and a.polynomial == b.polynomial:
        return True  # without the caches, which compare their keys by this
    difference = _subtract(as_size(a), as_size(b))
    return _bounds(difference) == (0, 0) if isinstance(difference, Dim) else difference == 0


def same_shape(s: Sequence[Size], t: Sequence[Size]) -> bool:
    """Whether two shapes have the same rank and provably equal sizes; never raises."""
    return len(s) == len(t) and all(map(same, s, t))


def known_different(a: Size, b: Size) -> bool:
    """Whether two sizes provably differ for all symbols; never raises."""
    difference = _subtract(as_size(a), as_size(b))
    return _is_never_zero(difference) if isinstance(difference, Dim) else difference != 0


def at_least(a: Size, b: Size) -> bool | None:
    """Whether a >= b: for all symbols (True), for none (False), not provably either (None); never raises."""
    difference = _subtract(as_size(a), as_size(b))
    if not isinstance(difference, Dim):
        return difference >= 0
    low, high = _bounds(difference)
    if low is not None and low >= 0:
        return True
    return False if high is not None and high < 0 else None


def lower_bound(size: Size) -> int | None:
    """A number that the size never falls below, or None where none is known."""
    return _bounds(size)[0] if isinstance(size, Dim) else as_size(size)  # type: ignore[return-value]


def upper_bound(size: Size) -> int | None:
    """A number that the size never exceeds, or None where none is known."""
    return _bounds(size)[1] if isinstance(size, Dim) else as_size(size)  # type: ignore[return-value]


def product(sizes: Iterable[Size]) -> Size:
    """All sizes multiplied; 1 for none."""
    result: Size = 1
    for size in sizes:
        result = _multiply(result, as_size(size))
    return result


def is_static(size: Size) -> bool:
    """Whether the size is a number already."""
    return not isinstance(size, Dim)


def symbols(size: Size) -> frozenset[str]:
    """The names that the size depends on."""
    return _symbols(size) if isinstance(size, Dim) else frozenset()


def sort_key(size: Size) -> tuple[int, int, str]:
    """The same total order in every process: numbers first, then by text."""
    return (1, 0, str(size)) if isinstance(size, Dim) else (0, size, "")


def evaluate(size: Size, binding: Mapping[str, int]) -> int:
    """The number that the size is when its symbols have these values."""
    if not isinstance(size, Dim):
        return size
    try:
        return int(_compiled(size)(binding))
    except KeyError:
        missing = sorted(symbols(size) - binding.keys())
        raise ArgumentError(
            f"the size `{size}` needs a value for {', '.join(map(repr, missing))}, got only {dict(binding)}: add it"
        ) from None
    except ZeroDivisionError:
        raise ArgumentError(f"the size `{size}` divides by zero for {dict(binding)}: feed sizes above zero") from None


def substitute(size: Size, mapping: Mapping[str, Size]) -> Size:
    """The size with some symbols replaced by other sizes, all at once."""
    if not isinstance(size, Dim) or symbols(size).isdisjoint(mapping):
        return size
    values = {name: _polynomial(as_size(mapping[name])) for name in symbols(size) if name in mapping}
    return _size(quotients.substitute(size.polynomial, values))


def solve(size: Size, value: int, binding: Mapping[str, int]) -> dict[str, int] | None:
    """The new bindings that follow from `size` being `value` when some symbols are bound already.

    {} where nothing new follows (it agrees, or too much is unknown yet), None for a contradiction.
    Go over all sizes until nothing new follows, then compare `evaluate` with each value.
    """
    try:
        rest = substitute(size, binding)
    except ArgumentError:  # a divisor is bound to zero
        return None
    if not isinstance(rest, Dim):
        return {} if rest == value else None
    if known_different(rest, value):
        return None
    (monomial, coefficient), *others = rest.polynomial
    is_linear = len(monomial) == 1 and monomial[0].kind == "symbol" and all(not m for m, _ in others)
    if not is_linear:
        return {}
    number, remainder = divmod(value - sum(c for _, c in others), coefficient)
    return None if remainder or number < 0 else {monomial[0].operands[0]: number}


def parse(text: str) -> Size:
    """The size that `str` writes as this text; any other text is the name of one symbol."""
    size = _expression(text)
    return size if size is not None and str(size) == text else symbol(text)


def read(text: str) -> Size:
    """The size that an expression in any spelling means; what is no expression is the name of one symbol."""
    size = _expression(text)
    return symbol(text) if size is None else size


def _expression(text: str) -> Size | None:
    plain = not isinstance(text, str) or polynomials.is_plain(text)
    polynomial = None if plain else quotients.read(text)
    return None if polynomial is None else _size(polynomial)


def _operand(value: object) -> Size | None:
    """The value as a Size, None for a foreign type; bool and float raise, since they look like sizes."""
    if type(value) is int or isinstance(value, Dim):
        return value  # type: ignore[return-value]
    if isinstance(value, (bool, float, numpy.bool_, numpy.floating)):
        raise DTypeError(f"a size is a whole number, got {value!r} of type {type(value).__name__}: write an int")
    return int(value) if isinstance(value, (int, numpy.integer)) else None


def _operate(function: Callable[[Size, Size], Size], a: Dim, other: object, is_reflected: bool = False) -> Size:
    b = _operand(other)
    if b is None:
        return NotImplemented
    return function(b, a) if is_reflected else function(a, b)


def _compare(a: Dim, relation: str, other: object) -> bool:
    if not isinstance(other, (int, numpy.integer, Dim)) or isinstance(other, bool):
        return NotImplemented
    b = as_size(other)
    if relation in ("==", "!="):
        answer = (relation == "==") if same(a, b) else (relation == "!=") if known_different(a, b) else None
    elif relation in (">=", "<"):
        answer = at_least(a, b)
    else:
        answer = at_least(b, a)
    if answer is None:
        raise UndecidableSizeError(
            f"whether `{a} {relation} {b}` depends on the value of {_names(a, b)}, which is not known before the run: "
            "give the dimension a fixed size in its TensorSpec, or choose between tensors with where"
        )
    return not answer if relation in ("<", ">") else answer


def _names(*sizes: Size) -> str:
    return ", ".join(f"`{name}`" for name in sorted(frozenset().union(*map(symbols, sizes))))


def _no_number(size: Dim, use: str) -> TraceError:
    return TraceError(
        f"{use} needs a number, but the size `{size}` is not known before the run: give {_names(size)} a fixed size "
        "in the TensorSpec, or use the size in shapes as it is"
    )


def _polynomial(size: Size) -> Polynomial:
    return size.polynomial if isinstance(size, Dim) else polynomials.constant(size)


def _size(polynomial: Polynomial) -> Size:
    number = polynomials.as_constant(polynomial)
    return Dim(polynomial) if number is None else number


@functools.lru_cache(maxsize=4096)
def _symbol(name: str) -> Dim:
    return Dim(polynomials.of_atom(polynomials.Atom("symbol", (name,))))


def _on_sizes(function: Callable[[Polynomial, Polynomial], Polynomial]) -> Callable[[Size, Size], Size]:
    @functools.lru_cache(maxsize=16384)
    def operation(a: Size, b: Size) -> Size:
        return _size(function(_polynomial(a), _polynomial(b)))

    return operation


_add = _on_sizes(polynomials.add)
_subtract = _on_sizes(polynomials.subtract)
_multiply = _on_sizes(polynomials.multiply)
_floor_divide = _on_sizes(quotients.floor_divide)
_modulo = _on_sizes(quotients.modulo)
_maximum = _on_sizes(lambda p, q: quotients.extremum("max", (p, q)))
_minimum = _on_sizes(lambda p, q: quotients.extremum("min", (p, q)))
_cached = functools.lru_cache(maxsize=16384)


@_cached
def _bounds(size: Dim) -> Bounds:
    return polynomials.bounds(size.polynomial)


@_cached
def _is_never_zero(size: Dim) -> bool:
    low, high = _bounds(size)
    return (low or 0) > 0 or (high or 0) < 0 or not polynomials.may_be_zero_modulo(size.polynomial)


@_cached
def _symbols(size: Dim) -> frozenset[str]:
    return frozenset(a.operands[0] for a in polynomials.atoms(size.polynomial) if a.kind == "symbol")


@_cached
def _compiled(size: Dim) -> Callable[[Mapping[str, int]], int]:
    return quotients.compiled(size.polynomial)


@_cached
def _text(size: Dim) -> str:
    atom = polynomials.lone_atom(size.polynomial)
    if atom is None or atom.kind != "symbol":
        return polynomials.text(size.polynomial)
    name: str = atom.operands[0]
    return name if same(parse(name), size) else repr(name)
