"""The Program: its text, the same in every process, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from staticnet.compiler.ir import Node
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import REFERENCE
from tests.compiler.graphs import expected, make_graph, plain_program

ROOT = Path(__file__).resolve().parents[2]


def test_the_text_of_a_small_program() -> None:
    def build(x: Node, w: Node) -> tuple:
        hidden = F.relu(F.tanh(F.transpose(x)) + np.array([[1], [2]], np.float32))
        return (F.transpose(hidden), F.sum(F.exp(hidden), 1)), {"w": w * 0.5}

    program = plain_program(make_graph(build, {"w": (3,)}, x=("N", 2)), {"N": 4})
    golden = """
        program graph target=reference [N=4]
          arena 192 bytes, scratch 0 bytes
          feed b0 x : f32[4, 2]
          state b1 w : f32[3]
          constant b3 : f32[] = 0.5
          constant b4 : f32[2, 1] = [[1.], [2.]]
          step 0 b5 : f32[3] @state = multiply(b1, b3) in place of b1
          step 1 fused
            b6 : f32[2, 4] @0+32 = tanh(b2(s0 strides=(1, 2) offset=0))
            b7 : f32[2, 4] @0+32 = add(b6, b4) in place of b6
            b8 : f32[2, 4] @0+32 = relu(b7) in place of b7
          step 2 fused
            b10 : f32[2, 4] @64+32 = exp(b8)
            b11 : f32[2] @128+8 = sum(b10, axes=(1,), keepdims=False)
          output output = b9(s4 strides=(1, 4) offset=0)
          output output1 = b11
          write w in place
        """
    assert program.text() == expected(golden) + "\n"


TRAINING = """
import numpy as np
from staticnet.compiler.autodiff import differentiate
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import REFERENCE
from tests.compiler.graphs import make_graph

def build(x, labels, w, v, key):
    hidden = F.dropout(F.relu(F.matmul(x, w) + F.mean(x)), key, 0.5, 0)
    loss = F.cross_entropy(F.matmul(hidden, v), labels)
    return loss, {"w": w - 0.1 * F.matmul(F.transpose(x), hidden), "key": key + F.constant(np.array([0, 1], "uint64"))}

graph = make_graph(
    build, {"w": (4, 4), "v": (4, 3), "key": (2, "uint64")}, x=("N", 4), labels=("N", "int64")
)
graph = differentiate(graph, graph.outputs[:1], [node for node in graph.inputs if node.op.label in "wv"])
print(graph.text())
program = pipeline(graph, {"N": 8}, REFERENCE)
print(program.text())
print(program.digest)
"""


def test_text_is_byte_equal_in_every_process() -> None:
    texts = set()
    for seed in ("0", "1", "12345", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", TRAINING], capture_output=True, cwd=ROOT, env=environment, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        texts.add(done.stdout)
    assert len(texts) == 1
    assert b"program graph target=reference [N=8]" in texts.pop()


def test_text_does_not_depend_on_what_was_built_before() -> None:
    def build(x: Node) -> Node:
        return F.sum(F.softmax(F.tanh(x) * 2.0))

    first = pipeline(make_graph(build, x=(3, 4)), {}, REFERENCE)
    pipeline(make_graph(lambda x: F.exp(x), x=(2,)), {}, REFERENCE)
    again = pipeline(make_graph(build, x=(3, 4)), {}, REFERENCE)
    assert first.text() == again.text() == str(again) and first.digest == again.digest


def test_the_digest_tells_programs_apart() -> None:
    def digest(factor: float, size: int) -> str:
        return plain_program(make_graph(lambda x: x * factor, x=("N",)), {"N": size}).digest

    assert len({digest(2.0, 3), digest(2.0, 4), digest(-2.0, 3), digest(0.0, 3), digest(-0.0, 3)}) == 5


def test_views_and_places_in_the_text() -> None:
    text = plain_program(make_graph(lambda x: F.transpose(F.exp(x))[::-1], x=(2, 3))).text()
    assert "strides=(-1, 3) offset=2" in text
    in_place = plain_program(make_graph(lambda x: F.exp(F.tanh(x)), x=(2, 3))).text()
    assert "in place of b1" in in_place and "step 0 fused" in in_place
    wide = plain_program(make_graph(lambda x: x + np.arange(100, dtype=np.float32), x=(100,))).text()
    assert "constant b1 : f32[100] = <" in wide


def test_states_in_the_text() -> None:
    def build(x: Node, s: Node, t: Node) -> tuple:
        return x, {"s": s + x, "t": s}

    text = plain_program(make_graph(build, {"s": (2,), "t": (2,)}, x=(2,))).text()
    assert "state b1 s : f32[2]" in text and "copy t <- " in text
    assert "write s in place" in plain_program(make_graph(lambda x, s: (x, {"s": s + x}), {"s": (2,)}, x=(2,))).text()


def test_a_program_never_changes() -> None:
    program = plain_program(make_graph(lambda x: F.exp(x), x=(2,)))
    with pytest.raises(FrozenInstanceError):
        program.arena_bytes = 0  # type: ignore[misc]
    assert not program.writes_state
    assert [instruction.op.name for instruction in program.instructions] == ["exp"]


def test_instructions_know_the_line_they_come_from() -> None:
    import staticnet as sn

    graph = sn.trace(lambda x: sn.exp(x) * 2.0, sn.TensorSpec((3,), name="x"))
    program = pipeline(graph, {}, REFERENCE)
    assert {instruction.origin.short.split(":")[0] for instruction in program.instructions if instruction.origin} == {
        "test_program.py"
    }
    assert "# test_program.py:" in program.text()
