"""What is known of a value before the run: its shape, sizes possibly symbolic, and its dtype."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.dtypes import DType, as_dtype

Shape = tuple[Size, ...]


class Type:
    """The shape and dtype of an array value.

    Two types are equal when their dtypes are the same and every pair of sizes is provably equal.
    """

    __slots__ = ("_hash", "dtype", "shape")
    shape: Shape
    dtype: DType

    def __init__(self, shape: Iterable[Size], dtype: Any):
        self.shape = tuple(shape)
        self.dtype = as_dtype(dtype)
        self._hash = hash((self.shape, self.dtype))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Size:
        """Number of elements."""
        return dims.product(self.shape)

    @property
    def bytes(self) -> Size:
        """Number of bytes when stored densely."""
        return self.size * self.dtype.itemsize

    @property
    def is_static(self) -> bool:
        return all(isinstance(size, int) for size in self.shape)

    def with_shape(self, shape: Iterable[Size]) -> Type:
        return Type(shape, self.dtype)

    def with_dtype(self, dtype: Any) -> Type:
        return Type(self.shape, dtype)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Type):
            return NotImplemented
        return self.dtype == other.dtype and dims.same_shape(self.shape, other.shape)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{self.dtype.short}[{', '.join(str(size) for size in self.shape)}]"


class TupleType:
    """The type of a node with several values; an Item node takes one out."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[Type]):
        self.items = tuple(items)

    def __eq__(self, other: object) -> bool:
        return self.items == other.items if isinstance(other, TupleType) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.items)

    def __repr__(self) -> str:
        return f"({', '.join(map(repr, self.items))})"


AnyType = Type | TupleType


def leaves(type: AnyType) -> tuple[Type, ...]:
    """The array types of a value: one, or the items of a tuple."""
    return type.items if isinstance(type, TupleType) else (type,)


def format_shape(shape: Iterable[Size]) -> str:
    """`(batch, 3, 8)`, as errors print it."""
    sizes = [str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
