"""The functions of the framework on tensors: every op function, taking and giving tensors instead of nodes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from staticnet import habits
from staticnet.boundary import boundary
from staticnet.compiler import origins
from staticnet.compiler.ir import FUNCTIONS, Node, current_builder
from staticnet.tensors import Tensor
from staticnet.tracer import Tracer, current_tracer

# Functions of the compiler alone, or with a form of their own for tensors.
_HIDDEN = {"constant", "size_value", "size_of", "getitem", "pack", "dropout", "bernoulli"}
_HIDDEN |= {"random_bits", "random_uniform", "random_normal", "random_mask"}
_ALIASES = {"abs": "absolute", "pow": "power"}


def call(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Apply a function on nodes to tensors: the one place where tensors are unwrapped and results wrapped.

    Tensors may stand in lists, tuples and dicts. All nodes made have the caller's line as origin.
    """
    tracer = current_tracer()
    origin = origins.here()
    nodes = [unwrap(arg, tracer) for arg in args]
    keywords = {name: unwrap(arg, tracer) for name, arg in kwargs.items()} if kwargs else {}
    with current_builder().at(() if origin is None else (origin,)):
        result = function(*nodes, **keywords)
    return wrap(result, tracer)


def unwrap(value: Any, tracer: Tracer | None) -> Any:
    """A value with every tensor in it replaced by its node."""
    if isinstance(value, Tensor):
        return value.resolve(tracer)
    if type(value) in (list, tuple):
        return type(value)([unwrap(item, tracer) for item in value])
    if type(value) is dict:
        return {key: unwrap(item, tracer) for key, item in value.items()}
    return value


def wrap(value: Any, tracer: Tracer | None) -> Any:
    """A value with every node in it replaced by a tensor; outside a trace one tensor stands for each node."""
    from staticnet import lazy

    if isinstance(value, Node):
        holder = lazy.held(value) if tracer is None else None
        return Tensor(value, tracer) if holder is None else holder
    if isinstance(value, (tuple, list)):
        return tuple(wrap(item, tracer) for item in value)
    return value


def unguarded(name: str) -> Callable:
    """The function of that name on tensors, for use behind a boundary."""
    function = FUNCTIONS.get(name)
    if function is None:
        importlib.import_module("staticnet.compiler.ops")
        function = FUNCTIONS[name]
    return lambda *args, **kwargs: call(function, *args, **kwargs)


@boundary
def dropout(x: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """`x` with elements zeroed with probability `p` and the rest scaled up by 1 / (1 - p); `x` when not training.

    The draw comes from the global random key, see `sn.manual_seed` (Srivastava et al. 2014).
    """
    from staticnet.random import apply_dropout

    return apply_dropout(x, p, training)


def names() -> list[str]:
    """The public functions, sorted."""
    importlib.import_module("staticnet.compiler.ops")
    return sorted((FUNCTIONS.keys() - _HIDDEN) | {*_ALIASES, "dropout"})


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("_"):
        raise AttributeError(name)
    importlib.import_module("staticnet.compiler.ops")
    target = _ALIASES.get(name, name)
    if target in _HIDDEN or target not in FUNCTIONS:
        habits.explain("staticnet", name, habits.OF_THE_PACKAGE)
    function = FUNCTIONS[target]

    def public(*args: Any, **kwargs: Any) -> Any:
        return call(function, *args, **kwargs)

    public.__name__ = public.__qualname__ = name
    public.__doc__ = function.__doc__
    public.__wrapped__ = function  # type: ignore[attr-defined]
    guarded = boundary(public)
    globals()[name] = guarded
    return guarded


def __dir__() -> list[str]:
    return names()
