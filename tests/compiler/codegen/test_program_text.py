"""The loops of programs as text: each routine once, what stands, what runs in Python, and when it is printed."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from staticnet.compiler.codegen.loops.form import Routine
from staticnet.compiler.codegen.machine import SMALL
from staticnet.compiler.codegen.program_text import code_text
from staticnet.compiler.ir import Graph
from staticnet.compiler.ops.base import F
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import NATIVE, REFERENCE
from tests.compiler.graphs import make_graph

TARGET = replace(NATIVE, machine=SMALL)


def products() -> Graph:
    """Two products alike, each with an exponential."""
    return make_graph(lambda x, y: F.exp(x @ y) @ y, x=(4, 4), y=(4, 4))


def test_each_routine_is_printed_once() -> None:
    text = code_text(pipeline(make_graph(lambda x: F.sin(x)[::-1] + F.sin(x[::-1]), x=(6,)), {}, TARGET))
    assert "kernel map(" in text
    program = pipeline(make_graph(lambda x: F.tanh(x) @ x @ x, x=(4, 4)), {}, TARGET)
    text = code_text(program)
    assert re.findall(r"^steps? .*$", text, re.MULTILINE) == ["step 0 tanh", "steps 1, 2 matmul"]
    assert text.count("kernel matmul(") == 1
    assert "for i0 in 16 vector\n    out0[i0] = tanh(in0[i0])\n" in text


def test_a_target_without_code_has_none() -> None:
    assert code_text(pipeline(products(), {}, REFERENCE)) == ""


def test_a_program_that_was_kept_is_described_anew() -> None:
    program = pipeline(products(), {}, TARGET)
    bare = tuple(replace(generated, routine=Routine()) for generated in program.code)
    kept = replace(program, code=bare, loaded=object())
    assert "kernel" in code_text(kept) and code_text(kept) == code_text(program)


def test_what_stands_and_what_runs_in_python_is_said() -> None:
    table = np.arange(36, dtype=np.float32).reshape(4, 1, 3, 3)
    graph = make_graph(lambda x, w: F.conv2d(x, table) + F.conv2d(x, w), x=(1, 1, 8, 8), w=table.shape)
    program = pipeline(graph, {}, TARGET)
    text = code_text(program)
    names = {program.code[step].routine.kernels[place].name for step, place in program.standing}
    assert names and all(text.count(f"  {name}: once\n") == 1 for name in names)
    in_python = replace(program, code=(replace(program.code[0], routine=None), *program.code[1:]))
    assert code_text(in_python).startswith(f"step 0 {program.instructions[0].op.title}: in Python\n")


def test_debug_four_and_dump_show_loops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for level in ("3", "4"):
        monkeypatch.setenv("STATICNET_DEBUG", level)
        program = pipeline(products(), {}, TARGET)
        assert (code_text(program) in capsys.readouterr().err) == (level == "4")
    monkeypatch.setenv("STATICNET_DUMP", str(tmp_path))
    pipeline(products(), {}, TARGET)
    assert (tmp_path / "graph.loops.txt").read_text(encoding="utf-8") == code_text(program)
    pipeline(products(), {}, REFERENCE)
    assert sum(".loops." in name for name in os.listdir(tmp_path)) == 1
