"""`staticnet profile`: tables and traces of models and training steps from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from staticnet.cli import main
from staticnet.config import config

MODEL = """
import staticnet as sn
from staticnet import nn


class Net(nn.Module):
    specs = sn.TensorSpec(("batch", 6), "float32", name="features")

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x))


class Words(nn.Module):
    specs = sn.TensorSpec(("batch", "length"), "int64", name="words")

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(sn.zeros((5, 4)).numpy())

    def forward(self, words):
        return self.table[words].mean(1)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "profiled.py").write_text(MODEL)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("profiled", "target_profiled")):
            del sys.modules[name]
    config.reset()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(command: str) -> tuple[int, str, str]:
        status = main(command.split())
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_model(run: Any) -> None:
    status, out, err = run("profile profiled.py:Net --size batch=5 --repeats 2")
    assert (status, err) == (0, "")
    assert out.startswith("profile of Net: ") and "median of 2 calls" in out
    assert "5x3" in out and "head profiled.py:" in out and "total" in out
    assert "32x3" in run("profile profiled.py:Net")[1]


def test_a_training_step_and_its_trace(run: Any) -> None:
    status, out, err = run("profile profiled.py:Net --train --chrome trace.json --rows 2 --repeats 1")
    assert status == 0 and out.startswith("profile of Net.train_step: ") and " more " in out
    assert err == "trace: trace.json, to be opened in ui.perfetto.dev or chrome://tracing\n"
    events = json.loads(Path("trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert any(event["ph"] == "X" and event["args"].get("module") == "head" for event in events)


@pytest.mark.parametrize(("by", "name"), [("module", "body.0"), ("op", "matmul"), ("line", "profiled.py:15")])
def test_groups(run: Any, by: str, name: str) -> None:
    status, out, _ = run(f"profile profiled.py:Net --train --by {by} --repeats 1")
    rows = [line.split()[0] for line in out.split("\n\n")[1].splitlines()]
    assert status == 0 and rows[0] == by and name in rows and rows[-1] == "total"


def test_whole_numbers_and_several_open_sizes(run: Any) -> None:
    status, out, _ = run("profile profiled.py:Words --size length=7 --repeats 1")
    assert status == 0 and "32x1x4" in out and "32x7x4" in out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("profile profiled.py:Net --repeats 0", "--repeats 0: at least 1 is needed"),
        ("profile profiled.py:Net --rows 0", "--rows 0: at least 1 is needed"),
        ("profile profiled.py:Net --size n=3", "--size n: the open sizes of profiled.py:Net are batch"),
        ("profile profiled.py:Net --size batch", "--size takes a name and a whole number"),
        ("profile profiled.py:Net --input x:float32[2,6] --size n=3", "are none"),
        ("profile profiled.py:Net --chrome no/trace.json --repeats 1", "cannot write 'no/trace.json'"),
    ],
)
def test_what_cannot_be_used(run: Any, command: str, message: str) -> None:
    status, _, err = run(command)
    assert status == 2 and err.startswith("staticnet: error: ") and message in err and err.count("\n") == 1
