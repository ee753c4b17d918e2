"""Exported programs as tests run them: linked into C programs, and loaded as libraries by ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.runtime.native import host

COMPILER = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
CPP_COMPILER = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror", "-pedantic")

needs_native = pytest.mark.skipif(not host.available(), reason="native code does not run here")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")

_FILLING = 0xAB


def build(folder: Path, source: str, *objects: Path, compiler: str | None = COMPILER, standard: str = "c99") -> Path:
    """A program of C or C++ source and object files, built without a warning."""
    assert compiler is not None
    suffix = ".cpp" if "++" in standard else ".c"
    (folder / f"main{suffix}").write_text(source, encoding="utf-8")
    program = folder / "main"
    command = [compiler, f"-std={standard}", *FLAGS, "-I", str(folder), str(folder / f"main{suffix}")]
    run(*command, *map(str, objects), "-lm", "-o", str(program))
    return program


def run(*command: str | Path) -> str:
    """What a command prints; its errors are shown if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Library:
    """An exported library."""

    def __init__(self, files: sn.native_export.NativeFiles, name: str):
        self.name, self.header = name, files.header.read_text(encoding="utf-8")
        self._library = ctypes.CDLL(str(files.code))
        size, self.error_text = self.function("bytes"), self.function("error")
        size.restype, self.error_text.restype = ctypes.c_size_t, ctypes.c_char_p
        self.nbytes: int = size()

    def function(self, name: str) -> Any:
        return self._library[f"{self.name}_{name}"]

    def instance(self, alignment: int = 64) -> Instance:
        return Instance(self, alignment)


class Instance:
    """One instance, `alignment` bytes from a multiple of 128; what is written beside it is seen."""

    def __init__(self, library: Library, alignment: int):
        self.library = library
        self._memory = np.full(library.nbytes + 512, _FILLING, np.uint8)
        self._start = -self._memory.ctypes.data % 128 + 128 + alignment
        self.bytes = self._memory[self._start : self._start + library.nbytes]
        self.address = ctypes.c_void_p(self.bytes.ctypes.data)
        library.function("init")(self.address)

    def run(self, feeds: Sequence[np.ndarray], outputs: Sequence[np.ndarray | None]) -> int:
        """One run on arrays that lie as their elements must, and no better; what it returns."""
        loose = [_loose(feed) for feed in feeds]
        results = [None if output is None else _loose(output) for output in outputs]
        given = [ctypes.c_void_p(None if each is None else each.ctypes.data) for each in (*loose, *results)]
        code: int = self.library.function("run")(self.address, *given)
        for feed, own in zip(feeds, loose, strict=True):
            np.testing.assert_array_equal(own.view(np.uint8), np.ascontiguousarray(feed).reshape(-1).view(np.uint8))
        for output, result in zip(outputs, results, strict=True):
            if output is not None and result is not None:
                output[...] = result.reshape(output.shape)
        outside = np.concatenate([self._memory[: self._start], self._memory[self._start + self.library.nbytes :]])
        assert (outside == _FILLING).all(), "something was written beside the instance"
        return code

    def error(self, code: int) -> str:
        text: bytes = self.library.error_text(code)
        return text.decode()

    def __getitem__(self, member: str) -> np.ndarray:
        """The bytes from a member on, found as the C compiler finds it: by the members before it."""
        return self.bytes[offset_of(self.library.header, member) :]


def offset_of(header: str, member: str) -> int:
    """Where a member begins, counted over the lines of the struct."""
    sizes = {"float": 4, "double": 8, "unsigned char": 1, "int64_t": 8, "uint64_t": 8, "int32_t": 4, "uint8_t": 1}
    place = 0
    for line in header.partition("typedef struct")[2].splitlines()[1:]:
        kind, _, rest = line.strip().removeprefix("STATICNET_ALIGNED ").partition(";")[0].rpartition(" ")
        name, _, count = rest.partition("[")
        if name.lstrip("*") == member:
            return place
        place += 8 if name.startswith("*") else sizes[kind] * int(count.rstrip("]") or 1)
    raise KeyError(member)


def _loose(array: np.ndarray) -> np.ndarray:
    """A flat copy that is aligned to its elements, but to no more."""
    flat = np.ascontiguousarray(array).reshape(-1)
    memory = np.full(flat.nbytes + 512, _FILLING, np.uint8)
    start = -memory.ctypes.data % 128 + flat.itemsize
    made = memory[start : start + flat.nbytes].view(flat.dtype)
    made[...] = flat
    return made


def library(folder: Path, model: Any, *specs: Any, name: str = "model", **options: Any) -> Library:
    """A model exported as a shared library and loaded."""
    return Library(sn.export_native(model, folder / f"lib{name}.so", *specs, **options), name)


# -- what is exported ------------------------------------------------------------------------------

BATCH, CLASSES = 6, 5
IMAGES = sn.TensorSpec(("batch", 2, 8, 8), "float32", name="images")
FEATURES = sn.TensorSpec((BATCH, 7), "float32")
LABELS = sn.TensorSpec((BATCH,), "int64")


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, CLASSES))


def mlp_step() -> tuple[nn.Module, sn.step.TrainStep]:
    sn.manual_seed(3)
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, sn.compile_train_step(model, nn.CrossEntropyLoss(), optimizer, FEATURES, LABELS)


def batches(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((BATCH, 7), np.float32), rng.integers(0, CLASSES, BATCH)) for _ in range(count)]


def weights(model: nn.Module) -> list[np.ndarray]:
    return [parameter.numpy() for parameter in model.parameters()]
