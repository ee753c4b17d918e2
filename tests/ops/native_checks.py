"""Columns of the op table for native code: as exact as the cards' kernels, whatever the layout, size and value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from staticnet.compiler.errors import StaticnetError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Graph, Node, Op, Type, leaves
from staticnet.compiler.lowering import lower
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.pipeline import pipeline
from staticnet.compiler.target import NATIVE
from staticnet.runtime.native import host
from staticnet.runtime.native.backend import native_backend
from staticnet.runtime.native.code import load_code
from staticnet.runtime.native.guard import GuardedBound
from staticnet.runtime.native.threads import pool
from tests.ops.harness import LAYOUTS, assert_close, assert_same_bits, build, draw, garbage, lay_out, reference
from tests.ops.native import NO_NATIVE, NativeOp, Refused, distance, spot
from tests.ops.table import SIZES, Row

#: units in the last place that native code may always be off: float32, float64, and where only NumPy is at hand
ULP, ULP_DOUBLE, ULP_BESIDE_NUMPY = 2.0, 4.0, 4.0
#: of zeros of unlike sign these give either, NumPy's kernels too, by processor
EITHER_ZERO = frozenset({"maximum", "minimum", "relu", "clip", "max", "min", "max_pool2d"})
#: how much worse than NumPy's native code may be
FACTOR = 2.0

_WIDER = {
    np.dtype(np.float16): np.dtype(np.float64),
    np.dtype(np.float32): np.dtype(np.float64),
    np.dtype(np.float64): np.dtype(np.longdouble),
}


#: how operands of each dtype lie
_PLACED = {"float32": (*LAYOUTS, "shifted"), "float64": ("dense", "sliced"), "float16": ("dense",)}


def check_native(row: Row, rng: np.random.Generator) -> None:
    """In every layout native code is about as exact as the card's kernel, and writes nowhere else."""
    _need_native()
    for dtype, layouts in _PLACED.items():
        for op, operands, types in _ops(row, rng, dtype):
            if op.name in NO_NATIVE:
                assert NativeOp(op, operands, types).routine is None, f"take {op.name} out of NO_NATIVE"
                continue
            for layout in layouts:
                placed = [_placed(array, layout) for array in operands]
                compare(op, placed, types, f"{dtype}, operands {layout}", shift=layout == "shifted")
            if types[0].ndim == 4:
                compare(op, operands, types, f"{dtype}, channels last", orders=[(0, 2, 3, 1) for _ in types])


def check_native_values(row: Row, rng: np.random.Generator) -> None:
    """Elementwise ops on zeros, infinities, NaN and the ends of their range, and of every size up to two vectors."""
    _need_native()
    for dtype in _PLACED:
        for op, operands, _ in _ops(row, rng, dtype):
            if not isinstance(op, Pointwise) or op.name in NO_NATIVE:
                continue
            kinds = [array.dtype for array in operands]
            drawn = [array.ravel() if array.size else np.zeros(1, array.dtype) for array in operands]
            for size in (0, 1, 3):
                arrays = [np.resize(array, size) for array in drawn]
                compare(op, arrays, _types(op, arrays), f"{dtype}, {size} elements")
            arrays = [array.ravel() for array in np.meshgrid(*map(_special, kinds), indexing="ij")]
            compare(op, arrays, _types(op, arrays), f"{dtype}, special values")
            if len(arrays) > 1:
                broad = [arrays[0][:1].reshape(()), *arrays[1:]]
                compare(op, broad, _types(op, broad), f"{dtype}, one number first")
            check_tails(op, drawn, dtype)


def check_tails(op: Op, drawn: Sequence[np.ndarray], what: str) -> None:
    """What two workers make is what one makes, wherever the second begins; vectors begin anywhere then."""
    size = 2 * host.machine().lanes(min(array.itemsize for array in drawn)) + 1
    arrays = [np.resize(array, size) for array in drawn]
    native = NativeOp(op, arrays, _types(op, arrays), shift=1)
    compare(op, arrays, _types(op, arrays), f"{what}, {size} elements", shift=True)
    whole = [array.copy() for array in native.run()]
    for cut in range(1, size):
        for one, other in zip(native.run(cut / size), whole, strict=True):
            assert_same_bits(one, other, f"{op} on {size} elements, {what}, cut at {cut}")


def check_native_program(row: Row, rng: np.random.Generator) -> None:
    """The whole row as a native program, its ops fused, whose writes are watched."""
    _need_native()
    arrays, case = draw(row, rng), build(row, sizes=None if row.symbolic else SIZES)
    backend = native_backend()
    assert backend.target.machine is not None
    program = pipeline(Graph(case.inputs, case.results), dict(SIZES) if row.symbolic else {}, backend.target)
    code, constants = load_code(program, backend.target.machine), [np.array(value) for value in program.constants]
    expected = reference(row, arrays)
    results = [
        GuardedBound(program, backend, (), constants, code=code, workers=pool().ensure(workers)).run(arrays)
        for workers in (1, 2)
    ]
    assert_close(results[0], expected, max(row.rtol, 2e-6), max(row.atol, 1e-6))
    for one, other in zip(*results, strict=True):
        assert_same_bits(one, other, "one worker and two")


def _need_native() -> None:
    if not host.available():
        pytest.skip("no native code on this machine")


def _ops(row: Row, rng: np.random.Generator, dtype: str) -> Iterator[tuple[Op, list[np.ndarray], list[Type]]]:
    """The ops that a row names and is lowered to for native code, each with its operands."""
    case, arrays = build(row, dtype), draw(row, rng, dtype)
    values = dict(zip(case.inputs, arrays, strict=True))
    graph = lower(Graph(case.inputs, case.results), NATIVE)
    seen: set[Any] = set()
    for node in graph.nodes:
        if node.op.name not in row.ops or node.op.name in {"input", "constant", "item", "pack", "size_of"}:
            continue
        op = node.op.bind(case.binding)
        key = (op.key, *(source.aval for source in node.inputs))
        if key not in seen:
            seen.add(key)
            yield op, evaluate(node.inputs, values, case.binding), _bound_types(node, case.binding)


def _bound_types(node: Node, binding: Any) -> list[Type]:
    from staticnet.compiler.ir import bind_shape

    return [Type(bind_shape(type.shape, binding), type.dtype) for type in leaves(node.type)]


def _types(op: Op, arrays: Sequence[np.ndarray]) -> list[Type]:
    return list(leaves(op.infer(*(Type(array.shape, array.dtype) for array in arrays))))


def _placed(array: np.ndarray, layout: str) -> np.ndarray:
    if layout not in ("dense", "shifted"):
        return lay_out(array, layout)
    own = spot(array.shape, array.dtype, shift=layout == "shifted").seen
    own[...] = array
    return own


def _special(dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        found = {info.min, info.min + 1, 0, 1, 2, 3, 7, info.max - 1, info.max, max(info.min, -1), max(info.min, -3)}
        return np.array(sorted(found), dtype)
    info = np.finfo(dtype)
    small = [float(info.smallest_subnormal), float(info.tiny) / 3, float(info.tiny)]
    sizes = [0.0, *small, 1e-8, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    sizes += [20.25, 1e4, 2.0**24 + 2, 2.0**31, 2.0**53, float(info.max), np.inf, np.nan]
    with np.errstate(over="ignore"):
        return np.array([sign * size for size in sizes for sign in (1, -1)]).astype(dtype)


# -- how exact ----------------------------------------------------------------------------------


def compare(
    op: Op,
    operands: Sequence[np.ndarray],
    types: Sequence[Type],
    what: str,
    shift: int = 0,
    orders: Sequence[Sequence[int]] | None = None,
) -> None:
    """Native results against the kernel's, and against those of a wider float type."""
    wanted = _by_kernel(op, operands, types)
    try:
        native = NativeOp(op, operands, types, shift=int(shift), orders=orders)
        assert native.routine is not None, f"{op} has no native code, {what}; if there is a reason, NO_NATIVE is for it"
        got = native.run()
    except Refused:
        assert wanted is None, f"native {op} refuses what its kernel takes, {what}"
        return
    assert wanted is not None, f"native {op} takes what its kernel refuses, {what}"
    exact = _exactly(op, operands, types)
    sizes = None if isinstance(op, Pointwise) else _exactly(op, [_sizes(array) for array in operands], types)
    for number, (have, want) in enumerate(zip(got, wanted, strict=True)):
        where = f"{op}, result {number}, {what}"
        if want.dtype.kind == "f":
            _check_signs(op, have, want, where)
            best = want if exact is None else exact[number]
            unit = _unit(best if sizes is None else np.maximum(np.abs(best), sizes[number]), want.dtype)
            _check_floats(have, want, best, unit, where)
        else:
            np.testing.assert_array_equal(have, want, err_msg=where, strict=True)


def _check_signs(op: Op, have: np.ndarray, want: np.ndarray, what: str) -> None:
    np.testing.assert_array_equal(np.isnan(have), np.isnan(want), err_msg=f"{what}: where NaN is")
    if op.name in EITHER_ZERO:
        return
    zeros = (want == 0) & (have == 0)
    np.testing.assert_array_equal(np.signbit(have)[zeros], np.signbit(want)[zeros], err_msg=f"{what}: signs of zero")


def _check_floats(have: np.ndarray, want: np.ndarray, best: np.ndarray, unit: np.ndarray, what: str) -> None:
    """`have` must be as near to `best` as `want` is, or nearly so; where that is all there is, rather near."""
    off = _off(have, best, unit)
    least = ULP_BESIDE_NUMPY if best is want else ULP_DOUBLE if want.dtype == np.float64 else ULP
    allowed = np.maximum(least, FACTOR * _off(want, best, unit))
    worse = off > allowed
    if worse.any():
        place = tuple(int(i) for i in np.argwhere(worse)[0])
        raise AssertionError(
            f"{what}: {have[place]!r} at {place} is {off[place]:.1f} ulp off {best[place]!r}, {allowed[place]:.1f} are "
            f"allowed; NumPy gives {want[place]!r}; {int(worse.sum())} elements of {have.size}"
        )


def _sizes(array: np.ndarray) -> np.ndarray:
    """Of floats what adds up where signs do not cancel."""
    return np.abs(array) if array.dtype.kind == "f" else array


def _unit(size: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The distance between neighbouring floats of a dtype at numbers of these sizes."""
    with np.errstate(all="ignore"):
        rounded = np.abs(size.astype(dtype))
        return np.spacing(np.where(np.isfinite(rounded), rounded, np.finfo(dtype).max)).astype(np.longdouble)


def _off(have: np.ndarray, best: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """By how many units results are off; infinity and the largest number are neighbours."""
    with np.errstate(all="ignore"):
        rounded = best.astype(have.dtype)
        is_near = np.isfinite(rounded) & np.isfinite(have)
        off = np.abs(have.astype(np.longdouble) - best) / unit
        return np.where(is_near, off, distance(have, rounded)).astype(np.float64)


def _by_kernel(op: Op, operands: Sequence[np.ndarray], types: Sequence[Type]) -> list[np.ndarray] | None:
    """What the card's kernel makes of them; None where it refuses them."""
    outs = [garbage(type.shape, type.dtype.numpy) for type in types]
    need = op.scratch(*(Type(array.shape, array.dtype) for array in operands))
    scratch = garbage(need, np.uint8) if need else None
    try:
        with np.errstate(all="ignore"):
            op.kernel(np, *operands, out=outs[0] if len(outs) == 1 else tuple(outs), scratch=scratch)
    except StaticnetError:
        return None
    return outs


def _exactly(op: Op, operands: Sequence[np.ndarray], types: Sequence[Type]) -> list[np.ndarray] | None:
    """The kernel on operands of a wider float type; None for cards that do not follow their operands' type."""
    floats = {array.dtype for array in operands if array.dtype.kind == "f"}
    if len(floats) != 1 or not floats <= _WIDER.keys():
        return None
    (narrow,), wide = floats, _WIDER[next(iter(floats))]
    if any(type.dtype.is_float and type.dtype.numpy != narrow for type in types):
        return None
    probe = np.dtype(np.float64 if narrow == np.float32 else np.float32)
    followed = _types_with(op, operands, probe)
    if any(type.dtype.is_float and type.dtype.numpy != probe for type in followed):
        return None
    wider = [array.astype(wide) if array.dtype == narrow else array for array in operands]
    outs = [garbage(t.shape, wide if t.dtype.is_float else t.dtype.numpy) for t in types]
    need = 2 * op.scratch(*(Type(a.shape, np.float64 if a.dtype == narrow else a.dtype) for a in operands))
    try:
        with np.errstate(all="ignore"):
            op.kernel(
                np,
                *wider,
                out=outs[0] if len(outs) == 1 else tuple(outs),
                scratch=garbage(need, np.uint8) if need else None,
            )
    except (TypeError, ValueError, StaticnetError):
        return None  # a kernel that knows no such type
    return outs


def _types_with(op: Op, operands: Sequence[np.ndarray], dtype: np.dtype) -> list[Type]:
    given = [Type(array.shape, dtype if array.dtype.kind == "f" else array.dtype) for array in operands]
    return list(leaves(op.infer(*given)))
