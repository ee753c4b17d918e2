"""Compiled programs as files: machine code and a C header, to be run without Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiled import CompiledFunction
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.ir import Graph
from staticnet.compiler.passes.modes import to_inference
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import NATIVE
from staticnet.files import atomic_path, atomic_write
from staticnet.nn.module import Module
from staticnet.runtime.locks import StateLock
from staticnet.runtime.native import export
from staticnet.runtime.native.export import SUFFIXES
from staticnet.runtime.native.export_names import prefix
from staticnet.runtime.state import State
from staticnet.step import training
from staticnet.tracing import TracedGraph, trace

__all__ = ["SUFFIXES", "NativeFiles", "export_native"]


class NativeFiles(NamedTuple):
    """What an export has written: the object file or shared library, and its C header."""

    code: Path
    header: Path


@boundary
def export_native(
    model: Any,
    path: str | os.PathLike[str],
    *specs: Any,
    sizes: Mapping[str, int] | None = None,
    cpu: str = "native",
    name: str | None = None,
) -> NativeFiles:
    """Write a model or a training step as machine code with a C header beside it; the paths of both.

    The suffix of `path` says what is written: '.o' (or '.obj') is an object file to link into a program, '.so' or
    '.dylib' a shared library, for which a C compiler is needed. `name` begins all names in C; without it the file's
    own does (`cnn.o`, `libcnn.so`: `cnn_run` in `cnn.h`).

    A module or function is traced on `specs`, TensorSpecs or arrays, modules in eval mode; without specs a module is
    taken as it was last called. A training step, a compiled function or a traced graph is written as it is, updates
    of states included, for the sizes that ran last or were bound. Other symbolic sizes are given by `sizes`, such as
    {"batch": 1}. States begin in C as they are now.

    `cpu` is 'native', this processor, or a level that others have too: 'sse2', 'avx2', 'avx512', 'neon', 'generic'.

    Raises ExportError for a step that only Python can run (with its line), and where the linker fails; ArgumentError
    for sizes that are missing, names that are none in C, and paths that cannot be written; MissingDependencyError
    without llvmlite, or for a library without a C compiler.
    """
    target = Path(path)
    is_library = export.check_suffix(target)
    stem = target.stem.removeprefix("lib") if is_library else target.stem
    symbol = _symbol(stem, name)
    machine = export.machine_for(cpu)
    graph, states, known = _graph_of(model, specs)
    binding = _bound(graph, known, sizes or {})
    program = pipeline(graph, binding, replace(NATIVE, machine=machine))
    content, header = export.export_program(program, _values(states), machine, symbol)
    files = NativeFiles(target, target.with_name(f"{stem}.h"))
    if is_library:
        with atomic_path(target) as temporary:
            export.link(content, temporary, target.name)
    else:
        atomic_write(target, content)
    atomic_write(files.header, header)
    return files


def _symbol(stem: str, name: str | None) -> str:
    """What all names in C begin with."""
    if name is None:
        return prefix(stem)
    if prefix(name) != name:
        raise ArgumentError(f"name = {name!r}: names in C cannot begin so; take {prefix(name)!r}")
    return name


def _values(states: Sequence[State]) -> list[np.ndarray]:
    """The values of all states at one moment."""
    return StateLock(states).read(lambda: [state.numpy() for state in states])


# -- what is exported -------------------------------------------------------------------------


def _graph_of(model: Any, specs: tuple[Any, ...]) -> tuple[Graph, list[State], Mapping[str, int]]:
    """The graph to compile, the states of its inputs, and the sizes that are known."""
    if isinstance(model, (CompiledFunction, Graph)):
        if specs:
            raise ArgumentError("what is traced already knows its inputs: leave out the specs, and give `sizes`")
        graph = model if isinstance(model, Graph) else model.graph
        if not isinstance(graph, TracedGraph):
            raise ArgumentError("export_native needs a graph that knows its states: one that `trace` made")
        return graph, list(graph.states.values()), {} if isinstance(model, Graph) else _sizes_of(model)
    if not callable(model) or isinstance(model, type):
        raise ArgumentError(f"export_native takes a module, a function, or a compiled or traced one, not {model!r:.60}")
    if specs:
        with training(model, False):
            graph = trace(model, *specs)
        return graph, list(graph.states.values()), {}
    compiled = model._compiled if isinstance(model, Module) else None
    if compiled is None:
        raise ArgumentError(
            f"export_native needs the specs of the inputs, as in export_native(model, {'cnn.o'!r}, "
            "sn.TensorSpec((1, 3, 32, 32))); or call the module on arrays first"
        )
    traced = compiled.graph
    graph = to_inference(traced)
    return graph, [traced.states[node] for node in graph.inputs if node in traced.states], _sizes_of(compiled)


def _sizes_of(compiled: CompiledFunction) -> Mapping[str, int]:
    """The sizes of the program that ran last or was bound, none if there was none."""
    latest = compiled._latest().latest
    return latest.program.binding if latest is not None else {}


def _bound(graph: Graph, known: Mapping[str, int], given: Mapping[str, int]) -> dict[str, int]:
    """A number for each symbolic size."""
    symbols = graph.symbols
    if surplus := [name for name in given if name not in symbols]:
        has = f"its symbolic sizes are {', '.join(symbols)}" if symbols else "it has no symbolic sizes"
        raise ArgumentError(f"sizes names {', '.join(map(repr, surplus))}, which {graph.name} has not; {has}")
    for name, size in given.items():
        if isinstance(size, bool) or not hasattr(size, "__index__") or int(size) < 0:
            raise ArgumentError(f"sizes[{name!r}] = {size!r}: a size is a whole number from 0 on")
    binding = {name: int(size) for name, size in {**known, **given}.items() if name in symbols}
    if missing := [name for name in symbols if name not in binding]:
        example = ", ".join(f"{name!r}: 1" for name in missing)
        raise ArgumentError(
            f"native code is made for fixed sizes, and {', '.join(missing)} of {graph.name} "
            f"{'are' if len(missing) > 1 else 'is'} not given: add sizes={{{example}}}"
        )
    return binding
