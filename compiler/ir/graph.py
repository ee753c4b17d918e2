"""The immutable graph: inputs, outputs, state updates, and the side tables of names and origins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from staticnet.compiler import dims
from staticnet.compiler.errors import CompilerError, StaticnetError
from staticnet.compiler.ir.node import Builder, Node, Origins, building
from staticnet.compiler.ir.types import leaves

T = TypeVar("T")
Visit = Callable[[Node, tuple[Node, ...]], "Node | None"]


class Graph:
    """Values computed from inputs, without effects.

    `inputs` are the feeds and states in the caller's order, `outputs` the fetched values under
    `output_names`, `updates` the new value of each state that changes. `names` and `origins` are
    side tables of nodes; a node merged from several has all their origins.
    """

    def __init__(
        self,
        inputs: Iterable[Node],
        outputs: Iterable[Node],
        *,
        output_names: Iterable[str] | None = None,
        updates: Mapping[Node, Node] | None = None,
        names: Mapping[Node, str] | None = None,
        origins: Mapping[Node, Origins] | None = None,
        name: str = "graph",
    ):
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.output_names = tuple(output_names or (f"output{i}" if i else "output" for i in range(len(self.outputs))))
        self.updates = dict(updates or {})
        if len(self.output_names) != len(self.outputs):
            raise CompilerError(f"{len(self.outputs)} outputs but {len(self.output_names)} names: {self.output_names}")
        # Asked node by node: the tables may be those of a builder that knows many more nodes.
        self.names = _of_nodes(self.nodes, names or {})
        self.origins = _of_nodes(self.nodes, origins or {})

    @property
    def roots(self) -> tuple[Node, ...]:
        """All values that must be computed: outputs, then new states."""
        return (*self.outputs, *self.updates.values())

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, inputs of the graph included, each after what it reads."""
        return topological((*self.inputs, *self.roots))

    @cached_property
    def users(self) -> dict[Node, list[Node]]:
        """For each node the nodes that read it, in order, one entry per node."""
        users: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                users[source].append(node)
        return users

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Names of the symbolic sizes of the inputs, sorted."""
        found: set[str] = set()
        for node in self.inputs:
            for type in leaves(node.type):
                for size in type.shape:
                    found |= dims.symbols(size)
        return tuple(sorted(found))

    def rebuild(self, visit: Visit, *, intern: bool = True) -> Graph:
        """The graph with each node replaced by what `visit(node, new_inputs)` returns; None keeps it.

        Nodes are visited after what they read. Equal nodes merge on the way; names and origins
        follow. A replacement must have the type of what it replaces.
        """
        builder = Builder(intern=intern)
        new: dict[Node, Node] = {}
        places: Origins = ()
        with building(builder):
            try:
                for node in self.nodes:
                    inputs = tuple([new[source] for source in node.inputs])
                    builder.origin = places = self.origins.get(node, ())
                    result = visit(node, inputs)
                    if result is None:
                        is_kept = inputs == node.inputs
                        result = builder.adopt(node) if is_kept else builder.make(node.op, inputs, node.type)
                    if result is not node:
                        check_same_type(node, result)
                    new[node] = result
                    builder.add_origins(result, places)
                    if node in self.names:
                        builder.names.setdefault(result, self.names[node])
            except StaticnetError as error:
                if places:
                    error.origin = places[0]
                raise
        return Graph(
            (new[node] for node in self.inputs),
            (new[node] for node in self.outputs),
            output_names=self.output_names,
            updates={new[state]: new[value] for state, value in self.updates.items()},
            names=builder.names,
            origins=builder.origins,
            name=self.name,
        )

    def with_roots(self, outputs: Iterable[Node], output_names: Iterable[str], updates: Mapping[Node, Node]) -> Graph:
        """The same inputs and side tables with other results."""
        return Graph(
            self.inputs,
            outputs,
            output_names=output_names,
            updates=updates,
            names=self.names,
            origins=self.origins,
            name=self.name,
        )

    def text(self) -> str:
        """The graph as text, byte-equal from process to process."""
        from staticnet.compiler.ir.text import graph_text

        return graph_text(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes, {len(self.outputs)} outputs>"

    def digest(self) -> str:
        """A digest of the structure: equal for graphs that compute the same by the same ops from like inputs."""
        number: dict[Node, int] = {}
        digest = hashlib.blake2b(digest_size=16)
        for node in post_order((*self.inputs, *self.roots)):
            number[node] = len(number)
            sources = [number[source] for source in node.inputs]
            digest.update(repr((node.op.structure, sources, repr(node.type))).encode())
        results = [number[node] for node in self.outputs]
        states = [(number[state], number[value]) for state, value in self.updates.items()]
        digest.update(repr((results, self.output_names, states)).encode())
        return digest.hexdigest()

    def equals(self, other: Graph) -> bool:
        """Whether the two graphs have the same structure: ops, attributes, types, inputs by position and name."""
        return self.digest() == other.digest()


def _of_nodes(nodes: Iterable[Node], table: Mapping[Node, T]) -> dict[Node, T]:
    return {node: table[node] for node in nodes if node in table}


def check_same_type(old: Node, new: Node) -> None:
    if old.type != new.type:
        raise CompilerError(f"a rewrite turned {old.op} of type {old.type} into {new.op} of type {new.type}")


def topological(roots: Iterable[Node]) -> tuple[Node, ...]:
    """Every node that `roots` need, roots included, each after what it reads, in order of creation."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.inputs)
    return tuple(sorted(seen, key=_serial))


def post_order(roots: Iterable[Node]) -> list[Node]:
    """Every node that `roots` need, in an order that depends on the structure alone."""
    done: dict[Node, None] = {}
    stack = [(node, False) for node in reversed(tuple(roots))]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = None
        else:
            stack.append((node, True))
            stack.extend((source, False) for source in reversed(node.inputs) if source not in done)
    return list(done)


def _serial(node: Node) -> int:
    return node.serial


def describe(graph: Graph, node: Node) -> dict[str, Any]:
    """Name, op, type and origin of a node, for messages."""
    places = graph.origins.get(node, ())
    return {
        "name": graph.names.get(node),
        "op": str(node.op),
        "type": node.type,
        "origin": places[0] if places else None,
    }
