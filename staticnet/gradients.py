"""Gradients of tensors as tensors, in a trace or outside, and the check of gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from staticnet import lazy
from staticnet.boundary import boundary
from staticnet.compiler import origins
from staticnet.compiler.autodiff import gradients
from staticnet.compiler.cut import Cut
from staticnet.compiler.errors import ArgumentError, GradientError, VerificationError
from staticnet.compiler.ir import Graph, Node, apply, current_builder
from staticnet.compiler.ops.base import as_node
from staticnet.compiler.ops.leaf import Identity
from staticnet.compiler.passes.cse import cse
from staticnet.compiler.passes.stabilise import stabilise
from staticnet.functional import unwrap, wrap
from staticnet.tensors import Tensor, tensor
from staticnet.tracer import current_tracer


@boundary
def grad(y: Any, xs: Any, *, seed: Any = None, unconnected: str = "error") -> Any:
    """The gradient of `y` with respect to each of `xs`, as new tensors; may be differentiated again.

    `y` is a float scalar, or a tensor with a `seed` of its shape (the vector of a vector-Jacobian
    product), or a list of either with a list of seeds. `xs` is a list of tensors or parameters, which
    gives a tuple, or a single one, which gives a tensor. For an x that y does not depend on,
    `unconnected="zero"` gives zeros; otherwise it is a GradientError.
    """
    if unconnected not in {"error", "zero"}:
        raise ArgumentError(f"unconnected is 'error' or 'zero', not {unconnected!r}")
    tracer = current_tracer()
    is_single = isinstance(xs, Tensor)
    targets = list(xs) if isinstance(xs, Iterable) and not is_single else [xs]
    values = list(y) if isinstance(y, (list, tuple)) else [y]
    seeds = list(seed) if isinstance(y, (list, tuple)) and seed is not None else [seed]
    for value in (*values, *targets):
        if not isinstance(value, Tensor):
            raise GradientError(f"gradients are taken of tensors with respect to tensors, not of {value!r:.60}")
    origin = origins.here()
    places = () if origin is None else (origin,)
    if tracer is None:
        # A loop of steps must not drag its whole past along: what the targets are made of is computed now.
        lazy.evaluate([target.resolve(None) for target in targets])
    with current_builder().at(places):
        roots = [unwrap(value, tracer) for value in values]
        leaves = [unwrap(target, tracer) for target in targets]
        if tracer is None:
            roots, leaves = lazy.unrolled(roots, leaves)
        seed_nodes = [None if s is None else as_node(unwrap(s, tracer)) for s in _padded(seeds, len(roots))]
        results = gradient_nodes(roots, leaves, seed_nodes, unconnected)
    wrapped = wrap(tuple(results), tracer)
    return wrapped[0] if is_single else wrapped


def _padded(seeds: Sequence[Any], count: int) -> list[Any]:
    if len(seeds) == 1 and seeds[0] is None:
        return [None] * count
    if len(seeds) != count:
        raise GradientError(f"{count} values but {len(seeds)} seeds; give one seed per value")
    return list(seeds)


def gradient_nodes(
    ys: Sequence[Node], xs: Sequence[Node], seeds: Sequence[Node | None] | None = None, unconnected: str = "error"
) -> list[Node]:
    """Gradients of nodes after stabilising what lies between: log(softmax(x)) must not be differentiated naively.

    The requested `xs` are barriers: nothing is rewritten across them.
    """
    cut = Cut(ys, xs)
    wanted = set(cut.targets)
    builder = current_builder()
    roots = (*cut.roots, *cut.targets)
    leaves = [node for node in dict.fromkeys(roots) if not node.inputs]
    graph = Graph(leaves, roots, names=builder.names, origins=builder.origins)

    def fence(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node not in wanted or not node.inputs:
            return None
        return apply(Identity(), apply(node.op, *inputs))

    graph = cse(stabilise(graph.rebuild(fence)))
    for node, text in graph.names.items():
        builder.names.setdefault(node, text)
    for node, places in graph.origins.items():
        builder.add_origins(node, places)
    return cut.restore(gradients(graph.outputs[: len(ys)], graph.outputs[len(ys) :], seeds, unconnected=unconnected))


@boundary
def gradcheck(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    eps: float = 1e-6,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    order: int = 1,
    seed: int = 0,
) -> bool:
    """Compare the gradients of `function` with central differences in float64; True, or VerificationError.

    `inputs` are arrays; float ones are taken as float64 and differentiated. The result is reduced by a
    random weighting. `order=2` also checks the gradient of the gradient in a random direction.
    """
    arrays = [
        np.array(value, np.float64) if np.asarray(value).dtype.kind == "f" else np.array(value) for value in inputs
    ]
    if not any(array.dtype.kind == "f" for array in arrays):
        raise ArgumentError(f"gradcheck has nothing to differentiate: none of its {len(arrays)} inputs is float")
    rng = np.random.default_rng(seed)

    def scalar(*tensors: Any) -> Any:
        result = function(*tensors)
        weights = np.random.default_rng(seed + 1).uniform(0.5, 1.5, result.shape)
        return (result * tensor(weights)).sum()

    checked: Callable[..., Any] = scalar
    for level in range(1, order + 1):
        _check_level(checked, arrays, eps, rtol, atol, level, rng)
        checked = _directional(checked, arrays, seed + level)
    return True


def _directional(function: Callable[..., Any], arrays: Sequence[np.ndarray], seed: int) -> Callable[..., Any]:
    """The derivative of a scalar function in a fixed random direction, as a function again."""
    rng = np.random.default_rng(seed)
    directions = [rng.uniform(-1, 1, a.shape) if a.dtype.kind == "f" else None for a in arrays]

    def along(*tensors: Any) -> Any:
        chosen = [(t, d) for t, d in zip(tensors, directions, strict=True) if d is not None]
        slopes = grad(function(*tensors), [t for t, _ in chosen], unconnected="zero")
        total: Any = None
        for slope, (_, direction) in zip(slopes, chosen, strict=True):
            term = (slope * tensor(direction)).sum()
            total = term if total is None else total + term
        return total

    return along


def _check_level(
    function: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    eps: float,
    rtol: float,
    atol: float,
    level: int,
    rng: np.random.Generator,
) -> None:
    tensors = [tensor(array) for array in arrays]
    places = [i for i, array in enumerate(arrays) if array.dtype.kind == "f"]
    slopes = grad(function(*tensors), [tensors[i] for i in places], unconnected="zero")
    for place, slope in zip(places, slopes, strict=True):
        direction = rng.uniform(-1, 1, arrays[place].shape)
        expected = _difference(function, arrays, place, direction, eps)
        found = float((slope.numpy() * direction).sum())
        if not np.isclose(found, expected, rtol=rtol, atol=atol):
            raise VerificationError(
                f"order {level}, argument {place}: the gradient in a random direction is {found:.9g}, "
                f"finite differences give {expected:.9g}"
            )


def _difference(
    function: Callable[..., Any], arrays: Sequence[np.ndarray], place: int, direction: np.ndarray, eps: float
) -> float:
    def at(step: float) -> float:
        moved = [a + step * direction if i == place else a for i, a in enumerate(arrays)]
        return float(function(*(tensor(a) for a in moved)))

    return (at(eps) - at(-eps)) / (2 * eps)
