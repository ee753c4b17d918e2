"""Datasets: examples that can be counted and fetched by number, whole batches at a time where possible."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, DataError
from staticnet.data import order
from staticnet.data.collate import Batch, as_array, stack, stack_samples


class Dataset:
    """Examples numbered from 0: subclasses write `__len__` and `__getitem__`.

    An example is an array or a number, or a tuple of them. `labels` may hold the text of each
    class number. A subclass that can fetch many examples at once overrides `batch` as well.
    """

    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def batch(self, indexes: np.ndarray) -> Any:
        """The examples with these numbers, int64 of shape (n,), stacked along a new first axis."""
        return stack_samples([self[int(index)] for index in indexes])


class ArrayDataset(Dataset):
    """Arrays whose first axes run over the examples together.

    An example is the tuple of the arrays' rows, or the one row of a single array. `transform`
    is applied to each row of the first array and `target_transform` to each row of the second.
    Arrays are neither copied nor converted; lists of floats become float32. Slices and integer
    arrays as an index give a batch. Raises DataError when the lengths differ.
    """

    @boundary
    def __init__(
        self,
        *arrays: Any,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        labels: Sequence[str] = (),
    ):
        if not arrays:
            raise ArgumentError("ArrayDataset needs at least one array, as in ArrayDataset(images, labels)")
        if target_transform is not None and len(arrays) < 2:
            raise ArgumentError("target_transform needs a second array to work on, and only one was given")
        self.arrays = tuple(as_array(array, f"array {position}") for position, array in enumerate(arrays))
        for position, array in enumerate(self.arrays):
            if array.ndim == 0:
                raise DataError(f"array {position} is the single number {array}; its first axis must run over examples")
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            found = ", ".join(f"array {position} has {length}" for position, length in enumerate(lengths))
            raise DataError(f"the arrays must hold equally many examples along axis 0, but {found}")
        self.transform = transform
        self.target_transform = target_transform
        self.labels = tuple(labels)

    def __len__(self) -> int:
        return len(self.arrays[0])

    @boundary
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (slice, list, np.ndarray)):
            return self.batch(np.arange(len(self))[index])
        row = tuple(
            array[index] if change is None else change(array[index].copy())
            for array, change in zip(self.arrays, self._changes(), strict=True)
        )
        return row if len(row) > 1 else row[0]

    def batch(self, indexes: np.ndarray) -> Batch:
        """The rows with these numbers, as fresh contiguous arrays of the same dtypes."""
        columns = []
        for position, (array, change) in enumerate(zip(self.arrays, self._changes(), strict=True)):
            rows = np.take(array, indexes, axis=0)
            columns.append(rows if change is None else stack([change(row) for row in rows], f"array {position}: "))
        return tuple(columns) if len(columns) > 1 else columns[0]

    def __repr__(self) -> str:
        kinds = ", ".join(f"{array.dtype}{list(array.shape[1:])}" for array in self.arrays)
        return f"ArrayDataset({len(self)} examples of {kinds})"

    def _changes(self) -> list[Callable[[Any], Any] | None]:
        return [self.transform, self.target_transform, *([None] * len(self.arrays))][: len(self.arrays)]


class Subset(Dataset):
    """The examples of another dataset that have the given numbers, in that order.

    Raises ArgumentError when a number is not an integer from 0 to len(dataset) - 1.
    """

    @boundary
    def __init__(self, dataset: Any, indexes: Any):
        chosen = np.asarray(indexes)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise ArgumentError(f"indexes must be a list of integers, not {chosen.dtype} of shape {chosen.shape}")
        outside = chosen[(chosen < 0) | (chosen >= len(dataset))]
        if outside.size:
            raise ArgumentError(f"indexes must lie between 0 and {len(dataset) - 1}, but one is {outside[0]}")
        self.dataset = dataset
        self.indexes = chosen.astype(np.int64)
        self.labels = tuple(getattr(dataset, "labels", ()))

    def __len__(self) -> int:
        return len(self.indexes)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indexes[index])]

    def batch(self, indexes: np.ndarray) -> Any:
        """The examples at these places of the subset, fetched from the dataset at once."""
        return fetch(self.dataset, self.indexes[indexes])

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


def fetch(dataset: Any, indexes: np.ndarray) -> Any:
    """One batch from any object with `__len__` and `__getitem__`."""
    if isinstance(dataset, Dataset):
        return dataset.batch(indexes)
    return stack_samples([dataset[int(index)] for index in indexes])


@boundary
def random_split(dataset: Any, lengths: Sequence[int] | Sequence[float], seed: int = 0) -> list[Subset]:
    """The dataset cut at random into parts that do not overlap and leave nothing out.

    `lengths` are numbers of examples that add up to len(dataset), or fractions that add up to 1
    and cut at the nearest whole example. The result is a pure function of len(dataset), lengths
    and seed. Raises ArgumentError when the lengths do not fit.
    """
    sizes = _sizes(len(dataset), list(lengths))
    shuffled = order.permutation(len(dataset), seed=order.checked_seed(seed), purpose=order.SPLIT)
    return [Subset(dataset, part) for part in np.split(shuffled, np.cumsum(sizes)[:-1])]


def _sizes(count: int, lengths: list[Any]) -> list[int]:
    if not lengths or not all(isinstance(length, numbers.Real) and not isinstance(length, bool) for length in lengths):
        raise ArgumentError(f"lengths must be a list of whole numbers or of fractions, not {lengths}")
    if all(isinstance(length, numbers.Integral) for length in lengths):
        if min(lengths) < 0 or sum(lengths) != count:
            raise ArgumentError(f"lengths {lengths} must not be negative and add up to the {count} examples")
        return [int(length) for length in lengths]
    if not all(0 < length < 1 for length in lengths) or not math.isclose(sum(lengths), 1, abs_tol=1e-6):
        raise ArgumentError(
            f"the fractions {lengths} must each lie between 0 and 1 and add up to 1; "
            "for numbers of examples give whole numbers only"
        )
    ends = [round(math.fsum(lengths[: part + 1]) * count) for part in range(len(lengths) - 1)] + [count]
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    if 0 in sizes:
        raise ArgumentError(f"the fractions {lengths} of {count} examples leave part {sizes.index(0)} empty")
    return sizes
