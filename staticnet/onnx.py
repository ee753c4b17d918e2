"""ONNX files: `export` writes a model, `verify` holds a file against the model it came from."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from staticnet import trees
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Graph, Node
from staticnet.compiler.passes.modes import to_inference
from staticnet.feeds import Feeds
from staticnet.files import atomic_write
from staticnet.nn.module import Module
from staticnet.tracing import TracedGraph, trace

if TYPE_CHECKING:
    from staticnet.exporters.onnx.export import ModelProto
    from staticnet.exporters.onnx.report import VerificationReport
    from staticnet.exporters.onnx.verify import Draw

__all__ = ["export", "verify"]

AnyPath = str | os.PathLike[str]
#: the state that numbers the draws; without training nothing is drawn, and it has no business in a file
RANDOM_KEY = "random.key"


@boundary
def export(
    model: Any,
    specs: Any = (),
    path: AnyPath | None = None,
    *,
    opset: int = 18,
    ir_version: int = 10,
    description: str = "",
    check: bool = True,
) -> Path | ModelProto:
    """Write a module, a function or a traced graph as an ONNX file for inference; the path, or without one the model.

    `specs` are the TensorSpecs that a module or function is traced on, one or a tuple, as in `trace`; a
    traced graph or a compiled function needs none: `export(graph, "m.onnx")`. Modules are traced in eval
    mode, training graphs turned into inference graphs, so there is no dropout in the file, and batch
    norm uses its running statistics. A file keeps nothing between calls: outputs are exported, updates
    of states are not, and a warning names those that get lost.

    Parameters and nodes are called by their module paths, inputs by their specs, sizes by their names.
    `opset` may be 13 up to the newest that the installed onnxruntime runs. The file is replaced in one
    step or not at all, and equal models give equal bytes. Raises ExportError for an op without an ONNX
    form (with its line), a version out of range, 2 GiB or more, and, with `check`, when onnx's checker
    or its shape inference disagrees; ArgumentError for a path that cannot be written.
    """
    from staticnet.exporters.onnx.export import to_model

    if path is None and isinstance(specs, (str, os.PathLike)):
        specs, path = (), specs
    graph, states = _inference_graph(model, specs)
    made = to_model(graph, states, opset=opset, ir_version=ir_version, description=description, check=check)
    if path is None:
        return made
    atomic_write(path, made.SerializeToString(deterministic=True))
    return Path(path)


@boundary
def verify(
    path: AnyPath | ModelProto,
    model: Any,
    *,
    batch: Sequence[int] | int = (1, 2, 7),
    sizes: Mapping[str, int] | None = None,
    inputs: Mapping[str, Draw] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> VerificationReport:
    """Run an ONNX file in onnxruntime and compare it with the model that it came from; a report, printed as a table.

    The file runs once for each size in `batch`, which goes to the size called "batch", else to the first
    named one on an axis 0; other named sizes are `sizes[name]`, else 16, 17, ... `inputs[name](shape, rng)`
    draws the values of an input, where standard normal numbers (integers 0 and 1, fair booleans) will not
    do. `model` is the module (taken in eval mode), the traced graph, or any function from arrays to arrays
    in the order of the file's outputs. Floats agree within `atol + rtol * |expected|`, by default 1e-5 and
    1e-4 for float32.

    `report.raise_for_status()` raises VerificationError unless everything agrees and the file passes
    onnx's checker and shape inference. MissingDependencyError without onnxruntime.
    """
    from staticnet.exporters.onnx.verify import verify as compare

    sizes_to_run = (batch,) if isinstance(batch, int) else tuple(batch)
    return compare(
        path,
        _reference(model),
        batch=sizes_to_run,
        sizes=sizes,
        inputs=inputs,
        rtol=rtol,
        atol=atol,
        seed=seed,
    )


# -- what is exported -------------------------------------------------------------------------


def _inference_graph(model: Any, specs: Any) -> tuple[Graph, dict[Node, np.ndarray]]:
    """The graph without training, and the arrays of its states."""
    graph = _traced(model, specs)
    if not isinstance(model, Graph):
        _warn_of_lost_updates(graph)
    states = graph.states if isinstance(graph, TracedGraph) else {}
    graph = to_inference(graph)
    needed = set(graph.inputs)
    return graph, {node: state.numpy() for node, state in states.items() if node in needed}


def _traced(model: Any, specs: Any) -> Graph:
    if isinstance(model, Graph):
        if specs:
            raise ArgumentError("a traced graph knows its inputs: export it without specs")
        return model
    if not specs and isinstance(getattr(model, "graph", None), Graph):
        return model.graph
    if not callable(model):
        raise ArgumentError(f"export takes a module, a function or a traced graph, not {model!r:.60}")
    given = tuple(specs) if isinstance(specs, (tuple, list)) else (specs,)
    if not given:
        raise ArgumentError('export needs the specs of the inputs: export(model, TensorSpec(("batch", 8)), "m.onnx")')
    with _in_eval_mode(model):
        return trace(model, *given)


@contextlib.contextmanager
def _in_eval_mode(model: Any) -> Iterator[None]:
    """Every module of the model out of training mode, and back in its own afterwards."""
    modules = {module: module.training for module in model.modules()} if isinstance(model, Module) else {}
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, training in modules.items():
            module.training = training


def _warn_of_lost_updates(graph: Graph) -> None:
    lost = [graph.names.get(state, "a state") for state in graph.updates]
    lost = [name for name in lost if name != RANDOM_KEY]
    if lost:
        warnings.warn(
            f"an ONNX file keeps nothing between calls: the updates of {', '.join(lost)} are not exported",
            UserWarning,
            stacklevel=5,  # the line that called `export`, behind its boundary
        )


# -- what it is held against ------------------------------------------------------------------


def _reference(model: Any) -> Callable[[list[np.ndarray]], list[Any]]:
    if isinstance(model, Graph):
        return _graph_reference(model)
    if not callable(model):
        raise ArgumentError(f"verify compares with a module, a traced graph or a function, not {model!r:.60}")

    def call(arrays: list[np.ndarray]) -> list[Any]:
        with _in_eval_mode(model):
            return trees.leaves(model(*arrays))

    return call


def _graph_reference(graph: Graph) -> Callable[[list[np.ndarray]], list[Any]]:
    """The graph's own meaning, one kernel after the other."""
    if not isinstance(graph, TracedGraph):
        raise ArgumentError("verify needs a graph that knows its states: one that `trace` made")
    feeds, states = Feeds(graph), {node: state.numpy() for node, state in graph.states.items()}
    inference = to_inference(graph)

    def run(arrays: list[np.ndarray]) -> list[Any]:
        checked, binding = feeds.check(arrays)
        return evaluate(inference.outputs, {**states, **dict(zip(graph.feeds, checked, strict=True))}, binding)

    return run
