"""Profiles as traces: JSON in the trace event format, every step a complete event with what is known of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiler.errors import ArgumentError
from staticnet.runtime.profile import Profile


@sn.compile
def work(x: Any) -> Any:
    return sn.exp(x @ x).sum() + x.mean()


def events(profile: Profile, folder: Path) -> list[dict[str, Any]]:
    profile.to_chrome(folder / "trace.json")
    found: list[dict[str, Any]] = json.loads((folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    return found


@pytest.mark.parametrize("is_native", ["1", "0"])
def test_events_are_complete(is_native: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICNET_NATIVE", is_native)
    profile = sn.compile(work.function, name="work").profile(np.ones((32, 32), np.float32), repeats=3)
    found = events(profile, tmp_path)
    assert {event["ph"] for event in found} == {"X", "M"}
    for event in found:
        assert isinstance(event["name"], str) and isinstance(event["pid"], int) and isinstance(event["tid"], int)
        if event["ph"] == "X":
            assert event["ts"] >= 0 and event["dur"] >= 0 and isinstance(event["args"], dict)
    names = {event["args"]["name"] for event in found if event["ph"] == "M"}
    assert {"work", "steps"} <= names
    (call,) = [event for event in found if event["name"] == "work"]
    steps = [event for event in found if event["cat" if event["ph"] == "X" else "ph"] in {"native", "python"}]
    assert [event["name"] for event in steps] == [entry.op for entry in profile]
    assert all(call["ts"] <= event["ts"] and event["ts"] + event["dur"] <= call["dur"] + 0.01 for event in steps)
    assert [event["ts"] for event in steps] == sorted(event["ts"] for event in steps)
    first = steps[0]["args"]
    assert first["shape"] == [32, 32] and first["GFLOP/s"] >= 0 and "test_profile_trace.py" in first["line"]
    assert "sn.exp(x @ x)" in first["source"] and first["bound"] in {"arithmetic", "memory"}


def test_modules_have_a_row_of_their_own(tmp_path: Path) -> None:
    model = sn.nn.Sequential(sn.nn.Linear(4, 8), sn.nn.Tanh(), sn.nn.Linear(8, 2))
    step = sn.compile_train_step(model, sn.nn.MSELoss(), sn.optim.SGD(model.parameters(), lr=0.1))
    profile = step.profile(np.ones((3, 4), np.float32), np.ones((3, 2), np.float32), repeats=1)
    found = [event for event in events(profile, tmp_path) if event.get("cat") == "module"]
    assert {"0", "2"} <= {event["name"] for event in found}
    assert len({event["tid"] for event in found}) == 1
    assert all(a["ts"] + a["dur"] <= b["ts"] + 0.01 for a, b in pairwise(found))


def test_a_program_without_steps_has_a_trace(tmp_path: Path) -> None:
    found = events(sn.compile(lambda x: x, name="nothing").profile(np.ones(3, np.float32)), tmp_path)
    assert [event["name"] for event in found if event["ph"] == "X"] == ["nothing", "feeds", "results"]


def test_traces_that_cannot_be_written(tmp_path: Path) -> None:
    profile = work.profile(np.ones((4, 4), np.float32), repeats=1)
    with pytest.raises(ArgumentError, match="cannot write"):
        profile.to_chrome(tmp_path / "no" / "trace.json")
    with pytest.raises(ArgumentError, match="has no run to show"):
        Profile("net", ()).to_chrome(tmp_path / "trace.json")
