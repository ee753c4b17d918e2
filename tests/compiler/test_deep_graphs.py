"""Graphs of thousands of nodes: no recursion, and time that grows with the number of nodes."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import numpy as np
import pytest

from staticnet.compiler.autodiff import differentiate
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Builder, Graph, Node, Type, apply, building, topological
from staticnet.compiler.ir.graph import post_order
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.rewrite.engine import RuleSet, rewrite


def vector(label: str = "x") -> Node:
    return make_input(label, Type((2,), "float64"))


def kept(node: Node, inputs: tuple[Node, ...]) -> None:
    return None


@functools.cache
def fan(width: int) -> Graph:
    """Many inputs, each with a result of its own."""
    inputs = [vector(f"x{number}") for number in range(width)]
    return Graph(inputs, [F.exp(node) for node in inputs])


@functools.cache
def chain(length: int) -> Graph:
    """x -> exp -> negative -> exp -> ... with no two nodes alike."""
    with building(Builder()) as builder:
        x = vector()
        y = x
        for number in range(length):
            y = F.negative(y) if number % 2 else F.tanh(y)
        return Graph([x], [y], names=builder.names, origins=builder.origins)


def doubles() -> RuleSet:
    rules = RuleSet("test")
    rules.rule("negative(negative(x)) = x")
    return rules


OPERATIONS: dict[str, Callable[[Graph], object]] = {
    "nodes": lambda graph: topological(graph.roots),
    "post_order": lambda graph: post_order(graph.roots),
    "users": lambda graph: Graph(graph.inputs, graph.outputs).users,
    "symbols": lambda graph: graph.symbols,
    "rebuild": lambda graph: graph.rebuild(kept),
    "rebuild all": lambda graph: graph.rebuild(
        lambda node, inputs: apply(node.op, *inputs) if inputs else make_input("x", node.aval)
    ),
    "text": lambda graph: graph.text(),
    "digest": lambda graph: graph.digest(),
    "equals": lambda graph: graph.equals(graph),
    "with_roots": lambda graph: graph.with_roots(graph.outputs, graph.output_names, {}),
    "rewrite": lambda graph: rewrite(graph, doubles()),
    "gradient": lambda graph: differentiate(graph, [F.sum(graph.outputs[0])], graph.inputs),
    "evaluate": lambda graph: evaluate(graph.outputs, {graph.inputs[0]: np.ones(2)}),
}


def assert_linear(what: str, run: Callable[[Graph], object], make: Callable[[int], Graph], length: int) -> None:
    """Four times the nodes take about four times as long, where a quadratic algorithm takes sixteen times."""

    def seconds(graph: Graph) -> float:
        # Processor time, without the collector's, so that a busy machine counts for little.
        gc.disable()
        try:
            start = time.process_time()
            run(graph)
            return time.process_time() - start + 1e-3
        finally:
            gc.enable()

    short, long = make(length // 4), make(length)
    for _ in range(4):
        ratio = seconds(long) / min(seconds(short), seconds(short))
        if ratio < 9:
            return
    raise AssertionError(f"{what} of four times the nodes took {ratio:.1f} times as long")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_deep_graphs(operation):
    assert_linear(operation, OPERATIONS[operation], chain, 10_000)


@pytest.mark.parametrize("operation", ["nodes", "users", "symbols", "rebuild", "text", "digest", "with_roots"])
def test_wide_graphs(operation):
    assert_linear(operation, OPERATIONS[operation], fan, 4000)


def test_long_chains_are_freed_without_recursion():
    script = """
        from staticnet.compiler.ir import Builder, Graph, Type, building
        from staticnet.compiler.ops.base import F
        from staticnet.compiler.ops.leaf import make_input

        for builder in (Builder(intern=True), Builder(weak=True)):
            with building(builder):
                y = make_input("x", Type((), "float32"))
                for _ in range(25_000):
                    y = F.exp(y)
            graph = Graph([], [y])
            graph.nodes
            del builder, graph, y
        print("freed")
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "freed\n"), result.stderr[-500:]
