"""Which steps have a loop description: op cards on one side, routines on the other.

A describer takes a bound card, views of its operands and of its results, and the machine, and gives a
Routine, or None where it has nothing to offer (the step then runs as its card's kernel):

    @describes(MaxPool2d)
    def max_pool(op, inputs, outputs, machine): ...

An anchor is an op whose results are made one by one from many operands (a convolution, a product), so that
pointwise work on them can be done before they are stored. It is described by a function that takes `finish`
instead of outputs: `finish(index, value)` gives the statements that dispose of the result at a logical
index, one part an axis. What an anchor does alone is the special case of a finish that only stores.

    @anchors(MatMul)
    def product(op, inputs, result, finish, machine): ...

`result` is a view of the result as if it were stored: its shape, and in which order of the axes it had
best be made. A describer of a base class serves all cards below it that have none of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticnet.compiler.codegen.loops.form import Index, Routine, Statement, Value, View, store
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ir import Op

#: the first argument is a card of the class that the function is registered for
Describer = Callable[[Any, Sequence[View], Sequence[View], Machine], Routine | None]
Finish = Callable[[Sequence[Index], Value], list[Statement]]
Anchor = Callable[[Any, Sequence[View], View, Finish, Machine], Routine | None]

DESCRIBERS: dict[type[Op], Describer] = {}
ANCHORS: dict[type[Op], Anchor] = {}


def describes(*cards: type[Op]) -> Callable[[Describer], Describer]:
    """Register the describer of some cards."""

    def register(describer: Describer) -> Describer:
        DESCRIBERS.update(dict.fromkeys(cards, describer))
        return describer

    return register


def anchors(*cards: type[Op]) -> Callable[[Anchor], Anchor]:
    """Register the anchor description of some cards; alone, such an op stores its results."""

    def register(anchor: Anchor) -> Anchor:
        ANCHORS.update(dict.fromkeys(cards, anchor))

        def alone(op: Op, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
            (result,) = outputs
            return anchor(op, inputs, result, lambda index, value: [store(result, index, value)], machine)

        DESCRIBERS.update(dict.fromkeys(cards, alone))
        return anchor

    return register


def describe(op: Op, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """The routine of a bound card on these views, or None."""
    describer = next((DESCRIBERS[card] for card in type(op).__mro__ if card in DESCRIBERS), None)
    return describer(op, inputs, outputs, machine) if describer else None
