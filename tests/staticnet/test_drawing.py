"""`draw`: what it takes, its stages, and what it says when it cannot."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet as sn
from staticnet.compiled import compile
from staticnet.compiler.errors import ArgumentError, MissingDependencyError
from staticnet.drawing import Drawing, draw
from staticnet.exporters import render as render_module
from staticnet.gradients import grad
from staticnet.nn.module import Module
from staticnet.nn.parameter import Buffer, Parameter
from staticnet.spec import TensorSpec
from staticnet.tracing import trace

X = TensorSpec(("batch", 4), "float32", name="x")


class Scale(Module):
    def __init__(self):
        super().__init__()
        self.weight = Parameter(np.ones((4, 3), np.float32))

    def forward(self, x):
        return (x @ self.weight).tanh() * 2 + 1


class Model(Module):
    def __init__(self):
        super().__init__()
        self.first = Scale()

    def forward(self, x):
        return self.first(x).sum(1)


def test_a_graph_to_a_file(tmp_path):
    path = draw(trace(Model(), X), tmp_path / "model.dot")
    assert path == tmp_path / "model.dot"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("digraph") and "matmul" in text and "first" in text and "f32[batch, 4]" in text


def test_without_a_path_the_text_shows_itself(tmp_path):
    pytest.importorskip("pygraphviz")
    drawing = draw(trace(Model(), X), title="A model")
    assert isinstance(drawing, Drawing) and drawing.startswith("digraph") and "A model" in drawing
    assert "<svg" in drawing._repr_svg_()
    assert drawing._repr_png_().startswith(b"\x89PNG")
    assert drawing.save(tmp_path / "x.svg").exists()


def test_a_notebook_without_graphviz_falls_back_to_text(monkeypatch):
    monkeypatch.setattr(render_module.shutil, "which", lambda name: None)
    monkeypatch.setattr(render_module.importlib.util, "find_spec", lambda name: None)
    drawing = draw(trace(Model(), X))
    assert drawing._repr_svg_() is None and drawing._repr_png_() is None
    with pytest.raises(MissingDependencyError, match="staticnet"):
        drawing.save("model.png")


def test_a_module_and_its_specs():
    text = draw(Model(), specs=[X])
    assert text == draw(trace(Model(), X))
    assert "first" in draw(Model(), specs=[X], depth=1) and "12 parameters" in draw(Model(), specs=[X], depth=1)


def test_a_tensor_draws_what_computes_it():
    w = sn.tensor(2.5)
    y = w**4 - 2 * w**2
    y.name = "curve"
    text = draw(y)
    assert text.count(">power<") == 2 and ">2.5<" in text and "curve" in text
    assert ">tensor<" in draw(sn.tensor(np.ones(3)) + 1)


def test_a_tensor_inside_a_trace():
    seen = []

    def function(x):
        y = sn.exp(x)
        seen.append(draw(y))
        return y

    trace(function, X)
    assert ">exp<" in seen[0] and ">x<" in seen[0]


def test_a_compiled_function_and_its_stages():
    compiled = compile(lambda x: (x * 2 + 1).tanh().sum(1), X)
    compiled(np.ones((2, 4), np.float32))
    assert "fused" not in draw(compiled)
    assert draw(compiled, stage="backward") == draw(compiled), "no gradients, so nothing to tell apart"
    assert "fused 1" in draw(compiled, stage="optimised")


class FakeStep:
    """A training step by hand: the loss, its gradient and the update of the weight in one traced graph."""

    def __init__(self):
        model = Scale()
        rate, total = Buffer(np.float32(0.1)), Buffer(np.float32(0))

        def step(x):
            loss = (model(x) ** 2).mean()
            (slope,) = grad(loss, [model.weight])
            model.weight.assign(model.weight - rate * slope)
            total.assign(total + loss)
            return loss

        self.graph = trace(step, X)

    def graph_at(self, stage):
        return self.graph

    def fusion_groups(self):
        return []

    def roles(self):
        raise AssertionError("the optimised stage has other nodes")


def test_the_optimised_stage_of_a_training_step_tells_roles_by_structure():
    text = draw(FakeStep(), stage="optimised")
    assert all(f">{role}</td>" in text for role in ("forward", "backward", "update"))
    updates = [line for line in text.splitlines() if "→" in line and "tooltip" in line]
    assert len(updates) == 2 and all("#D9F0E6" in line for line in updates)
    assert "subtract" in updates[0] and "add" in updates[1], "a running count is no gradient"


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        (3, {}, "cannot draw a int"),
        (lambda x: x, {}, "cannot draw a function"),
        (Model(), {}, "is drawn on inputs"),
        (Model(), {"stage": "fast", "specs": [X]}, "stage must be one of 'forward'"),
        (Model(), {"stage": "backward", "specs": [X]}, "has no stage 'backward'"),
        (Model(), {"path": "model.bmp", "specs": [X]}, "none of .dot"),
        (Model(), {"depth": -2, "specs": [X]}, "depth must be 0 or more"),
    ],
)
def test_what_cannot_be_drawn(what, options, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        draw(what, **options)
    assert caught.value.origin is not None and caught.value.origin.file == __file__
