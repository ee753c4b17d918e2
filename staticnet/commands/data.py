"""--data: the data sets that a command line can name."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from staticnet import data, serialization
from staticnet.compiler.errors import ArgumentError, DataError
from staticnet.data.datasets import ArrayDataset

_SETS = ("digits", "mnist", "fashion-mnist")
_FETCHED = {"mnist": data.mnist, "fashion-mnist": data.fashion_mnist}


def load_split(given: argparse.Namespace, split: str) -> ArrayDataset:
    """One part of a data set, 'train' or 'test'; a file without parts is the same for both."""
    found = _load(given, split)
    if found is None:
        raise DataError(f"{given.data} has no arrays for --split {split}")
    return found


def load_both(given: argparse.Namespace) -> tuple[ArrayDataset, ArrayDataset | None]:
    """The part to train on, and the part to validate on if there is one."""
    train = load_split(given, "train")
    return train, _load(given, "test") if given.data in _SETS or _has_parts(_npz(given.data)) else None


def load_inputs(given: argparse.Namespace) -> np.ndarray:
    """The inputs alone."""
    if given.data.endswith(".npy"):
        return _narrow(_npy(Path(given.data)))
    if given.data in _SETS:
        return load_split(given, given.split).arrays[0]
    arrays = _npz(given.data)
    name = next((name for name in (f"x_{given.split}", "x") if name in arrays), None)
    if name is None:
        raise DataError(f"{given.data} has no array x or x_{given.split}; it has {', '.join(arrays) or 'none'}")
    return _narrow(arrays[name])


def _load(given: argparse.Namespace, split: str) -> ArrayDataset | None:
    if given.data == "digits":
        train, test = data.digits()
        return train if split == "train" else test
    if given.data in _FETCHED:
        return _FETCHED[given.data](given.data_folder, train=split == "train", download=not given.no_download)
    return _of_file(given.data, split)


def _of_file(path: str, split: str) -> ArrayDataset | None:
    arrays = _npz(path)
    suffix = f"_{split}" if _has_parts(arrays) else ""
    if suffix and f"x{suffix}" not in arrays:
        return None
    missing = [name for name in (f"x{suffix}", f"y{suffix}") if name not in arrays]
    if missing:
        raise DataError(f"{path} has no array {' and '.join(missing)}; it has {', '.join(arrays) or 'none'}")
    return ArrayDataset(_narrow(arrays[f"x{suffix}"]), _narrow(arrays[f"y{suffix}"]))


def _has_parts(arrays: dict[str, np.ndarray]) -> bool:
    return "x_train" in arrays or "x_test" in arrays


def _npz(path: str) -> dict[str, np.ndarray]:
    if not path.endswith((".npz", ".safetensors")):
        raise ArgumentError(f"--data is {', '.join(_SETS)} or a .npz file, not {path!r}")
    return serialization.load(path)


def _npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from None


def _narrow(array: np.ndarray) -> np.ndarray:
    """float64, which files have because nobody chose, as float32; smaller integers as int64, as labels are."""
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array.astype(np.int64) if array.dtype.kind in "iu" and array.dtype.itemsize < 8 else array
