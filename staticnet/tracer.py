"""A trace in progress: the builder of its nodes, its feeds, the states it reads and writes, its random streams."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from staticnet.compiler.errors import ArgumentError, ShapeError, TraceError
from staticnet.compiler.ir import Builder, Node, Type, building
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.runtime.state import State

_current: ContextVar[Tracer | None] = ContextVar("staticnet_tracer", default=None)
#: gives the trace that is going on in this thread, or None; every call asks it
current_tracer: Callable[[], Tracer | None] = _current.get
_key_step = np.array([0, 1], np.uint64)


@contextmanager
def suspended() -> Iterator[None]:
    """Work outside any trace inside the block."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


class Tracer:
    """Collects what a traced function does.

    `feeds` are the inputs made so far; `states` maps each state read or written to its input node,
    in order of first use; `newest` maps it to its value after all writes so far; `modules` are those
    that the function itself called.
    """

    def __init__(self, name: str = "graph"):
        self.name = name
        self.builder = Builder()
        self.feeds: list[Node] = []
        self.states: dict[State, Node] = {}
        self.newest: dict[State, Node] = {}
        self.modules: dict[Any, None] = {}
        self.is_open = True
        self._labels: set[str] = set()
        self._captured: dict[Any, Node] = {}
        self._streams = itertools.count()
        self._random: State | None = None

    @contextmanager
    def running(self) -> Iterator[Tracer]:
        """Trace what is done inside the block; nodes are made by this trace's builder."""
        token = _current.set(self)
        try:
            with building(self.builder):
                yield self
        finally:
            _current.reset(token)

    def feed(self, label: str, type: Type) -> Node:
        """A new input of the call; two of one name are an ArgumentError."""
        if label in self._labels:
            raise ArgumentError(f"two inputs of {self.name} are called {label!r}: give their TensorSpecs other names")
        self._labels.add(label)
        node = make_input(label, type)
        self.feeds.append(node)
        return node

    # -- states -------------------------------------------------------------------------------

    def read(self, state: State) -> Node:
        """The value of a state at this point of the trace."""
        if state not in self.states:
            label = self._unused(state.name or "state")
            with self.builder.at(()):
                self.states[state] = self.newest[state] = make_input(label, state.type, "state")
        return self.newest[state]

    def assign(self, state: State, value: Node) -> None:
        """Give a state a new value, of its own shape and dtype, from this point of the trace on."""
        name = self.builder.names[self.states[state]] if state in self.states else state.name or "the state"
        if value.type != state.type:
            raise ShapeError(
                f"{name} is {state.type} and stays so; a value of type {value.type} cannot be assigned to it: "
                f"reshape it, or cast it with astype"
            )
        self.read(state)
        self.newest[state] = value

    def _unused(self, label: str) -> str:
        """The label, or the label with the first number that makes it new."""
        candidates = itertools.chain([label], (f"{label}_{count}" for count in itertools.count(1)))
        free = next(text for text in candidates if text not in self._labels)
        self._labels.add(free)
        return free

    # -- random numbers -----------------------------------------------------------------------

    def random_key(self) -> Node:
        """The node of the global random key, which this trace then advances by one step a call."""
        from staticnet.random import key_state

        self._random = key_state()
        return self.read(self._random)

    def next_stream(self) -> int:
        """The number of the next draw of this trace: 0, 1, 2, ..."""
        return next(self._streams)

    # -- values from outside ------------------------------------------------------------------

    def capture(self, owner: Any, value: np.ndarray) -> Node:
        """The constant that a value from outside the trace becomes, once per `owner`."""
        if owner not in self._captured:
            self._captured[owner] = F.constant(value)
        return self._captured[owner]

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> dict[Node, Node]:
        """End the trace; returns the new value of each state that changes."""
        if not self.is_open:
            raise TraceError(f"the trace of {self.name} has ended already")
        if self._random is not None:
            with building(self.builder), self.builder.at(()):
                self.newest[self._random] = F.add(self.newest[self._random], F.constant(_key_step))
        self.is_open = False
        return {node: self.newest[state] for state, node in self.states.items() if self.newest[state] is not node}
