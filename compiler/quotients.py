"""Floor division, max and min of polynomials, each in one canonical form; and polynomials read, replaced, compiled.

Divisors are taken to be other than zero: N*C // C is N.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.polynomials import (
    Atom,
    Polynomial,
    accumulate,
    add,
    as_constant,
    atoms,
    bounds,
    canonical,
    constant,
    is_nonnegative,
    lone_atom,
    multiply,
    of_atom,
    rank,
    subtract,
    text,
    without,
    write,
)


def long_division(p: Polynomial, q: Polynomial) -> tuple[Polynomial, Polynomial]:
    """(quotient, remainder) with p = quotient * q + remainder; the remainder is zero whenever q divides p."""
    leading, divisor = q[0]
    rest, quotient, remainder = dict(p), {}, {}
    while rest:
        monomial = min(rest, key=rank)
        share = without(monomial, leading)
        times = 0 if share is None else rest[monomial] // divisor
        if share is not None and times:
            quotient[share] = times
            accumulate(rest, q, -times, share)
        if monomial in rest:
            remainder[monomial] = rest.pop(monomial)
    return canonical(quotient), canonical(remainder)


def floor_divide(p: Polynomial, q: Polynomial) -> Polynomial:
    """p // q as whole parts plus at most one quotient atom."""
    if not q:
        raise ArgumentError(f"the size `{text(p)}` is divided by 0: divide by a size above zero")
    if q[0][1] < 0:
        p, q = add((), p, -1), add((), q, -1)
    known = _known_quotient(p, q)
    if known is not None:
        return known
    whole, rest = long_division(p, q)
    if not rest:
        return whole
    rest, q = _reduced(rest, q)
    known = _known_quotient(rest, q)
    if known is not None:
        return add(whole, known)
    divisor = as_constant(q)
    if divisor is None:
        return add(whole, of_atom(Atom("quotient", (rest, q))))
    # (x // d + r) // k is (x + d*r) // (d*k) for a whole k > 0
    inner = [m[0] for m, c in rest if c == 1 and len(m) == 1 and m[0].kind == "quotient"]
    if len(inner) == 1:
        numerator, denominator = inner[0].operands
        outside = subtract(rest, of_atom(inner[0]))
        if not outside or as_constant(denominator) is not None:
            nested = add(numerator, multiply(denominator, outside))
            return add(whole, floor_divide(nested, multiply(denominator, q)))
    return add(whole, of_atom(Atom("quotient", (rest, q))))


def _reduced(p: Polynomial, q: Polynomial) -> tuple[Polynomial, Polynomial]:
    """p and q for the same p // q, without common factors."""
    shared = set.intersection(*(set(m) for m, _ in p + q))
    while shared:
        for atom in shared:
            p, q = _over(p, atom), _over(q, atom)
        shared = set.intersection(*(set(m) for m, _ in p + q))
    is_number = as_constant(q) is not None  # then, beside multiples of g, a constant c counts as c // g of them
    common = math.gcd(*(c for m, c in p if m or not is_number), *(c for _, c in q))
    if common == 1:
        return p, q
    return tuple((m, c // common) for m, c in p if c // common), tuple((m, c // common) for m, c in q)


def _over(p: Polynomial, atom: Atom) -> Polynomial:
    return canonical({without(m, (atom,)) or (): c for m, c in p})


def _known_quotient(p: Polynomial, q: Polynomial) -> Polynomial | None:
    """p // q where bounds alone settle it."""
    divisor = as_constant(q)
    if divisor is not None:
        low, high = bounds(p)
        if low is not None and high is not None and low // divisor == high // divisor:
            return constant(low // divisor)
        return None
    if is_nonnegative(p) and is_nonnegative(subtract(subtract(q, p), constant(1))):
        return ()
    if is_nonnegative(subtract(constant(-1), p)) and is_nonnegative(add(p, q)):
        return constant(-1)
    return None


def extremum(kind: str, operands: Iterable[Polynomial]) -> Polynomial:
    """The max or min of the operands, without those that another one provably covers."""
    sign = 1 if kind == "max" else -1
    flat: list[Polynomial] = []
    for p in operands:
        atom = lone_atom(p)
        flat.extend(atom.operands if atom is not None and atom.kind == kind else (p,))
    kept: list[Polynomial] = []
    for p in sorted(flat, key=text):
        if any(is_nonnegative(add((), subtract(other, p), sign)) for other in kept):
            continue
        kept = [other for other in kept if not is_nonnegative(add((), subtract(p, other), sign))]
        kept.append(p)
    if len(kept) == 1:
        return kept[0]
    shared = tuple(term for term in kept[0] if all(term in p for p in kept))
    kept = [subtract(p, shared) for p in kept]
    scale = math.gcd(*(c for p in kept for _, c in p))
    if shared or scale > 1:
        return add(shared, extremum(kind, [tuple((m, c // scale) for m, c in p) for p in kept]), scale)
    kept.sort(key=lambda p: (as_constant(p) is not None, text(p)))
    return of_atom(Atom(kind, tuple(kept)))


def modulo(p: Polynomial, q: Polynomial) -> Polynomial:
    return subtract(p, multiply(q, floor_divide(p, q)))


def power(p: Polynomial, exponent: int) -> Polynomial:
    return functools.reduce(multiply, [p] * exponent, constant(1))


def compose(kind: str, operands: Iterable[Polynomial]) -> Polynomial:
    """The quotient, max or min of polynomials."""
    return floor_divide(*operands) if kind == "quotient" else extremum(kind, operands)


def substitute(p: Polynomial, mapping: Mapping[str, Polynomial]) -> Polynomial:
    """p with some symbols replaced, all at once."""
    values: dict[Atom, Polynomial] = {}

    def rebuild(q: Polynomial) -> Polynomial:
        products = (functools.reduce(multiply, (values[a] for a in m), constant(c)) for m, c in q)
        return functools.reduce(add, products, ())

    for atom in atoms(p):
        if atom.kind == "symbol":
            values[atom] = mapping.get(atom.operands[0], of_atom(atom))
        else:
            values[atom] = compose(atom.kind, map(rebuild, atom.operands))
    return rebuild(p)


def compiled(p: Polynomial) -> Callable[[Mapping[str, int]], int]:
    """A Python function of the values by name: one statement per atom, so that nesting costs no depth."""
    names: dict[Atom, str] = {}
    lines = ["def function(binding):"]
    for atom in atoms(p):
        names[atom] = name = f"v{len(names)}"
        if atom.kind == "symbol":
            lines.append(f" {name} = binding[{atom.operands[0]!r}]")
            continue
        operands = [f"({write(q, names.__getitem__, names.__getitem__)})" for q in atom.operands]
        value = "//".join(operands) if atom.kind == "quotient" else f"{atom.kind}({', '.join(operands)})"
        lines.append(f" {name} = {value}")
    lines.append(f" return {write(p, names.__getitem__, names.__getitem__)}")
    scope: dict[str, Any] = {}
    exec("\n".join(lines), scope)
    return scope["function"]


def read(expression: str) -> Polynomial | None:
    """The polynomial that a Python expression stands for, or None when it stands for none."""
    try:
        return _read(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _read(node: ast.expr) -> Polynomial:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return constant(number)
        case ast.Constant(value=str() as name) | ast.Name(id=name) if name and name.isprintable():
            return of_atom(Atom("symbol", (name,)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return multiply(_read(operand), constant(-1))
        case ast.BinOp(op=ast.Pow(), left=base, right=ast.Constant(value=int() as exponent)) if 0 <= exponent <= 64:
            return power(_read(base), exponent)
        case ast.BinOp(op=operator, left=a, right=b) if type(operator) in _OPERATIONS:
            return _OPERATIONS[type(operator)](_read(a), _read(b))
        case ast.Call(func=ast.Name(id="max" | "min" as kind), args=[_, *_] as operands, keywords=[]):
            return extremum(kind, map(_read, operands))
    raise ValueError("not a size")


_OPERATIONS: dict[type[ast.operator], Callable[[Polynomial, Polynomial], Polynomial]] = {
    ast.Add: add,
    ast.Sub: subtract,
    ast.Mult: multiply,
    ast.FloorDiv: floor_divide,
}
