"""What compiled calls give back: NumPy arrays that explain a habit of other frameworks when it is tried on them."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from staticnet import habits
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
