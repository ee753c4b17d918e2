"""What is built and installed: every folder of the package, nothing beside it, importable from anywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "staticnet": "staticnet",
    "staticnet.compiler": "compiler",
    "staticnet.runtime": "runtime",
    "staticnet.exporters": "exporters",
}
SETUPTOOLS_WITH_LICENSE_EXPRESSIONS = 77


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders() -> dict[str, Path]:
    """The package of every folder that holds source, by dotted name."""
    return {
        ".".join([package, *path.relative_to(ROOT / room).parts]): path
        for package, room in ROOMS.items()
        for path in [ROOT / room, *sorted((ROOT / room).rglob("*"))]
        if path.is_dir() and any(path.glob("*.py"))
    }


def run(*command: object, cwd: Path) -> str:
    finished = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of a copy of the source, so that no build folder is left in the tree or taken from it."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for room in ROOMS.values():
        shutil.copytree(ROOT / room, source / room, ignore=ignore)
    # Folders that are no part of the package must not slip in.
    for other in ("tests", "examples", "benchmarks", "docs"):
        (source / other).mkdir()
        (source / other / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    # The tools of the [dev] extra need no network; without them pip fetches what it needs.
    isolation = ["--no-build-isolation"] if setuptools_is_new() else []
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", target, source, cwd=target)
    (built,) = target.glob("*.whl")
    return built


def setuptools_is_new() -> bool:
    try:
        return int(version("setuptools").split(".")[0]) >= SETUPTOOLS_WITH_LICENSE_EXPRESSIONS
    except PackageNotFoundError:
        return False


def test_every_folder_is_a_package():
    without = [str(path.relative_to(ROOT)) for path in folders().values() if not (path / "__init__.py").exists()]
    assert not without, f"no __init__.py in {', '.join(without)}"


def test_the_package_list_is_complete(project):
    listed = project["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(folders()), "the list of packages in pyproject.toml and the folders differ"
    assert len(listed) == len(set(listed))


def test_the_rooms_are_mapped(project):
    assert project["tool"]["setuptools"]["package-dir"] == ROOMS


def test_only_staticnet_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        (information,) = tops - {"staticnet"}
        assert re.fullmatch(r"staticnet-[\d.]+\S*\.dist-info", information)
        assert archive.read(f"{information}/top_level.txt").split() == [b"staticnet"]


def test_everything_is_in_the_wheel(wheel):
    sources = {
        "/".join([*package.split("."), path.name])
        for package, folder in folders().items()
        for path in folder.glob("*.py")
    }
    data = {
        f"staticnet/{folder}/{path.name}"
        for folder, place in {"data/files": "staticnet/data/files", "exporters/fonts": "exporters/fonts"}.items()
        for path in (ROOT / place).glob("*")
        if path.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("staticnet/")}
    assert names == sources | data | {"staticnet/py.typed"}


def test_the_license_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("LICENSE")]
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        assert b"License-Expression: Apache-2.0" in archive.read(metadata)


def test_the_base_install_is_small(project):
    names = {re.split(r"[<>=~!\[ ;]", requirement)[0] for requirement in project["project"]["dependencies"]}
    assert names <= {"numpy", "onnx", "llvmlite", "safetensors", "tqdm"}


def test_the_installed_package_works_from_another_folder(wheel, tmp_path):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel, cwd=elsewhere)
    assert {path.name for path in target.iterdir()} - {"bin"} == {
        "staticnet",
        next(target.glob("*.dist-info")).name,
    }
    # Only the copy may answer: the finder of an editable install would hide what the wheel lacks.
    script = f"""
import importlib, pathlib, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in str(finder)]
sys.path.insert(0, {str(target)!r})
import staticnet
for name in {sorted(folders())!r}:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to({str(target)!r}), module.__file__
second = [name for name in sys.modules if name.split(".")[0] in ("compiler", "runtime", "exporters")]
assert not second, second
print("fine")
"""
    assert run(sys.executable, "-c", script, cwd=elsewhere).split() == ["fine"]
