"""Ops without a gradient, each with the reason: the exceptions to the rule that every card has one."""

from __future__ import annotations

_BOOLEAN = "its result is true or false"
_INTEGER = "its result is an integer"
_DRAW = "a draw does not depend smoothly on its key"
_SOURCE = "it has no operands"

#: name of the op -> why nothing flows back through it
NOT_DIFFERENTIABLE: dict[str, str] = {
    "input": _SOURCE,
    "constant": _SOURCE,
    "size_of": _SOURCE,
    "iota": _SOURCE,
    "equal": _BOOLEAN,
    "not_equal": _BOOLEAN,
    "less": _BOOLEAN,
    "less_equal": _BOOLEAN,
    "greater": _BOOLEAN,
    "greater_equal": _BOOLEAN,
    "isnan": _BOOLEAN,
    "isinf": _BOOLEAN,
    "logical_and": _BOOLEAN,
    "logical_or": _BOOLEAN,
    "logical_xor": _BOOLEAN,
    "logical_not": _BOOLEAN,
    "fused": "it is made of nodes that were differentiated before",
    "all": _BOOLEAN,
    "any": _BOOLEAN,
    "argmax": _INTEGER,
    "argmin": _INTEGER,
    "check_labels": _INTEGER,
    "random_bits": _DRAW,
    "random_uniform": _DRAW,
    "random_mask": _DRAW,
    "random_normal": _DRAW,
}
