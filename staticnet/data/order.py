"""Random orders that stay the same in every process, on every machine, under every NumPy."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from staticnet.compiler.errors import ArgumentError

# What an order is for: the same seed gives unrelated orders for different purposes.
EPOCH = 0
SPLIT = 1


def permutation(count: int, *, seed: int, purpose: int, number: int = 0) -> np.ndarray:
    """A random order of range(count): int64 of shape (count,), a pure function of the arguments.

    The sorting order of raw Philox draws keyed by (seed, number). `Generator.permutation`
    would be shorter, but NumPy keeps only the draws of its bit generators unchanged for ever.
    """
    draws = np.random.Philox(key=np.array([seed, number], np.uint64), counter=[0, 0, 0, purpose])
    return np.argsort(draws.random_raw(count), kind="stable")


def checked_seed(seed: Any) -> int:
    """`seed` as an int, or ArgumentError unless it is a whole number from 0 to 2**64 - 1."""
    return checked_integer("seed", seed, least=0, most=2**64 - 1)


def checked_integer(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """`value` as an int, or ArgumentError that names the argument and the range it must lie in."""
    wanted = f"a whole number of at least {least}" + ("" if most is None else f" and at most {most}")
    if isinstance(value, (bool, np.bool_, np.ndarray)):
        raise ArgumentError(f"{name} must be {wanted}, not {_described(value)}")
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} must be {wanted}, not {_described(value)}") from None
    if number < least or (most is not None and number > most):
        raise ArgumentError(f"{name} must be {wanted}, not {number}")
    return number


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"{value!r} ({type(value).__name__})"
