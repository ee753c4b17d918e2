"""Rows of the reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row

X = Arg(("N", 3, 4))
WHOLE = Arg(("N", 3), "int32", low=-9, high=9)
TRUTH = Arg(("N", 3), "bool")
# Far from zero, so that a product of them does not drown in its own rounding.
FACTORS = Arg(("N", 3), low=0.5, high=1.5)
# The gradient where one factor, or two, are zero cannot come from a division.
ZEROS = Arg((3, 4), values=[[1.5, 0.0, -0.5, 2.0], [0.0, 1.0, 0.0, 3.0], [1.0, 2.0, 0.5, -1.5]])


def reduction(name: str, arg: Arg = X, id: str = "", op: str = "", **options: Any) -> Row:
    """A row that passes `axis`, `keepdims`, ... on to the function and to NumPy alike."""
    named = {key: options.pop(key) for key in ("axis", "keepdims", "ddof") if key in options}
    return Row(
        f"{name}{'-' if id else ''}{id}",
        (op or name,),
        lambda x: getattr(F, name)(x, **named),
        (arg,),
        lambda x: getattr(np, name)(x, **named),
        **options,
    )


ROWS: list[Row] = [
    reduction("sum"),
    reduction("sum", id="rows", axis=1),
    reduction("sum", id="several", axis=(0, -1)),
    reduction("sum", id="kept", axis=(0, 2), keepdims=True),
    reduction("sum", Arg((2, 0, 3)), id="nothing", axis=1, wrt=()),
    reduction("sum", WHOLE, id="integers", axis=1),
    reduction("sum", TRUTH, id="booleans", axis=0),
    reduction("sum", Arg(("N", 3), "uint8", low=0, high=200), id="bytes", axis=0),
    reduction("mean"),
    reduction("mean", id="rows", axis=-1),
    reduction("mean", id="kept", axis=(1, 2), keepdims=True),
    reduction("mean", WHOLE, id="integers", axis=0),
    reduction("prod", FACTORS),
    reduction("prod", X, id="rows", axis=1),
    reduction("prod", FACTORS, id="symbolic-axis", axis=0),
    reduction("prod", Arg((5, 3, 2), low=0.5, high=1.5), id="several", axis=(0, 2), keepdims=True),
    reduction("prod", ZEROS, id="zeros", axis=1),
    reduction("prod", WHOLE, id="integers", axis=1),
    reduction("max"),
    reduction("max", id="rows", axis=1),
    reduction("max", id="kept", axis=(0, 2), keepdims=True),
    reduction("max", WHOLE, id="integers", axis=1),
    reduction("min"),
    reduction("min", id="rows", axis=1, keepdims=True),
    reduction("min", WHOLE, id="integers", axis=0),
    reduction("argmax", id="flat"),
    reduction("argmax", id="rows", axis=1),
    reduction("argmax", id="kept", axis=-1, keepdims=True),
    reduction("argmax", WHOLE, id="integers", axis=0),
    reduction("argmin", id="rows", axis=-1),
    reduction("any", TRUTH),
    reduction("any", TRUTH, id="rows", axis=1, keepdims=True),
    reduction("any", WHOLE, id="integers", axis=1),
    reduction("all", TRUTH),
    reduction("all", TRUTH, id="rows", axis=1),
    reduction("var", op="mean"),
    reduction("var", id="unbiased", op="sum", axis=1, ddof=1),
    reduction("std", op="mean", axis=2, keepdims=True),
]
