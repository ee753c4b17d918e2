"""Matrix products as loops: which operand's numbers become vectors, and what is packed first, by what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.form import Affine, Index, Routine, Statement, Value, View, affine
from staticnet.compiler.codegen.loops.operations import cast
from staticnet.compiler.codegen.loops.products_dots import Dots
from staticnet.compiler.codegen.loops.products_outer import Outer
from staticnet.compiler.codegen.loops.products_parts import Product, Side, Stack, accumulator
from staticnet.compiler.codegen.loops.tiles import Names
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ops.matmul import MatMul

#: fewer lines than this leave vectors or tiles unfilled
_FEW = 8


@anchors(MatMul)
def product(op: MatMul, inputs: Sequence[View], result: View, finish: Finish, machine: Machine) -> Routine | None:
    """Stacks of matrices (.., M, K) and (.., K, N), in the way that takes least."""
    if 0 in result.shape:
        return Routine()
    return min(ways(as_product(op.name, inputs, result, finish, machine)), key=lambda way: way.slots).routine()


def ways(p: Product) -> list[Outer | Dots]:
    """The ways to make a product; the first is the one to take among equals."""
    found: list[Outer | Dots] = []
    for each in (p, p.flipped()):
        found.append(Outer(each, False))
        if each.depth and (each.x.count > 1 or each.stacked > 1):
            found.append(Outer(each, True))
        dots = Dots(each)
        if dots.applies:
            found.append(dots)
    return found


def as_product(name: str, inputs: Sequence[View], result: View, finish: Finish, machine: Machine) -> Product:
    """Which axes of the result are lines of x and lines of y, and which are loops over products."""
    x, y = inputs
    rank = result.ndim
    lines_x, lines_y = _along(x, rank, rank - 2), _along(y, rank, rank - 1)
    m, n = rank - 2, rank - 1
    for axis in range(rank - 2):
        # An axis along which one operand alone changes counts lines of that one as well as another would.
        if not lines_y[axis] and result.shape[axis] > result.shape[m] < _FEW:
            m = axis
        elif not lines_x[axis] and result.shape[axis] > result.shape[n] < _FEW:
            n = axis
    names = Names()
    index: list[Affine] = [affine(0)] * rank
    stack = []
    start_x, start_y = affine(x.layout.offset), affine(y.layout.offset)
    for axis, extent in enumerate(result.shape):
        if axis in (m, n) or extent == 1:
            continue
        index[axis] = affine(names("stack"))
        start_x, start_y = start_x + index[axis] * lines_x[axis], start_y + index[axis] * lines_y[axis]
        stack.append(Stack(index[axis], extent, bool(lines_x[axis]), bool(lines_y[axis])))

    def disposed(row: Index, column: Index, value: Value) -> list[Statement]:
        place = list(index)
        place[m], place[n] = affine(row), affine(column)
        return finish(place, cast(value, result.dtype))

    dense = next((side for side, axis in (("y", n), ("x", m)) if abs(result.strides[axis]) == 1), "")
    return Product(
        name,
        Side(x.array, start_x, result.shape[m], lines_x[m], x.strides[-1]),
        Side(y.array, start_y, result.shape[n], lines_y[n], y.strides[-2]),
        x.shape[-1],
        tuple(stack),
        dense,
        accumulator(result.dtype),
        disposed,
        names,
        machine,
    )


def _along(operand: View, rank: int, line: int) -> list[int]:
    """The strides of an operand along the axes of the result: 0 where it is the same for all, or summed over."""
    own, strides = operand.layout, [0] * rank
    for axis, (size, stride) in enumerate(zip(own.shape[:-2], own.strides[:-2], strict=True)):
        strides[rank - operand.ndim + axis] = stride if size > 1 else 0
    strides[line] = own.strides[-2] if line == rank - 2 else own.strides[-1]
    return strides
