"""Short ways for tests of ops to evaluate a function and its gradient on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.autodiff import gradients
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Node, Type
from staticnet.compiler.ops.leaf import make_input


def node(*shape: int | str, dtype: str = "float32", label: str = "x") -> Node:
    """An input node; letters in the shape are symbolic sizes."""
    return make_input(label, Type((dims.symbol(n) if isinstance(n, str) else n for n in shape), dtype))


def run(function: Callable, *arrays: Any) -> Any:
    """The array (or arrays) that a function on nodes gives for these arrays."""
    values = [np.asarray(array) for array in arrays]
    nodes = [make_input(f"x{i}", Type(value.shape, value.dtype)) for i, value in enumerate(values)]
    result = function(*nodes)
    feeds = dict(zip(nodes, values, strict=True))
    return evaluate(result, feeds) if isinstance(result, tuple) else evaluate([result], feeds)[0]


def slope(function: Callable, *arrays: Any, wrt: int = 0) -> np.ndarray:
    """The gradient of the summed result with respect to one of the arrays."""
    values = [np.asarray(array) for array in arrays]
    nodes = [make_input(f"x{i}", Type(value.shape, value.dtype)) for i, value in enumerate(values)]
    total = function(*nodes)
    (gradient,) = gradients([total.sum() if total.ndim else total], [nodes[wrt]], unconnected="zero")
    return evaluate([gradient], dict(zip(nodes, values, strict=True)))[0]
