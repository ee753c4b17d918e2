"""What every test runs under: verified passes, fixed seeds, one copy of each module, GPU and sweep markers."""

from __future__ import annotations

import os
import random
import sys
import zlib

# Before staticnet is imported, and inherited by subprocesses.
os.environ["STATICNET_VERIFY"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import settings

# One test in this many of a sweep is run, beside its first and its last.
SWEEP_STRIDE = 10
# Imported under these names, a module of ours would exist twice.
SECOND_COPIES = ("compiler", "runtime", "exporters")

# Equal runs give equal results, and a busy machine is no failure.
settings.register_profile("staticnet", deadline=None, derandomize=True)
settings.load_profile("staticnet")


def sweep_is_full() -> bool:
    return os.environ.get("STATICNET_SWEEP") == "full"


def missing_gpu() -> str | None:
    """Why tests marked `gpu` cannot run here, None when they can."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    except Exception as error:
        return f"CuPy cannot be imported: {error}"
    try:
        return None if cupy.cuda.runtime.getDeviceCount() else "there is no CUDA device"
    except Exception as error:
        return f"there is no usable CUDA device: {error}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _skip_gpu(items)
    if not sweep_is_full():
        _thin_out(config, items)


def _skip_gpu(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = missing_gpu() if marked else None
    if reason is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def _thin_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep of each parametrised test marked `sweep` the first, the last and every tenth case."""
    sweeps: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sweep"):
            sweeps.setdefault(item.nodeid.split("[")[0], []).append(item)
    dropped = {
        item.nodeid
        for cases in sweeps.values()
        for number, item in enumerate(cases)
        if number % SWEEP_STRIDE and number != len(cases) - 1
    }
    if dropped:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in dropped])
        items[:] = [item for item in items if item.nodeid not in dropped]


@pytest.fixture(scope="session")
def full_sweep() -> bool:
    """Whether STATICNET_SWEEP=full asks for everything, for tests that loop by themselves."""
    return sweep_is_full()


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator with a seed of the test's own, the same in every run."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="session", autouse=True)
def _no_second_copies():
    """Fails at the end of the run; a fixture, so that every worker process checks itself."""
    yield
    found = [name for name in sys.modules if name.split(".")[0] in SECOND_COPIES]
    assert not found, f"imported from the repository root beside staticnet.*: {', '.join(found)}"
