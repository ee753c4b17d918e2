"""The digits that ship with the package."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError
from staticnet.data import ArrayDataset, digits, random_split


def test_shapes_dtypes_and_values():
    train, test = digits()
    assert (len(train), len(test)) == (1500, 297)
    for part in (train, test):
        images, labels = part.arrays
        assert images.shape[1:] == (1, 8, 8) and images.dtype == np.float32 and images.flags.c_contiguous
        assert images.min() == 0 and images.max() == 1
        assert labels.dtype == np.int64 and set(labels) == set(range(10))
        assert len(part.labels) == 10 and part.labels[7] == "seven"


def test_one_part_by_name():
    train, test = digits()
    assert np.array_equal(digits("train").arrays[0], train.arrays[0])
    assert np.array_equal(digits("test").arrays[1], test.arrays[1])
    with pytest.raises(ArgumentError, match="not 'valid'"):
        digits("valid")


def test_the_split_never_changes():
    _, test = digits()
    assert test.arrays[1][:10].tolist() == [9, 1, 3, 9, 3, 4, 3, 5, 5, 2]
    digest = hashlib.sha256(test.arrays[0].astype("<f4").tobytes()).hexdigest()
    assert digest == "933165c1edd21685070a9f72ced912b17b11fbacc01fad325917b06a6a8855de"


def test_it_is_scikit_learns_data_in_the_documented_split():
    source = pytest.importorskip("sklearn.datasets").load_digits()
    whole = ArrayDataset(source.images[:, np.newaxis].astype(np.float32) / 16, source.target)
    for part, expected in zip(digits(), random_split(whole, [1500, 297], seed=0), strict=True):
        images, labels = whole.batch(expected.indexes)
        assert np.array_equal(part.arrays[0], images) and np.array_equal(part.arrays[1], labels)


def test_the_parts_are_disjoint_and_complete():
    train, test = digits()
    images = np.concatenate([train.arrays[0], test.arrays[0]])
    assert len({image.tobytes() for image in images}) == 1797


def test_the_files_are_small_and_attributed():
    folder = resources.files("staticnet.data") / "files"
    assert len((folder / "digits.npz").read_bytes()) < 57_000
    text = (folder / "DIGITS.md").read_text()
    assert "Alpaydin" in text and "CC BY 4.0" in text and "10.24432/C50P49" in text
