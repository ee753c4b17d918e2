"""The command `info`: versions, devices and settings, for bug reports."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from typing import Any

import staticnet
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
    print(f"kernels: {'native' if found['native'] else 'NumPy'}\n")
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
        "native": _has_native(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "config": {name: getattr(config, name) for name in settings()},
    }


def _has_native() -> bool:
    """Whether programs can become native code here."""
    return importlib.util.find_spec("staticnet.runtime.native") is not None and _version("llvmlite") is not None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
