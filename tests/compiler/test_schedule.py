"""Scheduling: orders that keep what they must, and a peak no higher than that of the order as written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings

from staticnet.compiler.fusion import Group, fuse
from staticnet.compiler.ir import Graph, Node
from staticnet.compiler.ops.base import F
from staticnet.compiler.schedule import _Units, node_bytes, peak, schedule
from staticnet.compiler.target import REFERENCE, Target
from tests.compiler.graphs import growth, make_graph
from tests.compiler.random_graphs import Example, examples

ALONE = Target("alone", fusion_limit=1)


def scheduled(graph: Graph, target: Target = ALONE) -> list[Group]:
    groups = fuse(graph, target)
    order = schedule(graph, groups, {})
    check(graph, groups, order)
    return order


def check(graph: Graph, groups: Sequence[Group], order: Sequence[Group]) -> None:
    assert sorted(order, key=lambda group: group[-1].serial) == sorted(groups, key=lambda group: group[-1].serial)
    done = set(graph.inputs)
    for group in order:
        for node in group:
            assert all(source in done for source in node.inputs)
            done.add(node)
    # A state that is written later than it was may live beside more than it did.
    if not graph.updates:
        units = _Units(graph, groups, {})
        place = {group: index for index, group in enumerate(groups)}
        assert peak(units, [place[group] for group in order]) <= peak(units, range(len(groups)))


def names(order: Sequence[Group]) -> list[str]:
    return [node.op.name for group in order for node in group]


@settings(max_examples=70)
@given(examples(most=40))
def test_random_graphs(example: Example) -> None:
    graph = example.graph
    for target in (ALONE, REFERENCE):
        scheduled(graph, target)
        scheduled(graph.with_roots(graph.outputs, graph.output_names, {}), target)


@pytest.mark.parametrize("seed", range(6))
def test_wide_graphs_with_values_of_many_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def build(x: Node) -> Node:
        values = [x]
        for _ in range(150):
            source = values[int(rng.integers(len(values)))]
            wide = F.broadcast_to(F.tanh(source), (int(rng.integers(1, 50)), 4)) * 2.0
            values += [F.sum(wide, 0), F.exp(source) + values[-1]]
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    scheduled(make_graph(build, x=(4,)))


def test_a_wide_fan_is_worked_off_one_by_one() -> None:
    """Twenty large values, each needed once for a small one: written side by side, they need not live so."""

    def build(x: Node) -> Node:
        large = [F.exp(F.broadcast_to(x, (1000,)) * float(k)) for k in range(20)]
        total = F.sum(large[0])
        for value in large[1:]:
            total = total + F.sum(value)
        return total

    graph = make_graph(build, x=(1,))
    groups = fuse(graph, ALONE)
    units = _Units(graph, groups, {})
    place = {group: index for index, group in enumerate(groups)}
    found = peak(units, [place[group] for group in schedule(graph, groups, {})])
    assert found < 4 * 4000 + 1000 < 20 * 4000 <= peak(units, range(len(groups)))


def test_views_cost_nothing_and_keep_their_base_alive() -> None:
    graph = make_graph(lambda x: F.matmul(F.transpose(first := F.tanh(x)), F.exp(x)) + F.sum(first), x=(8, 8))
    groups = fuse(graph, ALONE)
    units = _Units(graph, groups, {})
    by_name = {group[0].op.name: index for index, group in enumerate(groups)}
    view, base = by_name["transpose"], by_name["tanh"]
    assert units.bytes[view] == 0 and units.owner[view] == base
    assert base in units.holds[by_name["matmul"]]


def test_bytes_of_a_node_follow_the_binding() -> None:
    graph = make_graph(lambda x: F.exp(x), x=("N", 3))
    assert node_bytes(graph.outputs[0], {"N": 5}) == 60


# -- states ---------------------------------------------------------------------------------------


def test_a_state_is_written_after_everything_that_reads_its_old_value() -> None:
    graph = make_graph(lambda x, s: (F.matmul(s, x), {"s": F.tanh(s)}), {"s": (4, 4)}, x=(4, 4))
    assert names(scheduled(graph)) == ["matmul", "tanh"]
    written_first = make_graph(
        lambda x, s: ((new := F.tanh(s), F.matmul(s, x))[1], {"s": new}), {"s": (4, 4)}, x=(4, 4)
    )
    assert names(scheduled(written_first)) == ["matmul", "tanh"]


def test_a_state_is_written_after_what_may_refuse_a_value() -> None:
    def build(x: Node, s: Node) -> tuple:
        new = F.tanh(s)
        return F.max(x, 0), {"s": new}

    assert names(scheduled(make_graph(build, {"s": (4, 4)}, x=(4, 4)))) == ["max", "tanh"]


def test_the_wish_gives_way_to_what_cannot_be_otherwise() -> None:
    """The new value is an operand of what may fail: it cannot wait for it."""
    graph = make_graph(lambda s: (F.max(new := F.tanh(s), 0), {"s": new}), {"s": (4, 4)})
    assert names(scheduled(graph)) == ["tanh", "max"]


def test_two_states_that_each_read_the_other() -> None:
    graph = make_graph(lambda s, t: (s, {"s": F.tanh(t), "t": F.exp(s)}), {"s": (4,), "t": (4,)})
    assert sorted(names(scheduled(graph))) == ["exp", "tanh"]


# -- time -----------------------------------------------------------------------------------------


def chain(count: int) -> Graph:
    def build(x: Node) -> Node:
        for _ in range(count):
            x = F.tanh(x)
        return x

    return make_graph(build, x=(4,))


def fan(count: int) -> Graph:
    def build(x: Node) -> Node:
        parts = [F.exp(x) for _ in range(count // 2)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    return make_graph(build, x=(4,))


@pytest.mark.parametrize("make", [chain, fan])
def test_long_programs_take_little_more_than_linear_time(make: Callable[[int], Graph]) -> None:
    def grouped(count: int) -> tuple[Graph, list[Group]]:
        graph = make(count)
        return graph, fuse(graph, ALONE)

    assert growth(lambda given: schedule(*given, {}), grouped, 2500) < 2.6


def test_scheduling_is_repeatable() -> None:
    graph = fan(200)
    groups = fuse(graph, REFERENCE)
    assert schedule(graph, groups, {}) == schedule(graph, list(groups), {})
