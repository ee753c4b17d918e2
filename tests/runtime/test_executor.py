"""The executor: feeds copied in, outputs copied out, states written in place, nothing lost when something fails."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiler.errors import RunError, StateError
from staticnet.compiler.ir import Graph, Node, Op, Type, apply
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import REFERENCE
from staticnet.runtime.bound import Bound
from staticnet.runtime.executor import Executor
from staticnet.runtime.numpy_backend import NUMPY
from staticnet.runtime.state import State, place
from tests.compiler.graphs import make_graph, plain_program


def executor(graph: Graph, *states: State, binding: dict[str, int] | None = None) -> Executor:
    return Executor(pipeline(graph, binding or {}, REFERENCE), NUMPY, states)


def accumulate(x: Node, s: Node) -> Any:
    """The state takes up what is fed; the outputs are its new value and twice that."""
    return (new := s + x, new * 2.0), {"s": new}


def accumulator(state: State) -> Executor:
    return executor(make_graph(accumulate, {"s": (3,)}, x=(3,)), state)


# -- feeds ----------------------------------------------------------------------------------------

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
FEEDS: dict[str, Callable[[], np.ndarray]] = {
    "row-major": lambda: VALUES.copy(),
    "column-major": lambda: np.asfortranarray(VALUES),
    "a slice of something larger": lambda: np.pad(VALUES, 3)[3:-3, 3:-3],
    "negative strides": lambda: VALUES[::-1, ::-1].copy()[::-1, ::-1],
    "big-endian": lambda: VALUES.astype(">f4"),
    "unaligned": lambda: np.frombuffer(b"\0" + VALUES.tobytes(), np.uint8)[1:].view("<f4").reshape(3, 4),
    "a subclass": lambda: VALUES.copy().view(np.recarray),
}


@pytest.mark.parametrize("kind", FEEDS)
def test_feeds_of_every_layout_are_right_and_never_written(kind: str) -> None:
    graph = make_graph(lambda x: (F.relu(F.negative(x)) + x, F.transpose(x)), x=(3, 4))
    feed = FEEDS[kind]()
    before = feed.tobytes()
    if feed.flags.owndata:
        feed.flags.writeable = False
    absolute, transposed = executor(graph)([feed])
    np.testing.assert_array_equal(absolute, np.maximum(-VALUES, 0) + VALUES)
    np.testing.assert_array_equal(transposed, VALUES.T)
    assert feed.tobytes() == before


def test_feeds_that_overlap_are_read_as_they_are() -> None:
    memory = np.arange(6, dtype=np.float32)
    graph = make_graph(lambda x, y: (x * 2.0 + y, y - x), x=(4,), y=(4,))
    total, difference = executor(graph)([memory[:4], memory[2:]])
    np.testing.assert_array_equal(total, memory[:4] * 2 + memory[2:])
    np.testing.assert_array_equal(difference, [2, 2, 2, 2])
    one = memory[:4]
    np.testing.assert_array_equal(executor(graph)([one, one])[1], np.zeros(4))


def test_a_feed_may_be_changed_as_soon_as_the_call_is_back() -> None:
    feed = np.ones(3, np.float32)
    run = executor(make_graph(lambda x: (x, F.exp(x)), x=(3,)))
    same, _ = run([feed])
    feed[...] = 7
    np.testing.assert_array_equal(same, 1)


# -- outputs --------------------------------------------------------------------------------------


def test_earlier_results_survive_later_calls() -> None:
    run = executor(make_graph(lambda x: (F.tanh(x), F.transpose(F.tanh(x)), x[::-1]), x=(2, 2)))
    kept = run([np.eye(2, dtype=np.float32)])
    copies = [array.copy() for array in kept]
    for number in range(3):
        run([np.full((2, 2), number, np.float32)])
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_outputs_belong_to_the_caller() -> None:
    state = State(np.zeros(2, np.float32))

    def build(x: Node, s: Node) -> tuple[Node, ...]:
        return x, s, F.constant(np.ones(2, np.float32)), F.tanh(x), F.tanh(x)[::-1], F.broadcast_to(x, (3, 2)), x

    run = executor(make_graph(build, {"s": (2,)}, x=(2,)), state)
    feed = np.array([1, 2], np.float32)
    outputs = run([feed])
    (bound,) = run._pool
    for output in outputs:
        assert output.flags.writeable and output.flags.c_contiguous and output.flags.owndata
        for memory in (feed, state.array, bound.arena, *run.constants):
            assert not np.may_share_memory(output, memory)
        output[...] = -1
    np.testing.assert_array_equal(run([feed])[0], feed)
    np.testing.assert_array_equal(run([feed])[2], 1)
    np.testing.assert_array_equal(state.numpy(), 0)
    assert len({array.__array_interface__["data"][0] for array in outputs}) == len(outputs)


# -- states ---------------------------------------------------------------------------------------


def test_states_are_written_in_place_at_a_stable_address() -> None:
    state = State(np.zeros(3, np.float32), "s")
    address, storage = state.array.ctypes.data, state.array
    run = accumulator(state)
    for count in range(1, 4):
        new, twice = run([np.ones(3, np.float32)])
        np.testing.assert_array_equal(new, count)
        np.testing.assert_array_equal(twice, 2 * count)
    np.testing.assert_array_equal(state.numpy(), 3)
    assert state.array is storage and state.array.ctypes.data == address


def test_two_programs_share_one_state() -> None:
    state = State(np.zeros(3, np.float32))
    write = accumulator(state)
    read = executor(make_graph(lambda s: s * 10.0, {"s": (3,)}), state)
    write([np.ones(3, np.float32)])
    np.testing.assert_array_equal(read([])[0], 10)


def test_set_copies_in_and_the_next_call_sees_it() -> None:
    state = State(np.zeros(3, np.float32), "weight")
    run, storage = accumulator(state), state.array
    state.set(np.array([1, 2, 3], np.float64))
    np.testing.assert_array_equal(run([np.zeros(3, np.float32)])[0], [1, 2, 3])
    assert state.array is storage
    with pytest.raises(StateError, match=r"weight has shape \(3,\).*\(2,\)"):
        state.set(np.zeros(2))
    with pytest.raises(StateError, match="weight is float32; a value of complex128"):
        state.set(np.zeros(3, complex))
    np.testing.assert_array_equal(state.numpy(), [1, 2, 3])


def test_a_state_keeps_a_copy_of_what_it_starts_from() -> None:
    start = np.arange(3, dtype=">f4")
    start.flags.writeable = False
    state = State(start)
    assert state.array.dtype.isnative and state.array.flags.writeable
    state.set([5, 5, 5])
    np.testing.assert_array_equal(start, [0, 1, 2])
    got = state.numpy()
    got[...] = 0
    np.testing.assert_array_equal(state.numpy(), 5)


def test_a_state_that_moves_is_bound_anew() -> None:
    state = State(np.zeros(3, np.float32))
    run = accumulator(state)
    run([np.ones(3, np.float32)])
    state.move(state.numpy() + 10, "cpu")
    np.testing.assert_array_equal(run([np.ones(3, np.float32)])[0], 12)
    assert place(state, NUMPY) is state and state.version == 1


def test_states_of_no_elements_and_of_no_axes() -> None:
    graph = make_graph(lambda s, t: (F.sum(s) + t, {"s": s * 2.0, "t": t + 1.0}), {"s": (0,), "t": ()})
    empty, number = State(np.zeros(0, np.float32)), State(np.float32(3))
    run = executor(graph, empty, number)
    assert run([])[0] == 3 and run([])[0] == 4
    assert number.numpy() == 5 and number.array.shape == ()


# -- failure --------------------------------------------------------------------------------------


def loss_with_states() -> tuple[sn.TracedGraph, list[State]]:
    weight, count = sn.nn.Parameter(np.ones((4, 3), np.float32)), sn.nn.Buffer(np.zeros((), np.float32))

    def step(x: Any, labels: Any) -> Any:
        loss = sn.cross_entropy(x @ weight, labels)  # the line at fault
        (slope,) = sn.grad(loss, [weight])
        weight.assign(weight - 0.1 * slope)
        count.assign(count + 1)
        return loss

    graph = sn.trace(step, sn.TensorSpec((2, 4)), sn.TensorSpec((2,), "int64"))
    return graph, list(graph.states.values())


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [2**40, 1]])
def test_a_label_out_of_range_raises_at_the_users_line_and_changes_no_state(labels: list[int]) -> None:
    graph, states = loss_with_states()
    run = Executor(pipeline(graph, {}, REFERENCE), NUMPY, states)
    assert len(run.program.written) == 2
    good = [np.ones((2, 4), np.float32), np.array([0, 2])]
    run(good)
    before = [state.numpy() for state in states]
    with pytest.raises(RunError) as caught:
        run([good[0], np.array(labels)])
    assert str(next(label for label in labels if not 0 <= label < 3)) in caught.value.message
    assert caught.value.origin is not None and caught.value.origin.source.endswith("# the line at fault")
    for state, value in zip(states, before, strict=True):
        np.testing.assert_array_equal(state.numpy(), value)
    run(good)
    (count,) = [state for state in states if not state.array.ndim]
    assert count.numpy() == 2


class Interrupted(Op):
    """Its operand; raises what `STOP` holds, as Ctrl-C in the middle of a run does."""

    name = "test_interrupted"

    def infer(self, x: Type) -> Type:
        return x

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        if STOP:
            raise STOP.pop()
        xp.copyto(out, x)


STOP: list[BaseException] = []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_what_interrupts_a_run_leaves_everything_usable(error: type[BaseException]) -> None:
    state = State(np.zeros(3, np.float32))
    graph = make_graph(lambda x, s: (apply(Interrupted(), F.tanh(x)), {"s": s + 1.0}), {"s": (3,)}, x=(3,))
    run = executor(graph, state)
    feed = np.zeros(3, np.float32)
    run([feed])
    STOP.append(error())
    with pytest.raises(error):
        run([feed])
    # The lock is free, the arena is back in the pool, and reading and writing go on.
    assert len(run._pool) == 1
    state.set(np.zeros(3))
    np.testing.assert_array_equal(run([feed])[0], 0)
    np.testing.assert_array_equal(state.numpy(), 1)


def test_numbers_that_overflow_raise_and_warn_of_nothing() -> None:
    graph = make_graph(lambda x: (F.exp(x), 1.0 / x, F.log(-x)), x=(2,))
    with np.errstate(all="raise"):
        power, inverse, logarithm = executor(graph)([np.array([1000, 0], np.float32)])
    assert np.isinf(power[0]) and np.isinf(inverse[1]) and np.isnan(logarithm[0])


# -- memory ---------------------------------------------------------------------------------------


def test_a_call_allocates_its_outputs_and_nothing_of_their_size_beside() -> None:
    graph = make_graph(lambda x: F.sum(F.tanh(F.exp(x) * 2.0) + x, 0), x=(256, 256))
    run, feed = executor(graph), np.ones((256, 256), np.float32)
    run([feed])
    tracemalloc.start()
    try:
        run([feed])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 256 * 1024 / 2


def test_one_arena_serves_calls_one_after_the_other() -> None:
    run = executor(make_graph(lambda x: F.tanh(x), x=(3,)))
    for _ in range(5):
        run([np.ones(3, np.float32)])
    assert len(run._pool) == 1


def test_arena_and_scratch_are_aligned_and_of_the_size_planned() -> None:
    program = plain_program(make_graph(lambda x: F.erf(F.exp(x)), x=(5, 5)))
    bound = Bound(program, NUMPY, (), ())
    assert bound.arena.nbytes == program.arena_bytes
    assert bound.scratch.nbytes == program.scratch_bytes > 0  # type: ignore[union-attr]
    assert bound.arena.ctypes.data % REFERENCE.alignment == bound.scratch.ctypes.data % REFERENCE.alignment == 0  # type: ignore[union-attr]
    for index, buffer in enumerate(program.buffers):
        assert bound.arrays[index].shape == tuple(buffer.type.shape)
        assert bound.arrays[index].dtype == buffer.type.dtype.numpy


def test_an_executor_that_nobody_holds_frees_its_memory() -> None:
    run = executor(make_graph(lambda x: F.tanh(x), x=(3,)))
    run([np.ones(3, np.float32)])
    arena = weakref.ref(run._pool[0])
    del run
    gc.collect()
    assert arena() is None
