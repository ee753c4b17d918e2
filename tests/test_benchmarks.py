"""The benchmarks run in a small setting and print figures that can be read; the figures are not judged here."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import staticnet as sn

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def benchmark_module(name):
    """A module of the benchmarks, found without the repository's root on the path: there lies a second `compiler`."""
    if "benchmarks" not in sys.modules:
        spec = importlib.util.spec_from_file_location("benchmarks", FOLDER / "__init__.py")
        sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["benchmarks"])
    return importlib.import_module(f"benchmarks.{name}")


program, figures = benchmark_module("__main__"), benchmark_module("figures")
Figure, text_table, markdown_table = figures.Figure, figures.text_table, figures.markdown_table


@pytest.mark.parametrize("name", [name for name in program.NAMES if name != program.PEERS])
def test_each_benchmark_runs_and_its_figures_parse(name):
    figures = benchmark_module(name).run(quick=True)
    assert figures and all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures)
    assert len({figure.label for figure in figures}) == len(figures)
    lines = text_table(figures).splitlines()[1:]
    assert len(lines) == len(figures)
    for line, figure in zip(lines, figures, strict=True):
        found = re.search(rf"  (\S+) {re.escape(figure.unit)}(?:  |$)", line)
        assert found and math.isclose(float(found[1]), figure.value, rel_tol=1e-2, abs_tol=1e-3)
        assert line.endswith(("  met", "  MISSED")) == (figure.goal is not None)


@pytest.mark.parametrize(("value", "verdict"), [(1.0, "met"), (1.1, "met"), (1.1001, "MISSED")])
def test_a_goal_is_the_most_that_a_figure_may_be(value, verdict):
    assert Figure("ratio", value, goal=1.1).verdict == verdict
    assert Figure("ratio", value).verdict == ""


@pytest.mark.parametrize(("value", "verdict"), [(2.0, "met"), (1.9, "MISSED")])
def test_or_the_least(value, verdict):
    figure = Figure("speed", value, goal=2.0, at_least=True)
    assert figure.verdict == verdict and figure.row[2] == ">= 2.000 x"


def test_markdown_has_a_row_per_figure():
    figures = [Figure("a | b", 0.5, goal=1.0, note="of two"), Figure("time", 1234.5, "ms")]
    assert markdown_table(figures).splitlines()[2:] == [
        "| a / b (of two) | 0.500 x | <= 1.000 x | met |",
        "| time | 1234 ms |  |  |",
    ]


def test_the_plan_of_a_small_step_reaches_the_goals():
    memory = benchmark_module("memory")
    report = memory.planned(memory.models.digits_cnn(), (1, 8, 8), 4)
    assert report.arena_bytes <= memory.LOWER_BOUND_GOAL * report.lower_bound_bytes
    assert report.arena_bytes <= memory.NAIVE_GOAL * report.naive_bytes


def test_a_chain_is_as_long_as_it_says():
    chain = benchmark_module("scaling").chain(40)
    graph = sn.trace(lambda x: chain(x)[0], sn.TensorSpec((3,)))
    assert sum(node.op.name in {"tanh", "multiply", "add", "sin"} for node in graph.nodes) == 40


def test_losses_that_differ_are_nothing_to_compare():
    cnn_step = benchmark_module("cnn_step")
    batches = cnn_step.random_batches(2, 3)
    assert batches[0][0].shape == (3, 1, 28, 28) and batches[0][0].dtype == np.float32
    same = {"staticnet": lambda images, labels: 1.0, "peer": lambda images, labels: 1.0}
    cnn_step.check_losses(same, batches)
    with pytest.raises(RuntimeError, match="losses of step 0 differ"):
        cnn_step.check_losses({**same, "peer": lambda images, labels: 1.1}, batches)


def test_the_program_runs_what_is_named_and_writes_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(program, "NAMES", ("call_overhead",))
    page = tmp_path / "docs" / "page.md"
    assert program.main(["--quick", "--markdown", str(page)]) == 0
    assert "Overhead of a call" in capsys.readouterr().out
    text = page.read_text()
    assert benchmark_module("machine").describe() in text and text.count("| compiled call of") == 2


def test_an_unknown_benchmark_is_refused_by_name(capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["speed"])
    assert stop.value.code == 2
    assert "no benchmark is called speed; there are peers, compile_time" in capsys.readouterr().err
