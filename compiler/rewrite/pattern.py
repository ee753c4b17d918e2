"""Patterns: the left side of a rule's equation, parsed once and matched against nodes.

In an equation a call names an op card, its positional arguments are operands and its keyword arguments
attributes; `+ - * / **` and unary minus stand for their cards. A lower-case name matches any value, the
same value wherever it is repeated; an upper-case name a constant of one element; a number a constant
equal to it, sign of zero included. An attribute is a literal, or a name that takes its value.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import REGISTRY, Node, apply
from staticnet.compiler.ir.op import freeze
from staticnet.compiler.ops.leaf import scalar_value

Bindings = dict[str, Any]

_OPERATORS = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power"}
_COMMUTATIVE = {"add", "multiply", "maximum", "minimum", "logical_and", "logical_or", "equal", "not_equal"}


@dataclass(frozen=True)
class Variable:
    name: str

    @property
    def is_constant(self) -> bool:
        return self.name[0].isupper()


@dataclass(frozen=True)
class Number:
    value: float | int


@dataclass(frozen=True)
class Call:
    name: str
    operands: tuple[Pattern, ...]
    attributes: tuple[tuple[str, Any], ...]


Pattern = Variable | Number | Call


def parse(text: str) -> Pattern:
    """The pattern that an expression describes."""
    return _convert(ast.parse(text.strip(), mode="eval").body, text)


def _convert(tree: ast.expr, text: str) -> Pattern:
    if isinstance(tree, ast.Name):
        return Variable(tree.id)
    if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float)):
        return Number(tree.value)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        if isinstance(tree.operand, ast.Constant) and isinstance(tree.operand.value, (int, float)):
            return Number(-tree.operand.value)
        return Call("negative", (_convert(tree.operand, text),), ())
    if isinstance(tree, ast.BinOp) and type(tree.op) in _OPERATORS:
        return Call(_OPERATORS[type(tree.op)], (_convert(tree.left, text), _convert(tree.right, text)), ())
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in REGISTRY:
        attributes = tuple((str(keyword.arg), _attribute(keyword.value)) for keyword in tree.keywords)
        return Call(tree.func.id, tuple(_convert(argument, text) for argument in tree.args), attributes)
    raise CompilerError(
        f"`{ast.unparse(tree)}` in the rewrite rule `{text.strip()} = ...` is no pattern: "
        "a pattern is a name, a number, + - * / **, or an op by the name that it has in the text of a graph"
    )


def _attribute(tree: ast.expr) -> Any:
    return Variable(tree.id) if isinstance(tree, ast.Name) else ast.literal_eval(tree)


def may_match(pattern: Pattern, sources: Sequence[str]) -> bool:
    """Whether a node on results of the ops `sources` can match at all: cheap, and the same for all such nodes."""
    assert isinstance(pattern, Call)
    if len(sources) != len(pattern.operands):
        return False
    orders = [pattern.operands, pattern.operands[::-1]] if pattern.name in _COMMUTATIVE else [pattern.operands]
    return any(all(map(_may_be, operands, sources)) for operands in orders)


def _may_be(pattern: Pattern, op_name: str) -> bool:
    if isinstance(pattern, Call):
        return op_name == pattern.name
    return op_name in {"constant", "broadcast"} or (isinstance(pattern, Variable) and not pattern.is_constant)


def match(pattern: Pattern, node: Node) -> Bindings | None:
    """What the names of `pattern` stand for in `node`, or None."""
    return next(_matches(pattern, node, {}), None)


def _matches(pattern: Pattern, node: Node, bound: Bindings) -> Iterator[Bindings]:
    if isinstance(pattern, Variable):
        if pattern.is_constant and scalar_value(node) is None:
            return
        have = bound.get(pattern.name)
        if have is None:
            yield {**bound, pattern.name: node}
        elif have is node:
            yield bound
        return
    if isinstance(pattern, Number):
        value = scalar_value(node)
        if value is not None and value == pattern.value and math.copysign(1, value) == math.copysign(1, pattern.value):
            yield bound
        return
    if node.op.name != pattern.name or len(node.inputs) != len(pattern.operands):
        return
    with_attributes = _match_attributes(pattern, node, bound)
    if with_attributes is None:
        return
    orders = [pattern.operands]
    if pattern.name in _COMMUTATIVE:
        orders.append(pattern.operands[::-1])
    for operands in orders:
        yield from _match_all(operands, node.inputs, with_attributes)


def _match_all(patterns: tuple[Pattern, ...], nodes: tuple[Node, ...], bound: Bindings) -> Iterator[Bindings]:
    if not patterns:
        yield bound
        return
    for first in _matches(patterns[0], nodes[0], bound):
        yield from _match_all(patterns[1:], nodes[1:], first)


def _match_attributes(pattern: Call, node: Node, bound: Bindings) -> Bindings | None:
    found = dict(bound)
    for name, wanted in pattern.attributes:
        value = getattr(node.op, name)
        if not isinstance(wanted, Variable):
            if freeze(value) != freeze(wanted):
                return None
        elif wanted.name not in found:
            found[wanted.name] = value
        elif freeze(found[wanted.name]) != freeze(value):
            return None
    return found


def instantiate(pattern: Pattern, bindings: Mapping[str, Any], dtype: Any) -> Node:
    """A node that the pattern matches, made from values for its names: how rules are tested."""
    if isinstance(pattern, Variable):
        return bindings[pattern.name]
    if isinstance(pattern, Number):
        from staticnet.compiler.ops.base import F

        return F.constant(pattern.value, dtype)
    attributes = {k: bindings[v.name] if isinstance(v, Variable) else v for k, v in pattern.attributes}
    operands = [instantiate(operand, bindings, dtype) for operand in pattern.operands]
    return apply(REGISTRY[pattern.name](**attributes), *operands)


def names(pattern: Pattern) -> tuple[list[str], list[str]]:
    """Names of the values and of the attributes in a pattern, each once, in order."""
    values: dict[str, None] = {}
    attributes: dict[str, None] = {}
    stack: list[Pattern] = [pattern]
    while stack:
        part = stack.pop()
        if isinstance(part, Variable):
            values[part.name] = None
        elif isinstance(part, Call):
            attributes.update({v.name: None for _, v in part.attributes if isinstance(v, Variable)})
            stack.extend(reversed(part.operands))
    return list(values), list(attributes)
