"""Programs on disk: a second start makes nothing anew, and notices whatever has changed."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from staticnet.runtime.native import host

pytestmark = pytest.mark.skipif(not host.available(), reason="no native code on this machine")

SCRIPT = textwrap.dedent(
    """
    import json, sys
    import numpy as np
    import staticnet as sn
    from staticnet import nn, optim
    from staticnet.compiler import pipeline
    import staticnet.compiled as compiled
    made = []
    assemble = compiled.assemble
    compiled.assemble = lambda *a, **k: (made.append(1), assemble(*a, **k))[1]
    from staticnet.runtime.native import jit
    sn.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    x = np.linspace(-1, 1, 2 * 64, dtype=np.float32).reshape(2, 1, 8, 8)
    losses = [float(step(x, np.array([0, 2]))) for _ in range(3)]
    try:
        step(x, np.array([0, 5]))
    except sn.errors.RunError as error:
        refusal = str(error)
    run = sn.compile(model.eval())
    outputs = run(x).tolist()
    print(json.dumps({
        "made": len(made), "compiled": jit.statistics().compiled, "losses": losses, "refusal": refusal,
        "outputs": outputs, "text": step.program.text(),
    }))
    """
)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run the script in a process of its own, with a cache of its own; `before` are lines put in front of it."""
    script = tmp_path / "train.py"

    def run(before: str = "", **environment: str) -> dict:
        script.write_text(before + SCRIPT)
        import os

        given = {**os.environ, "STATICNET_CACHE_DIR": str(tmp_path / "cache"), **environment}
        for name in ("STATICNET_VERIFY", "STATICNET_DEBUG", "STATICNET_DUMP", "STATICNET_SKIP"):
            if name not in environment:
                given.pop(name, None)
        done = subprocess.run([sys.executable, str(script)], env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_a_warm_start_makes_and_compiles_nothing(start):
    cold, warm = start(), start()
    assert cold["made"] == 2 and cold["compiled"] > 0
    assert warm["made"] == 0 and warm["compiled"] == 0
    for part in ("losses", "outputs", "refusal", "text"):
        assert warm[part] == cold[part]
    assert "label 5 at position (1,)" in warm["refusal"]


def test_moved_source_lines_are_noticed(start):
    start()
    moved = start("# a line that was not there before\n")
    assert moved["made"] == 2 and moved["compiled"] == 0
    again = start("# a line that was not there before\n")
    assert again["made"] == 0


@pytest.mark.parametrize("environment", [{"STATICNET_SKIP": "cse"}, {"STATICNET_CPU": "sse2"}])
def test_settings_are_part_of_the_key(start, environment):
    start()
    assert start(**environment)["made"] == 2


@pytest.mark.parametrize("harm", ["truncate", "nonsense", "remove an object"])
def test_harmed_files_are_made_anew(start, tmp_path, harm):
    cold = start()
    files = sorted((tmp_path / "cache").rglob("*"), key=lambda path: path.stat().st_size)
    files = [path for path in files if path.is_file()]
    assert files
    for path in files if harm != "remove an object" else files[:3]:
        data = path.read_bytes()
        if harm == "truncate":
            path.write_bytes(data[: len(data) // 2])
        elif harm == "nonsense":
            path.write_bytes(b"nonsense" * 10)
        else:
            path.unlink()
    again = start()
    assert again["losses"] == cold["losses"] and again["outputs"] == cold["outputs"]


def test_without_a_cache_everything_still_runs(start):
    assert start(STATICNET_CACHE="0")["losses"] == start()["losses"]
