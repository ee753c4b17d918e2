"""Tensors outside a trace: a graph grows as they are combined, and is compiled and run when a value is asked for.

The values of leaves and of everything evaluated before are inputs of the program that runs, and so are
constants; equal structures therefore share one program, whatever numbers are in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from staticnet import tracer
from staticnet.compiler.ir import Builder, Graph, Node, Type, building, current_builder
from staticnet.compiler.ops.leaf import Constant, make_input
from staticnet.runtime.state import State

if TYPE_CHECKING:
    from staticnet.tensors import Tensor

# What nodes are worth: leaves from the start, others once evaluated. A state is read anew each time.
_known: WeakKeyDictionary[Node, np.ndarray | State] = WeakKeyDictionary()
# The tensors that somebody still holds, by the serial of their node.
_held: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
# Numbers that rewrite rules recognise stay in the program; all others are inputs of it.
_LANDMARKS = (0, 1, -1)


def leaf(value: np.ndarray | State) -> Node:
    """A node worth an array, which nobody may change from now on, or whatever a state holds when it is read."""
    type = value.type if isinstance(value, State) else Type(value.shape, value.dtype)
    builder = current_builder()
    node = make_input("leaf", type)
    builder.names.pop(node, None)
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    _known[node] = value
    return node


def hold(tensor: Tensor, node: Node) -> None:
    """Remember that a tensor stands for a node: its value is kept when something that needs it is evaluated."""
    _held[node.serial] = tensor


def held(node: Node) -> Tensor | None:
    """The tensor that stands for a node, if anybody still has it."""
    return _held.get(node.serial)


def value_of(node: Node) -> np.ndarray:
    """The value of a node, computed unless it is known; read-only."""
    evaluate([node])
    return _known_value(node)


def evaluate(roots: Iterable[Node]) -> None:
    """Compute the values of nodes, and of what lies on the way and is still held by a tensor, in one run."""
    roots = [node for node in dict.fromkeys(roots) if not _is_known(node)]
    if not roots:
        return
    needed = _needed(roots)
    on_the_way = [node for node in needed if node.serial in _held and not _is_known(node)]
    wanted = list(dict.fromkeys([*roots, *on_the_way]))
    graph, arrays = _program(needed, wanted)
    for node, array in zip(wanted, _run(graph, arrays), strict=True):
        array.flags.writeable = False
        _known[node] = array
        _settle(node, array)


def _run(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    try:
        from staticnet.compiled import run_graph
    except ModuleNotFoundError:
        from staticnet.compiler.evaluate import evaluate

        return [np.array(a) for a in evaluate(graph.outputs, dict(zip(graph.inputs, arrays)))]

    with tracer.suspended():
        return run_graph(graph, arrays)


def _settle(node: Node, array: np.ndarray) -> None:
    """Cut a tensor off from what it was computed from, where no gradient could be asked for."""
    tensor = _held.get(node.serial)
    if tensor is not None and (not node.dtype.is_float or node.op.name == "stop_gradient"):
        tensor.replace_node(leaf(array))


def _is_known(node: Node) -> bool:
    return node in _known or isinstance(node.op, Constant)


def _known_value(node: Node) -> np.ndarray:
    value = node.op.value if isinstance(node.op, Constant) else _known[node]
    return value.numpy() if isinstance(value, State) else value


def _needed(roots: Sequence[Node]) -> list[Node]:
    """Nodes in an order that the structure alone decides, each after what it reads; known values read nothing."""
    done: dict[Node, None] = {}
    stack = [(node, False) for node in reversed(roots)]
    while stack:
        node, is_ready = stack.pop()
        if node in done:
            continue
        if is_ready or node in _known:
            done[node] = None
            continue
        stack.append((node, True))
        stack.extend((source, False) for source in reversed(node.inputs) if source not in done)
    return list(done)


def _program(needed: Sequence[Node], wanted: Sequence[Node]) -> tuple[Graph, list[np.ndarray]]:
    """The graph that computes `wanted`, and the arrays to feed it."""
    builder = Builder()
    origins = current_builder().origins
    fixed = _fixed_constants(needed)
    new: dict[Node, Node] = {}
    inputs: list[Node] = []
    arrays: list[np.ndarray] = []
    with building(builder):
        for node in needed:
            with builder.at(origins.get(node, ())):
                if node in fixed or not _is_known(node):
                    new[node] = builder.make(node.op, tuple([new[source] for source in node.inputs]), node.type)
                    continue
                new[node] = make_input(f"x{len(inputs)}", node.aval)
            inputs.append(new[node])
            arrays.append(_known_value(node))
    graph = Graph(inputs, [new[node] for node in wanted], names=builder.names, origins=builder.origins, name="prompt")
    return graph, arrays


def _fixed_constants(needed: Sequence[Node]) -> set[Node]:
    """Constants whose value decides how the graph is rewritten: exponents, and the neutral numbers."""
    fixed = {node.inputs[1] for node in needed if node.op.name == "power" and node.inputs}
    constants = [node for node in needed if isinstance(node.op, Constant)]
    return {node for node in constants if node in fixed or _is_landmark(node.op.value)}  # type: ignore[attr-defined]


def _is_landmark(value: Any) -> bool:
    return value.ndim == 0 and value[()] in _LANDMARKS
