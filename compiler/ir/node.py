"""Nodes, and the builder that makes them: it interns, and keeps names and origins beside them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from staticnet.compiler import origins
from staticnet.compiler.errors import CompilerError, StaticnetError
from staticnet.compiler.ir.op import Op
from staticnet.compiler.ir.types import AnyType, Type
from staticnet.compiler.ir.value import Value
from staticnet.compiler.origins import Origin

Origins = tuple[Origin, ...]

_serials = itertools.count()
#: name -> function on nodes; the op cards fill it
FUNCTIONS: dict[str, Callable] = {}


class Node(Value):
    """One op applied to the values of other nodes; immutable, compared by identity.

    `serial` grows with creation, so sorting by it is a topological order.
    """

    __slots__ = ("__weakref__", "inputs", "op", "serial", "type")
    op: Op
    inputs: tuple[Node, ...]
    type: AnyType

    def __init__(self, op: Op, inputs: tuple[Node, ...], type: AnyType):
        self.op = op
        self.inputs = inputs
        self.type = type
        self.serial = next(_serials)

    def _function(self, name: str) -> Callable:
        return FUNCTIONS[name]

    @property
    def aval(self) -> Type:
        if not isinstance(self.type, Type):
            raise CompilerError(f"the value of {self.op} is a tuple; take an item of it first")
        return self.type

    @property
    def can_fail(self) -> bool:
        """Whether computing it may refuse the values of its operands."""
        return self.op.can_fail(*(source.type for source in self.inputs))

    def __bool__(self) -> bool:
        raise CompilerError(f"the truth of a graph node ({self.op}) is not known at compile time")

    def __repr__(self) -> str:
        return f"<{self.op} : {self.type}>"


class Builder:
    """Makes nodes and remembers, beside them, their names and where in the user's script they come from.

    With `intern`, an equal op on identical inputs gives the node made before.
    """

    def __init__(self, *, intern: bool = False, weak: bool = False):
        self.names: MutableMapping[Node, str] = WeakKeyDictionary() if weak else {}
        self.origins: MutableMapping[Node, Origins] = WeakKeyDictionary() if weak else {}
        self.origin: Origins | None = None
        self._table: dict[Any, Node] | None = {} if intern else None

    def make(self, op: Op, inputs: tuple[Node, ...], type: AnyType | None = None) -> Node:
        """The node of `op` on `inputs`; the type is inferred unless it is known already."""
        if self._table is not None:
            key = (op.key, *map(id, inputs))
            found = self._table.get(key)
            if found is not None:
                self.add_origins(found, self.origin or ())
                return found
        if type is None:
            type = op.infer(*(node.type for node in inputs))  # type: ignore[arg-type]
        node = Node(op, inputs, type)
        if self._table is not None:
            self._table[key] = node
        self.add_origins(node, self.origin if self.origin is not None else _here())
        return node

    def adopt(self, node: Node) -> Node:
        """Keep an existing node, or the equal one that is already there."""
        if self._table is None:
            return node
        return self._table.setdefault((node.op.key, *map(id, node.inputs)), node)

    def add_origins(self, node: Node, more: Origins) -> None:
        have = self.origins.get(node)
        if have is None:
            if more:
                self.origins[node] = more
        elif more and more != have:
            self.origins[node] = (*have, *(o for o in more if o not in have))

    @contextmanager
    def at(self, origin: Origins | None) -> Iterator[None]:
        """Give every node made inside the block this origin."""
        before, self.origin = self.origin, origin
        try:
            yield
        except StaticnetError as error:
            if origin:
                error.origin = origin[0]
            raise
        finally:
            self.origin = before


def _here() -> Origins:
    origin = origins.here()
    return () if origin is None else (origin,)


# Outside any trace nodes are made by the prompt's builder, which forgets what nobody holds.
_prompt = Builder(weak=True)
_current: ContextVar[Builder] = ContextVar("staticnet_builder", default=_prompt)


def current_builder() -> Builder:
    """The builder of the trace or rewrite that is going on in this thread."""
    return _current.get()


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Make nodes with `builder` inside the block."""
    token = _current.set(builder)
    try:
        yield builder
    finally:
        _current.reset(token)


def apply(op: Op, *inputs: Node) -> Node:
    """The node of `op` on `inputs`, made by the current builder."""
    return _current.get().make(op, inputs)
