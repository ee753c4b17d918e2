"""The commands that look at a model's graph: summary, export, verify and draw."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from staticnet import onnx, optim
from staticnet.commands.target import input_specs, load_model, sizes
from staticnet.commands.training import LOSSES
from staticnet.compiled import compile
from staticnet.compiler.dims import Dim
from staticnet.compiler.errors import ArgumentError
from staticnet.drawing import draw as draw_graph
from staticnet.native_export import SUFFIXES, export_native
from staticnet.nn.module import Module
from staticnet.spec import TensorSpec
from staticnet.step import TrainStep, compile_train_step
from staticnet.tracing import trace


def summary(given: argparse.Namespace) -> int:
    """Print the table of layers, or the graph."""
    model = load_model(given).eval()
    graph = trace(model, *input_specs(given, model))
    if given.graph:
        print(graph.text())
    elif given.json:
        print(json.dumps(_plain(dataclasses.asdict(graph.summary()))))
    else:
        print(graph.summary(), end="")
    return 0


def export(given: argparse.Namespace) -> int:
    """Write an ONNX file, or native code, as the suffix says; prints the paths of what was written."""
    model = load_model(given)
    specs = input_specs(given, model)
    if Path(given.out).suffix.lower() in SUFFIXES:
        files = export_native(model, given.out, *specs, sizes=bound_sizes(given.size), cpu=given.cpu)
        print(*files, sep="\n")
        return 0
    if given.size:
        raise ArgumentError(f"--size is for native code, and '{given.out}' keeps its sizes open: leave it out")
    print(onnx.export(model, specs, given.out, opset=given.opset))
    return 0


def bound_sizes(texts: list[str]) -> dict[str, int]:
    """The sizes that --size gives, as `batch=1`."""
    parts = [text.partition("=") for text in texts]
    wrong = [text for text, (name, _, size) in zip(texts, parts, strict=True) if not (name and size.isdecimal())]
    if wrong:
        raise ArgumentError(f"--size takes a name and a whole number, such as batch=1, not {wrong[0]!r}")
    return {name: int(size) for name, _, size in parts}


def verify(given: argparse.Namespace) -> int:
    """Print how an ONNX file compares with the model; 1 unless they agree."""
    batch = sizes(given.batch, "--batch")
    report = onnx.verify(given.file, load_model(given), batch=batch, rtol=given.rtol, atol=given.atol, seed=given.seed)
    print(report)
    return 0 if report.ok else 1


def draw(given: argparse.Namespace) -> int:
    """Draw the graph; prints the path of the picture."""
    model = load_model(given)
    specs = input_specs(given, model)
    if given.stage == "backward":
        what: Any = train_step(given, model, specs)
    else:
        model.eval()
        what = trace(model, *specs) if given.stage == "forward" else compile(model, *specs)
    print(draw_graph(what, given.out, stage=given.stage, depth=given.depth))
    return 0


def train_step(given: argparse.Namespace, model: Module, specs: tuple[TensorSpec, ...]) -> TrainStep:
    """A training step with plain gradient descent, on targets such as the loss wants."""
    output = trace(model, *specs).outputs[0].aval
    if given.loss == "cross-entropy":
        if output.ndim < 2:
            raise ArgumentError(f"cross entropy wants logits (batch, classes), and {given.target} gives {output}")
        target = TensorSpec((output.shape[0], *output.shape[2:]), "int64", name="target")
    else:
        target = TensorSpec(output.shape, output.dtype, name="target")
    return compile_train_step(model, LOSSES[given.loss](), optim.SGD(model.parameters(), lr=0.1), *specs, target)


def _plain(value: Any) -> Any:
    """Symbolic sizes as text, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Dim) else value
