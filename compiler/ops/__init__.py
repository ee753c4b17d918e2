"""The op cards by family, and the functions that make nodes of them."""

from staticnet.compiler.ops import (
    arithmetic,
    conv,
    fill,
    getitem,
    index,
    leaf,
    loss,
    matmul,
    normalise,
    pool,
    random,
    reduce,
    shape,
    slice,
    softmax,
    transcendental,
)

__all__ = [
    "arithmetic",
    "conv",
    "fill",
    "getitem",
    "index",
    "leaf",
    "loss",
    "matmul",
    "normalise",
    "pool",
    "random",
    "reduce",
    "shape",
    "slice",
    "softmax",
    "transcendental",
]
