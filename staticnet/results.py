"""What compiled calls give back: NumPy arrays, put together as the function returned them.

Those without axes explain a habit of other frameworks when it is tried on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np

from staticnet import habits, trees
from staticnet.boundary import boundary
from staticnet.compiler.errors import HabitError


class Scalar(np.ndarray):
    """An array without axes, such as a loss: an ndarray in every way, but for `backward`."""

    @boundary
    def backward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises HabitError, which says what to write."""
        raise HabitError(f"`.backward()` is not how it is done here: {habits.OF_TENSORS['backward']}")


def for_caller(array: np.ndarray) -> np.ndarray:
    """The array as a call returns it."""
    return array if array.ndim else array.view(Scalar)


def packing(tree: Any, ranks: Sequence[int]) -> Callable[[Sequence[np.ndarray]], Any]:
    """The function that makes of a run's outputs what the call returns.

    `tree` is what was returned in the trace, with the positions of the outputs in place of tensors.
    """
    if isinstance(tree, int):
        return itemgetter(0) if ranks[0] else lambda outputs: outputs[0].view(Scalar)
    is_flat = all(isinstance(branch, int) for branch in (tree.values() if isinstance(tree, dict) else tree))
    if is_flat and type(tree) in (tuple, list):
        make = type(tree)
        return lambda outputs: make(map(for_caller, outputs))
    if is_flat and type(tree) is dict:
        keys = tuple(tree)
        return lambda outputs: dict(zip(keys, map(for_caller, outputs), strict=True))
    return lambda outputs: trees.unflatten(tree, map(for_caller, outputs))
