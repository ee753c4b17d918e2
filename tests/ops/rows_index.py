"""Rows of slicing, padding, joining, and of gathers and scatters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticnet.compiler.ir import apply
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.index import ScatterAdd, ScatterElementsAdd, ScatterNDAdd
from staticnet.compiler.ops.slice import SliceScatter
from tests.ops.table import Arg, Row

X = Arg(("H", 3, 4))
TABLE = Arg((5, 3))
PICKS = Arg(("N", 3), "int64", low=-5, high=5)
PICKS_32 = Arg(("N",), "int32", low=0, high=5)
ALONG = Arg(("N", 4), "int64", low=-3, high=3)
POINTS = Arg(("N", 2), "int64", low=-3, high=3)


def indexed(id: str, index: Any, *ops: str, arg: Arg = X, **options: Any) -> Row:
    """`x[index]`, read as NumPy reads it."""
    return Row(f"getitem-{id}", ops, lambda x: x[index], (arg,), lambda x: x[index], **options)


def along(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x, indices, 1)


def added(shape: Callable[[np.ndarray], tuple], index: Callable[[np.ndarray], Any]) -> Callable:
    """Zeros with the updates added at an index by NumPy."""

    def reference(indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        result = np.zeros(shape(updates), updates.dtype)
        np.add.at(result, index(indices), updates)
        return result

    return reference


def laid(index: tuple, shape: tuple) -> Callable:
    """Zeros with the operand laid over a slice of them by NumPy."""

    def reference(x: np.ndarray) -> np.ndarray:
        result = np.zeros(shape, x.dtype)
        result[index] = x
        return result

    return reference


ROWS: list[Row] = [
    indexed("first", np.s_[0], "slice", "reshape"),
    indexed("last", np.s_[-1], "slice", "reshape"),
    indexed("last-of-all", np.s_[..., -1], "slice", "reshape"),
    indexed("tail", np.s_[1:], "slice"),
    indexed("head", np.s_[:-1], "slice"),
    indexed("both-ends", np.s_[1:-1, :2], "slice"),
    indexed("every-second", np.s_[::2, 1], "slice", "reshape"),
    indexed("every-third", np.s_[1::3, ::2], "slice"),
    indexed("backwards", np.s_[::-1], "slice"),
    indexed("backwards-by-two", np.s_[-2::-2, :, 3:0:-2], "slice"),
    indexed("beyond", np.s_[2:100], "slice"),
    indexed("last-two", np.s_[-2:], "slice"),
    indexed("nothing", np.s_[:, 2:1], "slice", wrt=()),
    indexed("new-axes", np.s_[None, 1:, ..., None], "slice", "reshape"),
    indexed("array", [[0, -1], [2, 1]], "gather"),
    indexed("array-in-the-middle", np.s_[:, [2, 0]], "gather"),
    indexed("array-beside-integer", np.s_[0, :, [1, 2, 2]], "gather", "slice", "transpose"),
    indexed("two-arrays", np.s_[[0, -1, 0], [1, 2, 1]], "gather_nd"),
    indexed("two-arrays-behind", np.s_[1:, [0, 2], [3, -1]], "gather_nd", "transpose"),
    indexed("two-arrays-apart", np.s_[[[0], [1]], :, [0, 1, 3]], "gather_nd", "transpose"),
    Row(
        "getitem-labels",
        ("gather_nd",),
        lambda x, labels: x[F.arange(x.shape[0]), labels],
        (Arg(("N", 5)), PICKS_32),
        lambda x, labels: x[np.arange(len(x)), labels],
    ),
    Row("flip", ("slice",), F.flip, (X,), np.flip),
    Row("flip-one", ("slice",), lambda x: F.flip(x, -1), (X,), lambda x: np.flip(x, -1)),
    Row("split", ("slice",), lambda x: F.split(x, 2, -1)[1], (X,), lambda x: np.split(x, 2, -1)[1]),
    Row("split-at", ("slice",), lambda x: F.split(x, [1, 3], 2)[1], (X,), lambda x: np.split(x, [1, 3], 2)[1]),
    Row(
        "slice_scatter",
        ("slice_scatter",),
        lambda x: apply(SliceScatter(shape=(4, 7), starts=(1, 1), stops=(3, 7), steps=(1, 2)), x),
        (Arg((2, 3)),),
        laid(np.s_[1:3, 1:7:2], (4, 7)),
    ),
    Row(
        "slice_scatter-backwards",
        ("slice_scatter",),
        lambda x: apply(SliceScatter(shape=(4, 8), starts=(3, 7), stops=(-1, 0), steps=(-3, -3)), x),
        (Arg((2, 3)),),
        laid(np.s_[::-3, 7:0:-3], (4, 8)),
    ),
    Row("pad", ("pad",), lambda x: F.pad(x, 1), (Arg(("N", 3)),), lambda x: np.pad(x, 1)),
    Row(
        "pad-pairs",
        ("pad",),
        lambda x: F.pad(x, ((0, 2), (1, 0)), constant_values=-1.5),
        (Arg(("N", 3)),),
        lambda x: np.pad(x, ((0, 2), (1, 0)), constant_values=-1.5),
    ),
    Row(
        "concat",
        ("concat",),
        lambda x, y: F.concat([x, y]),
        (Arg(("N", 3)), Arg((4, 3))),
        lambda x, y: np.concatenate([x, y]),
    ),
    Row(
        "concat-three",
        ("concat",),
        lambda x, y: F.concatenate([x, y, x], axis=-1),
        (Arg(("N", 3)), Arg(("N", 2))),
        lambda x, y: np.concatenate([x, y, x], axis=-1),
    ),
    Row(
        "stack",
        ("concat", "reshape"),
        lambda x, y: F.stack([x, y], axis=1),
        (Arg(("N", 3)), Arg(("N", 3))),
        lambda x, y: np.stack([x, y], axis=1),
    ),
    Row("take", ("gather",), lambda x, i: F.take(x, i, 0), (TABLE, PICKS), lambda x, i: np.take(x, i, 0)),
    Row(
        "take-axis",
        ("gather",),
        lambda x, i: F.take(x, i, 1),
        (Arg(("N", 5, 2)), PICKS_32),
        lambda x, i: np.take(x, i, 1),
    ),
    Row("take-flat", ("gather", "reshape"), F.take, (TABLE, PICKS), np.take),
    Row("take-scalar", ("gather",), lambda x, i: x[i], (TABLE, Arg((), "int64", 0, 5)), lambda x, i: x[i]),
    Row(
        "take-transposed",
        ("gather",),
        lambda x, i: F.take(x.T, i, 0),
        (Arg(("N", 5)), PICKS),
        lambda x, i: np.take(x.T, i, 0),
    ),
    Row(
        "take_along_axis",
        ("gather_elements",),
        lambda x, i: F.take_along_axis(x, i, 1),
        (Arg(("N", 3)), ALONG),
        along,
    ),
    Row(
        "take_along_axis-broadcast",
        ("gather_elements", "broadcast"),
        lambda x, i: F.take_along_axis(x, i, 1),
        (Arg((1, 3)), ALONG),
        along,
    ),
    Row(
        "scatter_add",
        ("scatter_add",),
        lambda i, g: apply(ScatterAdd(axis=0, size=5), i, g),
        (PICKS, Arg(("N", 3, 2))),
        added(lambda g: (5, 2), lambda i: i),
    ),
    Row(
        "scatter_add-inner",
        ("scatter_add",),
        lambda i, g: apply(ScatterAdd(axis=1, size=5), i, g),
        (PICKS_32, Arg((3, "N", 2))),
        added(lambda g: (3, 5, 2), lambda i: np.s_[:, i]),
    ),
    Row(
        "scatter_nd_add",
        ("scatter_nd_add",),
        lambda i, g: apply(ScatterNDAdd(shape=(3, 4, 2)), i, g),
        (POINTS, Arg(("N", 2))),
        added(lambda g: (3, 4, 2), lambda i: (i[:, 0], i[:, 1])),
    ),
    Row(
        "scatter_elements_add",
        ("scatter_elements_add",),
        lambda i, g: apply(ScatterElementsAdd(axis=1, size=3), i, g),
        (ALONG, Arg(("N", 4))),
        added(lambda g: (len(g), 3), lambda i: (np.arange(len(i))[:, None], i)),
    ),
]
