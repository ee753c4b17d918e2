"""Loop nests over arrays of one shape: which axes become loops, in which order, and which run as one.

Elements at one index may be visited in any order, so the nest follows the memory of the first array, whose
stores are then contiguous; axes that lie one behind the other in all arrays are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from staticnet.compiler.codegen.loops.form import Affine, For, Index, Statement, Var, affine

Body = Callable[[tuple[Affine, ...]], Sequence[Statement]]


@dataclass(frozen=True)
class Loop:
    """One loop of a nest: its `extent`, the `strides` of each array along it, and the `axis` that its variable
    is the index of, counted backwards where `step` is -1.
    """

    extent: int
    strides: tuple[int, ...]
    axis: int
    step: int


@dataclass(frozen=True)
class Nest:
    """Loops, outermost first, that visit every index of `shape` once; no loop has extent 1.

    `starts` is the index at which all loops begin. Of merged axes the innermost carries the variable and runs
    beyond its size, the others stay at their start: as a place in any of the arrays this is the same.
    """

    shape: tuple[int, ...]
    loops: tuple[Loop, ...]
    starts: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(loop.extent for loop in self.loops)

    def index(self, variables: Sequence[Index]) -> tuple[Affine, ...]:
        """The index into the arrays, one part an axis of `shape`, for one variable a loop."""
        parts = list(map(affine, self.starts))
        for loop, variable in zip(self.loops, variables, strict=True):
            parts[loop.axis] = parts[loop.axis] + affine(variable) * loop.step
        return tuple(parts)

    def variables(self, prefix: str = "i") -> tuple[Var, ...]:
        """A variable for each loop."""
        return tuple(Var(f"{prefix}{number}") for number in range(len(self.loops)))


def plan_nest(shape: Sequence[int], strides: Sequence[Sequence[int]], keep: Sequence[int] = ()) -> Nest:
    """The nest for arrays with these `strides` (0 where one is broadcast), the first of which decides the order.

    Axes in `keep` are merged with no other, so that their index stays within their size.
    """
    loops, starts = [], [0] * len(shape)
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        along = tuple(each[axis] for each in strides)
        step = -1 if next((stride for stride in along if stride), 1) < 0 else 1
        starts[axis] = 0 if step == 1 else extent - 1
        loops.append(Loop(extent, tuple(stride * step for stride in along), axis, step))
    loops.sort(key=lambda loop: tuple(-abs(stride) for stride in loop.strides))
    merged: list[Loop] = []
    for loop in loops:
        if merged and not {loop.axis, merged[-1].axis} & set(keep) and _continues(merged[-1], loop):
            loop = Loop(merged.pop().extent * loop.extent, loop.strides, loop.axis, loop.step)
        merged.append(loop)
    return Nest(tuple(shape), tuple(merged), tuple(starts))


def _continues(outer: Loop, inner: Loop) -> bool:
    """Whether the outer loop goes on where the inner one ends, in every array."""
    return all(far == near * inner.extent for far, near in zip(outer.strides, inner.strides, strict=True))


def emit(nest: Nest, body: Body, prefix: str = "i", ahead: Body | None = None) -> For:
    """The loops of a nest around what `body` gives for an index: the innermost is a vector loop.

    What `ahead` gives stands in front of the innermost loop, or inside it where that is the only one; of its index
    the part along that loop is unknown. The outermost loop can be a kernel's; a nest without loops becomes one of
    extent 1.
    """
    variables = nest.variables(prefix)
    index = nest.index(variables)
    first, inside = tuple(ahead(index)) if ahead else (), tuple(body(index))
    if not variables:
        return For(Var("once"), 1, first + inside)
    if len(variables) == 1:
        return For(variables[0], nest.extents[0], first + inside, "vector")
    line = For(variables[-1], nest.extents[-1], inside, "vector")
    return around(variables[:-1], nest.extents[:-1], (*first, line))


def around(variables: Sequence[Var], extents: Sequence[int], inside: Sequence[Statement]) -> For:
    """Serial loops, outermost first, around some statements; one of extent 1 where there are none."""
    if not variables:
        return For(Var("once"), 1, tuple(inside))
    loop = For(variables[-1], extents[-1], tuple(inside))
    for variable, extent in zip(reversed(variables[:-1]), reversed(extents[:-1]), strict=True):
        loop = For(variable, extent, (loop,))
    return loop
