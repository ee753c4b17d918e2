"""The op table: one row per op (or per telling case of it) is all that has to be written to test an op.

`test_table.py` walks the rows and tests each in every way: shape rule on concrete and symbolic sizes,
kernel against a plain NumPy reference, kernel against expansion, no hidden allocations, gradients of
first and second order against finite differences, ONNX against onnxruntime, the stand-in device, native code
against the kernel and the whole row as a native program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: what the symbolic sizes of a row stand for when numbers are needed
SIZES = {"N": 2, "M": 3, "K": 4, "H": 6, "W": 5}


@dataclass(frozen=True)
class Arg:
    """One operand: a shape whose letters are symbolic sizes, a dtype, and the range its values come from."""

    shape: tuple[int | str, ...]
    dtype: str = "float32"
    low: float = -2.0
    high: float = 2.0
    #: exact values instead of drawn ones
    values: Any = None

    @property
    def concrete(self) -> tuple[int, ...]:
        return self.shape_in(SIZES)

    def shape_in(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape when the letters stand for these sizes."""
        return tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)

    def draw(
        self, rng: np.random.Generator, dtype: str | None = None, sizes: Mapping[str, int] = SIZES
    ) -> np.ndarray:
        dtype = dtype or self.dtype
        shape = self.shape_in(sizes)
        if self.values is not None:
            values = np.array(self.values, dtype)
            assert values.shape == shape, f"the values of an Arg have shape {values.shape}, which is not {self.shape}"
            return values
        if dtype == "bool":
            return rng.random(shape) < 0.5
        if np.dtype(dtype).kind in "iu":
            return rng.integers(int(self.low), int(self.high), shape).astype(dtype)
        return rng.uniform(self.low, self.high, shape).astype(dtype)


@dataclass(frozen=True)
class Row:
    """One op under test: `build` makes it from nodes, `reference` computes it from arrays in plain NumPy.

    Both return one value or a tuple of them; `reference` returns the dtype that the op is to return.
    """

    id: str
    #: names of the op cards that this row exercises (the first is the op itself)
    ops: tuple[str, ...]
    build: Callable[..., Any]
    args: tuple[Arg, ...]
    reference: Callable[..., Any]
    #: float operands whose gradient is compared with finite differences; None means all float operands
    wrt: tuple[int, ...] | None = None
    #: second-order gradients too
    second: bool = True
    #: relative tolerance of the float32 result against the reference; float64 is held to 1e-7 times as much
    rtol: float = 2e-6
    atol: float = 1e-6
    #: whether the op is exported; False when it is in NOT_EXPORTABLE
    onnx: bool = True
    #: whether the symbolic variant of the row makes sense
    symbolic: bool = True
