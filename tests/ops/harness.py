"""What the walker needs to run a row: its graph, operands in every layout, memory full of garbage, comparison."""

from __future__ import annotations

import importlib
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Node, TupleType, Type, bind_shape, leaves, topological
from staticnet.compiler.ops.leaf import item, make_input
from tests.ops.table import SIZES, Arg, Row

Sizes = Mapping[str, int]


def all_rows() -> list[Row]:
    """The rows of all modules tests/ops/rows_*.py."""
    found: list[Row] = []
    for path in sorted(Path(__file__).parent.glob("rows_*.py")):
        found += importlib.import_module(f"tests.ops.{path.stem}").ROWS
    return found


@dataclass(frozen=True)
class Case:
    """A row built once: its inputs and results as nodes, and the sizes that its letters have in a run."""

    inputs: tuple[Node, ...]
    results: tuple[Node, ...]
    binding: Sizes

    def run(self, arrays: Sequence[Any], xp: Any = np, binding: Sizes | None = None) -> list[Any]:
        values = dict(zip(self.inputs, arrays, strict=True))
        return evaluate(self.results, values, self.binding if binding is None else binding, xp)

    def nodes(self, op: str) -> list[Node]:
        """The nodes of one op, in order."""
        return [node for node in topological(self.results) if node.op.name == op]


def dtype_of(arg: Arg, dtype: str | None) -> str:
    """The dtype an operand is drawn in: its own, or `dtype` in place of its own float type."""
    return dtype if dtype and np.dtype(arg.dtype).kind == "f" else arg.dtype


def build(row: Row, dtype: str | None = None, sizes: Sizes | None = SIZES) -> Case:
    """The row on concrete sizes, or on symbolic ones when `sizes` is None."""
    inputs = []
    for number, arg in enumerate(row.args):
        shape = arg.shape_in(sizes if sizes is not None else {name: dims.symbol(name) for name in SIZES})  # type: ignore[arg-type]
        inputs.append(make_input(f"x{number}", Type(shape, dtype_of(arg, dtype))))
    return Case(tuple(inputs), values_of(row.build(*inputs)), sizes or SIZES)


def values_of(result: Any) -> tuple[Node, ...]:
    """The array values of what a row builds: a node, several, or a node of a tuple type."""
    if isinstance(result, (tuple, list)):
        return tuple(value for part in result for value in values_of(part))
    if isinstance(result.type, TupleType):
        return tuple(item(result, index) for index in range(len(result.type.items)))
    return (result,)


def draw(row: Row, rng: np.random.Generator, dtype: str | None = None, sizes: Sizes = SIZES) -> list[np.ndarray]:
    return [arg.draw(rng, dtype_of(arg, dtype), sizes) for arg in row.args]


def reference(row: Row, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        result = row.reference(*arrays)
    return [np.asarray(value) for value in (result if isinstance(result, (tuple, list)) else (result,))]


def bound(type: Type, sizes: Sizes) -> tuple[tuple[int, ...], np.dtype]:
    return bind_shape(type.shape, sizes), type.dtype.numpy


# -- layouts -----------------------------------------------------------------------------------


def dense(array: np.ndarray) -> np.ndarray:
    return array.copy()


def transposed(array: np.ndarray) -> np.ndarray:
    """Column-major: the transpose of a dense array."""
    return array.T.copy().T


def sliced(array: np.ndarray) -> np.ndarray:
    """Every other element along each axis of an array with garbage in between."""
    wide = np.full([2 * size + 1 for size in array.shape], _garbage(array.dtype))
    inside = wide[tuple(slice(1, None, 2) for _ in array.shape)] if array.ndim else wide
    inside[...] = array
    return inside


def reversed_(array: np.ndarray) -> np.ndarray:
    """Negative strides along every axis."""
    backwards = tuple(slice(None, None, -1) for _ in array.shape)
    return array[backwards].copy()[backwards]


def repeated(axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """The first element along an axis for all of it: a stride of 0."""

    def layout(array: np.ndarray) -> np.ndarray:
        if axis >= array.ndim or not array.shape[axis]:
            return array.copy()
        return np.broadcast_to(array.take([0], axis), array.shape)

    return layout


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dense": dense,
    "transposed": transposed,
    "sliced": sliced,
    "reversed": reversed_,
    "repeated along axis 0": repeated(0),
    "repeated along axis 1": repeated(1),
}


def lay_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The array in a layout, read-only: a kernel has no business writing to its operands."""
    result = np.asarray(LAYOUTS[layout](array))
    result.flags.writeable = False
    return result


# -- memory ------------------------------------------------------------------------------------


def _garbage(dtype: np.dtype) -> Any:
    return np.frombuffer(b"\x01" if dtype == np.bool_ else b"\xff" * dtype.itemsize, dtype)[0]


def garbage(shape: Any, dtype: Any) -> np.ndarray:
    """A new array, 64-byte aligned, of what an arena may hold: NaN, -1, True."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(count * dtype.itemsize + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    array = raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
    array[...] = _garbage(dtype)
    return array


class _Garbage:
    """NumPy, but fresh memory is never clean by luck."""

    empty = staticmethod(garbage)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


#: as `xp`: results and workspace begin as garbage
poisoned: Any = _Garbage()


def run_into(node: Node, arrays: Sequence[Any], binding: Sizes, out: Any) -> int:
    """One kernel into memory of the caller's choice; the most bytes it held beside that and its workspace."""
    op = node.op.bind(binding)
    size = op.scratch(*(Type(array.shape, array.dtype) for array in arrays))
    scratch = garbage(size, np.uint8) if size else None
    with np.errstate(all="ignore"):
        tracemalloc.start()
        try:
            op.kernel(np, *arrays, out=out, scratch=scratch)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def run_measured(node: Node, arrays: Sequence[Any], binding: Sizes) -> tuple[Any, int]:
    """One node's result, and the most bytes that its kernel held beside it and its workspace."""
    outs = tuple(garbage(bind_shape(type.shape, binding), type.dtype.numpy) for type in leaves(node.type))
    out = outs[0] if isinstance(node.type, Type) else outs
    return out, run_into(node, arrays, binding, out)


# -- comparison --------------------------------------------------------------------------------


def assert_close(actual: Sequence[Any], expected: Sequence[Any], rtol: float, atol: float, what: str = "") -> None:
    """Equal dtypes and shapes; floats within tolerance, NaN equal to NaN, everything else exactly equal."""
    assert len(actual) == len(expected), f"{what}: {len(actual)} results, expected {len(expected)}"
    for number, (have, want) in enumerate(zip(actual, expected, strict=True)):
        where = f"{what}: result {number}"
        assert have.shape == want.shape, f"{where} has shape {have.shape}, expected {want.shape}"
        assert have.dtype == want.dtype, f"{where} has dtype {have.dtype}, expected {want.dtype}"
        is_exact = have.dtype.kind != "f"
        np.testing.assert_allclose(have, want, 0 if is_exact else rtol, 0 if is_exact else atol, err_msg=where)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Equal to the last bit, payload of NaN and sign of zero included."""
    if actual.tobytes() != expected.tobytes():
        np.testing.assert_array_equal(actual, expected, err_msg=what, strict=True)
        raise AssertionError(f"{what}: equal values, but not equal bits (a sign of zero or the payload of a NaN)")
