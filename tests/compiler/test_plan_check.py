"""The plan checker and its dynamic twin: right programs are made wrong in one place, and the place is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import Layout, Node
from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.ops.base import F
from staticnet.compiler.program import Buffer, Copy, Instruction, Program
from staticnet.runtime.executor import Executor
from staticnet.runtime.numpy_backend import NUMPY
from staticnet.runtime.poison import run_poisoned
from staticnet.runtime.state import State
from tests.compiler.graphs import make_graph, plain_program

# -- changing one thing ---------------------------------------------------------------------------


def instruction(program: Program, op: str) -> Instruction:
    """The only instruction of an op."""
    (found,) = [each for each in program.instructions if each.op.name == op]
    return found


def result(program: Program, op: str) -> Buffer:
    return program.buffers[instruction(program, op).outputs[0]]


def with_buffer(program: Program, index: int, **changes: Any) -> Program:
    buffers = list(program.buffers)
    buffers[index] = replace(buffers[index], **changes)
    return replace(program, buffers=tuple(buffers))


def with_storage(program: Program, index: int, **changes: Any) -> Program:
    storages = list(program.storages)
    storages[index] = replace(storages[index], **changes)
    return replace(program, storages=tuple(storages))


def with_order(program: Program, *ops: str) -> Program:
    """The same instructions in another order, each with the time of its new place."""
    times = sorted(each.time for each in program.instructions)
    found = [replace(instruction(program, op), time=time) for op, time in zip(ops, times, strict=True)]
    return replace(program, steps=(replace(program.steps[0], instructions=tuple(found)),))


def in_storage_of(program: Program, op: str, other: Buffer) -> Program:
    """The result of an op put where another buffer lies."""
    return with_buffer(program, result(program, op).index, storage=other.storage)


def feed(program: Program, number: int = 0) -> Buffer:
    return program.buffers[program.feeds[number].buffer]


def state(program: Program, number: int = 0) -> Buffer:
    return program.buffers[program.states[number].buffer]


def constant(program: Program) -> Buffer:
    (found,) = [b for b in program.buffers if program.storages[b.storage].place == "constant"]
    return found


# -- right programs -------------------------------------------------------------------------------

SQUARE = (16, 16)


def chain() -> Program:
    """tanh(x) is read by exp and, later, by the product: exp may not go in place of it."""
    return plain_program(make_graph(lambda x: F.matmul(F.exp(first := F.tanh(x)), first), x=SQUARE))


def disjoint() -> Program:
    """exp(x) is dead after the product and leaves its bytes to sin(x)."""
    return plain_program(make_graph(lambda x: (F.sum(F.sin(x), 1), F.matmul(F.exp(x), x)), x=SQUARE))


def parallel() -> Program:
    """tanh(x) and exp(x), which know nothing of each other, live until the product."""
    return plain_program(make_graph(lambda x: F.matmul(F.tanh(x), F.exp(x)), x=SQUARE))


def viewed() -> Program:
    return plain_program(make_graph(lambda x: F.matmul(F.transpose(first := F.tanh(x)), first), x=SQUARE))


def added_to_transpose() -> Program:
    return plain_program(make_graph(lambda x: (first := F.tanh(x)) + F.transpose(first), x=SQUARE))


def with_constant() -> Program:
    return plain_program(make_graph(lambda x: F.tanh(x) + np.ones(SQUARE, np.float32), x=SQUARE))


def cast() -> Program:
    return plain_program(make_graph(lambda x: F.cast(F.tanh(x), "int32"), x=SQUARE))


def stepped() -> Program:
    """s is read by a product, then written in place."""
    return plain_program(make_graph(lambda x, s: (F.matmul(s, x), {"s": F.exp(s)}), {"s": SQUARE}, x=SQUARE))


def refusing() -> Program:
    """s is written after a maximum, which may fail."""
    return plain_program(make_graph(lambda x, s: (F.max(x, 0), {"s": F.exp(s)}), {"s": SQUARE}, x=SQUARE))


def swapped() -> Program:
    return plain_program(make_graph(lambda x, s, t: (x, {"s": t, "t": s}), {"s": SQUARE, "t": SQUARE}, x=SQUARE))


def fetched() -> Program:
    """The old value of s is an output, so the new one is copied in at the end."""
    return plain_program(make_graph(lambda x, s: (s, {"s": F.tanh(x)}), {"s": SQUARE}, x=SQUARE))


def with_scratch() -> Program:
    return plain_program(make_graph(lambda x: F.erf(x), x=SQUARE))


RIGHT: dict[str, Callable[[], Program]] = {
    each.__name__: each
    for each in (
        *(chain, parallel, disjoint, viewed, added_to_transpose, with_constant, cast),
        *(stepped, refusing, swapped, fetched, with_scratch),
    )
}

# -- made wrong ---------------------------------------------------------------------------------

Mutation = Callable[[Program], Program]


def overlap_by_half(program: Program) -> Program:
    first, second = (program.storages[result(program, op).storage] for op in ("tanh", "exp"))
    return with_storage(program, second.index, offset=first.offset + first.nbytes // 2)


def fetch_what_is_reused(program: Program) -> Program:
    slots = (replace(program.outputs[0], buffer=result(program, "exp").index), *program.outputs[1:])
    return replace(program, outputs=slots)


def flipped_result(program: Program) -> Program:
    layout = Layout((16, 16), (16, -1), 15)
    return with_buffer(program, result(program, "exp").index, layout=layout)


def shifted_view(program: Program) -> Program:
    (view,) = [b for b in program.buffers if not b.layout.is_dense]
    return with_buffer(program, view.index, layout=replace(view.layout, offset=1))


def backwards_view(program: Program) -> Program:
    (view,) = [b for b in program.buffers if not b.layout.is_dense]
    return with_buffer(program, view.index, layout=replace(view.layout, strides=(-1, 16)))


#: what is done to which right program, what the checker says, and whether the run goes wrong too
MUTATIONS: dict[str, tuple[Callable[[], Program], Mutation, str, bool]] = {
    "two live storages share bytes": (parallel, overlap_by_half, "is written at 1 over b1", True),
    "an output lies where others are written": (disjoint, fetch_what_is_reused, "is written at 2 over b1", True),
    "in place of what is read later": (
        chain,
        lambda p: in_storage_of(p, "exp", result(p, "tanh")),
        "exp.* overwrites b1 .*read later",
        True,
    ),
    "in place of the base of a view": (
        added_to_transpose,
        lambda p: in_storage_of(p, "add", result(p, "tanh")),
        "overwrites .* another type or layout",
        False,  # NumPy sees the overlap and computes aside; other array modules do not
    ),
    "in place across dtypes": (
        cast,
        lambda p: in_storage_of(p, "cast", result(p, "tanh")),
        "cast.* overwrites b1 .*another type",
        False,
    ),
    "in place without leave": (
        chain,
        lambda p: in_storage_of(p, "matmul", result(p, "exp")),
        "matmul.* is not declared in-place for operand 0",
        False,
    ),
    "a feed is written": (chain, lambda p: in_storage_of(p, "tanh", feed(p)), "tanh.* writes to a feed", False),
    "a constant is written": (
        with_constant,
        lambda p: in_storage_of(p, "add", constant(p)),
        "writes to a constant",
        False,
    ),
    "a view is written": (chain, flipped_result, "writes to a view", False),
    "a view reaches outside its base": (viewed, shifted_view, "reaches outside its storage of 1024 bytes", False),
    "a view reaches below its base": (viewed, backwards_view, "reaches outside its storage", False),
    "a layout of another shape": (
        chain,
        lambda p: with_buffer(p, 1, layout=Layout.dense((8, 32))),
        "layout of another shape",
        False,
    ),
    "an arena that is too small": (
        chain,
        lambda p: replace(p, arena_bytes=1024),
        "outside the arena of 1024 bytes",
        False,
    ),
    "scratch that is too small": (with_scratch, lambda p: replace(p, scratch_bytes=0), "erf.* scratch", False),
    "read before it is written": (
        chain,
        lambda p: with_order(p, "exp", "tanh", "matmul"),
        "b1 .* is read at 0, before it is written",
        True,
    ),
    "an output that nobody writes": (
        chain,
        lambda p: replace(p, steps=p.steps[:-1]),
        "is fetched and never written",
        True,
    ),
    "a state written before its last read": (
        stepped,
        lambda p: with_order(p, "exp", "matmul"),
        "matmul.* reads the old value of state s too late|overwrites .*read later",
        True,
    ),
    "a state written before what may fail": (
        refusing,
        lambda p: with_order(p, "exp", "max"),
        "max.* may fail after state s is written",
        False,
    ),
    "a state that is not to change": (
        stepped,
        lambda p: replace(p, written=()),
        "state s, which is not to change",
        False,
    ),
    "two states copied over each other": (
        swapped,
        lambda p: replace(p, copies=(Copy(state(p, 1).index, 0), Copy(state(p, 0).index, 1))),
        "is fetched after the state that it lies in is written",
        True,
    ),
    "a state copied over itself": (
        swapped,
        lambda p: replace(p, copies=(Copy(state(p, 0).index, 0),)),
        "is no new value for state s",
        False,
    ),
    "an old value fetched after the new one is written": (
        fetched,
        lambda p: replace(in_storage_of(p, "tanh", state(p)), written=(0,), copies=()),
        "is fetched after the state that it lies in is written",
        True,
    ),
    "a state written in place and copied to": (
        stepped,
        lambda p: replace(p, copies=(Copy(result(p, "matmul").index, 0),)),
        "state s is written twice",
        True,
    ),
}


def run(program: Program, *, poisoned: bool) -> list[np.ndarray]:
    """Outputs and new states, or the error instead."""
    rng = np.random.default_rng(0)
    feeds = [rng.normal(size=tuple(slot.type.shape)).astype(slot.type.dtype.numpy) for slot in program.feeds]  # type: ignore[arg-type]
    states = [State(rng.normal(size=tuple(s.type.shape)).astype("float32"), s.name) for s in program.states]  # type: ignore[arg-type]
    bound = Executor(program, NUMPY, states).new_bound()
    outputs = run_poisoned(bound, feeds) if poisoned else bound.run(feeds)
    return [*outputs, *(each.numpy() for each in states)]


def agree(ones: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(ones, others, strict=True))


@pytest.mark.parametrize("name", RIGHT)
def test_right_programs_pass_and_run_the_same_when_poisoned(name: str) -> None:
    program = RIGHT[name]()
    assert check_plan(program) is program
    assert agree(run(program, poisoned=True), run(program, poisoned=False))


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_program_is_refused_by_name(name: str) -> None:
    make, mutate, message, _ = MUTATIONS[name]
    wrong = mutate(make())
    with pytest.raises(CompilerError, match=message):
        check_plan(wrong)


@pytest.mark.parametrize("name", [name for name, case in MUTATIONS.items() if case[3]])
def test_a_wrong_program_gives_itself_away_when_poisoned(name: str) -> None:
    make, mutate, _, _ = MUTATIONS[name]
    right = make()
    assert not agree(run(mutate(right), poisoned=True), run(right, poisoned=False))


def test_poison_shows_in_what_is_read_before_it_is_written() -> None:
    program = with_order(chain(), "exp", "tanh", "matmul")
    assert np.isnan(run(program, poisoned=True)[0]).all()


def test_what_is_poisoned_is_dead() -> None:
    from staticnet.runtime.poison import deaths

    program = chain()
    table = deaths(program)
    poisoned = {storage for storages in table.values() for storage in storages}
    assert result(program, "exp").storage in poisoned
    assert program.buffers[program.outputs[0].buffer].storage not in poisoned


def test_the_planner_is_not_asked_what_it_thought() -> None:
    """Lifetimes come from the instructions: storages that claim to live for ever, or never, change nothing."""
    program = parallel()
    lying = replace(program, storages=tuple(replace(s, first=0, last=0) for s in program.storages))
    check_plan(lying)
    with pytest.raises(CompilerError, match="is written at"):
        check_plan(overlap_by_half(lying))


def test_the_environment_turns_the_checker_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from staticnet.compiler import pipeline

    asked = []
    monkeypatch.setattr(pipeline, "check_plan", asked.append)
    monkeypatch.setenv("STATICNET_VERIFY", "0")
    chain()
    assert asked == []
    monkeypatch.setenv("STATICNET_VERIFY", "1")
    program = chain()
    assert asked == [program]


def test_a_long_program_is_checked_in_little_time() -> None:
    def build(x: Node) -> Node:
        for _ in range(10_000):
            x = F.tanh(x)
        return x

    check_plan(plain_program(make_graph(build, x=(2,))))
