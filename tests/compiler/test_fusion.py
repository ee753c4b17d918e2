"""Fusion: groups that partition the nodes, with one result each, that no path leaves and enters again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings

from staticnet.compiler.fusion import Group, fuse, iteration_space
from staticnet.compiler.ir import Graph, Node
from staticnet.compiler.lowering import lower
from staticnet.compiler.ops.base import F
from staticnet.compiler.target import REFERENCE, Target
from staticnet.differential import differential
from tests.compiler.graphs import growth, make_graph
from tests.compiler.random_graphs import Example, examples


def check(graph: Graph, groups: Sequence[Group], limit: int = REFERENCE.fusion_limit) -> None:
    """Everything that must hold of a fusion."""
    computed = [node for node in graph.nodes if node.op.name != "input"]
    assert sorted(n.serial for group in groups for n in group) == sorted(n.serial for n in computed)
    home = {node: index for index, group in enumerate(groups) for node in group}
    done: set[Node] = set(graph.inputs)
    for index, group in enumerate(groups):
        assert len(group) <= limit
        for node in group:
            # Every group after those it reads, every member after its own: then no path leaves and returns.
            assert all(source in done for source in node.inputs)
            done.add(node)
        for node in group[:-1]:
            assert {home[user] for user in graph.users[node]} == {index}
            assert node not in graph.roots
        if len(group) > 1:
            assert all(iteration_space(node) is not None for node in group)


def names(groups: Sequence[Group]) -> list[str]:
    return [" ".join(node.op.name for node in group) for group in groups]


@settings(max_examples=60)
@given(examples(most=40))
def test_groups_of_random_graphs(example: Example) -> None:
    for limit in (1, 2, 32):
        target = Target("small", fusion_limit=limit)
        check(example.graph, fuse(example.graph, target), limit)


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_wide_and_deep_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def build(x: Node) -> tuple[Node, ...]:
        values = [x]
        for _ in range(600):
            reach = 5 if rng.random() < 0.7 else len(values)
            first, second = (values[-1 - int(rng.integers(min(reach, len(values))))] for _ in range(2))
            kind = int(rng.integers(5))
            total = F.sum(first, 1, keepdims=True)
            values.append(
                [first + second, F.tanh(first), F.transpose(first), first * total, F.matmul(first, second)][kind]
            )
        return tuple(values[-1 - int(rng.integers(600))] for _ in range(3))

    graph = make_graph(build, x=(2, 2))
    check(graph, fuse(graph, REFERENCE))


def test_elementwise_broadcast_and_reduction_become_one_step() -> None:
    graph = make_graph(lambda x, b: F.sum(F.relu(x * 2.0 + b), 1), x=(4, 3), b=(3,))
    assert names(fuse(graph, REFERENCE)) == ["constant", "multiply add relu sum"] or names(fuse(graph, REFERENCE)) == [
        "constant multiply add relu sum"
    ]


def test_a_softmax_becomes_few_steps() -> None:
    graph = lower(make_graph(lambda x: F.softmax(x), x=(4, 3)), REFERENCE)
    groups = fuse(graph, REFERENCE)
    check(graph, groups)
    assert sum(len(group) > 1 for group in groups) >= 1


def test_an_intermediate_that_is_an_output_ends_its_group() -> None:
    graph = make_graph(lambda x: (F.exp(first := F.tanh(x)), first), x=(3,))
    assert names(fuse(graph, REFERENCE)) == ["tanh", "exp"]
    differential(graph, [np.ones(3, np.float32)]).raise_for_status()


def test_an_intermediate_that_is_a_new_state_ends_its_group() -> None:
    graph = make_graph(lambda x, s: (F.exp(first := F.tanh(x)), {"s": first}), {"s": (3,)}, x=(3,))
    assert names(fuse(graph, REFERENCE)) == ["tanh", "exp"]


def test_two_consumers_in_one_group_are_no_obstacle() -> None:
    graph = make_graph(lambda x: F.exp(first := F.tanh(x)) * F.relu(first), x=(3,))
    assert names(fuse(graph, REFERENCE)) == ["tanh exp relu multiply"]


def test_two_consumers_in_two_groups_are() -> None:
    graph = make_graph(lambda x: F.matmul(F.exp(first := F.tanh(x)), F.relu(first)), x=(3, 3))
    assert names(fuse(graph, REFERENCE)) == ["tanh", "exp", "relu", "matmul"]


def test_a_path_that_leaves_and_returns_splits_the_group() -> None:
    graph = make_graph(lambda x: F.exp(first := F.tanh(x)) + F.matmul(first, first), x=(3, 3))
    groups = fuse(graph, REFERENCE)
    check(graph, groups)
    assert "tanh" in names(groups)


def test_shapes_that_do_not_broadcast_to_each_other_stay_apart() -> None:
    graph = make_graph(lambda x, y: F.sum(F.exp(x), 0) + F.sum(F.tanh(y), 0), x=(4, 3), y=(5, 3))
    assert names(fuse(graph, REFERENCE)) in (
        ["exp sum", "tanh sum add"],
        ["tanh sum", "exp sum add"],
        ["exp", "sum", "tanh sum add"],
    )
    check(graph, fuse(graph, REFERENCE))


def test_symbolic_sizes_fuse_where_they_are_provably_equal() -> None:
    graph = make_graph(lambda x, y: F.exp(x) + F.tanh(y), x=("N", 3), y=("N", 3))
    assert names(fuse(graph, REFERENCE)) == ["exp tanh add"]


def test_a_limit_of_one_fuses_nothing() -> None:
    graph = make_graph(lambda x: F.exp(F.tanh(x)), x=(3,))
    assert names(fuse(graph, Target("none", fusion_limit=1))) == ["tanh", "exp"]


def test_long_chains_take_linear_time() -> None:
    def chain(count: int) -> Graph:
        def build(x: Node) -> Node:
            for _ in range(count):
                x = F.tanh(x)
            return x

        return make_graph(build, x=(4,))

    assert growth(lambda graph: check(graph, fuse(graph, REFERENCE)), chain, 2500) < 2.6
