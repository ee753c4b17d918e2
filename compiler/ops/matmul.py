"""Matrix products: one card for matrices and stacks of them, and the functions that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import DTypeError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, broadcast_shapes, function, lift, require_dtype, sum_to
from staticnet.compiler.ops.windows import carve, shaped, spans, workspace_bytes

#: room for a part of an operand that BLAS cannot read where it lies
_PANEL_BYTES = 1 << 20


class MatMul(Op):
    """x @ y for matrices (M, K) and (K, N), or stacks of them whose leading axes broadcast."""

    name, onnx = "matmul", "MatMul"

    def infer(self, x: Type, y: Type) -> Type:
        if x.dtype != y.dtype:
            raise DTypeError(f"matmul: the operands {x!r} and {y!r} have different dtypes; cast one of them")
        if x.ndim < 2 or y.ndim < 2:
            raise ShapeError(f"matmul: {format_shape(x.shape)} and {format_shape(y.shape)} must both be matrices")
        _require_inner("matmul", x.shape, y.shape, x.shape[-1], y.shape[-2])
        try:
            batch = broadcast_shapes("matmul", x.shape[:-2], y.shape[:-2])
        except ShapeError:
            raise ShapeError(
                f"matmul: shapes {format_shape(x.shape)} and {format_shape(y.shape)} do not fit: the axes before the "
                "last two count matrices, and must be equal or 1"
            ) from None
        return x.with_shape((*batch, x.shape[-2], y.shape[-1]))

    def grad(self, g: Node, z: Node, x: Node, y: Node) -> tuple:
        gx = sum_to(apply(self, g, _flipped(y)), x.shape)
        if y.ndim == 2 < x.ndim:
            # One product over all rows, rather than one for each matrix of the stack and their sum.
            return gx, apply(self, _flipped(_as_matrix(x)), _as_matrix(g))
        return gx, sum_to(apply(self, _flipped(x), g), y.shape)

    def flops(self, out: Any, x: Type, y: Type) -> Size:
        return 2 * out.size * x.shape[-1]

    def scratch(self, x: Type, y: Type) -> int:
        return workspace_bytes(_parts(x.shape, y.shape, x.dtype.numpy))

    def kernel(self, xp: Any, x: Any, y: Any, *, out: Any, scratch: Any) -> None:
        if x.shape[-1] == 0:
            out.fill(0)
            return
        if x.shape[-1] == 1:
            # A product over one term is an outer one, for which BLAS is the slower way.
            xp.multiply(x, y, out=out)
            return
        if _is_one_matrix(y) and x.ndim > 2 and x.flags.c_contiguous:
            x, y = x.reshape(-1, x.shape[-1]), y[(0,) * (y.ndim - 2)]
            out = out.reshape(-1, out.shape[-1])
        if out.size == 0 or (_suits_blas(x) and _suits_blas(y)):
            xp.matmul(x, y, out=out)
            return
        parts = _parts(x.shape, y.shape, x.dtype)
        left, right = carve(scratch, parts)
        x, y = (xp.broadcast_to(matrices, (*out.shape[:-2], *matrices.shape[-2:])) for matrices in (x, y))
        for index in np.ndindex(out.shape[:-2]):
            for rows, panel in _panels(xp, x[index], left):
                for columns, transposed in _panels(xp, y[index].swapaxes(0, 1), right):
                    xp.matmul(panel, transposed.swapaxes(0, 1), out=out[index][rows, columns])


def _suits_blas(matrices: Any) -> bool:
    """Whether NumPy hands these matrices to BLAS as they lie: one axis dense, the other not overlapping it.

    Else it copies them, or (before 2.3) multiplies in a plain loop. Types that BLAS does not know run in the
    plain loop anyway.
    """
    if matrices.dtype.kind != "f" or matrices.itemsize < 4:
        return True
    (rows, columns), (down, across), item = matrices.shape[-2:], matrices.strides[-2:], matrices.itemsize
    return (across == item and down >= columns * item) or (down == item and across >= rows * item)


def _is_one_matrix(matrices: Any) -> bool:
    return all(size == 1 for size in matrices.shape[:-2])


def _parts(x: Shape, y: Shape, dtype: Any) -> list[tuple[int, Any]]:
    """Room for a panel of rows of x and one of columns of y, each at least one."""
    depth = int(x[-1])
    most = max(1, _PANEL_BYTES // max(1, depth * dtype.itemsize))
    return [(min(int(lines), most) * depth, dtype) for lines in (x[-2], y[-1])]


def _panels(xp: Any, matrix: Any, buffer: Any) -> Iterator[tuple[slice, Any]]:
    """A matrix in ranges of rows, copied to the buffer where BLAS cannot read it."""
    if _suits_blas(matrix):
        yield slice(None), matrix
        return
    lines, depth = matrix.shape
    for start, stop in spans(lines, buffer.size // depth):
        panel = shaped(buffer, (stop - start, depth))
        xp.copyto(panel, matrix[start:stop])
        yield slice(start, stop), panel


def _flipped(x: Node) -> Node:
    return F.swapaxes(x, -1, -2)


def _as_matrix(x: Node) -> Node:
    """All leading axes made one."""
    return F.reshape(x, (dims.product(x.shape[:-1]), x.shape[-1]))


def _require_inner(op: str, x: Shape, y: Shape, have: Size, want: Size) -> None:
    if not dims.same(have, want):
        raise ShapeError(
            f"{op}: shapes {format_shape(x)} and {format_shape(y)} do not fit: the products are summed over "
            f"{have} elements of the first and {want} of the second; transpose one of them if that was meant"
        )


# -- functions --------------------------------------------------------------------------------


def _operands(op: str, x: Any, y: Any) -> tuple[Node, Node]:
    x, y = lift(x, y)
    require_dtype(op, "x", x, "float", "integer")
    return x, y


@function("matmul")
def matmul(x: Any, y: Any) -> Node:
    """`x @ y` as in NumPy: vectors, matrices, or stacks of matrices whose leading axes broadcast.

    A vector on the left is a row, on the right a column; its axis is gone from the result. Floats or integers,
    promoted together. Raises ShapeError for numbers and where the sizes summed over differ.
    """
    x, y = _operands("matmul", x, y)
    if not x.ndim or not y.ndim:
        raise ShapeError(
            f"matmul: {format_shape(x.shape)} and {format_shape(y.shape)} must both have an axis; "
            "multiply by a number with *"
        )
    _require_inner("matmul", x.shape, y.shape, x.shape[-1], y.shape[-2] if y.ndim > 1 else y.shape[0])
    row, column = x.ndim == 1, y.ndim == 1
    product = apply(
        MatMul(), F.reshape(x, (1, *x.shape)) if row else x, F.reshape(y, (*y.shape, 1)) if column else y
    )
    if not row and not column:
        return product
    kept = product.shape[:-2] + (() if row else product.shape[-2:-1]) + (() if column else product.shape[-1:])
    return F.reshape(product, kept)


@function("dot")
def dot(x: Any, y: Any) -> Node:
    """The sum over the last axis of `x` and the last but one of `y` (its only one for a vector), as numpy.dot.

    Unlike matmul it combines all leading axes of one with all of the other, and multiplies by numbers.
    """
    x, y = _operands("dot", x, y)
    if not x.ndim or not y.ndim:
        return x * y
    if y.ndim <= 2:
        return matmul(x, y)
    _require_inner("dot", x.shape, y.shape, x.shape[-1], y.shape[-2])
    others = tuple(range(y.ndim - 2))
    table = F.reshape(F.transpose(y, (y.ndim - 2, *others, y.ndim - 1)), (y.shape[-2], _product_without(y.shape)))
    return F.reshape(matmul(x, table), (*x.shape[:-1], *y.shape[:-2], y.shape[-1]))


def _product_without(shape: Shape) -> Size:
    """The number of elements along all axes but the last but one."""
    return dims.product((*shape[:-2], shape[-1]))


def _ranked(op: str, x: Any, y: Any, ranks: tuple[int, int]) -> Node:
    x, y = _operands(op, x, y)
    if (x.ndim, y.ndim) != ranks:
        raise ShapeError(
            f"{op} takes operands of {ranks[0]} and {ranks[1]} axes, not {format_shape(x.shape)} and "
            f"{format_shape(y.shape)}; matmul takes any"
        )
    return matmul(x, y)


@function("mm")
def mm(x: Any, y: Any) -> Node:
    """The product of two matrices, (M, K) and (K, N)."""
    return _ranked("mm", x, y, (2, 2))


@function("mv")
def mv(x: Any, y: Any) -> Node:
    """The product of a matrix (M, K) and a vector (K,)."""
    return _ranked("mv", x, y, (2, 1))


@function("bmm")
def bmm(x: Any, y: Any) -> Node:
    """The products of two stacks of matrices, (B, M, K) and (B, K, N)."""
    return _ranked("bmm", x, y, (3, 3))


@function("linear")
def linear(x: Any, weight: Any, bias: Any = None) -> Node:
    """`x @ weight.T + bias`: `x` (..., features), `weight` (outputs, features), `bias` (outputs,).

    Raises ShapeError where the features or the outputs do not agree.
    """
    x, weight = _operands("linear", x, weight)
    if weight.ndim != 2 or not x.ndim or not dims.same(x.shape[-1], weight.shape[1]):
        raise ShapeError(
            f"linear: an input of shape {format_shape(x.shape)} and a weight of shape {format_shape(weight.shape)} "
            "do not fit: the input's last axis is the features, the weight is (outputs, features)"
        )
    y = matmul(x, _flipped(weight))
    if bias is None:
        return y
    (bias,) = lift(bias)
    if bias.ndim != 1 or not dims.same(bias.shape[0], weight.shape[0]):
        raise ShapeError(
            f"linear: the bias has the shape {format_shape(bias.shape)}, but the weight {format_shape(weight.shape)} "
            f"gives {weight.shape[0]} outputs; it must be ({weight.shape[0]},)"
        )
    return y + bias
