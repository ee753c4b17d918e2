"""The generated code of steps: in three forms on request, on stderr and in files as the environment asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiler.codegen.loops.describe import DESCRIBERS
from staticnet.compiler.codegen.source import step_llvm, step_loops
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.slice import Concat
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import REFERENCE
from staticnet.runtime.native import host
from tests.compiler.graphs import make_graph

pytestmark = pytest.mark.skipif(not host.available(), reason="no native execution here")
X = np.ones((8, 8), np.float32)


def work(x: Any) -> Any:
    return sn.tanh(x @ x) @ x


def test_the_three_forms() -> None:
    compiled = sn.compile(work)
    compiled(X)
    loops = compiled.step_source(1)
    assert loops == compiled.step_source(1, "loops") == str(compiled.program.code[1].routine)
    assert loops.startswith("kernel matmul(") and "multiply_add" in loops
    llvm = compiled.step_source(1, form="llvm")
    assert "define i32 @step1_0_matmul(ptr" in llvm and "fma" in llvm
    assembly = compiled.step_source(1, form="assembly")
    assert "step1_0_matmul:" in assembly and "ret" in assembly
    assert "tanh" in compiled.step_source(0) and "step0_0_" in compiled.step_source(0, "llvm")


def test_a_step_of_several_kernels_shows_them_all() -> None:
    compiled = sn.compile(lambda x: x.sum())
    compiled(np.ones((2000, 300), np.float32))
    (routine,) = (generated.routine for generated in compiled.program.code)
    assert len(routine.kernels) > 1
    for form in ("llvm", "assembly"):
        text = compiled.step_source(0, form)
        assert all(f"step0_{number}_" in text for number in range(len(routine.kernels)))


def test_a_program_kept_on_disk_has_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICNET_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("STATICNET_VERIFY", "0")
    first, second = sn.compile(work), sn.compile(work)
    first(X), second(X)
    assert first.program.loaded is None and second.program.loaded is not None
    for form in ("loops", "llvm", "assembly"):
        assert first.step_source(0, form) == second.step_source(0, form)
    assert [entry.op for entry in second.profile(X)] == [entry.op for entry in first.profile(X)]
    assert second.segments == first.segments and second.segments[0].is_native


def test_what_has_no_code_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = sn.compile(work)
    with pytest.raises(ArgumentError, match="not compiled yet"):
        compiled.step_source(0)
    compiled(X)
    with pytest.raises(ArgumentError, match="take 'loops', 'llvm', 'assembly'"):
        compiled.step_source(0, "cuda")
    for index in (-1, 2):
        with pytest.raises(ArgumentError, match=f"work has 2 steps, numbered from 0: there is no step {index}"):
            compiled.step_source(index)
    monkeypatch.setitem(DESCRIBERS, Concat, lambda *_: None)
    mixed = sn.compile(lambda x: sn.concatenate([sn.tanh(x), x]), name="mixed")
    mixed(X)
    number = mixed.segments[-1].first
    with pytest.raises(ArgumentError, match=rf"step {number} of mixed \(concat\) .* own kernel, in Python"):
        mixed.step_source(number)
    monkeypatch.setenv("STATICNET_NATIVE", "0")
    plain = sn.compile(work)
    plain(X)
    with pytest.raises(ArgumentError, match="own kernel: reference programs have no code"):
        plain.step_source(0)


def test_the_compiler_alone_prints_loops_and_llvm() -> None:
    program = pipeline(make_graph(lambda x: F.tanh(x), x=(6,)), {}, REFERENCE)
    for make in (step_loops, step_llvm):
        with pytest.raises(ArgumentError, match="programs have no code"):
            make(program, 0)


def test_debug_four_prints_every_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for level in ("3", "4"):
        monkeypatch.setenv("STATICNET_DEBUG", level)
        sn.compile(work)(X)
        captured = capsys.readouterr()
        assert captured.out == ""
        said.append(captured.err)
    parts = ("kernel matmul(", "work step 1 matmul: llvm\n", "define i32 @step1_0_matmul(", "step 1 matmul: assembly\n")
    for text in parts:
        assert text not in said[0] and text in said[1]
    assert said[1].index("kernel matmul(") < said[1].index("step 1 matmul: llvm") < said[1].index("1 matmul: assembly")


def test_dump_writes_a_file_for_each_step_and_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICNET_DUMP", str(tmp_path))
    compiled = sn.compile(lambda x: sn.tanh(x @ x.T) @ x, sn.TensorSpec(("batch", 8)), name="work")
    compiled(X)
    names = [name for name in os.listdir(tmp_path) if ".step" in name]
    endings = ("ll", "loops.txt", "s")
    assert sorted(names) == [f"work.batch8.step{step:03}.{ending}" for step in (0, 1) for ending in endings]
    for ending, form in zip(endings, ("llvm", "loops", "assembly"), strict=True):
        text = (tmp_path / f"work.batch8.step001.{ending}").read_text(encoding="utf-8")
        assert text == compiled.step_source(1, form)


def test_steps_in_python_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICNET_DUMP", str(tmp_path))
    monkeypatch.setitem(DESCRIBERS, Concat, lambda *_: None)
    mixed = sn.compile(lambda x: sn.concatenate([sn.tanh(x), x]), name="mixed")
    mixed(X)
    written = {name.split(".step")[1][:3] for name in os.listdir(tmp_path) if ".step" in name}
    native = {f"{segment.first:03}" for segment in mixed.segments if segment.is_native}
    assert written == native and len(mixed.program.steps) > len(native)
