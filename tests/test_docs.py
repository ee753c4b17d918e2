"""What README and docs say happens, happens: their code is run and its output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from staticnet.config import settings
from staticnet.runtime.native import host

ROOT = Path(__file__).parents[1]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STATICNET_")}
    return subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(not host.available(), reason="the pages show native code, and there is none on this machine")
@pytest.mark.parametrize("page", ["docs/tour.md", "docs/execution.md", "docs/native.md"])
def test_a_page_prints_what_it_says(page: str, tmp_path: Path) -> None:
    done = run(str(ROOT / "docs/run.py"), "--check", str(ROOT / page), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tour_in_the_readme_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("pygraphviz")
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "tour.py").write_text(code, encoding="utf-8")
    done = run("tour.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tensor(24.) tensor(44.)" in done.stdout
    assert {"lenet.safetensors", "lenet.onnx", "lenet.png"} <= {path.name for path in tmp_path.iterdir()}


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_every_environment_variable_is_explained() -> None:
    found = set()
    for folder in ("staticnet", "compiler", "runtime", "exporters", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r"STATICNET_[A-Z]+(?:_[A-Z]+)*\b", path.read_text(encoding="utf-8")))
    found |= {setting.variable for setting in settings().values()}
    table = (ROOT / "docs/conventions.md").read_text(encoding="utf-8").partition("## Environment variables")[2]
    assert found - {"STATICNET_ALIGNED"} == set(re.findall(r"^\| `(STATICNET_\w+)", table, re.MULTILINE))
