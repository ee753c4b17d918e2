"""Canonical integer polynomials over atoms: the ring, what can be proved of them, and their text.

An atom is a symbol (an integer >= 0), a floor division that does not divide out, a max or a min. A polynomial
is a tuple of (monomial, coefficient) in graded lexicographic order, which any two equal polynomials share
however they were made.
"""

from __future__ import annotations

import keyword
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any


class Atom:
    """A symbol, quotient, max or min; its operands are its name, or polynomials. Equal when its text is."""

    __slots__ = ("hash", "kind", "lower", "operands", "text", "upper")

    def __init__(self, kind: str, operands: tuple[Any, ...]):
        self.kind, self.operands = kind, operands
        self.text: str = _atom_text(kind, operands)
        self.hash = hash(self.text)
        self.lower, self.upper = _atom_bounds(kind, operands)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Atom) and self.text == other.text)

    def __lt__(self, other: Atom) -> bool:
        return self.text < other.text

    def __reduce__(self) -> tuple[Any, ...]:
        return Atom, (self.kind, self.operands)


Monomial = tuple[Atom, ...]  # sorted; an atom stands once per power; () is the constant
Polynomial = tuple[tuple[Monomial, int], ...]  # no zero coefficients; () is zero
Terms = dict[Monomial, Any]  # the same while it is worked on; Fractions only inside proofs
Bounds = tuple["int | None", "int | None"]  # None: not known

SEARCH_DEPTH = 5  # how many atoms a proof may look into; the work doubles with each


def constant(number: int) -> Polynomial:
    return (((), number),) if number else ()


def as_constant(p: Polynomial) -> int | None:
    if not p:
        return 0
    return p[0][1] if len(p) == 1 and not p[0][0] else None


def of_atom(atom: Atom) -> Polynomial:
    return (((atom,), 1),)


def lone_atom(p: Polynomial) -> Atom | None:
    return p[0][0][0] if len(p) == 1 and p[0][1] == 1 and len(p[0][0]) == 1 else None


def canonical(terms: Terms) -> Polynomial:
    return tuple(sorted(((m, c) for m, c in terms.items() if c), key=lambda term: rank(term[0])))


def rank(monomial: Monomial) -> tuple[int, Monomial]:
    return (-len(monomial), monomial)


def accumulate(terms: Terms, p: Iterable[tuple[Monomial, Any]], factor: Any = 1, monomial: Monomial = ()) -> None:
    """terms += factor * monomial * p"""
    for m, c in p:
        key = tuple(sorted(m + monomial)) if monomial and m else m or monomial
        total = terms.get(key, 0) + factor * c
        if total:
            terms[key] = total
        else:
            terms.pop(key, None)


def add(p: Polynomial, q: Polynomial, factor: int = 1) -> Polynomial:
    """p + factor * q"""
    terms: Terms = dict(p)
    accumulate(terms, q, factor)
    return canonical(terms)


def subtract(p: Polynomial, q: Polynomial) -> Polynomial:
    return add(p, q, -1)


def multiply(p: Polynomial, q: Polynomial) -> Polynomial:
    terms: Terms = {}
    for m, c in p:
        accumulate(terms, q, c, m)
    return canonical(terms)


def without(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    """monomial / divisor, or None when it does not divide."""
    rest = list(monomial)
    for atom in divisor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def atoms(p: Polynomial) -> list[Atom]:
    """All atoms of p and inside its atoms, each after its operands."""
    found: dict[Atom, None] = {}
    stack = [(a, False) for m, _ in reversed(p) for a in m]
    while stack:
        atom, is_ready = stack.pop()
        if atom in found:
            continue
        if is_ready or atom.kind == "symbol":
            found[atom] = None
            continue
        stack.append((atom, True))
        stack.extend((a, False) for operand in atom.operands for m, _ in operand for a in m)
    return list(found)


# Proofs --------------------------------------------------------------------------------------------------------------


def is_nonnegative(p: Polynomial) -> bool:
    """Whether p >= 0 is provable."""
    low = _lower(dict(p), SEARCH_DEPTH, frozenset())
    return low is not None and low >= 0


def bounds(p: Polynomial) -> Bounds:
    """Whole numbers between which p always lies."""
    low = _lower(dict(p), SEARCH_DEPTH, frozenset())
    high = _lower({m: -c for m, c in p}, SEARCH_DEPTH, frozenset())
    return None if low is None else math.ceil(low), None if high is None else -math.ceil(high)


def may_be_zero_modulo(p: Polynomial) -> bool:
    """Whether p can be zero as far as the common factor of its other coefficients tells about its constant."""
    common = math.gcd(*(c for m, c in p if m))
    return common == 0 or dict(p).get((), 0) % common == 0


def _lower(terms: Terms, depth: int, kept: frozenset[Atom]) -> Any:
    """A lower bound of the terms, the best over a few ways of replacing composite atoms by their operands."""
    atom = _replaceable(terms, kept) if depth else None
    if atom is None:
        return _termwise_lower(terms)
    choices = [_lower(terms, depth - 1, kept | {atom})]
    if atom.kind == "quotient":
        choices.append(_lower(_relaxed(terms, atom), depth - 1, kept))
        return _best(choices)
    cases = [_lower(_replaced(terms, atom, p), depth - 1, kept) for p in atom.operands]
    sign = 1 if atom.kind == "max" else -1
    if all(c * sign > 0 for m, c in terms.items() if atom in m):
        return _best(choices + cases)  # a max is at least each operand
    if None not in cases:
        choices.append(min(cases))  # it is one of them
    return _best(choices)


def _best(choices: list[Any]) -> Any:
    return max((c for c in choices if c is not None), default=None)


def _replaceable(terms: Terms, kept: frozenset[Atom]) -> Atom | None:
    """The first composite atom that stands once in each of its monomials, beside factors >= 0."""
    candidates = sorted({a for m in terms for a in m if a.kind != "symbol"} - kept)
    for atom in candidates:
        if atom.kind == "quotient" and as_constant(atom.operands[1]) is None:
            continue
        beside = [without(m, (atom,)) or () for m in terms if atom in m]
        if all(a != atom and a.lower is not None and a.lower >= 0 for m in beside for a in m):
            return atom
    return None


def _replaced(terms: Terms, atom: Atom, p: Iterable[tuple[Monomial, Any]]) -> Terms:
    result: Terms = {}
    for m, c in terms.items():
        accumulate(result, p if atom in m else (((), 1),), c, (without(m, (atom,)) or ()) if atom in m else m)
    return result


def _relaxed(terms: Terms, atom: Atom) -> Terms:
    """The terms with x // k replaced by what is nowhere larger: (x - k + 1) / k <= x // k <= x / k."""
    numerator, denominator = atom.operands
    k = denominator[0][1]
    above = [(m, Fraction(c, k)) for m, c in numerator]
    result: Terms = {}
    for m, c in terms.items():
        if atom not in m:
            accumulate(result, (((), 1),), c, m)
            continue
        beside = without(m, (atom,)) or ()
        accumulate(result, above, c, beside)
        if c > 0:
            accumulate(result, (((), 1),), c * Fraction(1 - k, k), beside)
    return result


def _termwise_lower(terms: Terms) -> Any:
    total: Any = 0
    for m, c in terms.items():
        low, high = _monomial_bounds(m)
        bound = low if c > 0 else high
        if bound is None:
            return None
        total += c * bound
    return total


def _monomial_bounds(monomial: Monomial) -> Bounds:
    if len(monomial) == 1:
        return monomial[0].lower, monomial[0].upper
    if any(a.lower is None or a.lower < 0 for a in monomial):
        return None, None
    low = math.prod(a.lower or 0 for a in monomial)
    highs = [a.upper for a in monomial]
    if 0 in highs:
        return low, 0
    return low, None if None in highs else math.prod(h or 0 for h in highs)


def _atom_bounds(kind: str, operands: tuple[Any, ...]) -> Bounds:
    if kind == "symbol":
        return 0, None
    lows, highs = zip(*map(bounds, operands), strict=True)
    if kind == "max":
        return max((b for b in lows if b is not None), default=None), None if None in highs else max(highs)
    if kind == "min":
        return None if None in lows else min(lows), min((b for b in highs if b is not None), default=None)
    (low, least), (high, most) = lows, highs
    if least is None or least < 0:
        return None, None
    least = max(least, 1)
    lower = None if low is None else low // least if low < 0 else 0 if most is None else low // max(most, 1)
    upper = None if high is None else high // least if high >= 0 else -1 if most is None else high // max(most, 1)
    return lower, upper


# Text ----------------------------------------------------------------------------------------------------------------


def is_plain(name: str) -> bool:
    """Whether Python reads the name back as the same name."""
    return name.isidentifier() and not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name


def text(p: Polynomial) -> str:
    """The polynomial as a Python expression; names that are no identifiers are quoted."""
    return write(p, lambda a: f"({a.text})" if a.kind == "quotient" else a.text, lambda a: a.text)


def write(p: Polynomial, factor: Callable[[Atom], str], alone: Callable[[Atom], str]) -> str:
    """A sum of products; `factor` spells an atom in a product, `alone` one that is a term by itself."""
    pieces: list[str] = []
    for m, c in p:
        if len(m) == 1 and abs(c) == 1 and (pieces or c > 0):
            body = alone(m[0])
        else:
            factors = [factor(a) + (f"**{power}" if power > 1 else "") for a, power in Counter(m).items()]
            body = "*".join(factors if abs(c) == 1 and factors else [str(abs(c)), *factors])
        if pieces:
            pieces.append(f" - {body}" if c < 0 else f" + {body}")
        else:
            pieces.append(f"-{body}" if c < 0 else body)
    return "".join(pieces) or "0"


def _atom_text(kind: str, operands: tuple[Any, ...]) -> str:
    if kind == "symbol":
        return operands[0] if is_plain(operands[0]) else repr(operands[0])
    if kind != "quotient":
        return f"{kind}({', '.join(map(text, operands))})"
    return "//".join(text(p) if _needs_no_parentheses(p) else f"({text(p)})" for p in operands)


def _needs_no_parentheses(p: Polynomial) -> bool:
    number, atom = as_constant(p), lone_atom(p)
    return number >= 0 if number is not None else atom is not None and atom.kind != "quotient"
