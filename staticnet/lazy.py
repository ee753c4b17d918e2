"""Tensors outside a trace: a graph grows as they are combined, and is compiled and run when a value is asked for.

The values of leaves and of everything evaluated before are inputs of the program that runs, and so are
constants; equal structures therefore share one program, whatever numbers are in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary, ref

import numpy as np

from staticnet import tracer
from staticnet.compiler.errors import RunError
from staticnet.compiler.ir import Builder, Graph, Node, Type, building, current_builder
from staticnet.compiler.ops.leaf import Constant, make_input
from staticnet.runtime.state import State

if TYPE_CHECKING:
    from staticnet.tensors import Tensor

#: makes the nodes outside any trace, and forgets those that nobody holds
PROMPT = Context().run(current_builder)
# What nodes are worth: leaves from the start, others once evaluated. A state is read anew each time.
_known: WeakKeyDictionary[Node, np.ndarray | State] = WeakKeyDictionary()
# Evaluated leaves, and the node that each was before, for gradients.
_history: WeakKeyDictionary[Node, Node] = WeakKeyDictionary()
# The same, for all of them and only while something else needs that node: what was made of it before it was evaluated.
_former: WeakKeyDictionary[Node, ReferenceType[Node]] = WeakKeyDictionary()
# The tensors that somebody still holds, by the serial of their node.
_held: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
# Those of them that are not computed yet.
_pending: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
#: nodes that are looked at in search of tensors that could be computed along with one that is asked for
MOST_LOOKED_AT = 1024
# Numbers that rewrite rules recognise stay in the program; all others are inputs of it.
_LANDMARKS = (0, 1, -1)


def leaf(value: np.ndarray | State) -> Node:
    """A node worth an array, which nobody may change from now on, or whatever a state holds when it is read."""
    type = value.type if isinstance(value, State) else Type(value.shape, value.dtype)
    with building(PROMPT):
        node = make_input("leaf", type)
    del PROMPT.names[node]
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    _known[node] = value
    return node


def hold(tensor: Tensor, node: Node) -> None:
    """Remember that a tensor stands for a node: its value is kept when something that needs it is evaluated."""
    _held[node.serial] = tensor
    if not _is_known(node):
        _pending[node.serial] = tensor


def held(node: Node) -> Tensor | None:
    """The tensor that stands for a node, if anybody still has it."""
    return _held.get(node.serial)


def value_of(node: Node) -> np.ndarray:
    """The value of a node, computed unless it is known; read-only."""
    evaluate([node])
    return _known_value(node)


def evaluate(roots: Iterable[Node]) -> None:
    """Compute the values of nodes in one run.

    Nothing is computed twice: what lies on the way and is still held by a tensor keeps its value, and what
    is held and builds on what is computed now is computed along with it.
    """
    roots = [node for node in dict.fromkeys(roots) if not _is_known(node)]
    if not roots:
        return
    computed = [node for node in post_order(roots, _operands) if not _is_known(node)]
    on_the_way = [node for node in computed if node.serial in _pending]
    needed = list(dict.fromkeys([*roots, *on_the_way]))
    along = [node for node in _building_on(computed) if node not in set(needed)]
    try:
        _compute([*needed, *along])
    except RunError:
        # What was only to come along must not keep anybody from what was asked for.
        if not along:
            raise
        _compute(needed)


def _compute(wanted: Sequence[Node]) -> None:
    graph, arrays = _program(post_order(wanted, _operands), wanted)
    for node, array in zip(wanted, _run(graph, arrays), strict=True):
        array.flags.writeable = False
        _known[node] = array
        _settle(node, array)


def _operands(node: Node) -> tuple[Node, ...]:
    return () if node in _known else node.inputs


def _building_on(computed: Sequence[Node]) -> list[Node]:
    """The nodes that are held, not known, and read something of what is computed now; the newest are sought first."""
    oldest = min((node.serial for node in computed), default=0)
    reads = dict.fromkeys(computed, True)
    most = len(reads) + MOST_LOOKED_AT

    def sources(node: Node) -> tuple[Node, ...]:
        return () if node in reads or node.serial < oldest else _operands(node)

    # The list of references is taken at once; other threads may make tensors meanwhile.
    tensors = [tensor for reference in _pending.valuerefs() if (tensor := reference()) is not None]
    waiting = sorted((tensor._node for tensor in tensors), key=lambda node: -node.serial)
    for root in waiting:
        for node in post_order([root], sources) if len(reads) < most else ():
            reads.setdefault(node, any(reads.get(source, False) for source in sources(node)))
    return [root for root in reversed(waiting) if reads.get(root)]


def _run(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    from staticnet.prompt import run_graph

    with tracer.suspended():
        return run_graph(graph, arrays)


def _settle(node: Node, array: np.ndarray) -> None:
    """From now on the tensor of an evaluated node is a leaf; how it came about is kept for gradients alone."""
    tensor = _held.get(node.serial)
    _pending.pop(node.serial, None)
    if tensor is None:
        return
    result = leaf(array)
    _former[result] = ref(node)
    if node.dtype.is_float and node.op.name != "stop_gradient":
        _history[result] = node
    tensor.replace_node(result)


def unrolled(ys: Sequence[Node], xs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """The same values, where they depend on one of `xs` put back as they were computed before they were looked at.

    Gradients need this: to run, an evaluated tensor is a leaf, to differentiate it is what it came from.
    Nothing older than the oldest of `xs` can depend on them, so that stays as it is.
    """
    originals = {alias: x for x in xs for alias in (x, _original(x))}
    oldest = min((node.serial for node in originals), default=0)

    def sources(node: Node) -> tuple[Node, ...]:
        before = _history.get(node)
        if (node if before is None else before).serial < oldest:
            return ()
        return node.inputs if before is None else (before,)

    new: dict[Node, Node] = {}
    dependent: set[Node] = set()
    for node in post_order([*ys, *xs], sources):
        inputs = sources(node)
        if dependent.isdisjoint(inputs):
            new[node] = originals.get(node, node)
        elif node in _history:
            new[node] = new[inputs[0]]
        else:
            replaced = tuple([new[source] for source in inputs])
            new[node] = node if replaced == inputs else _again(node, replaced)
        if node in originals or not dependent.isdisjoint(inputs):
            dependent.add(node)
    return [new[y] for y in ys], [new[x] for x in xs]


def _original(node: Node) -> Node:
    """The node that an evaluated leaf was before, if anything still needs that; else the leaf itself."""
    reference = _former.get(node)
    former = None if reference is None else reference()
    return node if former is None else former


def with_history(node: Node) -> Node:
    """The same value as it was computed from the first leaves on, for those who want to see all of it."""

    def sources(node: Node) -> tuple[Node, ...]:
        before = _history.get(node)
        return node.inputs if before is None else (before,)

    first = [leaf for leaf in post_order([node], sources) if not sources(leaf)]
    return unrolled([node], first)[0][0]


def _again(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The same op on other inputs of the same values."""
    builder = current_builder()
    with builder.at(builder.origins.get(node, ())):
        result = builder.make(node.op, inputs, node.type)
    if node in _known:
        _known[result] = _known[node]
    return result


def _is_known(node: Node) -> bool:
    return node in _known or isinstance(node.op, Constant)


def _known_value(node: Node) -> np.ndarray:
    value = node.op.value if isinstance(node.op, Constant) else _known[node]
    return value.numpy() if isinstance(value, State) else value


def post_order(roots: Iterable[Node], sources: Callable[[Node], tuple[Node, ...]]) -> list[Node]:
    """Nodes in an order that the structure alone decides, each after its `sources`."""
    done: dict[Node, None] = {}
    stack = [(node, False) for node in reversed(list(roots))]
    while stack:
        node, is_ready = stack.pop()
        if node in done:
            continue
        if is_ready:
            done[node] = None
            continue
        stack.append((node, True))
        stack.extend((source, False) for source in reversed(sources(node)) if source not in done)
    return list(done)


def _program(needed: Sequence[Node], wanted: Sequence[Node]) -> tuple[Graph, list[np.ndarray]]:
    """The graph that computes `wanted`, and the arrays to feed it."""
    builder = Builder()
    origins = PROMPT.origins
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
