"""What op families share: lifting of scalars and arrays, promotion, broadcasting, the elementwise base card."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import ArgumentError, DTypeError, ShapeError
from staticnet.compiler.ir import FUNCTIONS, Node, Op, Shape, Type, apply, format_shape

Function = TypeVar("Function", bound=Callable)


class _Namespace:
    """`F.exp(x)`: the registered function of that name, looked up when it is called."""

    def __getattr__(self, name: str) -> Callable:
        try:
            return FUNCTIONS[name]
        except KeyError:
            raise AttributeError(f"no op function is called {name!r}") from None


F = _Namespace()


def function(name: str) -> Callable[[Function], Function]:
    """Register a function on nodes under its public name; users get it as `staticnet.<name>`."""

    def register(build: Function) -> Function:
        FUNCTIONS[name] = build
        return build

    return register


# -- lifting ----------------------------------------------------------------------------------


def as_node(value: Any, dtype: DType | None = None) -> Node:
    """A node for a node, array, size or (nested list of) Python scalars.

    `dtype` is what lone Python scalars become; arrays keep their own type.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, Dim):
        return F.size_value(value)
    return F.constant(value, dtype)


def is_weak(value: Any) -> bool:
    """Whether a value takes its partner's dtype: a Python scalar, or a size."""
    return isinstance(value, (bool, int, float, Dim)) and not isinstance(value, np.generic)


def lift(*values: Any) -> tuple[Node, ...]:
    """Nodes of one common dtype: arrays promote as in NumPy 2, Python scalars follow the arrays."""
    strong = [as_node(value) for value in values if not is_weak(value)]
    weak = [value for value in values if is_weak(value)]
    if strong:
        dtype = dtypes.promote(*(node.dtype for node in strong))
        for scalar in weak:
            dtype = dtypes.promote_scalar(dtype, 0 if isinstance(scalar, Dim) else scalar)
    else:
        dtype = dtypes.promote(*(dtypes.int64 if isinstance(v, Dim) else dtypes.of_scalar(v) for v in weak))
    nodes = iter(strong)
    return tuple(F.cast(as_node(v, dtype) if is_weak(v) else next(nodes), dtype) for v in values)


# -- shapes -----------------------------------------------------------------------------------


def broadcast_shapes(op: str, *shapes: Shape) -> Shape:
    """The common shape of operands; two sizes fit only if provably equal or one is literally 1."""
    if not shapes:
        return ()
    rank = max(len(shape) for shape in shapes)
    result: list[Size] = list(next(shape for shape in shapes if len(shape) == rank))
    for shape in shapes:
        if shape is result:
            continue
        for axis in range(-len(shape), 0):
            have, size = result[axis], shape[axis]
            if dims.same(have, size) or (isinstance(size, int) and size == 1):
                continue
            if isinstance(have, int) and have == 1:
                result[axis] = size
                continue
            raise ShapeError(
                f"{op}: shapes {' and '.join(format_shape(s) for s in shapes)} do not broadcast: "
                f"sizes {have} and {size} on axis {axis} are neither equal nor 1"
            )
    return tuple(result)


def normalize_axis(op: str, axis: Any, ndim: int) -> int:
    """`axis` counted from the front; raises ShapeError when out of range."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise ArgumentError(f"{op}: axis must be an integer, not {axis!r}")
    axis = int(axis)
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{op}: axis {axis} is out of range for {ndim} axes")
    return axis % ndim


def normalize_axes(op: str, axes: Any, ndim: int) -> tuple[int, ...]:
    """Axes as a sorted tuple counted from the front; None means all; duplicates are refused."""
    if axes is None:
        return tuple(range(ndim))
    given = axes if isinstance(axes, Iterable) else (axes,)
    found = [normalize_axis(op, axis, ndim) for axis in given]
    if len(set(found)) != len(found):
        raise ShapeError(f"{op}: axes {tuple(axes)} name an axis twice")
    return tuple(sorted(found))


def as_shape(op: str, shape: Any) -> Shape:
    """A tuple of sizes from a size or a sequence of sizes; negative sizes are refused."""
    items: Sequence = (shape,) if isinstance(shape, Dim) or hasattr(shape, "__index__") else tuple(shape)
    sizes: list[Size] = []
    for size in items:
        if not isinstance(size, Dim):
            if isinstance(size, bool) or not hasattr(size, "__index__"):
                raise ArgumentError(f"{op}: a shape is made of sizes, not {size!r}")
            size = int(size)
            if size < 0:
                raise ShapeError(f"{op}: a size cannot be negative: {format_shape(items)}")
        sizes.append(size)
    return tuple(sizes)


def require_dtype(op: str, argument: str, node: Node, *kinds: str) -> None:
    """Raise DTypeError unless the dtype of `node` is one of the kinds 'float', 'integer', 'bool'."""
    dtype = node.dtype
    kind = "float" if dtype.is_float else "bool" if dtype.is_bool else "integer"
    if kind not in kinds:
        raise DTypeError(f"{op}: {argument} must be {' or '.join(kinds)}, not {dtype}; cast it first")


def sum_to(x: Node, shape: Shape) -> Node:
    """Sum `x` over the axes along which `shape` was broadcast to it: the transpose of broadcasting."""
    if dims.same_shape(x.shape, shape):
        return x
    extra = x.ndim - len(shape)
    ones = tuple(
        axis + extra
        for axis, size in enumerate(shape)
        if isinstance(size, int) and size == 1 and not dims.same(x.shape[axis + extra], 1)
    )
    summed = F.sum(x, axis=(*range(extra), *ones), keepdims=True) if extra or ones else x
    return F.reshape(summed, shape)


# -- elementwise cards ------------------------------------------------------------------------


class Pointwise(Op, abstract=True):
    """Base of ops whose result at a place needs their operands, broadcast together, at that place alone."""


class Elementwise(Pointwise, abstract=True):
    """Base of ops that work element by element on operands of one dtype, broadcast together.

    A card names its NumPy ufunc and its gradient; its function is registered under the card's name.
    """

    #: the ufunc's name in numpy and cupy
    numpy: ClassVar[str] = ""
    #: operand kinds taken as they are; others are cast to what the ufunc would make of them
    kinds: ClassVar[str] = "biuf"
    #: None keeps the operands' dtype
    result: ClassVar[DType | None] = None
    arity: ClassVar[int] = 1

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(abstract=abstract, **kwargs)
        if abstract:
            return
        if cls.result is None and "in_place" not in cls.__dict__:
            cls.in_place = tuple(range(cls.arity))
        if not dataclasses.fields(cls):  # type: ignore[arg-type]
            FUNCTIONS[cls.name] = _elementwise_function(cls)

    def infer(self, *types: Type) -> Type:
        first = types[0].dtype
        if any(type.dtype != first for type in types):
            raise DTypeError(f"{self.name}: operands of types {', '.join(map(repr, types))} have different dtypes")
        if first.numpy.kind not in self.kinds:
            raise DTypeError(f"{self.name} does not take {first}; cast the operand first")
        return Type(broadcast_shapes(self.name, *(type.shape for type in types)), self.result or first)

    def kernel(self, xp: Any, *arrays: Any, out: Any, scratch: Any) -> None:
        getattr(xp, self.numpy or self.name)(*arrays, out=out)


def _elementwise_function(card: type[Elementwise]) -> Callable:
    names = ("x",) if card.arity == 1 else ("x", "y", "z")[: card.arity]

    def build(*operands: Any) -> Node:
        if len(operands) != card.arity:
            raise ArgumentError(f"{card.name} takes {card.arity} operands ({', '.join(names)}), not {len(operands)}")
        nodes = lift(*operands)
        dtype = nodes[0].dtype
        if dtype.numpy.kind not in card.kinds:
            wanted = _computed_in(card, dtype)
            if wanted is None:
                raise DTypeError(f"{card.name} does not take {dtype}; cast the operand first")
            nodes = tuple(F.cast(node, wanted) for node in nodes)
        return apply(card(), *nodes)

    build.__name__ = build.__qualname__ = card.name
    build.__doc__ = card.__doc__
    return build


def _computed_in(card: type[Elementwise], dtype: DType) -> DType | None:
    """The dtype that NumPy's ufunc computes such operands in, where the card takes it; else its float type."""
    if "f" not in card.kinds:
        return None
    ufunc = getattr(np, card.numpy or card.name, None)
    if not isinstance(ufunc, np.ufunc):
        return None if "i" in card.kinds else float_for(dtype)
    try:
        found = ufunc.resolve_dtypes((*(dtype.numpy,) * ufunc.nin, None))[0]
    except TypeError:
        return None
    return dtypes.as_dtype(found) if found.kind in card.kinds else float_for(dtype)


def float_for(dtype: DType) -> DType:
    """The float type NumPy computes in for integers and booleans: float64 from 32 bits on."""
    return dtypes.as_dtype(np.sqrt(np.zeros((), dtype.numpy)).dtype)
