"""Short ways for tests to make graphs from a function on nodes, and to read them as text."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any

import staticnet.compiler.ops  # noqa: F401 - fills the registry
from staticnet.compiler import dims
from staticnet.compiler.ir import Builder, Graph, Node, Type, building
from staticnet.compiler.ir.text import graph_text
from staticnet.compiler.lowering import lower
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.pipeline import assemble, grouped
from staticnet.compiler.program import Program
from staticnet.compiler.target import REFERENCE, Target

Specs = Mapping[str, tuple[Any, ...]]


def spec_type(spec: tuple[Any, ...]) -> Type:
    """`(2, "N")` or `(2, "N", "int32")`: sizes, then a dtype unless it is float32; one letter is a symbolic size."""
    dtype = spec[-1] if spec and isinstance(spec[-1], str) and len(spec[-1]) > 1 else None
    sizes = spec if dtype is None else spec[:-1]
    return Type((dims.symbol(size) if isinstance(size, str) else size for size in sizes), dtype or "float32")


def make_graph(build: Callable[..., Any], states: Specs | None = None, **feeds: tuple[Any, ...]) -> Graph:
    """The graph of a function that takes one node per feed and state, by name.

    It returns a node, or a tuple of nodes, or a pair of that and a dict from names of states to new values.
    """
    builder = Builder()
    with building(builder), builder.at(()):
        nodes = {name: make_input(name, spec_type(spec)) for name, spec in feeds.items()}
        nodes |= {name: make_input(name, spec_type(spec), "state") for name, spec in (states or {}).items()}
        result = build(**nodes)
    updates: dict[str, Node] = {}
    if isinstance(result, tuple) and result and isinstance(result[-1], dict):
        result, updates = result
    outputs = result if isinstance(result, tuple) else (result,)
    return Graph(
        nodes.values(),
        outputs,
        updates={nodes[name]: value for name, value in updates.items()},
        names=builder.names,
        origins=builder.origins,
    )


def text(graph: Graph) -> str:
    """The graph as text without source lines or padding."""
    lines = graph_text(graph, origins=False).splitlines()
    return "\n".join(line[:2] + " ".join(line[2:].split()) for line in lines)


def expected(block: str) -> str:
    """A golden text as tests write it, indented and between blank lines."""
    return dedent(block).strip("\n").rstrip()


def plain_program(
    graph: Graph, binding: Mapping[str, int] | None = None, target: Target = REFERENCE, **options: Any
) -> Program:
    """The program of a graph on which no pass has run."""
    graph = lower(graph, target)
    return assemble(grouped(graph, target), binding or {}, **options)


def growth(work: Callable[[Any], Any], make: Callable[[int], Any], count: int, rounds: int = 5) -> float:
    """By what factor the processor time of `work(make(n))` grows from n to 2n, measured from `count` to 4 `count`.

    The least of several pairs, each measured in turn: what else runs on the machine slows one of a pair
    down, but halves nothing, so that work of quadratic time never comes out linear.
    """

    def seconds(given: Any) -> float:
        started = time.process_time()
        work(given)
        return time.process_time() - started

    small, large = make(count), make(4 * count)
    work(small)
    gc.disable()
    try:
        pairs = [(seconds(small), seconds(large)) for _ in range(rounds)]
    finally:
        gc.enable()
    return math.sqrt(min(long / short for short, long in pairs))
