"""The op cards by family, and the functions that make nodes of them."""

from staticnet.compiler.ops import (
    arithmetic,
    conv,
    index,
    leaf,
    loss,
    matmul,
    normalise,
    pool,
    random,
    reduce,
    shape,
    softmax,
    transcendental,
)

__all__ = [
    "arithmetic",
    "conv",
    "index",
    "leaf",
    "loss",
    "matmul",
    "normalise",
    "pool",
    "random",
    "reduce",
    "shape",
    "softmax",
    "transcendental",
]
