"""Ops without arithmetic: inputs, constants, sizes as values, tuple items, identity and the gradient stop."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import CompilerError, DTypeError
from staticnet.compiler.ir import Layout, Node, Op, TupleType, Type, apply, current_builder
from staticnet.compiler.ops.base import Pointwise, as_node, function, normalize_axis

_input_serials = itertools.count()


class Input(Op):
    """A value given from outside: a feed of each call, or a state kept between calls.

    Every Input is a value of its own: two are never merged, whatever their labels.
    """

    label: str
    type: Type
    #: 'feed' or 'state'
    kind: str = "feed"
    serial: int = -1

    def infer(self) -> Type:
        return self.type

    @property
    def attributes(self) -> dict[str, Any]:
        return {"label": self.label, "kind": self.kind}

    @property
    def key(self) -> tuple:
        return ("input", self.serial)

    @property
    def structure(self) -> Any:
        return ("input", self.label, self.kind, repr(self.type))


def make_input(label: str, type: Type, kind: str = "feed") -> Node:
    """A new input node with a name."""
    node = apply(Input(label=label, type=type, kind=kind, serial=next(_input_serials)))
    current_builder().names[node] = label
    return node


class Constant(Op):
    """An array known at compile time; never written to."""

    value: np.ndarray
    onnx = "Constant"

    def infer(self) -> Type:
        return Type(self.value.shape, self.value.dtype)

    def kernel(self, xp: Any, *, out: Any, scratch: Any) -> None:
        out[...] = xp.asarray(self.value)

    def flops(self, out: Any, *types: Type) -> Size:
        return 0


@function("constant")
def constant(value: Any, dtype: Any = None) -> Node:
    """A constant node: a copy of an array, or Python scalars (alone: float32, int64, bool)."""
    wanted = None if dtype is None else dtypes.as_dtype(dtype).numpy
    strong = isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__")
    array = np.array(value)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DTypeError(
            f"a constant of dtype {array.dtype} ({value!r:.60}) has no place in a graph; use numbers or booleans"
        )
    if wanted is None and not strong and array.dtype == np.float64:
        wanted = np.dtype(np.float32)
    array = np.array(value, dtype=wanted or array.dtype.newbyteorder("="), order="C")
    array.flags.writeable = False
    return apply(Constant(value=array))


def scalar_value(node: Node) -> Any:
    """The one number a constant holds in all its elements, or None: `x * 0`, `x + 1` are recognised by it."""
    while node.op.name == "broadcast":
        node = node.inputs[0]
    if isinstance(node.op, Constant) and node.op.value.size == 1:
        return node.op.value.reshape(())[()]
    return None


class SizeOf(Op):
    """A symbolic size, a number in each binding, as an int64 scalar: how a size becomes a value."""

    size: Size

    def infer(self) -> Type:
        return Type((), dtypes.int64)

    def kernel(self, xp: Any, *, out: Any, scratch: Any) -> None:
        out[...] = self.size

    def flops(self, out: Any, *types: Type) -> Size:
        return 0


@function("size_value")
def size_value(size: Size) -> Node:
    """A size as an int64 scalar: a constant when it is a number."""
    return constant(size, dtypes.int64) if dims.is_static(size) else apply(SizeOf(size=size))


@function("size_of")
def size_of(x: Any, axis: int) -> Node:
    """The size of one axis of `x` as an int64 scalar."""
    x = as_node(x)
    return size_value(x.shape[normalize_axis("size_of", axis, x.ndim)])


class Item(Op):
    """One value of a tuple; a view."""

    index: int

    def infer(self, x: Any) -> Type:
        if not isinstance(x, TupleType) or not 0 <= self.index < len(x.items):
            raise CompilerError(f"item {self.index} of a value of type {x!r}")
        return x.items[self.index]

    def flops(self, out: Any, *types: Any) -> Size:
        return 0


class Pack(Op):
    """Several values as one tuple; what an expansion with several results becomes in a rewrite."""

    def infer(self, *types: Type) -> TupleType:
        return TupleType(types)

    def flops(self, out: Any, *types: Any) -> Size:
        return 0


def item(x: Node, index: int) -> Node:
    """One value of a tuple."""
    return x.inputs[index] if isinstance(x.op, Pack) else apply(Item(index=index), x)


class _Same(Op, abstract=True):
    """Base of ops whose value is their operand's."""

    in_place = (0,)

    def infer(self, x: Type) -> Type:
        return x

    def view(self, layout: Layout, shape: tuple[int, ...]) -> Layout:
        return layout

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.copyto(out, x)

    def flops(self, out: Any, *types: Type) -> Size:
        return 0


class Identity(_Same):
    """The same value under a name of its own."""

    onnx = "Identity"

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node]:
        return (g,)


class StopGradient(_Same):
    """The same value, through which no gradient flows."""

    onnx: ClassVar[str | None] = "Identity"

    def grad(self, g: Node, y: Node, x: Node) -> tuple[None]:
        return (None,)


@function("identity")
def identity(x: Any) -> Node:
    """The same value under a name of its own."""
    return apply(Identity(), as_node(x))


@function("stop_gradient")
def stop_gradient(x: Any) -> Node:
    """The same value, through which no gradient flows."""
    return apply(StopGradient(), as_node(x))


class Cast(Pointwise):
    """The value in another dtype, converted as NumPy's astype does."""

    dtype: DType

    def infer(self, x: Type) -> Type:
        return x.with_dtype(self.dtype)

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.copyto(out, x, casting="unsafe")

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None]:
        return (cast(g, x.dtype) if x.dtype.is_float and self.dtype.is_float else None,)


@function("cast")
def cast(x: Any, dtype: Any) -> Node:
    """`x` in another dtype, as NumPy's astype; the same node when it has that dtype already."""
    x, dtype = as_node(x), dtypes.as_dtype(dtype)
    return x if x.dtype == dtype else apply(Cast(dtype=dtype), x)
