"""Loop descriptions of the gradients of pooling: each pixel's shares of the windows that see it.

A window's share is what each of its pixels, or of its largest ones, gets of its gradient. Windows that lie side by
side write their own pixels; else the shares are made first, and each pixel gathers them from its windows: of pixels
`stride * tile + residue` all have theirs at the same distance from the tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.filling import is_empty
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    Bound,
    For,
    If,
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
    store,
    within,
)
from staticnet.compiler.codegen.loops.nest import emit
from staticnet.compiler.codegen.loops.operations import add, apply, select
from staticnet.compiler.codegen.loops.pooling import Line, Window, each_tap, lines_of, plan_images
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.avg_pool import AvgPool2dGrad
from staticnet.compiler.ops.max_pool import MaxPool2dGrad
from staticnet.compiler.ops.pool import Pool

#: the most kinds of pixels told apart by their place between windows
_MOST_RESIDUES = 16


@dataclass(frozen=True)
class _Spread:
    """One gradient: `share` makes the share of a window in the register `portion`, `x` and `y` say who gets it."""

    op: Pool
    result: View
    windows: View
    lines: tuple[Line, Line]
    finish: Finish
    share: Callable[[Window], list[Statement]]
    portion: Register
    x: View | None = None
    y: View | None = None

    def picked(self, pixel: Sequence[Index], largest: Value | None, share: Value) -> Value:
        """The share where the pixel is among the largest, or an average asks for none."""
        if self.x is None or largest is None:
            return share
        return select(apply("equal", load(self.x, *pixel), largest), share, self.zero)

    @property
    def zero(self) -> Value:
        return const(0, self.result.dtype)

    # -- windows side by side -----------------------------------------------------------------

    @property
    def is_tiled(self) -> bool:
        """Whether window k is the start of pixels k * stride ... (k + 1) * stride - 1, and all those exist."""
        return all(
            line.before == 0
            and line.dilation == 1
            and line.kernel <= line.stride
            and line.count * line.stride <= line.size
            for line in self.lines
        )

    def tiles(self) -> Routine:
        """Each window writes its tile; pixels behind the last tiles are zero."""
        height, width = self.lines
        *image_strides, down, right = self.result.strides
        nest = plan_images(self.windows.shape, [(*image_strides, down * height.stride, right * width.stride)])

        def tile(index: Sequence[Affine]) -> list[Statement]:
            image, (row, column) = index[:2], index[2:]
            largest = load(self.y, *index) if self.y else None

            def pixel(i: Index, j: Index) -> list[Statement]:
                place = (*image, row * height.stride + i, column * width.stride + j)
                written = tuple(self.finish(place, self.picked(place, largest, self.portion.value)))
                sides = [(k, line) for k, line in ((i, height), (j, width)) if line.kernel < line.stride]
                inside = tuple(within(k, 0, line.kernel) for k, line in sides)
                return [If(inside, written, tuple(self.finish(place, self.zero)))] if inside else list(written)

            return [*self.share(Window(self.lines, tuple(index))), each_tap((height.stride, width.stride), pixel, "to")]

        rows, columns = height.count * height.stride, width.count * width.stride
        kernels = [
            Kernel(self.op.name, emit(nest, tile)),
            *self._nothing("below", (rows, 0), (height.size - rows, width.size)),
            *self._nothing("beside", (0, columns), (rows, width.size - columns)),
        ]
        return Routine(tuple(kernels))

    def _nothing(self, name: str, start: tuple[int, int], sizes: tuple[int, int]) -> list[Kernel]:
        """Zeros in a part of each image, if it has any pixels."""

        def pixel(index: Sequence[Affine]) -> list[Statement]:
            return self.finish((*index[:2], index[2] + start[0], index[3] + start[1]), self.zero)

        nest = plan_images((*self.result.shape[:2], *sizes), [self.result.strides])
        return [Kernel(f"{self.op.name}_{name}", emit(nest, pixel))] if 0 not in sizes else []

    # -- windows that overlap -----------------------------------------------------------------

    def gathered(self) -> Routine | None:
        """The shares of all windows, then each pixel's sum of those it gets; None for very many residues."""
        if prod(line.stride for line in self.lines) > _MOST_RESIDUES:
            return None
        shares = _like(f"{self.op.name}_shares", self.windows.shape, self.result)

        def window(index: Sequence[Affine]) -> list[Statement]:
            return [*self.share(Window(self.lines, tuple(index))), store(shares, index, self.portion.value)]

        first = Kernel(f"{self.op.name}_shares", emit(plan_images(shares.shape, [shares.strides]), window))
        return Routine((first, Kernel(self.op.name, self._pixels(shares))))

    def _pixels(self, shares: View) -> For:
        """Loops over images, channels and tiles, with a place inside for each residue."""
        near = [loop.axis for loop in plan_images(self.result.shape, [self.result.strides]).loops]
        order = [axis for axis in (0, 1, 2, 3) if axis not in near] + near
        outer = min((2, 3), key=order.index)

        def level(depth: int, places: _Places, name: str) -> list[Statement]:
            if depth == 4:
                return self._pixel(places, shares, name)
            axis, kind = order[depth], "vector" if depth == 3 else "serial"
            if axis < 2:
                variable = Var(f"{'nc'[axis]}{name}")
                inside = level(depth + 1, {**places, axis: affine(variable)}, name)
                return [For(variable, self.result.shape[axis], tuple(inside), kind)]
            line = self.lines[axis - 2]
            residues = [r for r in (_Residue(line, number) for number in range(line.stride)) if r.first < r.last]
            if axis == outer:
                return [
                    self._blocks(
                        residues, lambda own: level(depth + 1, {**places, axis: own}, f"{name}_{own[1].number}")
                    )
                ]
            loops: list[Statement] = []
            for residue in residues:
                variable, own = Var(f"tile{name}_{residue.number}"), f"{name}_{residue.number}"
                inside = level(depth + 1, {**places, axis: (variable + residue.first, residue)}, own)
                loops.append(For(variable, residue.last - residue.first, tuple(inside), kind))
            return loops

        (loop,) = level(0, {}, "")
        assert isinstance(loop, For)
        return loop

    @staticmethod
    def _blocks(residues: Sequence[_Residue], inside: Callable[[_Tile], Sequence[Statement]]) -> For:
        """One loop over tiles, for each residue a block where the tile has such a pixel."""
        first, last = min(r.first for r in residues), max(r.last for r in residues)
        tile = Var("tile") + first
        blocks: list[Statement] = []
        for residue in residues:
            block = inside((tile, residue))
            if (residue.first, residue.last) == (first, last):
                blocks += block
            else:
                blocks.append(If((within(tile, residue.first, residue.last),), tuple(block)))
        return For(Var("tile"), last - first, tuple(blocks))

    def _pixel(self, places: _Places, shares: View, name: str) -> list[Statement]:
        """The sum of the shares of one pixel."""
        image = (places[0], places[1])
        (row, down), (column, right) = places[2], places[3]
        pixel = (*image, down.pixel(row), right.pixel(column))
        if not down.count or not right.count:
            return self.finish(pixel, self.zero)
        total = Register("total", self.result.dtype)

        def window(i: Index, j: Index) -> list[Statement]:
            index = (*image, down.window(row, i), right.window(column, j))
            guard = down.guard(index[2]) + right.guard(index[3])
            largest = Load(shares.dtype, self.y.array, self.y.at(*index), None, guard) if self.y else None
            share = Load(shares.dtype, shares.array, shares.at(*index), None, guard)
            return [Set(total, add(total.value, self.picked(pixel, largest, share)))]

        windows = each_tap((down.count, right.count), window, f"window{name}")
        return [Set(total, self.zero), windows, *self.finish(pixel, total.value)]


@dataclass(frozen=True)
class _Residue:
    """The pixels `stride * tile + number - before`, of tiles `first` to before `last`, and the windows they lie in."""

    line: Line
    number: int

    @property
    def first(self) -> int:
        return -((self.number - self.line.before) // self.line.stride)

    @property
    def last(self) -> int:
        return (self.line.size - 1 + self.line.before - self.number) // self.line.stride + 1

    @property
    def step(self) -> int:
        """By how much the windows of a pixel lie apart."""
        return self.line.dilation // gcd(self.line.dilation, self.line.stride)

    @property
    def nearest(self) -> int:
        """How far before its tile the last of the windows lies that may see a pixel."""
        for distance in range(self.line.dilation):
            if (self.number + distance * self.line.stride) % self.line.dilation == 0:
                return distance
        return self.line.dilation * self.line.kernel

    @property
    def count(self) -> int:
        """In how many windows a pixel lies, the border apart."""
        span = self.line.dilation * (self.line.kernel - 1) - self.number - self.nearest * self.line.stride
        return max(span // (self.step * self.line.stride) + 1, 0)

    def pixel(self, tile: Affine) -> Affine:
        return tile * self.line.stride + (self.number - self.line.before)

    def window(self, tile: Affine, k: Index) -> Affine:
        """Window k of a pixel, counted as its elements are: from behind."""
        return tile - self.nearest - affine(k) * self.step

    def guard(self, window: Affine) -> tuple[Bound, ...]:
        """The bound of such a window, if some do not exist."""
        low = self.first - self.nearest - (self.count - 1) * self.step
        high = self.last - 1 - self.nearest
        return (within(window, 0, self.line.count),) if low < 0 or high >= self.line.count else ()


_Tile = tuple[Affine, _Residue]
#: by axis: an image, a channel, or the tile of a residue
_Places = dict[int, Any]


def _like(name: str, shape: tuple[int, ...], view: View) -> View:
    """Workspace of a shape, its axes in memory in the order of those of a view."""
    strides, step = [0] * len(shape), 1
    for axis in sorted(range(len(shape)), key=lambda axis: (abs(view.strides[axis]), -axis)):
        strides[axis] = step
        step *= shape[axis]
    return View(Array(name, view.dtype, prod(shape), "shared"), Layout(shape, tuple(strides)))


def _spread(spread: _Spread) -> Routine | None:
    """The description that fits the windows."""
    if is_empty(spread.result):
        return Routine()
    if is_empty(spread.windows):
        return None
    return spread.tiles() if spread.is_tiled else spread.gathered()


@anchors(MaxPool2dGrad)
def max_pool_grad(
    op: MaxPool2dGrad, inputs: Sequence[View], result: View, finish: Finish, machine: Machine
) -> Routine | None:
    """Equal largest pixels share evenly. None for integers, which have no gradient."""
    x, y, g = inputs
    if not x.dtype.is_float:
        return None
    count, portion = Register("count", x.dtype), Register("portion", x.dtype)

    def share(window: Window) -> list[Statement]:
        divided = apply("divide", load(g, *window.index), count.value)
        return [*window.largest(count, x, y), Set(portion, divided)]

    lines = lines_of(op, x.shape[2:], y.shape[2:])
    return _spread(_Spread(op, result, g, lines, finish, share, portion, x, y))


@anchors(AvgPool2dGrad)
def avg_pool_grad(
    op: AvgPool2dGrad, inputs: Sequence[View], result: View, finish: Finish, machine: Machine
) -> Routine | None:
    """All pixels share evenly."""
    (g,) = inputs
    portion = Register("portion", g.dtype)

    def share(window: Window) -> list[Statement]:
        return [Set(portion, apply("divide", load(g, *window.index), window.divisor(op, g.dtype)))]

    return _spread(_Spread(op, result, g, lines_of(op, result.shape[2:], g.shape[2:]), finish, share, portion))
