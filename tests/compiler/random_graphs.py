"""Random graphs for property tests: small integers throughout, so that every order of adding gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from staticnet.compiler.ir import Builder, Graph, Node, Type, building
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input

#: feeds and states, by name: shape and dtype
FEEDS = {"x": ((2, 3), "float32"), "y": ((3,), "float32"), "k": ((2, 3), "int32"), "e": ((0, 3), "float32")}
STATES = {"a": ((2, 3), "float32"), "b": ((2, 3), "float32"), "c": ((2, 3), "int32"), "d": ((3, 3), "float32")}
#: elements that no value exceeds
LIMIT = 200


@dataclass(frozen=True)
class Example:
    """A graph with arrays for its feeds and states."""

    graph: Graph
    feeds: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...]

    def __repr__(self) -> str:
        return f"\n{self.graph.text()}"


def bounded(x: Node) -> Node:
    """Numbers kept so small that nothing is ever rounded."""
    return F.clip(x, -8, 8)


def _size(x: Node) -> int:
    return int(x.size)  # type: ignore[arg-type]


Draw = Callable[[Any], Any]


def _axis(draw: Draw, x: Node) -> int:
    return draw(st.integers(0, x.ndim - 1))


def _unary(draw: Draw, x: Node) -> Node:
    return draw(st.sampled_from([F.negative, F.relu, F.absolute, F.identity, F.stop_gradient, F.sign]))(x)


def _binary(draw: Draw, x: Node, y: Node) -> Node | None:
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)  # type: ignore[arg-type]
    except ValueError:
        return None
    if np.prod(shape, dtype=int) > LIMIT:
        return None
    kind = draw(st.sampled_from(["add", "subtract", "multiply", "maximum", "where"]))
    return F.where(F.less(x, y), x, y) if kind == "where" else bounded(getattr(F, kind)(x, y))


def _transposed(draw: Draw, x: Node) -> Node:
    return F.transpose(x, draw(st.permutations(range(x.ndim))))


def _sliced(draw: Draw, x: Node) -> Node | None:
    if not x.ndim:
        return None
    options = [slice(None, None, -1), slice(None, None, 2), slice(1, None), slice(None, None, -2), slice(0, 0), None]
    return x[tuple(draw(st.sampled_from(options)) if k == 0 else slice(None) for k in range(x.ndim))]


def _reversed(draw: Draw, x: Node) -> Node:
    return F.flip(x, _axis(draw, x)) if x.ndim else x


def _reshaped(draw: Draw, x: Node) -> Node:
    count = _size(x)
    shapes: list[tuple[int, ...]] = [(count,), (1, count), (count, 1)]
    shapes += [(n, count // n) for n in (2, 3, 4) if count % n == 0]
    return F.reshape(x, draw(st.sampled_from(shapes)))


def _broadcast(draw: Draw, x: Node) -> Node | None:
    return F.broadcast_to(x, (2, *x.shape)) if 2 * _size(x) <= LIMIT and x.ndim < 4 else None


def _reduced(draw: Draw, x: Node) -> Node | None:
    if not x.ndim or x.dtype.is_bool:
        return None
    axis, keepdims = _axis(draw, x), draw(st.booleans())
    if draw(st.booleans()) and x.shape[axis] != 0:
        return F.max(x, axis, keepdims)
    return bounded(F.sum(x, axis, keepdims))


def _cast(draw: Draw, x: Node) -> Node:
    return F.cast(x, draw(st.sampled_from(["float32", "int32", "float64", "int64"])))


def _joined(draw: Draw, x: Node, y: Node) -> Node | None:
    if x.ndim != y.ndim or not x.ndim or x.shape[1:] != y.shape[1:] or _size(x) + _size(y) > LIMIT:
        return None
    return F.concat([x, y], 0)


def _multiplied(draw: Draw, x: Node, y: Node) -> Node | None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not x.dtype.is_float or not y.dtype.is_float:
        return None
    return bounded(F.matmul(x, F.transpose(y)))


def _added_to_transpose(draw: Draw, x: Node) -> Node | None:
    return bounded(x + F.transpose(x)) if x.ndim == 2 and x.shape[0] == x.shape[1] else None


def _several(draw: Draw, x: Node) -> Node | None:
    if x.ndim != 2 or not x.dtype.is_float or x.shape[0] == 0:
        return None
    zero, one = F.zeros((x.shape[1],), x.dtype), F.ones((x.shape[1],), x.dtype)
    return bounded(F.split(F.concat([x, x + one * 0 + zero], 0), 2)[draw(st.integers(0, 1))])


ONE = (_unary, _transposed, _sliced, _reversed, _reshaped, _broadcast, _reduced, _cast, _added_to_transpose, _several)
TWO = (_binary, _binary, _joined, _multiplied)


@st.composite
def examples(draw: Draw, most: int = 14) -> Example:
    """A graph of elementwise ops, reductions, products and views, with outputs and updates wherever they fall."""
    builder = Builder(intern=draw(st.booleans()))
    with building(builder), builder.at(()):
        inputs = {name: make_input(name, Type(*spec)) for name, spec in FEEDS.items()}
        states = {name: make_input(name, Type(*spec), "state") for name, spec in STATES.items()}
        values = [*inputs.values(), *states.values(), F.constant(np.arange(6, dtype=np.float32).reshape(2, 3) - 2)]
        for _ in range(draw(st.integers(1, most))):
            # The newest are taken more often, so that chains grow.
            pick = st.integers(0, len(values) - 1) | st.integers(max(0, len(values) - 3), len(values) - 1)
            rule: Any = draw(st.sampled_from((*ONE, *TWO)))
            operands = [values[draw(pick)] for _ in range(2 if rule in TWO else 1)]
            made = rule(draw, *operands)
            if made is not None:
                values.append(made)
        outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=4))
        updates = {}
        for state in states.values():
            fitting = [value for value in values if value.type == state.type]
            if draw(st.booleans()):
                updates[state] = draw(st.sampled_from(fitting[::-1]))
    graph = Graph((*inputs.values(), *states.values()), outputs, updates=updates, names=builder.names)
    rng = np.random.default_rng(draw(st.integers(0, 3)))
    return Example(graph, _arrays(FEEDS, rng), _arrays(STATES, rng))


def _arrays(specs: dict[str, tuple[tuple[int, ...], str]], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return tuple(rng.integers(-3, 4, shape).astype(dtype) for shape, dtype in specs.values())
