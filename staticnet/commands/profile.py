"""The command that shows where the time of a model goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import numpy as np

from staticnet.commands.graphs import bound_sizes, train_step
from staticnet.commands.target import input_specs, load_model
from staticnet.compiled import CompiledFunction, compile
from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.ir import bind_shape
from staticnet.config import config
from staticnet.tracing import TracedGraph

#: what a size that is a name is taken for
DEFAULT_SIZE = 32


def profile(given: argparse.Namespace) -> int:
    """Print the profile of a model, or of its training step, on random inputs; perhaps write a trace."""
    for option, value in (("--repeats", given.repeats), ("--rows", given.rows)):
        if value < 1:
            raise ArgumentError(f"{option} {value}: at least 1 is needed")
    given_sizes = bound_sizes(given.size)
    model = load_model(given, given.seed)
    specs = input_specs(given, model)
    if given.device:
        config.device = given.device
    compiled: CompiledFunction = train_step(given, model, specs) if given.train else compile(model.eval(), *specs)
    names = compiled.graph.symbols
    if unknown := sorted(given_sizes.keys() - set(names)):
        raise ArgumentError(f"--size {unknown[0]}: the open sizes of {given.target} are {', '.join(names) or 'none'}")
    feeds = random_feeds(compiled.graph, {**dict.fromkeys(names, DEFAULT_SIZE), **given_sizes}, given.seed)
    compiled(*feeds)
    found = compiled.profile(*feeds, repeats=given.repeats)
    print((found.by(given.by) if given.by else found).text(rows=given.rows))
    if given.chrome:
        found.to_chrome(given.chrome)
        print(f"trace: {given.chrome}, to be opened in ui.perfetto.dev or chrome://tracing", file=sys.stderr)
    return 0


def random_feeds(graph: TracedGraph, binding: Mapping[str, int], seed: int) -> list[np.ndarray]:
    """Arrays for the feeds of a graph: normal numbers where they are floating, else 0 and 1."""
    rng = np.random.default_rng(seed)
    found = []
    for node in graph.feeds:
        shape, dtype = bind_shape(node.aval.shape, binding), node.dtype
        drawn = rng.standard_normal(shape) if dtype.is_float else rng.integers(0, 2, shape)
        found.append(np.asarray(drawn, dtype.numpy))
    return found
