"""Memory planning: offsets against brute force, plans of random graphs against runs without any plan."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staticnet.compiler.ir import Graph, Layout, Node, Op, TupleType, Type, apply
from staticnet.compiler.memory.allocate import PAIRWISE_LIMIT, Block, allocate, live_peak
from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.memory_report import MemoryReport, TimelineEntry, format_bytes
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import item
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import REFERENCE
from staticnet.differential import differential
from tests.compiler.graphs import make_graph, plain_program, spec_type
from tests.compiler.random_graphs import Example, examples

# -- offsets ------------------------------------------------------------------------------------

blocks_of = st.builds(
    lambda first, length, size: (first, first + length, size),
    st.integers(0, 12),
    st.integers(0, 6),
    st.integers(0, 300),
)


def is_clear(blocks: list[Block], offsets: list[int], alignment: int) -> bool:
    """Every pair, byte by byte."""
    for (i, a), (j, b) in itertools.combinations(enumerate(blocks), 2):
        together = a[0] <= b[1] and b[0] <= a[1]
        if together and set(range(offsets[i], offsets[i] + a[2])) & set(range(offsets[j], offsets[j] + b[2])):
            return False
    return all(offset % alignment == 0 for offset in offsets)


@settings(max_examples=300)
@given(st.lists(blocks_of, max_size=9), st.sampled_from([1, 16, 64]))
def test_blocks_that_live_together_never_overlap(blocks: list[Block], alignment: int) -> None:
    offsets, total = allocate(blocks, alignment)
    assert is_clear(blocks, offsets, alignment)
    assert all(offset + size <= total for offset, (_, _, size) in zip(offsets, blocks, strict=True))
    rounded = [(first, last, -(-size // alignment) * alignment) for first, last, size in blocks]
    peak = max(sum(size for first, last, size in rounded if first <= time <= last) for time in range(20))
    assert live_peak(rounded) == peak <= total <= sum(size for *_, size in rounded)


def test_long_lists_of_blocks_are_clear_too() -> None:
    rng = np.random.default_rng(0)
    firsts = np.sort(rng.integers(0, 4 * PAIRWISE_LIMIT, PAIRWISE_LIMIT + 100))
    blocks = [(int(f), int(f + rng.integers(0, 20)), int(rng.integers(1, 9)) * 64) for f in firsts]
    offsets, total = allocate(blocks, 64)
    for i, (_, last, size) in enumerate(blocks):
        for j in range(i + 1, len(blocks)):
            if blocks[j][0] > last:
                break
            assert offsets[i] + size <= offsets[j] or offsets[j] + blocks[j][2] <= offsets[i]
    assert live_peak(blocks) <= total <= 2 * live_peak(blocks)


def test_a_chain_needs_two_blocks() -> None:
    offsets, total = allocate([(time, time + 1, 64) for time in range(100)], 64)
    assert total == 128 and set(offsets) == {0, 64}


def test_allocation_is_repeatable() -> None:
    rng = np.random.default_rng(1)
    blocks = [(int(a), int(a + b), int(c)) for a, b, c in rng.integers(0, 50, (200, 3))]
    assert allocate(blocks, 64) == allocate(list(blocks), 64)


# -- random graphs ------------------------------------------------------------------------------


@settings(max_examples=70)
@given(examples())
def test_a_plan_changes_no_result(example: Example) -> None:
    report = differential(example.graph, example.feeds, example.states, rtol=0, atol=0)
    report.raise_for_status()


@settings(max_examples=60)
@given(examples(most=40))
def test_a_plan_of_a_larger_graph_changes_no_result(example: Example) -> None:
    differential(example.graph, example.feeds, example.states, passes=(), rtol=0, atol=0).raise_for_status()


@settings(max_examples=60)
@given(examples(most=30))
def test_the_report_is_consistent_with_the_plan(example: Example) -> None:
    program = plain_program(example.graph)
    memory = program.memory
    arena = [storage for storage in program.storages if storage.place == "arena"]
    assert memory.lower_bound_bytes <= memory.arena_bytes == program.arena_bytes <= memory.naive_bytes
    assert all(s.offset % REFERENCE.alignment == 0 and s.offset + s.nbytes <= memory.arena_bytes for s in arena)
    assert [entry.step for entry in memory.timeline] == [step.index for step in program.steps]
    peak = memory.peak
    assert (peak.live_bytes if peak else 0) <= memory.lower_bound_bytes
    assert plain_program(example.graph, reuse=False).arena_bytes >= memory.arena_bytes


# -- known killers --------------------------------------------------------------------------------


def square(rows: int = 3, dtype: str = "float32") -> tuple[Any, ...]:
    return (rows, rows, dtype)


def tower(x: Node) -> tuple[Node, ...]:
    """Intermediates of a fused group, each of them an output."""
    values = [F.tanh(x)]
    for _ in range(4):
        values.append(F.relu(values[-1]) * 2.0)
    return tuple(values)


KILLERS: dict[str, Any] = {
    "an output that others overwrite": lambda x: (first := F.tanh(x), F.exp(first), F.relu(F.exp(first))),
    "an output twice": lambda x: (first := F.tanh(x), first, F.relu(first)),
    "an output that is a view": lambda x: (F.transpose(first := F.tanh(x)), F.relu(first), F.exp(F.relu(first))),
    "an output of which another is a view": lambda x: (first := F.tanh(x), first[::-1], F.relu(first)),
    "a second consumer of what could go in place": lambda x: F.relu(first := F.tanh(x)) + F.exp(F.relu(first)) * first,
    "a consumer of a view later than of its base": lambda x: F.matmul(
        F.transpose(first := F.tanh(x)), F.exp(F.relu(first))
    ),
    "a view of a view of what dies": lambda x: F.exp(F.relu(F.transpose(F.tanh(x)[::-1])) * 2.0),
    "x + x.T": lambda x: (first := F.tanh(x)) + F.transpose(first),
    "x.T + x": lambda x: F.transpose(first := F.tanh(x)) + first,
    "x + reversed x": lambda x: (first := F.tanh(x)) + first[::-1, ::-1],
    "x + x": lambda x: (first := F.tanh(x)) + first,
    "x times its first row": lambda x: (first := F.tanh(x)) * first[0],
    "x where x": lambda x: F.where((first := F.tanh(x)) > 0, first, F.transpose(first)),
    "in place across dtypes": lambda x: F.cast(F.cast(F.tanh(x) * 9, "int32") + 1, "float32") * 0.5,
    "in place across dtypes, a view between": lambda x: F.cast(F.transpose(F.cast(F.tanh(x) * 9, "int32")), "float32"),
    "subexpressions that differ in the sign of zero": lambda x: (x * 0 + 0.0, x * 0 + -0.0),
    "subexpressions that differ in axes": lambda x: (F.sum(F.exp(x), 0), F.sum(F.exp(x), 1)),
    "subexpressions that differ in keepdims": lambda x: F.sum(F.exp(x), 0, keepdims=True) * F.sum(F.exp(x), 0),
    "a chain of transposes": lambda x: F.transpose(F.exp(F.transpose(F.tanh(F.transpose(F.exp(x)))))),
    "transposes that cancel": lambda x: F.transpose(F.transpose(F.transpose(F.tanh(x)))) * 2.0,
    "a fused intermediate that is an output": tower,
    "a reshape that is a view and one that is not": lambda x: (
        F.reshape(first := F.tanh(x), (9,)),
        F.exp(F.reshape(F.transpose(first), (9,))),
    ),
    "a broadcast": lambda x: F.exp(F.broadcast_to(F.tanh(x)[0], (3, 3))) + x,
    "a broadcast that is an output": lambda x: (F.broadcast_to(F.sum(F.tanh(x), 1, keepdims=True), (3, 3)), F.exp(x)),
    "numbers without axes": lambda x: F.exp(F.sum(x) * 2.0) + F.tanh(F.sum(x)),
    "nothing at all": lambda x: (F.exp(x[:0]) + 1.0, F.sum(F.tanh(x[:, 3:])), F.concat([x[:0], x], 0)),
    "a feed as an output, and a view of it": lambda x: (x, F.transpose(x), F.relu(x)),
    "a constant as an output": lambda x: (F.constant(np.arange(3, dtype=np.float32)), x),
    "two reductions of one group": lambda x: (first := F.exp(x), F.sum(first, 0), F.sum(first, 1), F.max(first)),
    "concat of one value with itself": lambda x: F.concat([first := F.tanh(x), first, F.transpose(first)], 1),
}


@pytest.mark.parametrize("killer", KILLERS)
def test_the_planner_survives(killer: str, rng: np.random.Generator) -> None:
    graph = make_graph(KILLERS[killer], x=square())
    differential(graph, [rng.normal(size=(3, 3)).astype("float32")]).raise_for_status()


UPDATES: dict[str, Any] = {
    "two states change places": lambda x, a, b: (x, {"a": b, "b": a}),
    "three-cornered": lambda x, a, b: (F.exp(a), {"a": b + 0 * x, "b": F.transpose(a)}),
    "each reads the other's old value": lambda x, a, b: (x, {"a": a + b, "b": b - a}),
    "each reads the other's new value": lambda x, a, b: (x, {"a": (new := a + x), "b": b + new}),
    "an update that is an output": lambda x, a, b: ((new := a * 2.0, F.transpose(new)), {"a": new}),
    "an update and the old value as outputs": lambda x, a, b: ((new := a * 2.0, a), {"a": new}),
    "an update to a feed": lambda x, a, b: (x, {"a": x, "b": F.transpose(x)}),
    "an update to a constant": lambda x, a, b: (a, {"a": F.zeros((3, 3))}),
    "an update to another state": lambda x, a, b: (a, {"a": b}),
    "an update to a view of another state": lambda x, a, b: (a, {"a": F.transpose(b), "b": b + x}),
    "an update to a view of its own old value": lambda x, a, b: (x, {"a": F.transpose(a), "b": b[::-1]}),
    "an update to itself": lambda x, a, b: (x, {"a": a, "b": F.identity(b)}),
    "one value for two states": lambda x, a, b: (x, {"a": (new := F.tanh(x)), "b": new}),
    "a new value and a view of it": lambda x, a, b: (x, {"a": (new := F.tanh(x)), "b": F.transpose(new)}),
    "an old value read after the new one is known": lambda x, a, b: (F.matmul(new := a + x, a), {"a": new}),
    "a view of the old value read late": lambda x, a, b: (F.exp(F.transpose(a)) + (new := a + x), {"a": new}),
    "a momentum step": lambda x, a, b: (F.sum(a), {"b": (slow := 0.9 * b + x), "a": a - 0.1 * slow}),
    "a check that may fail, last": lambda x, a, b: (F.max(x), {"a": a + 1.0, "b": F.exp(b)}),
    "an update of another shape's view": lambda x, a, b: (x, {"a": F.reshape(F.tanh(F.reshape(a, (9,))), (3, 3))}),
}


@pytest.mark.parametrize("kind", UPDATES)
def test_states_survive(kind: str, rng: np.random.Generator) -> None:
    graph = make_graph(UPDATES[kind], {"a": square(), "b": square()}, x=square())
    x, a, b = (rng.normal(size=(3, 3)).astype("float32") for _ in range(3))
    differential(graph, [x], [a, b]).raise_for_status()


def test_training_states_are_written_in_place() -> None:
    graph = make_graph(UPDATES["a momentum step"], {"a": square(), "b": square()}, x=square())
    program = pipeline(graph, {}, REFERENCE)
    assert program.written == (0, 1) and not program.copies


class Halves(Op):
    """The halves of a vector: an op with two values."""

    name = "test_halves"

    def infer(self, x: Type) -> TupleType:
        half = Type((int(x.shape[0]) // 2,), x.dtype)
        return TupleType((half, half))

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.copyto(out[0], x[: len(out[0])])
        xp.copyto(out[1], x[len(out[0]) :])


@pytest.mark.parametrize("taken", [(0,), (1,), (0, 1), (1, 0, 1)])
def test_ops_with_several_values(taken: tuple[int, ...]) -> None:
    def build(x: Node) -> Any:
        halves = apply(Halves(), F.tanh(x))
        return tuple(F.exp(item(halves, index)) for index in taken)

    differential(make_graph(build, x=(8,)), [np.linspace(-1, 1, 8, dtype="float32")]).raise_for_status()


def test_the_report_counts_what_the_plan_did() -> None:
    graph = make_graph(lambda x, s: (F.transpose(F.relu(F.tanh(x))), {"s": s + 1.0}), {"s": (2,)}, x=(32, 32))
    memory = plain_program(graph).memory
    assert (memory.views, memory.in_place) == (1, 1)
    assert memory.arena_bytes == memory.lower_bound_bytes == 4096
    assert memory.naive_bytes == 4096 + 4096 + 64
    assert (memory.feed_bytes, memory.state_bytes, memory.constant_bytes) == (4096, 8, 4)
    assert memory.total_bytes == 4096 + 4096 + 8 + 4
    assert "1 views and 1 results in place" in str(memory)


def test_the_report_reads_well_without_any_step() -> None:
    memory = plain_program(make_graph(lambda x: x, x=(2,))).memory
    assert memory.peak is None and memory.arena_bytes == 0
    assert "1.00 x" in memory.text()


def test_the_table_shows_the_fullest_steps_in_their_order() -> None:
    entries = tuple(TimelineEntry(i, f"op{i}", live, 1) for i, live in enumerate([5, 50, 10, 40]))
    memory = MemoryReport(50, 50, 100, 0, 0, 0, 0, 0, 0, 4, entries)
    assert memory.peak == entries[1]
    rows = [line.split()[1] for line in memory.text(rows=2).splitlines() if "#" in line]
    assert rows == ["op1", "op3"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.00 GiB")]
)
def test_bytes_as_people_read_them(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_sizes_keep_their_expressions_beside_their_numbers() -> None:
    graph = make_graph(lambda x: F.exp(F.reshape(x, (-1,))), x=("N", 3))
    program = check_plan(plain_program(graph, {"N": 4}))
    out = program.buffers[program.outputs[0].buffer]
    assert out.type == spec_type((12,)) and str(out.symbolic.shape[0]) == "3*N"
    assert out.layout == Layout.dense((12,))


def test_a_wrong_plan_without_reuse_would_be_seen(rng: np.random.Generator) -> None:
    graph = make_graph(KILLERS["x + x.T"], x=square())
    assert isinstance(graph, Graph)
    program = plain_program(graph, reuse=False)
    assert program.memory.views == program.memory.in_place == 0
    assert program.arena_bytes == program.memory.naive_bytes == program.memory.lower_bound_bytes
