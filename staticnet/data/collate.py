"""From single examples to a batch: the rules by which values become arrays and arrays are stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticnet.compiler.errors import DataError

Batch = np.ndarray | tuple[np.ndarray, ...]


def as_array(value: Any, what: str) -> np.ndarray:
    """`value` as an array; arrays keep their dtype, Python floats become float32.

    Raises DataError, naming `what`, for ragged lists and for Python objects that are no numbers.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{what} is no rectangular array: {error}") from error
    if array.dtype == object:
        raise DataError(f"{what} holds Python objects, here a {type(value).__name__}; give numbers or an array")
    return array.astype(np.float32) if array.dtype == np.float64 and _is_plain(value) else array


def _is_plain(value: Any) -> bool:
    """Whether this is a number of Python's own or nested lists of them, which have no dtype to keep."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return not hasattr(value, "dtype") and not hasattr(value, "__array__")


def stack_samples(samples: Sequence[Any]) -> Batch:
    """One batch of examples that are each an array or a number, or a tuple of them.

    Each array gains a leading axis of len(samples) and is contiguous; dtypes are kept.
    Raises DataError when the examples differ in shape, dtype or number of parts.
    """
    if not samples or not isinstance(samples[0], (tuple, list)):
        return stack(samples)
    parts = len(samples[0])
    for position, sample in enumerate(samples):
        if not isinstance(sample, (tuple, list)) or len(sample) != parts:
            found = f"{len(sample)} parts" if isinstance(sample, (tuple, list)) else f"a {type(sample).__name__}"
            raise DataError(f"example 0 of the batch has {parts} parts, example {position} is {found}")
    return tuple(stack([sample[part] for sample in samples], f"part {part} of ") for part in range(parts))


def stack(values: Sequence[Any], part: str = "") -> np.ndarray:
    """One array with a leading axis of len(values); `part` says in errors which part of the batch it is."""
    if not values:
        raise DataError(f"{part}there is nothing to stack: the batch is empty")
    arrays = [as_array(value, f"{part}example {position} of the batch") for position, value in enumerate(values)]
    first = arrays[0]
    for position, array in enumerate(arrays):
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise DataError(
                f"{part}the batch cannot be stacked: example 0 has shape {first.shape} and dtype {first.dtype}, "
                f"example {position} has shape {array.shape} and dtype {array.dtype}; "
                "make them equal in the dataset, or give the DataLoader a collate function"
            )
    return np.stack(arrays)
