"""The plain meaning of a graph: each node's kernel in turn, every result freshly allocated.

Constant folding computes with it, and every other way of running a graph is held against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import Node, Type, bind_shape, has_rule, leaves
from staticnet.compiler.ops.leaf import Item, Pack


def evaluate(
    roots: Sequence[Node], values: Mapping[Node, Any], binding: Mapping[str, int] | None = None, xp: Any = np
) -> list[Any]:
    """The arrays of `roots`, given those of the inputs and the numbers of the symbolic sizes.

    An op without a kernel is computed through its expansion.
    """
    known: dict[Node, Any] = dict(values)
    binding = binding or {}
    expansions: dict[Node, Any] = {}
    stack: list[Node] = list(reversed(roots))
    while stack:
        node = stack[-1]
        if node in known:
            stack.pop()
            continue
        missing = [source for source in node.inputs if source not in known]
        if missing:
            stack.extend(reversed(missing))
            continue
        if isinstance(node.op, Item):
            known[node] = known[node.inputs[0]][node.op.index]
        elif isinstance(node.op, Pack):
            known[node] = tuple(known[source] for source in node.inputs)
        elif has_rule(node.op, "kernel"):
            known[node] = run_kernel(node, [known[source] for source in node.inputs], binding, xp)
        elif has_rule(node.op, "expand"):
            if node not in expansions:
                expansions[node] = node.op.expand(*node.inputs)
            parts = expansions[node]
            if todo := [part for part in _as_tuple(parts) if part not in known]:
                stack.extend(reversed(todo))
                continue
            known[node] = tuple(known[p] for p in parts) if isinstance(parts, tuple) else known[parts]
        else:
            raise CompilerError(f"{node.op} has neither a value nor a kernel nor an expansion")
    return [known[root] for root in roots]


def run_kernel(node: Node, arrays: Sequence[Any], binding: Mapping[str, int], xp: Any = np) -> Any:
    """One node's result in fresh memory."""
    outs = tuple(xp.empty(bind_shape(type.shape, binding), type.dtype.numpy) for type in leaves(node.type))
    out = outs[0] if isinstance(node.type, Type) else outs
    op = node.op.bind(binding)
    types = [Type(array.shape, array.dtype) if not isinstance(array, tuple) else None for array in arrays]
    scratch_bytes = op.scratch(*types)  # type: ignore[arg-type]
    scratch = xp.empty(scratch_bytes, np.uint8) if scratch_bytes else None
    with np.errstate(all="ignore"):
        op.kernel(xp, *arrays, out=out, scratch=scratch)
    return out


def _as_tuple(value: Any) -> Iterable[Node]:
    return value if isinstance(value, tuple) else (value,)
