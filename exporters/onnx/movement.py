"""Ops that move elements, in ONNX: shapes as numbers, 0 and -1 as far as that goes, computed sizes where not."""

from __future__ import annotations

import numpy as np

from staticnet.compiler import dims, dtypes
from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.ir import Node, Shape
from staticnet.exporters.onnx.elementwise import route_or_refuse, zeros
from staticnet.exporters.onnx.emitter import Emitter

#: bounds that a slice clamps to the end and to before the beginning
END, BEFORE = np.iinfo(np.int64).max, np.iinfo(np.int64).min


# -- reshape ----------------------------------------------------------------------------------


def reshape(emitter: Emitter, node: Node) -> str:
    """Flatten where it is one, else Reshape; new or dropped axes among symbolic ones as Unsqueeze or Squeeze."""
    old, new = node.inputs[0].shape, node.shape
    x = emitter.value(node.inputs[0])
    split = flatten_axis(old, new)
    if split is not None:
        return emitter.emit("Flatten", x, axis=split)
    target = _known_target(old, new)
    if target is not None:
        return _reshape_to(emitter, x, target, old)
    inserted = _added_axes(old, new)
    if inserted is not None:
        return emitter.emit("Unsqueeze", x, emitter.ints(inserted))
    dropped = _added_axes(new, old)
    if dropped is not None:
        return emitter.emit("Squeeze", x, emitter.ints(dropped))
    # A computed size may be 0, which shall mean 0.
    return emitter.emit("Reshape", x, emitter.sizes.vector(new), allowzero=1 if emitter.opset >= 14 else None)


def flatten_axis(old: Shape, new: Shape) -> int | None:
    """The axis that parts the rows from the columns when `new` is a matrix of at least three axes flattened."""
    if len(new) != 2 or len(old) < 3:
        return None
    for axis in range(1, len(old)):
        if dims.same_shape(new, (dims.product(old[:axis]), dims.product(old[axis:]))):
            return axis
    return None


def _known_target(old: Shape, new: Shape) -> list[int] | None:
    """`new` in numbers: 0 takes the size of the same axis, one -1 is worked out; None where that is not enough."""
    target: list[int] = []
    for axis, size in enumerate(new):
        if isinstance(size, int):
            target.append(size)
        elif axis < len(old) and dims.same(size, old[axis]):
            target.append(0)
        else:
            target.append(-1)
    is_empty = any(isinstance(size, int) and size == 0 for size in new)
    has_symbols = any(isinstance(size, Dim) for size in new)
    return None if target.count(-1) > 1 or (is_empty and has_symbols) else target


def _reshape_to(emitter: Emitter, x: str, target: list[int], old: Shape) -> str:
    is_empty = any(isinstance(size, int) and size == 0 for size in old)
    if is_empty and emitter.opset < 14:
        emitter.refuse("of an array without elements needs opset 14 or later, where a size of 0 can be written")
    return emitter.emit("Reshape", x, emitter.ints(target), allowzero=1 if is_empty else None)


def _added_axes(old: Shape, new: Shape) -> list[int] | None:
    """Where `new` has axes of size 1 that `old` lacks, when that is the only difference."""
    added, position = [], 0
    for axis, size in enumerate(new):
        if position < len(old) and dims.same(size, old[position]):
            position += 1
        elif dims.same(size, 1):
            added.append(axis)
        else:
            return None
    return added if added and position == len(old) else None


# -- transpose, broadcast ---------------------------------------------------------------------


def transpose(emitter: Emitter, node: Node) -> str:
    """Transpose."""
    return emitter.emit("Transpose", emitter.value(node.inputs[0]), perm=node.op.attributes["axes"])


def broadcast(emitter: Emitter, node: Node) -> str:
    """Expand, whose shape says 1 for axes that stay as they are."""
    (x,), new = node.inputs, node.shape
    extra = len(new) - x.ndim
    kept = [axis >= extra and dims.same(size, x.shape[axis - extra]) for axis, size in enumerate(new)]
    shape = [1 if keep else size for keep, size in zip(kept, new, strict=True)]
    return emitter.emit("Expand", emitter.value(x), emitter.sizes.vector(shape))


# -- slice, pad -------------------------------------------------------------------------------


def slice_(emitter: Emitter, node: Node) -> str:
    """Slice of the axes that are cut."""
    (x,) = node.inputs
    starts, stops, steps = (node.op.attributes[name] for name in ("starts", "stops", "steps"))
    cuts = [
        (axis, _start(start, n, step), _stop(emitter, stop, n, step), step)
        for axis, (start, stop, step, n) in enumerate(zip(starts, stops, steps, x.shape, strict=True))
        if not (step == 1 and dims.same(start, 0) and dims.same(stop, n))
    ]
    axes, first, last, strides = zip(*cuts, strict=True)
    inputs = [emitter.sizes.vector(first), _bounds(emitter, last), emitter.ints(axes)]
    if any(step != 1 for step in strides):
        inputs.append(emitter.ints(strides))
    return emitter.emit("Slice", emitter.value(x), *inputs)


def _start(start: Size, n: Size, step: int) -> Size:
    if not isinstance(start, Dim):
        return start
    if step < 0 and dims.same(start, n - 1):
        return int(END)
    return _from_end(start, n)


def _stop(emitter: Emitter, stop: Size, n: Size, step: int) -> Size | str:
    """The last bound: a size, or the name of its value where a computed -1 must not mean the last element."""
    if step > 0:
        return int(END) if dims.same(stop, n) and isinstance(n, Dim) else _from_end(stop, n)
    if not isinstance(stop, Dim):
        return int(BEFORE) if stop < 0 else stop
    lowest = dims.lower_bound(stop)
    if lowest is not None and lowest >= 0:
        return stop
    value = emitter.sizes.single(stop)
    is_before = emitter.emit("Less", value, emitter.ints([0]))
    return emitter.emit("Where", is_before, emitter.ints([int(BEFORE)]), value)


def _from_end(bound: Size, n: Size) -> Size:
    """-k for a bound k before a symbolic end, or for the beginning where the axis is shorter; else the bound."""
    if not isinstance(bound, Dim) or not isinstance(n, Dim):
        return bound
    far = dict.fromkeys(dims.symbols(n) | dims.symbols(bound), 1 << 20)
    try:
        distance = dims.evaluate(n, far) - dims.evaluate(bound, far)
    except ArithmeticError:
        return bound
    if distance <= 0:
        return bound
    is_counted = dims.same(bound, n - distance) or dims.same(bound, dims.maximum(n - distance, 0))
    return -distance if is_counted or dims.same(bound, n - dims.minimum(n, distance)) else bound


def _bounds(emitter: Emitter, bounds: tuple[Size | str, ...]) -> str:
    if not any(isinstance(bound, str) for bound in bounds):
        return emitter.sizes.vector(bounds)  # type: ignore[arg-type]
    parts = [bound if isinstance(bound, str) else emitter.sizes.single(bound) for bound in bounds]
    return parts[0] if len(parts) == 1 else emitter.emit("Concat", *parts, axis=0)


def pad(emitter: Emitter, node: Node) -> str:
    """Pad with a constant; zero needs no value."""
    attributes, dtype = node.op.attributes, node.dtype
    widths = emitter.sizes.vector((*attributes["low"], *attributes["high"]))
    via = route_or_refuse(emitter, "Pad", dtype)
    x = emitter.value(node.inputs[0])
    inputs = [x if via == dtype else emitter.cast(x, via), widths]
    if np.array(attributes["value"], dtype.numpy).tobytes().strip(b"\0"):
        inputs.append(emitter.constant(attributes["value"], via))
    padded = emitter.emit("Pad", *inputs, mode="constant")
    return padded if via == dtype else emitter.cast(padded, dtype)


def concat(emitter: Emitter, node: Node) -> str:
    """Concat."""
    return emitter.emit("Concat", *emitter.operands(node), axis=node.op.attributes["axis"])


# -- gather, scatter --------------------------------------------------------------------------


def element(emitter: Emitter, node: Node) -> str:
    """Gather of one position, which drops the axis."""
    index = emitter.constant(node.op.attributes["index"], dtypes.int64)
    return emitter.emit("Gather", emitter.value(node.inputs[0]), index, axis=node.op.attributes["axis"])


def scatter_nd_add(emitter: Emitter, node: Node) -> str:
    """ScatterND that adds to zeros."""
    indices, updates = emitter.operands(node)
    indices = _as_int64(emitter, node, indices)
    return emitter.emit("ScatterND", zeros(emitter, node.aval), indices, updates, reduction="add")


def scatter_elements_add(emitter: Emitter, node: Node) -> str:
    """ScatterElements that adds to zeros."""
    indices, updates = emitter.operands(node)
    axis = node.op.attributes["axis"]
    return emitter.emit("ScatterElements", zeros(emitter, node.aval), indices, updates, axis=axis, reduction="add")


def gather_nd(emitter: Emitter, node: Node) -> str:
    """GatherND, whose indices are int64."""
    x, indices = emitter.operands(node)
    return emitter.emit("GatherND", x, _as_int64(emitter, node, indices))


def _as_int64(emitter: Emitter, node: Node, indices: str) -> str:
    source = node.inputs[0 if node.op.name.startswith("scatter") else 1]
    return indices if source.dtype == dtypes.int64 else emitter.cast(indices, dtypes.int64)
