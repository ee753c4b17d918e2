"""The data that ships with the package: 1,797 small images of handwritten digits."""

from __future__ import annotations

from importlib import resources
from typing import Literal, overload

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.data import order
from staticnet.data.datasets import ArrayDataset

DIGIT_LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_TRAIN_SIZE = 1500
_SPLIT_SEED = 0


@overload
def digits(split: None = None) -> tuple[ArrayDataset, ArrayDataset]: ...
@overload
def digits(split: Literal["train", "test"]) -> ArrayDataset: ...
@boundary
def digits(split: str | None = None) -> ArrayDataset | tuple[ArrayDataset, ArrayDataset]:
    """Handwritten digits of 8x8 pixels: (train, test), or one of them by name.

    1,500 and 297 examples (image, label); images float32 of shape (1, 8, 8) in [0, 1], labels
    int64 from 0 to 9. The split is random and always the same: that of `random_split` with
    seed 0. Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49; see `files/DIGITS.md`.
    Raises ArgumentError for another split.
    """
    if split not in (None, "train", "test"):
        raise ArgumentError(f"split must be 'train', 'test' or None for both, not {split!r}")
    with (
        resources.files("staticnet.data").joinpath("files/digits.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as content,
    ):
        images, labels = content["images"], content["labels"]
    shuffled = order.permutation(len(images), seed=_SPLIT_SEED, purpose=order.SPLIT)
    parts = {"train": shuffled[:_TRAIN_SIZE], "test": shuffled[_TRAIN_SIZE:]}
    train, test = (
        ArrayDataset(
            images[chosen, np.newaxis].astype(np.float32) / 16,
            labels[chosen].astype(np.int64),
            labels=DIGIT_LABELS,
        )
        for chosen in parts.values()
    )
    if split is None:
        return train, test
    return train if split == "train" else test
