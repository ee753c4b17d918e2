"""Processes with a fixed number of threads: what must be settled before NumPy or any peer is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_COUNTS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "STATICNET_NUM_THREADS",
    "NPROC",  # the size of XLA's pool
)


def environment(threads: int) -> dict[str, str]:
    """The environment of this process, with all peers limited to `threads`."""
    found = {**os.environ, **dict.fromkeys(_COUNTS, str(threads)), "JAX_PLATFORMS": "cpu"}
    if threads == 1:
        found["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return found


def pin(threads: int) -> None:
    """Keep this process on as many processors as it has threads, where the system lets it choose.

    Peers that take no number of threads go by the processors they may use.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def answer(module: str, arguments: Sequence[str], threads: int, more: Mapping[str, str] | None = None) -> Any:
    """Run a module of the benchmarks in a fresh interpreter; what it prints last, as JSON.

    Raises subprocess.CalledProcessError where it fails; what it writes to stderr goes to ours.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**environment(threads), **(more or {})}
    )
    return json.loads(done.stdout.splitlines()[-1])
