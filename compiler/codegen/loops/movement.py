"""Loop descriptions of ops that move elements: copies of views, pad, slice_scatter and concat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

from staticnet.compiler.codegen.loops.describe import describes
from staticnet.compiler.codegen.loops.filling import fill_kernel, is_empty
from staticnet.compiler.codegen.loops.form import (
    Affine,
    For,
    If,
    Kernel,
    Load,
    Routine,
    Statement,
    Var,
    View,
    const,
    load,
    store,
    within,
)
from staticnet.compiler.codegen.loops.nest import Nest, around, emit, plan_nest
from staticnet.compiler.codegen.loops.tiling import copy_loop
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.errors import RunError
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.leaf import Identity, StopGradient
from staticnet.compiler.ops.shape import Broadcast, Reshape, Transpose, reshape_layout
from staticnet.compiler.ops.slice import Concat, Pad, Slice, SliceScatter


@describes(Identity, StopGradient, Transpose, Broadcast, Slice)
def copy(op: Any, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """The view that the card itself gives, copied. None where a slice does not fit: its kernel says why."""
    (x,), (out,) = inputs, outputs
    try:
        layout = op.view(x.layout, out.shape)
    except RunError:
        return None
    if is_empty(out):
        return Routine()
    return Routine((Kernel(op.name, copy_loop(View(x.array, layout), out, machine)),))


# -- reshape ----------------------------------------------------------------------------------


@describes(Reshape)
def reshape(op: Reshape, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine | None:
    """A copy in a shape that both sides can be seen in, if there is one."""
    (x,), (out,) = inputs, outputs
    if is_empty(out):
        return Routine()
    for shape in (out.shape, x.shape, common_refinement(x.shape, out.shape)):
        if shape is None:
            continue
        source, target = (reshape_layout(view.layout, shape) for view in (x, out))
        if source is not None and target is not None:
            loop = copy_loop(View(x.array, source), View(out.array, target), machine)
            return Routine((Kernel(op.name, loop),))
    return None


def common_refinement(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape with the fewest axes that splits the axes of each of these shapes; None if there is none.

    The shapes have equally many elements, and at least one.
    """
    steps = sorted({step for shape in shapes for step in accumulate(reversed(shape), int.__mul__, initial=1)})
    if any(far % near for near, far in pairwise(steps)):
        return None
    return tuple(far // near for near, far in pairwise(steps))[::-1]


# -- pad --------------------------------------------------------------------------------------


def laid_over(
    name: str, x: View, out: View, starts: Sequence[int], steps: Sequence[int], value: Any, machine: Machine
) -> Routine:
    """`value` everywhere but at the positions `starts + k * steps`, where `out` has element k of `x`."""
    if is_empty(out):
        return Routine()
    if is_empty(x):
        return Routine((fill_kernel(name, out, value),))
    steps = [1 if n == 1 else step for n, step in zip(x.shape, steps, strict=True)]
    if any(abs(step) != 1 for step in steps):
        strides = tuple(stride * step for stride, step in zip(out.strides, steps, strict=True))
        first = out.layout.offset + sum(start * stride for start, stride in zip(starts, out.strides, strict=True))
        inside = View(out.array, Layout(x.shape, strides, first))
        return Routine((fill_kernel(f"{name}_fill", out, value), Kernel(name, copy_loop(x, inside, machine))))
    cut = [axis for axis in range(out.ndim) if x.shape[axis] != out.shape[axis]]
    strides = tuple(stride * step for stride, step in zip(x.strides, steps, strict=True))
    nest = plan_nest(out.shape, [out.strides, strides], keep=cut)

    def element(index: Sequence[Affine]) -> list[Statement]:
        own = [(part - start) * step for part, start, step in zip(index, starts, steps, strict=True)]
        guard = tuple(within(own[axis], 0, x.shape[axis]) for axis in cut)
        moved = Load(x.dtype, x.array, x.at(*own), None, guard, const(value, x.dtype))
        return [store(out, index, moved)]

    return Routine((Kernel(name, emit(nest, element)),))


@describes(Pad)
def pad(op: Pad, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """Elements of the operand where there are some, the value elsewhere."""
    (x,), (out,) = inputs, outputs
    return laid_over(op.name, x, out, op.low, [1] * out.ndim, op.value, machine)  # type: ignore[arg-type]


@describes(SliceScatter)
def slice_scatter(
    op: SliceScatter, inputs: Sequence[View], outputs: Sequence[View], machine: Machine
) -> Routine:
    """The operand among zeros; in two kernels where the slice has steps."""
    (x,), (out,) = inputs, outputs
    return laid_over(op.name, x, out, op.starts, op.steps, 0, machine)  # type: ignore[arg-type]


# -- concat -----------------------------------------------------------------------------------


@describes(Concat)
def concat(op: Concat, inputs: Sequence[View], outputs: Sequence[View], machine: Machine) -> Routine:
    """One kernel: for each index of the axes that lie before `axis` in memory, a piece of every operand."""
    (out,) = outputs
    parts = _parts(op.axis, inputs, out)
    if not parts:
        return Routine()
    far = abs(out.strides[op.axis])
    before = [k for k, stride in enumerate(out.strides) if k != op.axis and abs(stride) > far and out.shape[k] > 1]
    outer = _nest_of(before, parts)
    pieces = [_nest_of([k for k in range(out.ndim) if k not in before], [part]) for part in parts]
    if outer.loops and all(piece.loops and piece.extents[-1] >= _SHORT for piece in pieces):
        return Routine((Kernel(op.name, _interleaved(outer, pieces, parts)),))
    number = Var("part")
    loops = [copy_loop(x, target, machine, f"p{k}_") for k, (x, target) in enumerate(parts)]
    choice = tuple(If((within(number, k, k + 1),), (loop,)) for k, loop in enumerate(loops))
    return Routine((Kernel(op.name, For(number, len(loops), choice) if len(loops) > 1 else loops[0]),))


#: fewer contiguous elements than this are copied along another axis
_SHORT = 4
_Part = tuple[View, View]


def _parts(axis: int, inputs: Sequence[View], out: View) -> list[_Part]:
    """Each operand that has elements, with the part of the result that it becomes."""
    parts, start = [], 0
    for x in inputs:
        if not is_empty(x):
            layout = Layout(x.shape, out.strides, out.layout.offset + start * out.strides[axis])
            parts.append((x, View(out.array, layout)))
        start += x.shape[axis]
    return parts


def _nest_of(axes: Sequence[int], parts: Sequence[_Part]) -> Nest:
    """The nest over some axes of the parts, the others staying at 0."""
    x, target = parts[0]
    shape = tuple(n if axis in axes else 1 for axis, n in enumerate(x.shape))
    return plan_nest(shape, [target.strides, *(source.strides for source, _ in parts)])


def _interleaved(outer: Nest, pieces: Sequence[Nest], parts: Sequence[_Part]) -> For:
    """The outer loops around one nest for each part."""
    variables = outer.variables()
    base = outer.index(variables)

    def copied(x: View, target: View) -> Callable[[Sequence[Affine]], list[Statement]]:
        def element(index: Sequence[Affine]) -> list[Statement]:
            whole = [a + b for a, b in zip(base, index, strict=True)]
            return [store(target, whole, load(x, *whole))]

        return element

    numbered = enumerate(zip(pieces, parts, strict=True))
    inside = [emit(piece, copied(*part), f"p{number}_") for number, (piece, part) in numbered]
    return around(variables, outer.extents, inside)
