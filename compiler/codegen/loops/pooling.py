"""Loop descriptions of pooling: what windows make of the pixels they see. Each window is one result of an anchor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.filling import is_empty
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Bound,
    For,
    Index,
    Kernel,
    Load,
    Register,
    Routine,
    Set,
    Statement,
    Value,
    Var,
    View,
    affine,
    const,
    load,
    position,
    within,
)
from staticnet.compiler.codegen.loops.nest import Nest, emit, plan_nest
from staticnet.compiler.codegen.loops.operations import add, apply, cast, identity, multiply, select
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import DType, int64
from staticnet.compiler.ops.avg_pool import AvgPool2d
from staticnet.compiler.ops.max_pool import MaxPool2d, MaxPool2dPick
from staticnet.compiler.ops.pool import Pool

#: more pixels in a window than this are a loop, fewer are printed one by one
_UNROLLED = 16


@dataclass(frozen=True)
class Line:
    """Windows along one axis: `count` of them, over `size` pixels."""

    kernel: int
    stride: int
    dilation: int
    before: int
    size: int
    count: int

    def pixel(self, window: Index, element: Index) -> Affine:
        """The pixel that an element of a window sees."""
        return affine(window) * self.stride + affine(element) * self.dilation - self.before

    def guard(self, pixel: Affine) -> tuple[Bound, ...]:
        """The bound of such a pixel, if some windows see padding."""
        last = (self.count - 1) * self.stride + (self.kernel - 1) * self.dilation - self.before
        return (within(pixel, 0, self.size),) if self.before or last >= self.size else ()

    def seen(self, window: Index) -> Value:
        """How many pixels a window sees, as int64."""
        first = affine(window) * self.stride - self.before
        low: Value = position(first)
        high: Value = position(self.size - 1 - first)
        if self.dilation > 1:
            step = const(self.dilation, int64)
            low, high = apply("floor_divide", low, step), apply("floor_divide", high, step)
        start = apply("maximum", apply("negative", low), const(0, int64))
        stop = apply("minimum", add(high, const(1, int64)), const(self.kernel, int64))
        return apply("subtract", stop, start)


def lines_of(op: Pool, image: Sequence[int], windows: Sequence[int]) -> tuple[Line, Line]:
    """The windows of a card along height and width."""

    def line(axis: int) -> Line:
        kernel, stride, dilation = op.kernel_size[axis], op.stride[axis], op.dilation[axis]
        return Line(kernel, stride, dilation, op.padding[axis][0], image[axis], windows[axis])

    return line(0), line(1)


def plan_images(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> Nest:
    """A nest over images whose axes all keep their index; an innermost axis too short for a vector goes outside."""
    nest = plan_nest(shape, strides, keep=range(len(shape)))
    if len(nest.loops) < 2 or nest.extents[-1] >= _SHORT:
        return nest
    longest = max(range(len(nest.loops)), key=lambda k: (nest.extents[k] if nest.loops[k].axis in (1, 3) else 0, k))
    loops = [*nest.loops[:longest], *nest.loops[longest + 1 :], nest.loops[longest]]
    return Nest(nest.shape, tuple(loops), nest.starts)


_SHORT = 4


def each_tap(counts: Sequence[int], body: Callable[[Index, Index], Sequence[Statement]], prefix: str) -> For:
    """Loops over two small counts, row by row; printed out unless there are many."""
    rows, columns = Var(f"{prefix}_row"), Var(f"{prefix}_column")
    kind = "unroll" if counts[0] * counts[1] <= _UNROLLED else "serial"
    return For(rows, counts[0], (For(columns, counts[1], tuple(body(rows, columns)), kind),), kind)


Read = Callable[[View, Any], Value]


@dataclass(frozen=True)
class Window:
    """The window at an index (image, channel, row, column) of the pooled images."""

    lines: tuple[Line, Line]
    index: tuple[Index, ...]

    def each(self, body: Callable[[Read], Iterable[Statement]], prefix: str = "tap") -> For:
        """For each pixel what `body` makes of `read`: `read(x, padding)` is the pixel of x, or the number `padding`."""
        height, width = self.lines
        *image, row, column = self.index

        def tap(i: Index, j: Index) -> Sequence[Statement]:
            pixel = height.pixel(row, i), width.pixel(column, j)
            guard = height.guard(pixel[0]) + width.guard(pixel[1])

            def read(x: View, padding: Any) -> Value:
                otherwise = const(padding, x.dtype) if guard else None
                return Load(x.dtype, x.array, x.at(*image, *pixel), None, guard, otherwise)

            return tuple(body(read))

        return each_tap((height.kernel, width.kernel), tap, prefix)

    def largest(self, count: Register, x: View, y: View) -> list[Statement]:
        """Count the pixels of x that equal y, the largest one; none where that is NaN."""
        zero, one = const(0, count.dtype), const(1, count.dtype)

        def tap(read: Read) -> list[Statement]:
            is_largest = apply("equal", read(x, float("nan")), load(y, *self.index))
            return [Set(count, add(count.value, select(is_largest, one, zero)))]

        return [Set(count, zero), self.each(tap, "count")]

    def divisor(self, op: Any, dtype: DType) -> Value:
        """What an average divides the sum of the window by."""
        if op.count_include_pad or op.padding == ((0, 0), (0, 0)):
            return const(op.reach, dtype)
        (height, width), (row, column) = self.lines, self.index[2:]
        return cast(multiply(height.seen(row), width.seen(column)), dtype)


Pooled = Callable[[Window], tuple[list[Statement], Value]]


def _pooled(op: Pool, x: View, result: View, finish: Finish, body: Pooled) -> Routine:
    """One kernel over all windows."""
    if is_empty(result):
        return Routine()
    lines = lines_of(op, x.shape[2:], result.shape[2:])
    nest = plan_images(result.shape, [result.strides])

    def window(index: Sequence[Affine]) -> list[Statement]:
        before, value = body(Window(lines, tuple(index)))
        return [*before, *finish(index, value)]

    return Routine((Kernel(op.name, emit(nest, window)),))


@anchors(MaxPool2d)
def max_pool(op: MaxPool2d, inputs: Sequence[View], result: View, finish: Finish, machine: Machine) -> Routine:
    """The largest pixel."""
    (x,) = inputs
    lowest = identity("maximum", x.dtype)
    best = Register("best", x.dtype)

    def largest(window: Window) -> tuple[list[Statement], Value]:
        taps = window.each(lambda read: [Set(best, apply("maximum", best.value, read(x, lowest.value)))])
        return [Set(best, lowest), taps], best.value

    return _pooled(op, x, result, finish, largest)


@anchors(MaxPool2dPick)
def max_pool_pick(
    op: MaxPool2dPick, inputs: Sequence[View], result: View, finish: Finish, machine: Machine
) -> Routine | None:
    """The mean of h over the largest pixels. None for integers, which have no slope."""
    x, y, h = inputs
    if not x.dtype.is_float:
        return None
    count, total, zero = Register("count", x.dtype), Register("total", x.dtype), const(0, x.dtype)

    def mean(window: Window) -> tuple[list[Statement], Value]:
        def tap(read: Read) -> list[Statement]:
            is_largest = apply("equal", read(x, float("nan")), load(y, *window.index))
            return [Set(total, add(total.value, select(is_largest, read(h, 0), zero)))]

        taps = [*window.largest(count, x, y), Set(total, zero), window.each(tap)]
        return taps, apply("divide", total.value, apply("maximum", count.value, const(1, x.dtype)))

    return _pooled(op, x, result, finish, mean)


@anchors(AvgPool2d)
def avg_pool(op: AvgPool2d, inputs: Sequence[View], result: View, finish: Finish, machine: Machine) -> Routine:
    """The mean pixel, added up row by row."""
    (x,) = inputs
    total = Register("total", x.dtype)

    def mean(window: Window) -> tuple[list[Statement], Value]:
        taps = window.each(lambda read: [Set(total, add(total.value, read(x, 0)))])
        return [Set(total, const(0, x.dtype)), taps], apply("divide", total.value, window.divisor(op, x.dtype))

    return _pooled(op, x, result, finish, mean)
