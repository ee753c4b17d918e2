"""The differential harness: right passes pass, a wrong one is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler.codegen.loops.form import const
from staticnet.compiler.codegen.loops.operations import apply as apply_operation
from staticnet.compiler.codegen.loops.pointwise import MEANINGS
from staticnet.compiler.dtypes import int32
from staticnet.compiler.errors import VerificationError
from staticnet.compiler.ir import Graph, Node, apply
from staticnet.compiler.memory import plan as planning
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.transcendental import Relu
from staticnet.compiler.passes import PASSES
from staticnet.compiler.passes.cse import cse
from staticnet.compiler.passes.simplify import simplify
from staticnet.differential import Way, differential
from staticnet.runtime.native import host
from tests.compiler.graphs import make_graph

needs_native = pytest.mark.skipif(not host.available(), reason="no native code on this machine")
ZERO = const(0, int32)
X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)


def model(x: Node, s: Node) -> Any:
    y = F.log(F.softmax(F.tanh(x) * 2.0 + s))
    return (F.sum(y, 0), F.transpose(y)), {"s": s * 0.5 + F.mean(y)}


def small() -> Graph:
    return make_graph(model, {"s": (4,)}, x=("N", 4))


def test_right_passes_agree_in_every_way() -> None:
    report = differential(small(), [X], [np.ones(4, np.float32)], {"N": 3})
    assert report.ok and report.guilty == ()
    report.raise_for_status()
    names = list(dict.fromkeys(each.__name__ for each in PASSES))
    plain = [way for way in report.ways if not way.is_native]
    assert [way.passes for way in plain[::2]] == [(), *((name,) for name in names), tuple(names)]
    assert [way.reuse for way in plain] == [False, True] * (len(names) + 2)
    assert str(report.ways[0]) == "no pass, without the memory plan"
    native = [way for way in report.ways if way.is_native]
    assert [way.passes for way in native] == ([(), (), tuple(names), tuple(names)] if host.available() else [])


def rewriting(name: str, change: Any) -> Any:
    """A pass of a name that replaces nodes."""

    def run(graph: Graph) -> Graph:
        return graph.rebuild(lambda node, inputs: change(node, inputs))

    run.__name__ = name
    return run


def tanh_to_sigmoid(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    return F.sigmoid(inputs[0]) if node.op.name == "tanh" else None


def times_zero_to_zero(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    return F.zeros_like(inputs[0]) if node.op.name == "multiply" else None


def test_a_wrong_pass_is_named() -> None:
    report = differential(
        small(),
        [X],
        [np.ones(4, np.float32)],
        {"N": 3},
        passes=[cse, rewriting("wrong_rule", tanh_to_sigmoid), simplify],
    )
    assert not report.ok and report.guilty == ("wrong_rule",)
    assert all("wrong_rule" in difference.way.passes for difference in report.differences)
    with pytest.raises(VerificationError, match=r"wrong_rule changes results: output.* with wrong_rule.*instead of"):
        report.raise_for_status()


def test_a_pass_that_forgets_nan_is_named() -> None:
    graph = make_graph(lambda x: x * 0, x=(2,))
    passes = [rewriting("forgets_nan", times_zero_to_zero)]
    assert differential(graph, [np.ones(2, np.float32)], passes=passes).ok
    report = differential(graph, [np.array([np.nan, 1], np.float32)], passes=passes)
    assert report.guilty == ("forgets_nan",)


def test_a_pass_that_drops_an_update_is_named() -> None:
    def drops(graph: Graph) -> Graph:
        return graph.with_roots(graph.outputs, graph.output_names, {})

    assert differential(small(), [X], [np.ones(4, np.float32)], {"N": 3}, passes=[drops]).guilty == ("drops",)


def test_a_pass_that_changes_the_sign_of_a_zero_is_not_exact() -> None:
    def add_zero(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        return inputs[0] + 0.0 if node.op.name == "identity" else None

    graph = make_graph(lambda x: F.identity(x), x=(2,))
    zeros = np.array([-0.0, 1.0], np.float32)
    # Only passes that claim to be exact are held to the sign.
    assert differential(graph, [zeros], passes=[rewriting("eliminate", add_zero)]).guilty == ("eliminate",)
    assert differential(graph, [zeros], passes=[rewriting("accelerate_too", add_zero)]).ok


def test_a_pass_that_raises_is_named_with_its_error() -> None:
    def broken(graph: Graph) -> Graph:
        raise ZeroDivisionError("of a pass")

    report = differential(small(), [X], [np.ones(4, np.float32)], {"N": 3}, passes=[broken])
    assert report.guilty == ("broken",)
    assert "ZeroDivisionError: of a pass" in report.differences[0].message


def test_a_pass_that_breaks_the_graph_is_caught_by_the_verifier() -> None:
    def mistyped(graph: Graph) -> Graph:
        outputs = [Node(node.op, node.inputs, node.aval.with_dtype("float64")) for node in graph.outputs]
        return graph.with_roots(outputs, graph.output_names, graph.updates)

    report = differential(small(), [X], [np.ones(4, np.float32)], {"N": 3}, passes=[mistyped])
    assert report.guilty == ("mistyped",) and "shape rule" in report.differences[0].message


def test_two_wrong_passes_are_both_named() -> None:
    passes = [rewriting("one", tanh_to_sigmoid), rewriting("two", times_zero_to_zero)]
    report = differential(small(), [X], [np.ones(4, np.float32)], {"N": 3}, passes=passes)
    assert report.guilty == ("one", "two")


def test_a_planner_that_overwrites_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting one reader too few frees what is still to be read."""
    count_uses = planning._Planner._count_uses

    def one_too_few(self: Any) -> dict[Node, int]:
        return {node: min(count, 1) for node, count in count_uses(self).items()}

    monkeypatch.setattr(planning._Planner, "_count_uses", one_too_few)
    graph = make_graph(lambda x: F.matmul(F.exp(first := F.tanh(x)), first), x=(4, 4))
    report = differential(graph, [np.eye(4, dtype=np.float32)], passes=[])
    assert report.guilty == ("plan",)
    with pytest.raises(VerificationError, match=r"plan changes results.*read later"):
        report.raise_for_status()


def test_a_planner_that_shares_bytes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "allocate", lambda blocks, alignment: ([0] * len(blocks), 1 << 16))
    graph = make_graph(lambda x: F.matmul(F.exp(x), F.tanh(x)), x=(4, 4))
    assert differential(graph, [np.eye(4, dtype=np.float32)], passes=[]).guilty == ("plan",)


def test_wrong_lowering_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from staticnet import differential as harness

    wrong = rewriting("lower", tanh_to_sigmoid)
    monkeypatch.setattr(harness, "lower", lambda graph, target: wrong(graph))
    graph = make_graph(lambda x: F.tanh(x), x=(4,))
    assert differential(graph, [np.ones(4, np.float32)], passes=[]).guilty == ("lower",)


def test_views_are_held_to_rounding_and_poison_to_the_bit(rng: np.random.Generator) -> None:
    """NumPy adds in another order along another stride: no fault of the plan."""
    graph = make_graph(lambda x: (F.sum(F.transpose(x), 0), F.matmul(F.transpose(x), x)), x=(37, 41))
    differential(graph, [rng.normal(size=(37, 41)).astype("float32")]).raise_for_status()


def test_integers_are_always_held_to_the_bit() -> None:
    def off_by_one(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        return apply(node.op, *inputs) + 1 if node.op.name == "negative" else None

    graph = make_graph(lambda x: F.negative(x), x=(2, "int64"))
    feeds = [np.array([10**12, 5])]
    assert not differential(graph, feeds, passes=[rewriting("accelerate_too", off_by_one)], rtol=1e-3).ok


def test_ways_read_well() -> None:
    assert str(Way(("fold", "cse"), True)) == "fold+cse, with the memory plan"
    assert str(Way((), False, True)) == "no pass, without the memory plan, as native code"


# -- native code ----------------------------------------------------------------------------------


@needs_native
def test_wrong_native_code_is_named_with_its_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEANINGS, Relu, lambda op, x: apply_operation("absolute", x))
    graph = make_graph(lambda x: F.matmul(F.relu(F.matmul(x, x)), x), x=(3, 3))
    report = differential(graph, [-np.eye(3, dtype=np.float32)], passes=[])
    assert report.ok  # the product is positive
    report = differential(graph, [np.array([[1, -2, 0], [3, 0, 1], [0, 1, 1]], np.float32)], passes=[cse])
    assert report.guilty == ("native",)
    assert all(difference.way.is_native for difference in report.differences)
    with pytest.raises(VerificationError, match=r"native changes results.*first in instruction 0, .*relu.*instead of"):
        report.raise_for_status()


@needs_native
def test_native_code_is_not_blamed_for_a_wrong_pass() -> None:
    report = differential(
        small(), [X], [np.ones(4, np.float32)], {"N": 3}, passes=[rewriting("wrong", tanh_to_sigmoid)]
    )
    assert any(difference.way.is_native for difference in report.differences)
    assert report.guilty == ("wrong",)


@needs_native
def test_native_code_that_refuses_what_its_kernel_takes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from staticnet.compiler.codegen.loops import fused

    monkeypatch.setattr(fused, "refusals", lambda op, operands: [apply_operation("greater_equal", operands[1], ZERO)])
    graph = make_graph(lambda x, k: F.power(x, k), x=(3, "int32"), k=(3, "int32"))
    ones = np.ones(3, np.int32)
    report = differential(graph, [ones, ones], passes=[])
    assert report.guilty == ("native",) and "refused what its kernel takes" in report.differences[0].message


@needs_native
def test_native_code_that_reads_workspace_of_the_step_before_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a long sum that are not all added leave what was there: the poisoned run shows it."""
    from staticnet.compiler.codegen.loops import reductions

    chunk = reductions._Reduction._chunk_kernel

    def forgetful(self: Any, has_rows: bool, part: Any, start: int, count: int, *given: Any) -> Any:
        return chunk(self, has_rows, part, start, count - 1 if count > 1 else count, *given)

    monkeypatch.setattr(reductions._Reduction, "_chunk_kernel", forgetful)
    graph = make_graph(lambda x: F.sum(x, 0), x=(5000, 3))
    report = differential(graph, [np.zeros((5000, 3), np.float32)], passes=[])
    assert report.guilty == ("native",)
    assert any("poisoned" in difference.output for difference in report.differences)
