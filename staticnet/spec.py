"""TensorSpec: the shape, dtype and name of an input that has no value yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import ArgumentError, ShapeError
from staticnet.compiler.ir import Type, format_shape


class TensorSpec:
    """What is known of an input: `shape` of numbers and named sizes, `dtype`, and a `name`.

    A string is a size that each call may choose anew: `TensorSpec(("batch", 1, 8, 8))`. It keeps its
    name in errors, pictures and ONNX files, and may be arithmetic over such names, as `"2*batch"`.
    """

    __slots__ = ("dtype", "name", "shape")
    shape: tuple[Size, ...]
    dtype: DType
    name: str | None

    @boundary
    def __init__(
        self, shape: int | str | Dim | Sequence[int | str | Dim], dtype: Any = "float32", name: str | None = None
    ):
        if name is not None and (not isinstance(name, str) or not name or not name.isprintable()):
            raise ArgumentError(f"the name of an input is a non-empty printable string, got {name!r}")
        sizes = (shape,) if isinstance(shape, (int, str, Dim, np.integer)) else shape
        if not isinstance(sizes, (tuple, list)):
            raise ArgumentError(f"the shape of an input is a tuple of sizes and names, got {shape!r}")
        self.shape = tuple(_size(size, sizes) for size in sizes)
        self.dtype = dtypes.as_dtype(dtype)
        self.name = name

    @classmethod
    def of(cls, array: Any, name: str | None = None) -> TensorSpec:
        """The spec of an array: its shape and dtype, all sizes fixed."""
        if not hasattr(array, "dtype") or not hasattr(array, "shape"):
            array = np.asarray(array)
        return cls(tuple(array.shape), array.dtype, name)

    @property
    def type(self) -> Type:
        return Type(self.shape, self.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __eq__(self, other: object) -> bool:
        return (
            self.type == other.type and self.name == other.name if isinstance(other, TensorSpec) else NotImplemented
        )

    def __hash__(self) -> int:
        return hash((self.type, self.name))

    def __repr__(self) -> str:
        sizes = [size if isinstance(size, int) else repr(str(size)) for size in self.shape]
        named = f", name={self.name!r}" if self.name else ""
        return f"TensorSpec({format_shape(sizes)}, {self.dtype.name!r}{named})"  # type: ignore[arg-type]


def _size(size: Any, shape: Sequence[Any]) -> Size:
    if isinstance(size, str):
        size = dims.read(size)
    if size is None or (isinstance(size, (int, np.integer)) and size == -1):
        raise ArgumentError(
            f"{size} stands in the shape {tuple(shape)}: give a size that varies a name, such as 'batch', so that "
            "equal sizes can be told from different ones"
        )
    size = dims.as_size(size)
    if dims.at_least(size, 0) is False:
        raise ShapeError(f"a size cannot be negative: {tuple(shape)}")
    return size
