"""Sizes as values: any symbolic size computed in the file from the shapes of its inputs, in int64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.polynomials import Atom, Monomial, Polynomial

if TYPE_CHECKING:
    from staticnet.compiler.ir import Node
    from staticnet.exporters.onnx.emitter import Emitter


class Sizes:
    """Makes int64 values of sizes; each size is computed once per file.

    All work is done on arrays of one element, the form in which shapes are put together.
    """

    def __init__(self, emitter: Emitter):
        self._emitter = emitter
        self._known: dict[str, str] = {}

    def vector(self, sizes: Sequence[Size]) -> str:
        """The sizes as one axis of int64: an initializer when all are numbers."""
        if all(isinstance(size, int) for size in sizes):
            return self._emitter.ints([int(size) for size in sizes])  # type: ignore[arg-type]
        pieces: list[list[int] | Dim] = []
        for size in sizes:
            if isinstance(size, Dim):
                pieces.append(size)
            elif pieces and isinstance(pieces[-1], list):
                pieces[-1].append(size)
            else:
                pieces.append([size])
        parts = [self.single(piece) if isinstance(piece, Dim) else self._emitter.ints(piece) for piece in pieces]
        return parts[0] if len(parts) == 1 else self._emitter.emit("Concat", *parts, axis=0)

    def scalar(self, size: Size) -> str:
        """The size as a value without axes."""
        if isinstance(size, int):
            return self._emitter.constant(np.array(size, np.int64))
        return self._emitter.emit("Squeeze", self.single(size), self._emitter.ints([0]))

    def single(self, size: Size) -> str:
        """The size as one axis of one int64."""
        if isinstance(size, int):
            return self._emitter.ints([size])
        key = str(size)
        if key not in self._known:
            self._known[key] = self._polynomial(size.polynomial)
        return self._known[key]

    # -- the parts of a size ------------------------------------------------------------------

    def _polynomial(self, polynomial: Polynomial) -> str:
        total, constant = "", 0
        for monomial, coefficient in polynomial:
            if not monomial:
                constant = coefficient
            elif not total:
                total = self._term(monomial, coefficient)
            elif coefficient < 0:
                total = self._emitter.emit("Sub", total, self._term(monomial, -coefficient))
            else:
                total = self._emitter.emit("Add", total, self._term(monomial, coefficient))
        if not total:
            return self._emitter.ints([constant])
        return self._emitter.emit("Add", total, self._emitter.ints([constant])) if constant else total

    def _term(self, monomial: Monomial, coefficient: int) -> str:
        factors = [self._atom(atom) for atom, power in Counter(monomial).items() for _ in range(power)]
        if coefficient != 1:
            factors.append(self._emitter.ints([coefficient]))
        product = factors[0]
        for factor in factors[1:]:
            product = self._emitter.emit("Mul", product, factor)
        return product

    def _atom(self, atom: Atom) -> str:
        if atom.text not in self._known:
            self._known[atom.text] = self._symbol(atom) if atom.kind == "symbol" else self._composite(atom)
        return self._known[atom.text]

    def _composite(self, atom: Atom) -> str:
        operands = [self._polynomial(operand) for operand in atom.operands]
        if atom.kind != "quotient":
            return self._emitter.emit("Max" if atom.kind == "max" else "Min", *operands)
        numerator, denominator = operands
        lowest = dims.lower_bound(Dim(atom.operands[0]))
        if lowest is None or lowest < 0:
            # ONNX divides towards zero, sizes towards minus infinity.
            below = self._emitter.emit("Mod", numerator, denominator)
            numerator = self._emitter.emit("Sub", numerator, below)
        return self._emitter.emit("Div", numerator, denominator)

    def _symbol(self, atom: Atom) -> str:
        name = atom.operands[0]
        wanted = dims.symbol(name)
        found = [(node, axis, size) for node in self._emitter.feeds for axis, size in enumerate(node.shape)]
        for node, axis, size in found:
            if dims.same(size, wanted):
                return self._axis(node, axis)
        for node, axis, size in found:
            line = _linear(size, name)
            if line is not None:
                return self._solved(self._axis(node, axis), *line)
        self._emitter.refuse(
            f"needs the size `{name}`, which no input's shape determines; "
            f"give one input an axis of the size `{name}` alone"
        )

    def _axis(self, node: Node, axis: int) -> str:
        emitter = self._emitter
        value = emitter.value(node)
        if emitter.opset >= 15:
            end = axis + 1 if axis + 1 < node.ndim else None
            return emitter.emit("Shape", value, start=axis if axis or end else None, end=end)
        shape = emitter.emit("Shape", value)
        return shape if node.ndim == 1 else emitter.emit("Gather", shape, emitter.ints([axis]), axis=0)

    def _solved(self, value: str, factor: int, rest: int) -> str:
        """s of value = factor * s + rest"""
        if rest:
            value = self._emitter.emit("Sub", value, self._emitter.ints([rest]))
        return value if factor == 1 else self._emitter.emit("Div", value, self._emitter.ints([factor]))


def _linear(size: Size, name: str) -> tuple[int, int] | None:
    """(factor, rest) when the size is factor * name + rest, else None."""
    if dims.symbols(size) != {name}:
        return None
    rest = dims.substitute(size, {name: 0})
    one = dims.substitute(size, {name: 1})
    if not (isinstance(rest, int) and isinstance(one, int)) or one == rest:
        return None
    is_linear = dims.same(size, dims.symbol(name) * (one - rest) + rest)
    return (one - rest, rest) if is_linear else None
