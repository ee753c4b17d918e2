"""`x[...]` as NumPy reads it: integers, slices, new axes, and arrays of integers, in any mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.errors import ArgumentError, ShapeError
from staticnet.compiler.ir import Node, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, broadcast_shapes, function
from staticnet.compiler.ops.index import Gather, GatherND, as_indices, check_known
from staticnet.compiler.ops.slice import Bounds, range_size, slice_axes, slice_bounds


@function("getitem")
def getitem(x: Any, index: Any) -> Node:
    """`x[index]` with integers, slices (any step), None, Ellipsis and arrays of integers, as in NumPy.

    Indices that are numbers are checked when the graph is made, computed ones when it runs. A symbolic
    index or bound counts from the front. A boolean mask is refused: the result's shape would depend on data.
    """
    x = as_node(x)
    plan = _plan(x, _entries(x, index))
    if not plan.arrays:
        return F.reshape(slice_axes(x, plan.bounds), plan.shape)
    for node, axis in plan.arrays:
        check_known("getitem", node, axis, x.shape[axis])
    return _gathered(F.reshape(slice_axes(x, plan.bounds), plan.shape), plan)


@dataclass
class _Plan:
    """What an index asks for: first a slice, then another shape, then arrays of indices."""

    #: start, stop and step for each axis of x
    bounds: list[Bounds] = field(default_factory=list)
    #: the shape of the slice, without the axes that an integer took, with the new ones
    shape: list[Size] = field(default_factory=list)
    #: arrays of indices, each with its axis in x
    arrays: list[tuple[Node, int]] = field(default_factory=list)
    #: the axis of `shape` that each array indexes
    positions: list[int] = field(default_factory=list)
    #: where in the index the arrays stand, and the integers, which NumPy counts as arrays beside one
    places: list[int] = field(default_factory=list)


def _entries(x: Node, index: Any) -> list[Any]:
    """One entry per axis, and one per new axis: the Ellipsis and what is left out become full slices."""
    entries = list(index) if isinstance(index, tuple) else [index]
    taken = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
    if taken > x.ndim:
        raise ShapeError(f"{taken} indices are too many for the {x.ndim} axes of {format_shape(x.shape)}")
    dots = [place for place, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1:
        raise ArgumentError("an index takes one Ellipsis (`...`) at the most")
    place = dots[0] if dots else len(entries)
    return [*entries[:place], *[slice(None)] * (x.ndim - taken), *entries[place + 1 :]]


def _plan(x: Node, entries: Sequence[Any]) -> _Plan:
    plan = _Plan()
    for place, entry in enumerate(entries):
        axis = len(plan.bounds)
        if entry is None:
            plan.shape.append(1)
        elif isinstance(entry, slice):
            bounds = slice_bounds(entry, x.shape[axis])
            plan.bounds.append(bounds)
            plan.shape.append(range_size(*bounds))
        elif isinstance(entry, Dim) or _is_integer(entry):
            position = _element(x, entry, axis)
            plan.bounds.append((position, position + 1, 1))
            plan.places.append(place)
        else:
            plan.arrays.append((_array(entry), axis))
            plan.positions.append(len(plan.shape))
            plan.bounds.append((0, x.shape[axis], 1))
            plan.shape.append(x.shape[axis])
            plan.places.append(place)
    return plan


def _is_integer(entry: Any) -> bool:
    if isinstance(entry, np.ndarray):
        return entry.ndim == 0 and entry.dtype.kind in "iu"
    return isinstance(entry, (int, np.integer)) and not isinstance(entry, bool)


def _element(x: Node, index: Any, axis: int) -> Size:
    """One position counted from the front; ShapeError when it is known not to exist."""
    size, wanted = x.shape[axis], index if isinstance(index, Dim) else int(index)
    position = size + wanted if dims.at_least(wanted, 0) is False else wanted
    if dims.at_least(position, 0) is False or dims.at_least(size, position + 1) is False:
        raise ShapeError(
            f"index {wanted} is out of range for axis {axis} of size {size} of an array {format_shape(x.shape)}"
        )
    return position


def _array(entry: Any) -> Node:
    if not isinstance(entry, (Node, np.ndarray, np.generic, list, bool)):
        raise ArgumentError(
            f"an index is made of integers, slices, None, Ellipsis and arrays of integers, not {entry!r:.60} "
            f"of type {type(entry).__name__}"
        )
    return as_indices("getitem", entry)


def _gathered(x: Node, plan: _Plan) -> Node:
    nodes = [node for node, _ in plan.arrays]
    first, count = plan.positions[0], len(nodes)
    # NumPy puts the axes of the arrays where the arrays stand, or in front when these stand apart.
    target = first if plan.places[-1] - plan.places[0] == len(plan.places) - 1 else 0
    if count == 1:
        result, at, rank = apply(Gather(axis=first), x, nodes[0]), first, nodes[0].ndim
    else:
        shape = broadcast_shapes("getitem", *(node.shape for node in nodes))
        points = F.stack([F.broadcast_to(node, shape) for node in nodes], axis=-1)
        result, at, rank = apply(GatherND(), F.moveaxis(x, plan.positions, list(range(count))), points), 0, len(shape)
    return F.moveaxis(result, [at + k for k in range(rank)], [target + k for k in range(rank)])
