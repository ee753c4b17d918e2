"""Rows of the ops that look at elements in another way, and of values made of a shape."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row

X = Arg(("N", 3, 4))
PLANE = Arg(("N", 3))
CLASSES = Arg(("N", 2), values=[[0, 4], [2, 2]], dtype="int64")


def one_hot(x: np.ndarray) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[x]


def flat_rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


ROWS: list[Row] = [
    Row("reshape", ("reshape",), lambda x: F.reshape(x, (x.shape[0], 2, 6)), (X,), lambda x: x.reshape(len(x), 2, 6)),
    Row("reshape-worked-out", ("reshape",), lambda x: x.reshape(x.shape[0], -1), (X,), flat_rows),
    Row("reshape-joined", ("reshape",), lambda x: F.reshape(x, (-1, 4)), (X,), lambda x: x.reshape(-1, 4)),
    Row("reshape-copied", ("reshape", "transpose"), lambda x: x.T.reshape(4, -1), (X,), lambda x: x.T.reshape(4, -1)),
    Row("reshape-ones", ("reshape",), lambda x: F.reshape(x, (1, -1, 1, 12)), (X,), lambda x: x.reshape(1, -1, 1, 12)),
    Row("flatten", ("reshape",), F.flatten, (X,), np.ravel),
    Row("flatten-rows", ("reshape",), lambda x: F.flatten(x, 1), (X,), flat_rows),
    Row("expand_dims", ("reshape",), lambda x: F.expand_dims(x, (0, -1)), (PLANE,), lambda x: x[None, ..., None]),
    Row("unsqueeze", ("reshape",), lambda x: F.unsqueeze(x, 1), (PLANE,), lambda x: x[:, None]),
    Row("squeeze", ("reshape",), lambda x: F.squeeze(x, 1), (Arg(("N", 1, 3)),), lambda x: x[:, 0]),
    Row("squeeze-all", ("reshape",), F.squeeze, (Arg((1, 2, 1, 3)),), lambda x: x[0, :, 0]),
    Row("transpose", ("transpose",), F.transpose, (X,), np.transpose),
    Row("transpose-axes", ("transpose",), lambda x: F.transpose(x, (1, 2, 0)), (X,), lambda x: x.transpose(1, 2, 0)),
    Row("transpose-integers", ("transpose",), F.transpose, (Arg(("N", 3), "int64"),), np.transpose),
    Row("swapaxes", ("transpose",), lambda x: F.swapaxes(x, 0, -1), (X,), lambda x: np.swapaxes(x, 0, -1)),
    Row("moveaxis", ("transpose",), lambda x: F.moveaxis(x, 0, -1), (X,), lambda x: np.moveaxis(x, 0, -1)),
    Row(
        "moveaxis-several",
        ("transpose",),
        lambda x: F.moveaxis(x, (0, 2), (1, 0)),
        (X,),
        lambda x: np.moveaxis(x, (0, 2), (1, 0)),
    ),
    Row(
        "broadcast_to",
        ("broadcast",),
        lambda x, like: F.broadcast_to(x, like.shape),
        (Arg((3, 1)), X),
        lambda x, like: np.broadcast_to(x, like.shape),
        wrt=(0,),
    ),
    Row(
        "broadcast_to-new-axes",
        ("broadcast",),
        lambda x: F.broadcast_to(x, (2, 5, *x.shape)),
        (PLANE,),
        lambda x: np.broadcast_to(x, (2, 5, *x.shape)),
    ),
    Row("full", ("broadcast",), lambda x: F.full((2, 3), x), (Arg(()),), lambda x: np.full((2, 3), x)),
    Row("tile", ("broadcast", "reshape"), lambda x: F.tile(x, (2, 1, 3)), (PLANE,), lambda x: np.tile(x, (2, 1, 3))),
    Row("repeat", ("broadcast", "reshape"), lambda x: F.repeat(x, 2, 0), (PLANE,), lambda x: np.repeat(x, 2, 0)),
    Row("full_like", ("broadcast",), lambda x: F.full_like(x, 2.5), (PLANE,), lambda x: np.full_like(x, 2.5), wrt=()),
    Row("zeros_like", ("broadcast",), F.zeros_like, (PLANE,), np.zeros_like, wrt=()),
    Row("iota", ("iota",), lambda x: F.iota(x.shape, 1), (X,), lambda x: np.indices(x.shape)[1], wrt=()),
    Row(
        "iota-float",
        ("iota",),
        lambda x: F.iota(x.shape, 0, "float32"),
        (X,),
        lambda x: np.indices(x.shape)[0].astype(np.float32),
        wrt=(),
    ),
    Row("one_hot", ("iota", "equal", "cast"), lambda x: F.one_hot(x, 5), (CLASSES,), one_hot),
]
