"""Matrix products as loops: which operand's numbers become vectors, and what is packed first, by what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    Index,
    Kernel,
    Load,
    Routine,
    Statement,
    Store,
    Value,
    View,
    affine,
)
from staticnet.compiler.codegen.loops.operations import add, cast
from staticnet.compiler.codegen.loops.products_dots import Dots
from staticnet.compiler.codegen.loops.products_outer import Outer
from staticnet.compiler.codegen.loops.products_parts import Product, Side, Stack, accumulator
from staticnet.compiler.codegen.loops.tiles import Names
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ops.matmul import MatMul

#: sums of so many products are made in chunks where workers would find too little else to share
_LONG = 4096
_CHUNKS = 16
_WORKERS = 4
#: what the tiles of one panel read for each product of a sum, roughly
_PLACE_BYTES = 1024
#: the most that partial sums may take
_PARTIAL_BYTES = 64 << 20
#: fewer lines than this leave vectors or tiles unfilled
_FEW = 8


@anchors(MatMul)
def product(op: MatMul, inputs: Sequence[View], result: View, finish: Finish, machine: Machine) -> Routine | None:
    """Stacks of matrices (.., M, K) and (.., K, N), in the way that takes least."""
    if 0 in result.shape:
        return Routine()
    whole = as_product(op.name, inputs, result, finish, machine)
    found = cheapest(whole)
    chunks = chunk_count(whole, found.kernels[-1].loop.extent)
    if chunks == 1:
        return found
    return in_chunks(whole.flipped() if whole.dense == "x" else whole, chunks)


def chunk_count(p: Product, tasks: int) -> int:
    """In how many chunks to cut the depth: several where there is little else that workers could share out.

    And where both operands are read across their lines, and would leave the cache before the next tile needs
    them again, as far as there is room for partial sums.
    """
    if p.depth >= _LONG and tasks < _WORKERS:
        return min(_CHUNKS, p.depth // (_LONG // 8))
    most = p.machine.l2_bytes // _PLACE_BYTES
    if 1 in (p.x.step, p.y.step) or p.depth <= 2 * most:
        return 1
    room = _PARTIAL_BYTES // (p.dtype.itemsize * p.stacked * p.x.count * p.y.count)
    return max(1, min(-(-p.depth // most), room))


def cheapest(p: Product) -> Routine:
    """The routine of the way that takes least."""
    return min(ways(p), key=lambda way: way.slots).routine()


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


def in_chunks(p: Product, chunks: int) -> Routine:
    """Sums of parts of the depth, which workers can share out, and the sums of these, always in the same order."""
    size = -(-p.depth // chunks)
    count, rest = divmod(p.depth, size)
    total = count + bool(rest)
    partial = Array("partial", p.dtype, total * p.stacked * p.x.count * p.y.count, "shared")
    pitch, place = p.x.count * p.y.count, affine(0)
    for axis in p.stack:
        place = place * axis.extent + axis.variable

    def at(chunk: Index, m: Index, n: Index) -> Affine:
        return (affine(chunk) * p.stacked + place) * pitch + affine(m) * p.y.count + n

    def part(chunk: Affine, depth: int, stack: tuple[Stack, ...]) -> Routine:
        x, y = (replace(side, start=side.start + chunk * (size * side.step)) for side in (p.x, p.y))
        return cheapest(
            replace(
                p, x=x, y=y, depth=depth, stack=stack, dense="y",
                finish=lambda m, n, value: [Store(partial, at(chunk, m, n), value)],
            )
        )  # fmt: skip

    chunk = affine(p.names("chunk"))
    kernels = part(chunk, size, (Stack(chunk, count, True, True), *p.stack)).kernels
    if rest:
        kernels += part(affine(count), rest, p.stack).kernels
    m, n = p.names("row"), p.names("lane")
    sums: list[Value] = [Load(p.dtype, partial, at(number, m, n)) for number in range(total)]
    while len(sums) > 1:
        sums = [add(*pair) if len(pair) > 1 else pair[0] for pair in (sums[i : i + 2] for i in range(0, len(sums), 2))]
    body = For(m, p.x.count, (For(n, p.y.count, tuple(p.finish(m, n, sums[0])), "vector"),))
    for axis in reversed(p.stack):
        body = For(axis.loop, axis.extent, (body,))
    return Routine((*kernels, Kernel(f"{p.name}_sum", body)))


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
