"""The machine and the versions that figures were measured with, in words."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "llvmlite", "torch", "jax", "onnxruntime")


def describe() -> str:
    """One line: processor, its threads, operating system, versions of Python and of the packages measured."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processor = f"{_processor()}, {threads} hardware thread{'s' * (threads != 1)}"
    versions = [f"Python {platform.python_version()}", *filter(None, map(_version, PACKAGES))]
    return f"{processor}, {platform.system()} {platform.machine()}; {', '.join(versions)}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "processor unknown"


def _version(package: str) -> str | None:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return None
