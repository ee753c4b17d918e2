"""What `import staticnet` costs and offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import staticnet as sn
from staticnet.compiler import dtypes
from staticnet.compiler.ir import FUNCTIONS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("onnx", "onnxruntime", "llvmlite", "cupy", "matplotlib", "graphviz", "pygraphviz", "safetensors", "tqdm")


def loaded_by(script: str) -> set[str]:
    """The modules that a fresh process has after running `script`."""
    code = f"{script}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_import_alone_loads_nothing():
    modules = loaded_by("import staticnet")
    assert "numpy" not in modules
    assert {name for name in modules if name.startswith("staticnet")} == {"staticnet"}


def test_building_a_model_loads_nothing_heavy():
    script = "import staticnet as sn\nfrom staticnet import nn\nnn.Linear(2, 3)\nsn.trace(nn.ReLU(), sn.TensorSpec(2))"
    assert not loaded_by(script) & set(HEAVY)


def test_functions_are_found():
    for name in ("exp", "where", "concatenate", "softmax", "abs", "pow", "dropout"):
        assert getattr(sn, name) is getattr(sn.functional, name)
        assert name in dir(sn)
    assert set(sn.functional.names()) <= {*FUNCTIONS, "abs", "pow", "dropout"}
    assert sn.exp.__doc__ == FUNCTIONS["exp"].__doc__


def test_dtypes_are_found():
    assert sn.float32 is dtypes.float32
    assert sn.uint8 is dtypes.uint8


@pytest.mark.parametrize("name", ["nonsense", "constant", "random_bits", "_private", "getitem"])
def test_what_is_not_there(name):
    assert not hasattr(sn, name)


def test_no_name_is_hidden_by_a_module():
    script = "import staticnet.config, staticnet.tracing, staticnet.random, staticnet as sn\nassert sn.config.device"
    loaded_by(script)


def test_the_public_names_agree():
    assert sorted(sn.__all__) == sorted({*sn._MODULES, *sn._NAMES})
