"""Patterns of several ops that ONNX has one operator for: Gemm, Conv with its bias, an element by its index.

Their cards live only between preparation and writing, and are not in the registry.
"""

from __future__ import annotations

from collections.abc import Callable

from staticnet.compiler import dims
from staticnet.compiler.ir import Graph, Node, Op, Shape, Type, apply
from staticnet.compiler.ops.base import broadcast_shapes
from staticnet.compiler.ops.conv import Conv2d


class Gemm(Op, abstract=True):
    """x @ y + bias of two matrices, each possibly transposed first; the bias may be missing."""

    name = "gemm"
    transpose_x: bool
    transpose_y: bool

    def infer(self, x: Type, y: Type, *bias: Type) -> Type:  # type: ignore[override]
        rows, columns = x.shape[1 if self.transpose_x else 0], y.shape[0 if self.transpose_y else 1]
        return x.with_shape((rows, columns))


class ConvBias(Conv2d, abstract=True):
    """A convolution with a bias per output channel."""

    def infer(self, x: Type, w: Type, bias: Type) -> Type:  # type: ignore[override]
        return super().infer(x, w)


class Element(Op, abstract=True):
    """What lies at one position along `axis`, which goes away."""

    name = "element"
    axis: int
    index: int

    def infer(self, x: Type) -> Type:  # type: ignore[override]
        return x.with_shape((*x.shape[: self.axis], *x.shape[self.axis + 1 :]))


#: whether a node's value is needed by the node being looked at alone
IsOwn = Callable[[Node], bool]


def fuse(graph: Graph) -> Graph:
    """The graph with each pattern as one node; a value that something else needs too is never swallowed."""
    for pattern in (_element, _conv_bias, _gemm, _gemm_bias):
        graph = _apply(graph, pattern)
    return graph


def _apply(graph: Graph, pattern: Callable[[Node, tuple[Node, ...], IsOwn], Node | None]) -> Graph:
    readers: dict[Node, int] = {}
    old: dict[Node, Node] = {}
    for read in (*graph.outputs, *(source for node in graph.nodes for source in node.inputs)):
        readers[read] = readers.get(read, 0) + 1

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        old.update(zip(inputs, node.inputs, strict=True))
        return pattern(node, inputs, lambda source: readers.get(old.get(source, source), 0) == 1)

    return graph.rebuild(visit)


def _gemm(node: Node, inputs: tuple[Node, ...], is_own: IsOwn) -> Node | None:
    """transpose(x) @ y, x @ transpose(y)"""
    if not _is_matrix_product(node):
        return None
    sources = [source.inputs[0] if source.op.name == "transpose" else source for source in inputs]
    flags = [source.op.name == "transpose" for source in inputs]
    return apply(Gemm(transpose_x=flags[0], transpose_y=flags[1]), *sources) if any(flags) else None


def _gemm_bias(node: Node, inputs: tuple[Node, ...], is_own: IsOwn) -> Node | None:
    """x @ y + bias"""
    if node.op.name != "add":
        return None
    for product, bias in (inputs, inputs[::-1]):
        if not is_own(product) or not dims.same_shape(product.shape, node.shape) or not _fits(bias.shape, node.shape):
            continue
        if isinstance(product.op, Gemm) and len(product.inputs) == 2:
            return apply(product.op, *product.inputs, bias)
        if _is_matrix_product(product):
            return apply(Gemm(transpose_x=False, transpose_y=False), *product.inputs, bias)
    return None


def _is_matrix_product(node: Node) -> bool:
    return node.op.name == "matmul" and node.dtype.is_float and all(source.ndim == 2 for source in node.inputs)


def _fits(bias: Shape, shape: Shape) -> bool:
    """Whether a bias broadcasts to a product of this shape, which does not grow by it."""
    return len(bias) <= len(shape) and dims.same_shape(broadcast_shapes("gemm", bias, shape), shape)


def _conv_bias(node: Node, inputs: tuple[Node, ...], is_own: IsOwn) -> Node | None:
    """conv2d(x, w) + reshape(bias, (channels, 1, 1))"""
    if node.op.name != "add":
        return None
    for conv, bias in (inputs, inputs[::-1]):
        if type(conv.op) is Conv2d and is_own(conv) and _is_per_channel(bias, conv):
            return apply(ConvBias(**conv.op.attributes), *conv.inputs, bias.inputs[0])
    return None


def _is_per_channel(bias: Node, conv: Node) -> bool:
    if bias.op.name != "reshape" or bias.inputs[0].ndim != 1:
        return False
    expected = (conv.shape[1], 1, 1)
    return dims.same_shape(bias.shape[-3:], expected) and all(dims.same(size, 1) for size in bias.shape[:-3])


def _element(node: Node, inputs: tuple[Node, ...], is_own: IsOwn) -> Node | None:
    """x[:, 3]: reshape(slice(x)), which takes one position along one axis and drops the axis"""
    if node.op.name != "reshape" or inputs[0].op.name != "slice" or not is_own(inputs[0]):
        return None
    (cut,) = inputs
    (x,) = cut.inputs
    changed = [axis for axis in range(x.ndim) if not dims.same(cut.shape[axis], x.shape[axis])]
    if len(changed) != 1:
        return None
    (axis,) = changed
    start = cut.op.starts[axis]  # type: ignore[attr-defined]
    steps = cut.op.steps  # type: ignore[attr-defined]
    is_forward = all(step == 1 for k, step in enumerate(steps) if k != axis)
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    fits = is_forward and dims.same(cut.shape[axis], 1) and dims.same_shape(node.shape, rest)
    return apply(Element(axis=axis, index=start), x) if fits and isinstance(start, int) else None
