"""The processor as it is found, restricted, and refused; and when native execution is available."""

from __future__ import annotations

import pytest

from staticnet.compiler.errors import ArgumentError
from staticnet.runtime.native import host
from tests.runtime.native.native_kernels import run_script

X86 = "x86_64-unknown-linux-gnu"
AVX2 = frozenset({"avx2", "fma", "avx"})
AVX512 = AVX2 | {"avx512f", "avx512dq", "avx512bw", "avx512vl"}


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        (X86, frozenset(), (16, 16, False)),
        (X86, frozenset({"avx", "avx2"}), (16, 16, False)),
        (X86, AVX2, (32, 16, True)),
        (X86, AVX512 - {"avx512vl"}, (32, 16, True)),
        (X86, AVX512, (64, 32, True)),
        ("aarch64-unknown-linux-gnu", frozenset({"neon"}), (16, 32, True)),
        ("arm64-apple-darwin24.0.0", frozenset(), (16, 32, True)),
    ],
)
def test_vectors_follow_from_features(triple, features, expected):
    machine = host.describe("some", "", triple, features)
    assert (machine.vector_bytes, machine.registers, machine.has_fma) == expected


def test_native_is_the_default(monkeypatch):
    monkeypatch.delenv("STATICNET_CPU", raising=False)
    found = host.machine()
    monkeypatch.setenv("STATICNET_CPU", " Native ")
    assert host.machine() == found
    assert found.name and found.triple


def test_restricted_to_the_least(monkeypatch):
    monkeypatch.setenv("STATICNET_CPU", "generic")
    assert host.machine().vector_bytes == 16
    assert host.machine().features == ""


def test_a_processor_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("STATICNET_CPU", "pentium")
    with pytest.raises(ArgumentError, match=r"STATICNET_CPU = 'pentium'.*it takes native, generic"):
        host.machine()


def test_a_processor_that_can_do_more_is_refused(monkeypatch):
    if host.architecture() != "x86_64":
        pytest.skip("levels of x86-64")
    monkeypatch.setattr(host, "_LEVELS", {"x86_64": {"future": ("x86-64", ("fma", "avx4096"))}})
    host._machine.cache_clear()
    monkeypatch.setenv("STATICNET_CPU", "future")
    with pytest.raises(ArgumentError, match="lacks avx4096"):
        host.machine()
    host._machine.cache_clear()


def make_caches(folder, rows):
    for number, (level, kind, size) in enumerate(rows):
        index = folder / f"index{number}"
        index.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (index / name).write_text(text + "\n")


def test_cache_sizes_are_read(tmp_path):
    make_caches(tmp_path, [("1", "Data", "48K"), ("1", "Instruction", "64K"), ("2", "Unified", "2M")])
    assert host.cache_sizes(tmp_path) == (48 << 10, 2 << 20)


@pytest.mark.parametrize("rows", [[], [("1", "Data", "many"), ("2", "Unified", "4M")]])
def test_cache_sizes_that_cannot_be_read_are_the_usual_ones(tmp_path, rows):
    make_caches(tmp_path, rows)
    assert host.cache_sizes(tmp_path) == host.cache_sizes(tmp_path / "none") == (32 << 10, 1 << 20)


@pytest.mark.parametrize("level", ["generic", "avx2"])
def test_the_driver_runs_on_lesser_processors(level):
    if level == "avx2" and (host.architecture() != "x86_64" or host.machine().vector_bytes < 32):
        pytest.skip("this processor has no AVX2")
    script = "from staticnet.runtime.native import host; print(host.available(), host.machine().vector_bytes)"
    assert run_script(script, {"STATICNET_CPU": level}).split() == ["True", {"generic": "16", "avx2": "32"}[level]]


def test_native_execution_can_be_turned_off(monkeypatch):
    assert host.available()
    monkeypatch.setenv("STATICNET_NATIVE", "0")
    assert not host.available()


def test_nothing_is_available_without_llvmlite():
    script = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "import staticnet\n"
        "from staticnet.runtime.native import cache, driver, host, jit, threads\n"
        "print(host.available())"
    )
    assert run_script(script).split() == ["False"]


def test_importing_us_does_not_import_llvmlite():
    script = (
        "import sys\n"
        "from staticnet.runtime.native import cache, driver, host, jit, threads\n"
        "print('llvmlite' in sys.modules)"
    )
    assert run_script(script).split() == ["False"]
