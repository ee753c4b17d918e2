"""`staticnet info` about the CPU: the processor, its vectors, threads, the cache, or why there is no native code."""

from __future__ import annotations

import json

import pytest

from staticnet.cli import main
from staticnet.config import config
from staticnet.runtime.native import cache, host

pytestmark = pytest.mark.skipif(not host.available(), reason="no native code on this machine")


@pytest.fixture(autouse=True)
def afresh():
    """What was found out about the machine, and set, holds for one test."""
    host._hindrance.cache_clear()
    config.reset()
    yield
    host._hindrance.cache_clear()
    config.reset()


@pytest.fixture
def info(capsys):
    def run(*options: str) -> str:
        assert main(["info", *options]) == 0
        return capsys.readouterr().out

    return run


def test_processor_vectors_and_threads(info, monkeypatch):
    monkeypatch.setenv("STATICNET_NUM_THREADS", "3")
    monkeypatch.setenv("STATICNET_CPU", "generic")
    processor = host.machine().name
    assert f"CPU: native code for {processor} (STATICNET_CPU=generic), vectors of 128 bits, 3 threads\n" in info()
    found = json.loads(info("--json"))["native"]
    assert found["available"] and found["processor"] == processor
    assert (found["level"], found["vector_bytes"], found["threads"]) == ("generic", 16, 3)
    monkeypatch.setenv("STATICNET_CPU", "native")
    assert f"native code for {host.machine().name}, vectors" in info()


def test_the_cache(info, monkeypatch, tmp_path):
    monkeypatch.setenv("STATICNET_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("STATICNET_CACHE_SIZE", "2M")
    folder = tmp_path / "native"
    empty = {"folder": str(folder), "files": 0, "bytes": 0, "limit": 2 << 20}
    assert json.loads(info("--json"))["native"]["cache"] == empty
    store = cache.configured()
    assert store is not None
    store.write({"a": bytes(1000), "b": bytes(5000)})
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert json.loads(info("--json"))["native"]["cache"] == {**empty, "files": 2, "bytes": sum(sizes)}
    assert f"\ncode cache: {folder}, 6.0 KiB of 2.0 MiB in 2 files\n" in info()
    monkeypatch.setenv("STATICNET_CACHE", "0")
    assert "\ncode cache: off\n" in info() and json.loads(info("--json"))["native"]["cache"] is None


@pytest.mark.parametrize(
    "variable, value, reason",
    [
        ("STATICNET_NATIVE", "0", "STATICNET_NATIVE=0 turns it off; programs run as NumPy kernels\n"),
        ("STATICNET_CPU", "pentium", "STATICNET_CPU = 'pentium': on "),
        ("STATICNET_CACHE_SIZE", "big", "STATICNET_CACHE_SIZE = 'big': it takes bytes"),
    ],
)
def test_why_there_is_no_native_code(info, monkeypatch, variable, value, reason):
    monkeypatch.setenv(variable, value)
    assert f"\nCPU: no native code: {reason}" in info()
    found = json.loads(info("--json"))["native"]
    assert found["available"] is False and found["reason"].startswith(reason.strip())
