"""The DataLoader: a dataset in batches, epoch after epoch, in an order that can be repeated and resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, DataError, StateError
from staticnet.data import order
from staticnet.data.datasets import fetch
from staticnet.data.prefetch import prefetched


class DataLoader:
    """Batches of a dataset; each `for` over the loader is one epoch.

    A batch is a tuple of arrays with a leading axis of `batch_size`, or one array if an
    example is one; `collate`, when given, makes it from the list of examples instead. The last
    batch is shorter when the size does not divide, or left out with `drop_last`.

    With `shuffle` the order of epoch k is a pure function of (len(dataset), seed, k): neither
    `prefetch`, the number of batches that a background thread makes ahead, nor earlier epochs
    change it. An epoch left early is over, the next `for` runs the following one. One loader
    serves one `for` at a time: the state is that of the one begun last.

    Raises DataError for a dataset that gives no batch, ArgumentError for sizes and seeds out of range.
    """

    @boundary
    def __init__(
        self,
        dataset: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        prefetch: int = 0,
        collate: Callable[[Sequence[Any]], Any] | None = None,
    ):
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise ArgumentError(
                f"a dataset needs __len__ and __getitem__, and this {type(dataset).__name__} lacks them; "
                "wrap arrays in ArrayDataset"
            )
        if isinstance(dataset, tuple):
            raise ArgumentError("a tuple is no dataset; write DataLoader(ArrayDataset(images, labels), ...)")
        self.dataset = dataset
        self.batch_size = order.checked_integer("batch_size", batch_size, least=1)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.seed = order.checked_seed(seed)
        self.prefetch = order.checked_integer("prefetch", prefetch, least=0)
        self.collate = collate
        self._epoch = 0
        self._position = 0  # batches of the epoch that the consumer has received
        self._running: object | None = None  # stands for the iteration that moves the position
        self._check_not_empty()

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def epoch(self) -> int:
        """The number, from 0, of the epoch that is running or, between two, comes next."""
        return self._epoch

    @boundary
    def __iter__(self) -> Iterator[Any]:
        self._check_not_empty()
        if self._running is not None and self._position:
            self._epoch, self._position = self._epoch + 1, 0
        me = self._running = object()
        batches = self._batches(self._epoch_indexes()[self._position * self.batch_size :])
        if self.prefetch:
            batches = prefetched(batches, self.prefetch)
        with contextlib.closing(batches):
            for batch in batches:
                if self._running is me:
                    self._position += 1
                yield batch
        if self._running is me:
            self._epoch, self._position, self._running = self._epoch + 1, 0, None

    @boundary
    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next one to run, from its start or, if its state was just loaded, from there."""
        number = order.checked_integer("epoch", epoch, least=0, most=2**64 - 1)
        if number != self._epoch or self._running is not None:
            self._epoch, self._position, self._running = number, 0, None

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands: plain numbers, with which another process can go on.

        `position` counts the batches of `epoch` that the consumer has received, the one it is
        working on included, and not those made ahead. In the body of the last batch it is
        therefore len(loader), and going on from there gives an epoch without batches; when the
        `for` has ended, it is the start of the next epoch. What shapes the batches is kept too.
        """
        return {"seed": self.seed, "epoch": self._epoch, "position": self._position, **self._shape()}

    @boundary
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`: the next `for` gives exactly the batches that its epoch still lacked.

        Raises StateError when the state is not one of a loader or belongs to a dataset of another
        length, another batch size, or another choice of shuffle or drop_last.
        """
        expected = {"seed", "epoch", "position", *self._shape()}
        if not isinstance(state, dict) or set(state) != expected:
            found = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise StateError(f"the state of a DataLoader has the entries {sorted(expected)}, not {found}")
        for name, value in self._shape().items():
            if state[name] != value:
                raise StateError(
                    f"the state was saved with {name}={state[name]} and this DataLoader has {name}={value}, so "
                    "its batches would be others; make the loader as it was, or begin an epoch with set_epoch"
                )
        try:
            seed = order.checked_seed(state["seed"])
            epoch = order.checked_integer("epoch", state["epoch"], least=0, most=2**64 - 1)
            position = order.checked_integer("position", state["position"], least=0, most=len(self))
        except ArgumentError as error:
            raise StateError(f"the state of the DataLoader is damaged: {error.message}") from error
        self.seed, self._epoch, self._position, self._running = seed, epoch, position, None

    def __repr__(self) -> str:
        return f"DataLoader({self.dataset!r}, {len(self)} batches of {self.batch_size}, epoch {self._epoch})"

    def _shape(self) -> dict[str, Any]:
        return {
            "length": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def _check_not_empty(self) -> None:
        count = len(self.dataset)
        if count == 0:
            raise DataError("the dataset is empty: there is no example to make a batch of")
        if count < self.batch_size and self.drop_last:
            raise DataError(
                f"the dataset has {count} examples, fewer than batch_size={self.batch_size}, and drop_last "
                "leaves out the one short batch; lower batch_size or set drop_last=False"
            )

    def _epoch_indexes(self) -> np.ndarray:
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        return order.permutation(count, seed=self.seed, purpose=order.EPOCH, number=self._epoch)

    def _batches(self, indexes: np.ndarray) -> Generator[Any, None, None]:
        stop = len(indexes) - (len(indexes) % self.batch_size if self.drop_last else 0)
        for start in range(0, stop, self.batch_size):
            chosen = indexes[start : start + self.batch_size]
            if self.collate is None:
                yield fetch(self.dataset, chosen)
            else:
                yield self.collate([self.dataset[int(index)] for index in chosen])
