"""The pipeline as a whole: stages in their order, symbolic up to the binding, switches for looking inside."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from staticnet.compiler.autodiff import differentiate
from staticnet.compiler.errors import CompilerError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Graph, Node, Type
from staticnet.compiler.lowering import lower
from staticnet.compiler.ops.base import F
from staticnet.compiler.passes import LOWERED_PASSES, PASSES
from staticnet.compiler.pipeline import assemble, pipeline, prepare, run_passes
from staticnet.compiler.program import Program
from staticnet.compiler.target import REFERENCE, Target
from staticnet.runtime.executor import Executor
from staticnet.runtime.numpy_backend import NUMPY
from tests.compiler.graphs import growth, make_graph

ALL = tuple(dict.fromkeys((*PASSES, *LOWERED_PASSES)))


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes if node not in set(graph.inputs)]


def run(program: Program, *feeds: np.ndarray) -> list[np.ndarray]:
    return Executor(program, NUMPY, ())(feeds)


# -- from graph to program ------------------------------------------------------------------------


def test_sizes_stay_symbolic_until_they_are_bound() -> None:
    graph = make_graph(lambda x: F.mean(F.softmax(x), 0), x=("N", 3))
    prepared = prepare(graph, REFERENCE)
    assert prepared.graph.symbols == ("N",)
    for size in (1, 2, 7):
        program = assemble(prepared, {"N": size})
        assert program.feeds[0].type.shape == (size, 3)
        assert program.feeds[0].type.is_static and not program.buffers[0].symbolic.is_static
        x = np.random.default_rng(size).normal(size=(size, 3)).astype("float32")
        (expected,) = evaluate(graph.outputs, {graph.inputs[0]: x}, {"N": size})
        np.testing.assert_allclose(run(program, x)[0], expected, rtol=1e-6)


def test_a_binding_that_makes_a_size_negative_is_refused_with_the_sizes() -> None:
    graph = make_graph(lambda x: F.max_pool2d(x, 3, 1), x=(1, 1, "N", 8))
    with pytest.raises(ShapeError, match=r"'N': 1.*\(1, 1, -1, 6\)"):
        pipeline(graph, {"N": 1}, REFERENCE)


def test_an_empty_batch_is_a_program_like_any_other() -> None:
    graph = make_graph(lambda x: (F.sum(F.exp(x)), F.softmax(x)), x=("N", 3))
    total, lines = run(pipeline(graph, {"N": 0}, REFERENCE), np.zeros((0, 3), np.float32))
    assert total == 0 and lines.shape == (0, 3)


def test_composites_are_expanded_unless_the_target_computes_them_itself() -> None:
    graph = make_graph(lambda x: F.softmax(x), x=(2, 3))
    assert "softmax" not in ops(lower(graph, REFERENCE))
    with pytest.raises(CompilerError, match="softmax has neither a kernel nor an expansion"):
        lower(graph, Target("own", composites=frozenset({"softmax"})))


def test_a_size_as_a_value_becomes_a_constant_of_the_binding() -> None:
    graph = make_graph(lambda x: F.sum(x) / F.size_of(x, 0), x=("N",))
    prepared = prepare(graph, REFERENCE)
    for size in (2, 5):
        assert run(assemble(prepared, {"N": size}), np.ones(size, np.float32))[0] == 1


def test_outputs_may_be_inputs_constants_states_and_one_another() -> None:
    graph = make_graph(lambda x, s: (x, s, F.constant(np.float32(3)), x, F.transpose(x)), {"s": (2,)}, x=(2, 3))
    from staticnet.runtime.state import State

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    state = State(np.array([7, 8], np.float32))
    program = pipeline(graph, {}, REFERENCE)
    first, second, third, fourth, fifth = Executor(program, NUMPY, [state])([x])
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, [7, 8])
    assert third == 3
    np.testing.assert_array_equal(fifth, x.T)
    first[...] = 0
    np.testing.assert_array_equal(fourth, x)


def training_chain(count: int) -> Graph:
    def build(x: Node) -> Node:
        for _ in range(count // 2):
            x = F.tanh(x) * 1.5
        return F.sum(x)

    graph = make_graph(build, x=(4,))
    return differentiate(graph, graph.outputs, graph.inputs)


def test_time_of_long_chains() -> None:
    assert growth(lambda count: pipeline(training_chain(count), {}, REFERENCE), lambda count: count, 150, 2) < 2.6


def test_depth_of_long_chains() -> None:
    """Far beyond the limit of recursion."""
    assert len(pipeline(training_chain(1500), {}, REFERENCE).instructions) > 3000


# -- switches -----------------------------------------------------------------------------------


def double_negative() -> Graph:
    return make_graph(lambda x: F.negative(F.negative(F.identity(x))) + F.exp(F.constant(0.0)), x=(2,))


def test_skip_leaves_passes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ops(run_passes(double_negative(), ALL)) == ["constant", "add"]
    monkeypatch.setenv("STATICNET_SKIP", "simplify, accelerate")
    assert ops(run_passes(double_negative(), ALL)) == ["negative", "negative", "constant", "add"]
    monkeypatch.setenv("STATICNET_SKIP", "fold,eliminate,simplify,accelerate")
    assert ops(run_passes(double_negative(), ALL)) == ["identity", "negative", "negative", "constant", "exp", "add"]


def test_verify_is_run_after_each_pass_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph) -> Graph:
        return graph.with_roots([Node(F.exp(graph.inputs[0]).op, graph.inputs, Type((5,), "float32"))], ["y"], {})

    monkeypatch.setenv("STATICNET_VERIFY", "1")
    with pytest.raises(CompilerError, match="shape rule"):
        run_passes(double_negative(), [wrong])
    monkeypatch.setenv("STATICNET_VERIFY", "0")
    assert run_passes(double_negative(), [wrong]).outputs[0].shape == (5,)


def test_dump_writes_every_stage_and_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "stages"
    monkeypatch.setenv("STATICNET_DUMP", str(folder))
    graph = make_graph(lambda x: F.negative(F.negative(x)), x=("N", 2))
    graph.name = "../up and away"
    pipeline(graph, {"N": 3}, REFERENCE)
    names = sorted(os.listdir(folder))
    stages = [each.__name__ for each in PASSES] + ["lower"] + [each.__name__ for each in LOWERED_PASSES]
    assert [name.split(".")[-2] for name in names[:-1]] == stages
    assert names[-1].endswith(".program.N3.txt")
    assert all(".." not in name.split("_")[1:] and "/" not in name for name in names)
    assert os.listdir(tmp_path) == ["stages"]
    assert (folder / names[-1]).read_text(encoding="utf-8").startswith("program ")


def test_debug_says_more_the_higher_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for level in ("0", "1", "2", "3", "nonsense"):
        monkeypatch.setenv("STATICNET_DEBUG", level)
        pipeline(double_negative(), {}, REFERENCE)
        captured = capsys.readouterr()
        assert captured.out == ""
        said.append(captured.err)
    assert said[0] == said[4] == ""
    assert "simplify: " in said[1] and "nodes in" in said[1] and "program graph" not in said[1]
    assert "program graph" in said[2] and "graph graph(" not in said[2]
    assert "graph graph(" in said[3]


def test_fuse_schedule_and_plan_can_be_skipped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = make_graph(lambda x: F.exp(F.tanh(x)) + 1.0, x=(64, 64))
    fused = pipeline(graph, {}, REFERENCE)
    monkeypatch.setenv("STATICNET_SKIP", "fuse,schedule,plan")
    plain = pipeline(graph, {}, REFERENCE)
    assert len(fused.steps) == 1 and len(plain.steps) == 3
    assert plain.memory.in_place == 0 and plain.arena_bytes == 3 * 64 * 64 * 4 > fused.arena_bytes
