"""Random numbers: one global key of seed and step, and the draws that follow from it.

Bits come from Philox4x32-10 keyed by seed, step and stream, so the same seed gives the same numbers on
every backend. Outside a trace each draw takes the next step, fixed when the tensor is made; a compiled
function reads the key in each call and leaves it one step further. The seed is 0 until `manual_seed`.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from staticnet import lazy
from staticnet.boundary import boundary
from staticnet.compiler import dtypes
from staticnet.compiler.errors import ArgumentError, DTypeError, TraceError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Builder, Node, building
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.random import check_probability
from staticnet.functional import call
from staticnet.runtime.state import State
from staticnet.tensors import Tensor, tensor
from staticnet.tracer import current_tracer, suspended

_key = State(np.zeros(2, np.uint64), "random.key")
_lock = threading.Lock()


def key_state() -> State:
    """The global key: uint64 (seed, step)."""
    return _key


@boundary
def manual_seed(seed: int) -> None:
    """Start all randomness anew from a seed from 0 to 2**64 - 1: draws, initial weights, dropout."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**64:
        raise ArgumentError(f"a seed is an integer from 0 to 2**64 - 1, got {seed!r}")
    with _lock:
        _key.set(np.array([int(seed), 0], np.uint64))


def get_state() -> np.ndarray:
    """The key as a uint64 array (seed, step), to be given to `set_state` later."""
    return _key.numpy()


@boundary
def set_state(state: Any) -> None:
    """Continue from a key that `get_state` gave."""
    array = np.asarray(state)
    if array.shape != (2,) or array.dtype != np.uint64:
        raise ArgumentError(f"a random state is a uint64 array (seed, step), got {array.dtype} of shape {array.shape}")
    with _lock:
        _key.set(array)


# -- draws ------------------------------------------------------------------------------------


@boundary
def rand(*size: Any, dtype: Any = "float32") -> Tensor:
    """Floats spread evenly over [0, 1), of the shape `size`, given as sizes or as one tuple."""
    return call(_uniform, 0.0, 1.0, _shape(size), dtype)


@boundary
def randn(*size: Any, dtype: Any = "float32") -> Tensor:
    """Normally distributed floats of mean 0 and variance 1, of the shape `size`, sizes or one tuple."""
    return call(_normal, 0.0, 1.0, _shape(size), dtype)


@boundary
def uniform(low: Any = 0.0, high: Any = 1.0, size: Any = (), dtype: Any = "float32") -> Tensor:
    """Floats of shape `size` spread evenly over [low, high)."""
    return call(_uniform, low, high, size, dtype)


@boundary
def normal(loc: Any = 0.0, scale: Any = 1.0, size: Any = (), dtype: Any = "float32") -> Tensor:
    """Normally distributed floats of shape `size`, of mean `loc` and standard deviation `scale`."""
    return call(_normal, loc, scale, size, dtype)


@boundary
def bernoulli(p: Any = 0.5, size: Any = None) -> Tensor:
    """Booleans that are true with probability `p`: a number, with a `size`, or a float tensor of that shape."""
    return call(_bernoulli, p, () if size is None and isinstance(p, (int, float)) else size)


@boundary
def randint(low: int, high: int | None = None, size: Any = ()) -> Tensor:
    """int64 of shape `size`, each integer from `low` up to, without, `high` alike; with one number from 0 up to it."""
    low, high = (0, low) if high is None else (low, high)
    for bound in (low, high):
        if isinstance(bound, bool) or not hasattr(bound, "__index__"):
            raise DTypeError(f"randint takes integers, got {bound!r}")
    if not 0 < high - low <= 2**53:
        raise ArgumentError(f"randint draws from {low} up to, without, {high}: that must be 1 to 2**53 integers")
    return call(_integers, int(low), int(high), size)


@boundary
def permutation(x: Any) -> Tensor:
    """0, 1, ..., `x` - 1 in random order as int64, or the rows of an array in random order; outside traces only."""
    if current_tracer() is not None:
        raise TraceError("permutation sorts on the host: make it outside the traced function and pass it in")
    rows = np.arange(int(x)) if hasattr(x, "__index__") and not np.ndim(x) else np.asarray(x)
    if not rows.ndim:
        raise ArgumentError(f"permutation takes a count or rows, got {x!r}")
    return tensor(rows[np.argsort(host_uniform((len(rows),), 0.0, 1.0, "float64"), kind="stable")])


def _shape(size: tuple[Any, ...]) -> Any:
    return size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size


# -- on nodes ---------------------------------------------------------------------------------


def _next_key() -> tuple[Node, int]:
    """The key and stream of the next draw."""
    tracer = current_tracer()
    return (lazy.leaf(_take_step()), 0) if tracer is None else (tracer.random_key(), tracer.next_stream())


def _take_step() -> np.ndarray:
    with _lock:
        key = _key.numpy()
        _key.set(np.array([key[0], (int(key[1]) + 1) % 2**64], np.uint64))
    return key


def _uniform(low: Any, high: Any, size: Any, dtype: Any) -> Node:
    key, stream = _next_key()
    return F.random_uniform(key, size, dtype, stream) * (high - low) + low


def _normal(loc: Any, scale: Any, size: Any, dtype: Any) -> Node:
    key, stream = _next_key()
    return F.random_normal(key, size, dtype, stream) * scale + loc


def _bernoulli(p: Any, size: Any) -> Node:
    key, stream = _next_key()
    return F.bernoulli(key, p, size, stream)


def _integers(low: int, high: int, size: Any) -> Node:
    key, stream = _next_key()
    draw = F.floor(F.random_uniform(key, size, "float64", stream) * float(high - low))
    return F.cast(draw, dtypes.int64) + low


def _dropout(x: Node, p: float) -> Node:
    key, stream = _next_key()
    return F.dropout(x, key, p, stream)


def apply_dropout(x: Any, p: float, training: bool) -> Any:
    """`functional.dropout`."""
    check_probability("dropout", "p", p)
    return call(_dropout, x, p) if training and p else call(F.identity, x)


# -- at once, on the host ---------------------------------------------------------------------


def host_uniform(shape: tuple[int, ...], low: float, high: float, dtype: Any = "float32") -> np.ndarray:
    """The next draw as an array, computed now even inside a trace: initial weights."""
    return _on_host(F.random_uniform, shape, dtype) * np.asarray(high - low, dtypes.as_dtype(dtype).numpy) + low


def host_normal(shape: tuple[int, ...], mean: float, std: float, dtype: Any = "float32") -> np.ndarray:
    """The next draw as an array, computed now even inside a trace: initial weights."""
    return _on_host(F.random_normal, shape, dtype) * np.asarray(std, dtypes.as_dtype(dtype).numpy) + mean


def _on_host(function: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    with suspended(), building(Builder()):
        (array,) = evaluate([function(F.constant(_take_step()), shape, dtype)], {})
    return array
