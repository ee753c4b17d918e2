"""Reductions as loops, with the pointwise work before, beside and after them.

The axes of the iteration space are kept or reduced. Where the fastest axis is reduced, each line is summed
up in vectors (rows); where it is kept, lanes hold neighbouring results (columns). Long reductions of few
results are cut into chunks, fixed by the shape alone, whose partial results a second kernel combines: the
bits are the same for any number of workers, and errors grow slowly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Affine,
    Array,
    For,
    Kernel,
    Load,
    Register,
    Routine,
    Set,
    Statement,
    Store,
    Value,
    Var,
    View,
    affine,
    const,
    dense,
    load,
    store,
)
from staticnet.compiler.codegen.loops.fused import Body, Unknown
from staticnet.compiler.codegen.loops.nest import Loop, Nest, plan_nest
from staticnet.compiler.codegen.loops.operations import apply, cast, identity
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import as_dtype, float32, float64
from staticnet.compiler.ir import Node
from staticnet.compiler.ops.reduce import All, Any_, Max, Mean, Min, Prod, Reduction, Sum, count_of

#: elements of one line that are summed in lanes before their sum joins a wider total
_RUN = 2048
#: elements a result may be made from before the reduction is cut into chunks
_LONG = 4096
#: elements of one chunk, for each result
_CHUNK = 512
#: pointwise ops whose results are kept for a second pass over the line, rather than computed again
_COSTLY = frozenset(
    ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "softplus", "erf", "power", "divide")
    + ("sqrt", "reciprocal")
)

_OPERATIONS: dict[type[Reduction], str] = {
    Sum: "add",
    Mean: "add",
    Prod: "multiply",
    Max: "maximum",
    Min: "minimum",
    Any_: "logical_or",
    All: "logical_and",
}


def reduced(body: Body, machine: Machine) -> Routine | None:
    """The routine of a group with reductions, all of the same axes; None where one has no elements to start from."""
    return _Reduction(body, machine).routine()


@dataclass(frozen=True)
class _Total:
    """One reduction: what it combines with, in which dtype, and the registers that hold it."""

    node: Node
    operation: str
    register: Register
    wide: Register

    @property
    def start(self) -> Value:
        return identity(self.operation, self.register.dtype)


class _Reduction:
    def __init__(self, body: Body, machine: Machine):
        self.body, self.machine = body, machine
        first = body.op.reductions[0]
        assert isinstance(first.op, Reduction)
        self.space: tuple[int, ...] = tuple(map(int, first.inputs[0].aval.shape))  # type: ignore[arg-type]
        self.axes = first.op.axes
        self.totals = [self._total(number, node) for number, node in enumerate(body.op.reductions)]
        self.depth = self._depths()
        self.nest = self._plan()
        self.kept = [loop for loop in self.nest.loops if loop.axis not in self.axes]
        self.gone = [loop for loop in self.nest.loops if loop.axis in self.axes]
        self.count = math.prod(loop.extent for loop in self.gone)
        self.saved: dict[Node, Array] = {}

    def routine(self) -> Routine | None:
        if 0 in self.space:
            return self._of_nothing()
        has_rows = not self.nest.loops or self.nest.loops[-1] in self.gone
        is_single = all(depth == 0 for node, depth in self.depth.items() if self._is_wide(node))
        results = math.prod(loop.extent for loop in self.kept)
        if is_single and self.count > _LONG and self.count > 64 * results and self.gone:
            return self._chunked(has_rows)
        if is_single and not has_rows and self.count > _CHUNK:
            return self._chunked(has_rows)
        return self._rows(self.kept) if has_rows else self._columns()

    def _of_nothing(self) -> Routine | None:
        """Without elements totals stay what they start from; that of a maximum is no result."""
        if any(loop.extent == 0 for loop in self.kept):
            return Routine()
        if any(isinstance(total.node.op, (Max, Min)) for total in self.totals):
            return None

        def body(places: dict[Loop, Affine]) -> list[Statement]:
            starts = [Set(total.wide, identity(total.operation, total.wide.dtype)) for total in self.totals]
            return [*starts, *self._stores_kept(self._index(places), max(self.depth.values()))]

        return Routine((Kernel("nothing", self._over_kept(body)),))

    # -- the parts of the body ------------------------------------------------------------------

    def _total(self, number: int, node: Node) -> _Total:
        if type(node.op) not in _OPERATIONS:
            raise Unknown(node.op.name)
        result, operation = node.aval.dtype, _OPERATIONS[type(node.op)]  # type: ignore[index]
        dtype = as_dtype(result.accumulator) if result.is_float else result
        wide = float64 if dtype == float32 and operation == "add" else dtype
        return _Total(node, operation, Register(f"r{number}", dtype), Register(f"total{number}", wide))

    def _depths(self) -> dict[Node, int]:
        """How many reductions lie below each node: in which pass over a line it can be known."""
        depth: dict[Node, int] = {}
        for node in self.body.graph.nodes:
            below = max((depth[source] for source in node.inputs), default=0)
            depth[node] = below + isinstance(node.op, Reduction)
        return depth

    def _is_wide(self, node: Node) -> bool:
        """Whether a node is computed over the whole space."""
        if isinstance(node.op, Reduction) or node.aval.shape != self.space:
            return False
        # Where all reduced axes have size 1, results have the shape of the space too.
        return any(self.space[axis] != 1 for axis in self.axes) or not self._is_kept(node)

    def _is_kept(self, node: Node) -> bool:
        """Whether a node follows from results of the reductions alone."""
        return bool(node.inputs) and all(
            isinstance(source.op, Reduction) or self._is_kept(source) or not source.aval.shape for source in node.inputs
        )

    def _wide_results(self, depth: int) -> list[tuple[Node, View]]:
        return [(n, v) for n, v in self.body.results if self._is_wide(n) and self.depth[n] == depth]

    def _kept_results(self) -> list[tuple[Node, View]]:
        return [(node, view) for node, view in self.body.results if not self._is_wide(node)]

    def _plan(self) -> Nest:
        rank = len(self.space)
        views = [view for node, view in self.body.results if self._is_wide(node)]
        wide = [v for v in self.body.views.values() if v.shape == self.space]
        others = [v for v in self.body.views.values() if v.shape != self.space]
        strides = [self.body.strides(view, rank) for view in (*views, *wide, *others)]
        main = strides[0] if strides else (0,) * rank
        order = sorted(range(rank), key=lambda axis: (-abs(main[axis]), axis))
        # An array of the kept axes alone, so that a kept and a reduced axis are never merged.
        apart, step = [0] * rank, 1
        for axis in reversed(order):
            if axis not in self.axes:
                apart[axis] = step
                step *= self.space[axis]
        narrow = [self._narrow_strides(view) for _, view in self._kept_results()]
        return plan_nest(self.space, [*strides, tuple(apart), *narrow])

    def _narrow_strides(self, view: View) -> tuple[int, ...]:
        if view.ndim == len(self.space):
            return tuple(0 if axis in self.axes else stride for axis, stride in enumerate(view.strides))
        strides = iter(view.strides)
        return tuple(0 if axis in self.axes else next(strides) for axis in range(len(self.space)))

    # -- values -------------------------------------------------------------------------------------

    def _index(self, places: dict[Loop, Affine]) -> tuple[Affine, ...]:
        return self.nest.index([places.get(loop, affine(0)) for loop in self.nest.loops])

    def _known(self, depth: int) -> dict[Node, Value]:
        """What is known in a pass: the totals of those before."""
        return {total.node: self._finished(total) for total in self.totals if self.depth[total.node] <= depth}

    def _finished(self, total: _Total) -> Value:
        value: Value = total.wide.value
        node, result = total.node, total.node.aval.dtype
        if isinstance(node.op, Mean):
            count = int(count_of(node.inputs[0].aval.shape, node.op.axes))
            value = apply("divide", value, const(count, value.dtype))
        return cast(value, result)

    def _element(self, total: _Total, index: Sequence[Affine], known: dict[Node, Value]) -> Value:
        return cast(self.body.value(total.node.inputs[0], index, known), total.register.dtype)

    def _stores_kept(self, index: tuple[Affine, ...], depth: int) -> list[Statement]:
        known = self._known(depth)
        found: list[Statement] = []
        for node, view in self._kept_results():
            place = self._narrow_index(index, view)
            found.append(store(view, place, self.body.value(node, index, known)))
        return found

    def _narrow_index(self, index: tuple[Affine, ...], view: View) -> tuple[Affine, ...]:
        if view.ndim == len(self.space):
            return tuple(affine(0) if axis in self.axes else part for axis, part in enumerate(index))
        return tuple(part for axis, part in enumerate(index) if axis not in self.axes)

    # -- lines whose elements lie side by side ------------------------------------------------------

    def _rows(self, kept: Sequence[Loop]) -> Routine:
        variables = [Var(f"k{number}") for number in range(len(kept))]
        places = {loop: affine(var) for loop, var in zip(kept, variables, strict=True)}
        deepest = max(self.depth.values())
        inside: list[Statement] = []
        for depth in range(deepest + 1):
            inside += self._row_pass(depth, places)
        inside += self._stores_kept(self._index(places), deepest)
        for loop, var in zip(reversed(kept), reversed(variables), strict=True):
            inside = [For(var, loop.extent, tuple(inside))]
        outer = inside[0] if kept else For(Var("once"), 1, tuple(inside))
        assert isinstance(outer, For)
        return Routine((Kernel("rows", outer),))

    def _row_pass(self, depth: int, places: dict[Loop, Affine]) -> list[Statement]:
        """One pass over a line: the totals and results that what is known already allows."""
        totals = [total for total in self.totals if self.depth[total.node] == depth + 1]
        results = self._wide_results(depth)
        if not totals and not results:
            return []
        found: list[Statement] = [Set(total.wide, identity(total.operation, total.wide.dtype)) for total in totals]
        return found + self._line(totals, results, depth, places, list(self.gone))

    def _line(
        self,
        totals: list[_Total],
        results: list[tuple[Node, View]],
        depth: int,
        places: dict[Loop, Affine],
        loops: list[Loop],
    ) -> list[Statement]:
        """Loops over what is left of the line: short runs in lanes, and the runs one after another."""
        if len(loops) > 1:
            var = Var(f"g{depth}_{len(loops)}")
            inner = self._line(totals, results, depth, {**places, loops[0]: affine(var)}, loops[1:])
            return [For(var, loops[0].extent, tuple(inner))]
        extent = loops[0].extent if loops else 1
        runs, rest = divmod(extent, _RUN) if extent > _RUN else (0, extent)
        found: list[Statement] = []
        for number, (length, start) in enumerate(((_RUN, affine(0)), (rest, affine(runs * _RUN)))):
            if not (runs, rest)[number] and not (number == 1 and extent == 0):
                continue
            outer = Var(f"run{depth}")
            base = outer * _RUN if number == 0 else start
            run = self._run(totals, results, depth, places, loops, length, base, f"j{depth}_{number}")
            found += [For(outer, runs, tuple(run))] if number == 0 else run
        return found

    def _run(
        self,
        totals: list[_Total],
        results: list[tuple[Node, View]],
        depth: int,
        places: dict[Loop, Affine],
        loops: list[Loop],
        length: int,
        base: Affine,
        name: str,
    ) -> list[Statement]:
        var = Var(name)
        here = dict(places)
        if loops:
            here[loops[0]] = base + var
        index = self._index(here)
        known = self._known(depth)
        inside = self._save_and_load(depth, known, index, loops, base + var)
        if depth == 0:
            inside += self.body.refusals(self.body.op.members, index, known)
        added = [Accumulate(total.register, total.operation, self._element(total, index, known)) for total in totals]
        stores = [store(view, index, self.body.value(node, index, known)) for node, view in results]
        before: list[Statement] = [Set(total.register, total.start) for total in totals]
        after: list[Statement] = [Set(t.wide, self._joined(t)) for t in totals]
        return [*before, For(var, length, (*inside, *added, *stores), "vector"), *after]

    def _joined(self, total: _Total) -> Value:
        return apply(total.operation, total.wide.value, cast(total.register.value, total.wide.dtype))

    def _save_and_load(
        self, depth: int, known: dict[Node, Value], index: Sequence[Affine], loops: list[Loop], place: Affine
    ) -> list[Statement]:
        """Costly values of a line that a later pass needs as well are kept in workspace."""
        if len(self.gone) != 1:
            return []
        found: list[Statement] = []
        for node in self.body.op.members:
            if node.op.name not in _COSTLY or not self._is_wide(node) or not self._is_needed_later(node):
                continue
            if node not in self.saved:
                self.saved[node] = Array(f"saved{len(self.saved)}", node.aval.dtype, self.gone[0].extent, "local")
            array = self.saved[node]
            if self.depth[node] < depth:
                known[node] = Load(array.dtype, array, place)
            elif self.depth[node] == depth:
                found.append(Store(array, place, self.body.value(node, index, known)))
        return found

    def _is_needed_later(self, node: Node) -> bool:
        users = self.body.graph.users[node]
        return any(self.depth[user] > self.depth[node] and not isinstance(user.op, Reduction) for user in users)

    # -- lines whose elements lie far apart: lanes hold neighbours --------------------------------------

    def _columns(self) -> Routine:
        def body(places: dict[Loop, Affine]) -> list[Statement]:
            deepest = max(self.depth.values())
            found: list[Statement] = []
            for depth in range(deepest + 1):
                found += self._column_pass(depth, places, self.gone, f"g{depth}_")
            return [*found, *self._stores_kept(self._index(places), deepest)]

        return Routine((Kernel("columns", self._over_kept(body)),))

    def _over_kept(self, body: Callable[[dict[Loop, Affine]], list[Statement]]) -> For:
        """Loops over the kept axes, the fastest in lanes."""
        variables = [Var(f"k{number}") for number in range(len(self.kept))]
        places = {loop: affine(var) for loop, var in zip(self.kept, variables, strict=True)}
        inside = tuple(body(places))
        for number in reversed(range(len(self.kept))):
            kind = "vector" if number == len(self.kept) - 1 else "serial"
            inside = (For(variables[number], self.kept[number].extent, inside, kind),)
        outer = inside[0] if self.kept else For(Var("once"), 1, inside)
        assert isinstance(outer, For)
        return outer

    def _column_pass(
        self, depth: int, places: dict[Loop, Affine], loops: Sequence[Loop], prefix: str
    ) -> list[Statement]:
        totals = [total for total in self.totals if self.depth[total.node] == depth + 1]
        results = self._wide_results(depth)
        if not totals and not results:
            return []
        variables = [Var(f"{prefix}{number}") for number in range(len(loops))]
        here = {**places, **dict(zip(loops, map(affine, variables), strict=True))}
        index = self._index(here)
        known = self._known(depth)
        inside: list[Statement] = []
        if depth == 0:
            inside += self.body.refusals(self.body.op.members, index, known)
        inside += [
            Set(t.register, apply(t.operation, t.register.value, self._element(t, index, known))) for t in totals
        ]
        inside += [store(view, index, self.body.value(node, index, known)) for node, view in results]
        for loop, var in zip(reversed(loops), reversed(variables), strict=True):
            inside = [For(var, loop.extent, tuple(inside))]
        before: list[Statement] = [Set(total.register, total.start) for total in totals]
        after: list[Statement] = [Set(t.wide, cast(t.register.value, t.wide.dtype)) for t in totals]
        return [*before, *inside, *after]

    # -- long reductions ------------------------------------------------------------------------------

    def _chunked(self, has_rows: bool) -> Routine:
        """Partial results of fixed chunks of the slowest reduced axis, then their combination."""
        outer, inner = self.gone[0], math.prod(loop.extent for loop in self.gone[1:])
        length = self._chunk_length(outer.extent, inner, has_rows)
        chunks, rest = divmod(outer.extent, length)
        results = math.prod(loop.extent for loop in self.kept)
        count = chunks + bool(rest)
        partial = [
            Array(f"partial{number}", total.wide.dtype, count * results, "shared")
            for number, total in enumerate(self.totals)
        ]
        part = Loop(length, outer.strides, outer.axis, outer.step)
        kernels = [self._chunk_kernel(has_rows, part, 0, chunks, partial)]
        if rest:
            last = Loop(rest, outer.strides, outer.axis, outer.step)
            kernels.append(self._chunk_kernel(has_rows, last, chunks * length, 1, partial, chunks))
        return Routine((*kernels, self._combine(partial, count, results)))

    def _chunk_length(self, extent: int, inner: int, has_rows: bool) -> int:
        """Elements of the outer axis in one chunk: near a wanted number, dividing the axis where possible."""
        wanted = max(1, (16 * _RUN if has_rows and not self.kept else _CHUNK) // inner)
        if wanted >= extent:
            return extent
        divisors = [n for n in range(max(1, wanted // 2), 2 * wanted + 1) if extent % n == 0]
        return min(divisors, key=lambda n: abs(n - wanted)) if divisors else wanted

    def _chunk_kernel(
        self, has_rows: bool, part: Loop, start: int, count: int, partial: Sequence[Array], first: int = 0
    ) -> Kernel:
        """One chunk an iteration; its totals go to the partial results."""
        chunk = Var("chunk")
        outer = self.gone[0]
        base = chunk * part.extent + start
        gone = self.gone

        def stores(places: dict[Loop, Affine]) -> list[Statement]:
            results = math.prod(loop.extent for loop in self.kept)
            place = self._kept_place(places) + (chunk + first) * results
            return [Store(array, place, total.wide.value) for array, total in zip(partial, self.totals, strict=True)]

        if has_rows:
            variables = [Var(f"k{number}") for number in range(len(self.kept))]
            places = {loop: affine(var) for loop, var in zip(self.kept, variables, strict=True)}
            inside: list[Statement] = [
                Set(total.wide, identity(total.operation, total.wide.dtype)) for total in self.totals
            ]
            inside += self._part_of_line(places, part, base)
            inside += stores(places)
            for loop, var in zip(reversed(self.kept), reversed(variables), strict=True):
                inside = [For(var, loop.extent, tuple(inside))]
            return Kernel("row_chunks", For(chunk, count, tuple(inside)))

        def body(places: dict[Loop, Affine]) -> list[Statement]:
            loops = [part, *gone[1:]]
            # The part of the outer axis starts at the chunk's base.
            moved = {**places, outer: base}
            return [*self._partial_column(moved, loops), *stores(places)]

        return Kernel("column_chunks", For(chunk, count, (self._over_kept(body),)))

    def _part_of_line(self, places: dict[Loop, Affine], part: Loop, base: Affine) -> list[Statement]:
        outer, rest = self.gone[0], self.gone[1:]
        results = self._wide_results(0)
        if not rest:
            runs, left = divmod(part.extent, _RUN)
            found: list[Statement] = []
            if runs:
                var = Var("run")
                run = self._run(self.totals, results, 0, places, [outer], _RUN, base + var * _RUN, "j0")
                found.append(For(var, runs, tuple(run)))
            if left:
                found += self._run(self.totals, results, 0, places, [outer], left, base + runs * _RUN, "j1")
            return found
        var = Var("g")
        inner = self._line(self.totals, results, 0, {**places, outer: base + var}, rest)
        return [For(var, part.extent, tuple(inner))]

    def _partial_column(self, places: dict[Loop, Affine], loops: Sequence[Loop]) -> list[Statement]:
        variables = [Var(f"g{number}") for number in range(len(loops))]
        here = dict(places)
        for loop, own, var in zip(loops, self.gone, variables, strict=True):
            here[own] = here.get(own, affine(0)) + var
            assert loop.axis == own.axis
        index, known = self._index(here), self._known(0)
        inside: list[Statement] = [*self.body.refusals(self.body.op.members, index, known)]
        inside += [
            Set(t.register, apply(t.operation, t.register.value, self._element(t, index, known))) for t in self.totals
        ]
        results = self._wide_results(0)
        inside += [store(view, index, self.body.value(node, index, known)) for node, view in results]
        for loop, var in zip(reversed(loops), reversed(variables), strict=True):
            inside = [For(var, loop.extent, tuple(inside))]
        before: list[Statement] = [Set(total.register, total.start) for total in self.totals]
        after: list[Statement] = [Set(t.wide, cast(t.register.value, t.wide.dtype)) for t in self.totals]
        return [*before, *inside, *after]

    def _kept_place(self, places: dict[Loop, Affine]) -> Affine:
        """The number of a result among all, the kept loops counted row-major."""
        place, step = affine(0), 1
        for loop in reversed(self.kept):
            place = place + places[loop] * step
            step *= loop.extent
        return place

    def _combine(self, partial: Sequence[Array], count: int, results: int) -> Kernel:
        chunk = Var("part")

        def body(places: dict[Loop, Affine]) -> list[Statement]:
            found: list[Statement] = [
                Set(total.wide, identity(total.operation, total.wide.dtype)) for total in self.totals
            ]
            place = self._kept_place(places)
            added: list[Statement] = []
            for array, total in zip(partial, self.totals, strict=True):
                more = load(dense(array, count * results), chunk * results + place)
                added.append(Set(total.wide, apply(total.operation, total.wide.value, more)))
            found.append(For(chunk, count, tuple(added)))
            return [*found, *self._stores_kept(self._index(places), max(self.depth.values()))]

        return Kernel("combine", self._over_kept(body))
