"""Hyperparameters: numbers of an optimizer that live in states, so that changing one never compiles anything anew."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError

if TYPE_CHECKING:
    from staticnet.optim.optimizer import Optimizer


class Hyperparameter:
    """An attribute that reads as a Python float and, when assigned, copies the number into its state.

    ArgumentError for what is no finite number in range, and for a number that the compiled step left out
    because it was 0 when the step was traced.
    """

    def __init__(self, in_range: Callable[[float], bool], wanted: str):
        self.in_range, self.wanted = in_range, wanted

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Hyperparameter: ...
    @overload
    def __get__(self, instance: Optimizer, owner: type) -> float: ...
    def __get__(self, instance: Optimizer | None, owner: type) -> Hyperparameter | float:
        return self if instance is None else float(instance._hyperparameters[self.name].state.numpy())

    @boundary
    def __set__(self, instance: Optimizer, value: Any) -> None:
        number = self.checked(value)
        fault = self.conflict(instance, number)
        if fault:
            raise ArgumentError(fault)
        instance._hyperparameters[self.name].set(np.float64(number))

    def checked(self, value: Any) -> float:
        """The value as a float; ArgumentError when it is no number in range."""
        is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
        if not is_number or not math.isfinite(value) or not self.in_range(float(value)):
            raise ArgumentError(f"{self.name} is a number {self.wanted}, got {value!r}")
        return float(value)

    def conflict(self, instance: Optimizer, number: float) -> str | None:
        """Why an optimizer can no longer take this number, if so."""
        if number and instance._structure.get(self.name) is False:
            return (
                f"{self.name} was 0 when the training step was compiled, and was left out of it, so it cannot become "
                f"{number}: make {type(instance).__name__}(..., {self.name}={number}) and a new training step"
            )
        return None


def at_least_zero() -> Hyperparameter:
    """A number from 0 up."""
    return Hyperparameter(lambda value: value >= 0, "of at least 0")


def share() -> Hyperparameter:
    """A number in [0, 1)."""
    return Hyperparameter(lambda value: 0 <= value < 1, "of at least 0 and less than 1")


def above_zero() -> Hyperparameter:
    """A number greater than 0."""
    return Hyperparameter(lambda value: value > 0, "greater than 0")


def hyperparameters_of(kind: type) -> dict[str, Hyperparameter]:
    """All hyperparameters of a kind of optimizer by name, in the order of their definition."""
    rows = [vars(base) for base in reversed(kind.__mro__)]
    return {name: value for row in rows for name, value in row.items() if isinstance(value, Hyperparameter)}
