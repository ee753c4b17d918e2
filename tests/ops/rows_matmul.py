"""Rows of the matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row


def product(
    id: str, *shapes: tuple[int | str, ...], name: str = "matmul", dtype: str = "float32", **options: Any
) -> Row:
    """A row of a function that NumPy has too, or that is NumPy's matmul for operands of one rank."""
    most = 9 if dtype.startswith("int") else 1
    return Row(
        f"{name}-{id}",
        ("matmul",),
        getattr(F, name),
        tuple(Arg(shape, dtype, -most, most) for shape in shapes),
        np.dot if name == "dot" else np.matmul,
        **options,
    )


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x @ weight.T + bias


ROWS: list[Row] = [
    product("matrices", ("M", "K"), ("K", "N")),
    product("vectors", ("K",), ("K",)),
    product("row", ("K",), ("K", "N")),
    product("column", ("M", "K"), ("K",)),
    product("stacks", ("N", 2, "K"), ("N", "K", 5)),
    product("stack-and-matrix", ("N", 3, "K"), ("K", 5)),
    product("matrix-and-stack", (3, "K"), ("N", "K", 5)),
    product("stack-and-vector", ("N", 3, "K"), ("K",)),
    product("vector-and-stack", ("K",), ("N", "K", 3)),
    product("broadcast-stacks", ("N", 1, 3, "K"), (2, "K", 5)),
    product("one-and-stack", (1, 3, "K"), ("N", "K", 2)),
    product("one-term", ("M", 1), (1, "N")),
    product("one-term-stacks", ("N", "M", 1), ("N", 1, 3)),
    product("one-row", (1, "K"), ("K", 1)),
    product("nothing-to-sum", ("M", 0), (0, 3), wrt=()),
    product("no-rows", (0, "K"), ("K", 3), wrt=()),
    product("integers", ("M", "K"), ("K", 3), dtype="int64"),
    product("small-integers", ("M", "K"), ("K", 3), dtype="int32"),
    product("vectors", ("K",), ("K",), name="dot"),
    product("matrix-and-vector", ("M", "K"), ("K",), name="dot"),
    product("all-with-all", ("M", "K"), ("N", "K", 2), name="dot"),
    product("numbers", (), ("K",), name="dot", symbolic=False),
    product("matrices", ("M", "K"), ("K", "N"), name="mm"),
    product("matrix-and-vector", ("M", "K"), ("K",), name="mv"),
    product("stacks", ("N", "M", "K"), ("N", "K", 2), name="bmm"),
    Row("linear", ("matmul", "add", "transpose"), F.linear, (Arg(("N", 4)), Arg((3, 4)), Arg((3,))), linear),
    Row("linear-stack", ("matmul",), F.linear, (Arg(("N", 2, "K")), Arg((3, "K")), Arg((3,))), linear),
]
