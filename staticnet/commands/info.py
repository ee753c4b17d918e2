"""The command `info`: versions, devices and settings, for bug reports."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import staticnet
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.memory_report import format_bytes
from staticnet.config import config, settings
from staticnet.devices import available

_PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "safetensors",
    "tqdm",
    "llvmlite",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "graphviz",
    "pygraphviz",
    "matplotlib",
    "pooch",
    "pillow",
)


def info(given: argparse.Namespace) -> int:
    """Print what is installed and set."""
    found = _found()
    if given.json:
        print(json.dumps(found))
        return 0
    print(f"staticnet {found['staticnet']}, Python {found['python']}, {found['platform']}, {found['cores']} cores\n")
    print("devices: " + ", ".join(found["devices"]))
    print(_native_text(found["native"]) + "\n")
    for name, version in found["packages"].items():
        print(f"{name.ljust(max(map(len, _PACKAGES)))}  {version or '-'}")
    print("\n" + config.describe())
    return 0


def _found() -> dict[str, Any]:
    return {
        "staticnet": staticnet.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "devices": list(available()),
        "native": _native(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "config": {name: getattr(config, name) for name in settings()},
    }


def _native() -> dict[str, Any]:
    """How programs run on the CPU: with what code, on how many threads, and what is kept on disk."""
    from staticnet.runtime.native import cache, host

    try:
        hindrance, machine, kept = host.hindrance(), host.machine(), cache.configured()
    except ArgumentError as error:
        return {"available": False, "reason": error.message}
    if hindrance is not None:
        return {"available": False, "reason": f"{hindrance}; programs run as NumPy kernels"}
    files, nbytes = kept.contents() if kept else (0, 0)
    return {
        "available": True,
        "processor": machine.name,
        "level": os.environ.get("STATICNET_CPU", "").strip() or "native",
        "vector_bytes": machine.vector_bytes,
        "threads": config.num_threads,
        "cache": {"folder": str(kept.folder), "files": files, "bytes": nbytes, "limit": kept.limit} if kept else None,
    }


def _native_text(native: Mapping[str, Any]) -> str:
    if not native["available"]:
        return f"CPU: no native code: {native['reason']}"
    threads = f"{native['threads']} thread{'s' * (native['threads'] != 1)}"
    restricted = f" (STATICNET_CPU={native['level']})" if native["level"] != "native" else ""
    vectors = f"vectors of {8 * native['vector_bytes']} bits"
    lines = [f"CPU: native code for {native['processor']}{restricted}, {vectors}, {threads}"]
    if kept := native["cache"]:
        size, limit = format_bytes(kept["bytes"]), format_bytes(kept["limit"])
        lines.append(f"code cache: {kept['folder']}, {size} of {limit} in {kept['files']} files")
    else:
        lines.append("code cache: off")
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
