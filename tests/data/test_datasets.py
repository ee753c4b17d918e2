"""Datasets: lengths, rows, transforms, subsets and random cuts."""

import subprocess
import sys

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, DataError
from staticnet.data import ArrayDataset, DataLoader, Dataset, Subset, random_split


def numbered(count=10):
    return ArrayDataset(np.arange(count * 2, dtype=np.float32).reshape(count, 2), np.arange(count))


def test_importing_is_cheap():
    script = "import sys, staticnet.data; print([m for m in ('pooch', 'sklearn', 'onnx', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_rows_slices_and_index_arrays():
    data = numbered()
    image, label = data[3]
    assert image.tolist() == [6, 7] and label == 3
    images, labels = data[2:5]
    assert images.shape == (3, 2) and labels.tolist() == [2, 3, 4]
    assert data[[-1, 0]][1].tolist() == [9, 0]
    assert data[-1][1] == 9
    assert [int(label) for _, label in data] == list(range(10))
    with pytest.raises(IndexError):
        data[10]
    with pytest.raises(IndexError):
        data[[10]]


def test_one_array_gives_arrays_not_tuples():
    data = ArrayDataset(np.arange(4))
    assert data[2] == 2
    assert data.batch(np.array([3, 1])).tolist() == [3, 1]


def test_dtypes_are_kept_and_lists_of_floats_are_single_precision():
    assert ArrayDataset(np.zeros(3)).arrays[0].dtype == np.float64
    assert ArrayDataset([0.5, 1.5]).arrays[0].dtype == np.float32
    assert ArrayDataset([np.zeros(2), np.zeros(2)]).arrays[0].dtype == np.float64
    assert ArrayDataset([1, 2]).arrays[0].dtype == np.int64
    array = np.zeros((3, 2), np.float16)
    assert ArrayDataset(array).arrays[0] is array


def test_batches_are_fresh_and_contiguous():
    source = np.asfortranarray(np.arange(24).reshape(6, 4))
    rows = ArrayDataset(source).batch(np.array([5, 0]))
    assert rows.flags.c_contiguous and rows.tolist() == source[[5, 0]].tolist()
    rows[:] = -1
    assert source.min() == 0


def test_lengths_that_differ_are_named():
    with pytest.raises(DataError, match="array 0 has 3, array 1 has 3, array 2 has 4") as caught:
        ArrayDataset(np.zeros(3), np.zeros(3), np.zeros(4))
    assert caught.value.origin.file == __file__


def test_what_is_no_array_is_refused():
    with pytest.raises(DataError, match="array 1 is no rectangular array"):
        ArrayDataset([1, 2], [[1], [2, 3]])
    with pytest.raises(DataError, match="array 0 holds Python objects"):
        ArrayDataset([None, None])
    with pytest.raises(DataError, match="array 0 is the single number 5"):
        ArrayDataset(5)
    with pytest.raises(ArgumentError, match="at least one array"):
        ArrayDataset()
    with pytest.raises(ArgumentError, match="target_transform needs a second array"):
        ArrayDataset([1], target_transform=abs)


def test_transforms_apply_to_rows_and_batches_alike():
    images = np.arange(12, dtype=np.float32).reshape(4, 3)
    data = ArrayDataset(images, np.arange(4), transform=lambda row: row[:2] * 10, target_transform=lambda y: float(-y))
    assert data[2][0].tolist() == [60, 70] and data[2][1] == -2
    rows, targets = data.batch(np.array([2, 0]))
    assert rows.tolist() == [[60, 70], [0, 10]] and rows.dtype == np.float32
    assert targets.tolist() == [-2, 0] and targets.dtype == np.float32


def test_a_transform_in_place_cannot_change_the_data():
    def spoil(row):
        row[:] = -1
        return row

    images = np.ones((4, 3))
    data = ArrayDataset(images, transform=spoil)
    assert data[0].min() == -1 and data.batch(np.arange(2)).max() == -1
    assert images.min() == 1


def test_a_transform_of_varying_shape_names_the_array():
    data = ArrayDataset(np.arange(1, 4), transform=lambda value: np.zeros(value))
    with pytest.raises(DataError, match=r"array 0: .* example 0 has shape \(1,\).* example 1 has shape \(2,\)"):
        data.batch(np.arange(3))


class Squares(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return np.full(2, index**2, np.float32), index, 0.5


def test_a_dataset_of_ones_own_needs_two_methods():
    images, numbers, halves = Squares().batch(np.array([3, 1]))
    assert images.tolist() == [[9, 9], [1, 1]]
    assert numbers.dtype == np.int64 and halves.dtype == np.float32
    assert len(list(Squares())) == 5
    with pytest.raises(NotImplementedError, match="Dataset must define __len__"):
        len(Dataset())
    with pytest.raises(NotImplementedError, match="Dataset must define __getitem__"):
        Dataset()[0]


def batch_of(*samples):
    return next(iter(DataLoader(list(samples), batch_size=len(samples))))


def test_examples_that_do_not_stack():
    with pytest.raises(DataError, match="example 0 of the batch has 2 parts, example 1 is 1 parts"):
        batch_of((1, 2), (1,))
    with pytest.raises(DataError, match="example 1 is a int"):
        batch_of((1, 2), 3)
    with pytest.raises(DataError, match=r"part 1 of the batch cannot be stacked: .*float32.*float64"):
        batch_of((1, np.float32(1)), (1, np.float64(1)))
    with pytest.raises(DataError, match="example 0 of the batch holds Python objects, here a dict"):
        batch_of({"x": 1})
    with pytest.raises(DataError, match="the batch is empty"):
        ArrayDataset([1, 2], transform=abs)[0:0]


def test_subset_fetches_through_and_keeps_labels():
    data = ArrayDataset(np.arange(10) * 10, labels=["a", "b"])
    part = Subset(data, [7, 2, 5])
    assert len(part) == 3 and part[0] == 70 and part.labels == ("a", "b")
    assert part.batch(np.array([2, 1])).tolist() == [50, 20]
    assert Subset(part, [1])[0] == 20
    assert [int(value) for value in part] == [70, 20, 50]
    assert len(Subset(data, [])) == 0


@pytest.mark.parametrize("indexes", [[10], [-1], [0.5], [[1]], [True, False]])
def test_subset_refuses_what_is_no_number_of_an_example(indexes):
    with pytest.raises(ArgumentError, match="indexes must"):
        Subset(numbered(), indexes)


def test_random_split_loses_nothing_and_repeats():
    data = numbered(100)
    first = random_split(data, [70, 20, 10], seed=3)
    assert [len(part) for part in first] == [70, 20, 10]
    assert sorted(np.concatenate([part.indexes for part in first])) == list(range(100))
    again = random_split(data, [70, 20, 10], seed=3)
    assert all(np.array_equal(a.indexes, b.indexes) for a, b in zip(first, again, strict=True))
    other = random_split(data, [70, 20, 10], seed=4)
    assert not np.array_equal(first[0].indexes, other[0].indexes)


def test_random_split_is_the_same_in_every_version():
    assert random_split(numbered(8), [8], seed=0)[0].indexes.tolist() == [7, 4, 2, 6, 5, 0, 1, 3]


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (10, [0.7, 0.2, 0.1], [7, 2, 1]),
        (10, [1 / 3, 1 / 3, 1 / 3], [3, 4, 3]),
        (1797, [0.8, 0.2], [1438, 359]),
        (7, [0.5, 0.5], [4, 3]),
    ],
)
def test_fractions(count, fractions, sizes):
    assert [len(part) for part in random_split(numbered(count), fractions)] == sizes


@pytest.mark.parametrize(
    "lengths", [[5, 6], [11, -1], [], [0.5, 0.4], [0.9, 0.2], [1.0], [5, 0.5], ["5", "5"], [True, 9], [0.999, 0.001]]
)
def test_lengths_that_do_not_fit(lengths):
    with pytest.raises(ArgumentError):
        random_split(numbered(10), lengths)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, None, True])
def test_seeds_out_of_range(seed):
    with pytest.raises(ArgumentError, match="seed must be a whole number"):
        random_split(numbered(), [10], seed=seed)
