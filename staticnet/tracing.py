"""Tracing: a function or a module runs once on symbolic tensors, and what it did is a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from staticnet import trees
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, TraceError
from staticnet.compiler.ir import Graph, Node, building
from staticnet.compiler.ops.base import F
from staticnet.runtime.state import State
from staticnet.tensors import Tensor, TensorSpec
from staticnet.tracer import Tracer, current_tracer

__all__ = ["TracedGraph", "Tracer", "current_tracer", "trace"]


class TracedGraph(Graph):
    """The graph of a traced function.

    Its inputs are the feeds, in the order of the function's arguments, then the states it reads or
    writes, in the order of first use; `states` says which State each of the latter is. `results` is
    what the function returned, with the positions of `outputs` in place of tensors; `modules` are those
    that it called.
    """

    def __init__(
        self, *args: Any, states: dict[Node, State], results: Any, modules: tuple[Any, ...] = (), **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self.states = states
        self.results = results
        self.modules = modules

    @property
    def feeds(self) -> tuple[Node, ...]:
        """The inputs that each call gives."""
        return tuple(node for node in self.inputs if node not in self.states)

    def unflatten(self, values: Iterable[Any]) -> Any:
        """Values of the outputs, put together as the traced function returned them."""
        values = list(values)
        return trees.map_leaves(lambda path, position: values[position], self.results)

    def summary(self) -> Any:
        """A table of the modules: name, op, output shape, parameters, multiply-adds, bytes."""
        from staticnet.summary import summarize

        return summarize(self)


@boundary
def trace(function: Callable[..., Any], *specs: Any, name: str | None = None, **named: Any) -> TracedGraph:
    """The graph of `function`, or of a module, on inputs of the given specs.

    Each argument is a TensorSpec, an array (which stands for its spec), or nested tuples, lists and
    dicts of them; anything else is passed on as it is. Inputs are called by their spec's name, else
    as the function's own argument. The function returns a tensor, or nested tuples, lists and dicts
    of tensors; outputs are called by their dict keys, else by `tensor.name`, else `output`,
    `output1`, ... Raises TraceError for other results.
    """
    if isinstance(function, type) and hasattr(function, "forward"):
        raise ArgumentError(f"{name_of(function)} is a class of modules: make one of it first, `{name_of(function)}()`")
    tracer = Tracer(name or name_of(function))
    with tracer.running():
        args, keywords = make_feeds(tracer, function, specs, named)
        results = function(*args, **keywords)
        return finish(tracer, results)


def name_of(function: Any) -> str:
    """What a function or module is called in messages and graphs."""
    return getattr(function, "__name__", None) or type(function).__name__


def make_feeds(
    tracer: Tracer, function: Callable[..., Any], specs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments to call `function` with: each spec replaced by a symbolic tensor that is a feed of the trace."""
    given: dict[str, Any] = dict(zip(argument_names(function, len(specs)), specs, strict=True))
    return (
        tuple(_feed(tracer, label, spec) for label, spec in given.items()),
        {label: _feed(tracer, label, spec) for label, spec in named.items()},
    )


def _feed(tracer: Tracer, label: str, tree: Any) -> Any:
    return trees.map_leaves(lambda path, leaf: _feed_leaf(tracer, path, leaf), tree, label)


def _feed_leaf(tracer: Tracer, path: str, leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        leaf = TensorSpec.of(leaf)
    if not isinstance(leaf, TensorSpec):
        return leaf
    with tracer.builder.at(()):
        return Tensor(tracer.feed(leaf.name or path, leaf.type), tracer)


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """The names of the first `count` positional arguments of a function, or of a module's forward."""
    target = getattr(function, "forward", function)
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return [f"input{i}" if i else "input" for i in range(count)]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [parameter.name for parameter in parameters if parameter.kind in kinds][:count]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
    if len(names) < count and rest is None:
        taken = f"{len(names)} inputs ({', '.join(names)})"
        raise ArgumentError(f"{name_of(function)} takes {taken}, but {count} specs are given")
    return [*names, *(f"{rest}{i}" for i in range(count - len(names)))]


def positional(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of a call in the order of the function's own; ArgumentError for what has no place in it."""
    if not kwargs:
        return args
    try:
        bound = inspect.signature(getattr(function, "forward", function)).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{name_of(function)}: {error}") from None
    if bound.kwargs:
        raise ArgumentError(f"{name_of(function)}: give {', '.join(bound.kwargs)} as positional arguments")
    return bound.args


def finish(tracer: Tracer, results: Any) -> TracedGraph:
    """End a trace: the graph of what it did, with `results`, a tree of tensors, as outputs.

    Raises TraceError for results that are no tensors.
    """
    found = list(trees.flatten(results))
    if not found:
        raise TraceError(f"{tracer.name} returned {results!r}: return at least one tensor")
    outputs = [_output(tracer, path, value) for path, value in found]
    names = _output_names(tracer, results, found, outputs)
    updates = tracer.close()
    positions = iter(range(len(outputs)))
    return TracedGraph(
        (*tracer.feeds, *tracer.states.values()),
        outputs,
        output_names=names,
        updates=updates,
        names=tracer.builder.names,
        origins=tracer.builder.origins,
        name=tracer.name,
        states={node: state for state, node in tracer.states.items()},
        results=trees.map_leaves(lambda path, leaf: next(positions), results),
        modules=tuple(tracer.modules),
    )


def _output(tracer: Tracer, path: str, value: Any) -> Node:
    if isinstance(value, Tensor):
        return value.resolve(tracer)
    if isinstance(value, (np.ndarray, np.generic)):
        with building(tracer.builder):
            return F.constant(value)
    what = f"{value!r:.60} of type {type(value).__name__}" + (f" at {path!r}" if path else "")
    hint = "did you forget the `return`?" if value is None else "make a tensor of it with `sn.tensor`, or leave it out"
    raise TraceError(f"{tracer.name} returned {what}, which is no tensor: {hint}")


def _output_names(tracer: Tracer, results: Any, found: list[tuple[str, Any]], outputs: list[Node]) -> list[str]:
    """Dict keys, else the tensors' own names, else `output`, `output1`, ...; each only once."""
    inputs = {*tracer.feeds, *tracer.states.values()}
    names: list[str] = []
    for position, ((path, _), node) in enumerate(zip(found, outputs, strict=True)):
        own = None if node in inputs else tracer.builder.names.get(node)
        name = path if isinstance(results, dict) else own
        if not name or name in names:
            name = f"output{position}" if position else "output"
        while name in names:
            name += "_"
        names.append(name)
    return names
