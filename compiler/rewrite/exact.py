"""Rules whose two sides are equal bit by bit, for every value, NaN and signed zero included."""

from __future__ import annotations

import dataclasses

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.ir import Graph, Node, apply
from staticnet.compiler.ops.base import F, Pointwise
from staticnet.compiler.ops.reduce import Reduction
from staticnet.compiler.rewrite.engine import RuleSet

EXACT = RuleSet("exact")
rule, helper = EXACT.rule, EXACT.helper


@helper
def compose(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that is `first`, then `second`."""
    return tuple(first[axis] for axis in second)


@helper
def is_integer(x: Node) -> bool:
    return x.dtype.is_integer


@helper
def is_one_everywhere(x: Node, axes: tuple[int, ...]) -> bool:
    """Whether every axis in `axes` has size 1."""
    return all(dims.same(x.shape[axis], 1) for axis in axes)


@helper
def shape_without(x: Node, axes: tuple[int, ...], keepdims: bool) -> tuple[Size, ...]:
    """The shape of a reduction of `x` over `axes`."""
    kept: list[Size] = []
    for axis, size in enumerate(x.shape):
        if axis not in axes:
            kept.append(size)
        elif keepdims:
            kept.append(1)
    return tuple(kept)


@helper
def is_signed(x: Node) -> bool:
    return x.dtype.numpy.kind in "if"


@helper
def is_detour(x: Node, middle: DType, target: DType) -> bool:
    """Whether a cast of `x` to `middle` on the way to `target` makes no difference to any value."""
    is_rounded = x.dtype.is_integer and x.dtype.itemsize == 8 and middle.is_float  # NumPy calls that safe
    is_cut = middle.is_float and target.is_integer  # beyond the range of integers, casts go by the source's type
    return np.can_cast(x.dtype.numpy, middle.numpy, "safe") and not is_rounded and not is_cut


rule("negative(negative(x)) = x")
rule("logical_not(logical_not(x)) = x")
rule("absolute(absolute(x)) = absolute(x)")
rule("absolute(negative(x)) = absolute(x)", where="is_signed(x)")
rule("relu(relu(x)) = relu(x)")
rule("square(negative(x)) = square(x)")
rule("square(absolute(x)) = square(x)")
rule("logical_not(equal(x, y)) = not_equal(x, y)")
rule("logical_not(not_equal(x, y)) = equal(x, y)")

rule("x * 1 = x")
rule("x / 1 = x")
rule("x - 0 = x")
rule("x + -0.0 = x")
rule("x + 0 = x", where="is_integer(x)")
rule("power(x, 1) = x")
rule("x * -1 = -x")
rule("x / -1 = -x")
rule("x + -y = x - y")
rule("x - -y = x + y")
rule("-x * -y = x * y")
rule("x * x = square(x)")
rule("x + x = x * 2", where="not is_integer(x)")

rule("where(c, x, x) = x")
rule("where(logical_not(c), x, y) = where(c, y, x)")
rule("where(c, x, 0) = masked(x, c)")
rule("where(c, 0, x) = masked(x, logical_not(c))")
rule("cast(cast(x, dtype=m), dtype=d) = cast(x, d)", where="is_detour(x, m, d)", m="float64", d="float32")

rule("transpose(transpose(x, axes=p), axes=q) = transpose(x, compose(p, q))", p=(1, 0), q=(1, 0))
rule("reshape(reshape(x, shape=s), shape=t) = reshape(x, t)", s=(6,), t=(3, 2))
rule("broadcast(broadcast(x, shape=s), shape=t) = broadcast_to(x, t)", s=(2, 3), t=(4, 2, 3))
rule(
    "sum(x, axes=a, keepdims=k) = reshape(x, shape_without(x, a, k))",
    where="is_one_everywhere(x, a) and is_integer(x)",
    a=(0,),
    k=False,
    x_shape=(1, 3),
)
rule(
    "max(x, axes=a, keepdims=k) = reshape(x, shape_without(x, a, k))",
    where="is_one_everywhere(x, a)",
    a=(0,),
    k=False,
    x_shape=(1, 3),
)


def keep_reduced_axes(graph: Graph) -> Graph:
    """reduce(x, axes=a) = reshape(reduce(x, axes=a, keepdims=True)): both forms of one reduction then merge."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Reduction) or node.op.keepdims or not node.op.axes:
            return None
        return F.reshape(apply(dataclasses.replace(node.op, keepdims=True), *inputs), node.aval.shape)

    return graph.rebuild(visit)


def read_through_broadcasts(graph: Graph) -> Graph:
    """op(broadcast(x), y) = op(x, y) for elementwise ops, where y alone gives the result its shape."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Pointwise):
            return None
        sources = tuple(source.inputs[0] if source.op.name == "broadcast" else source for source in inputs)
        if sources == inputs:
            return None
        for candidate in (sources, *(_one_restored(sources, inputs, i) for i in range(len(inputs)))):
            if candidate != inputs and node.op.infer(*(source.aval for source in candidate)) == node.type:
                return apply(node.op, *candidate)
        return None

    return graph.rebuild(visit)


def _one_restored(sources: tuple[Node, ...], inputs: tuple[Node, ...], index: int) -> tuple[Node, ...]:
    return tuple(inputs[i] if i == index else source for i, source in enumerate(sources))
