"""One op as native code on arrays that lie anywhere in memory, every other byte of which is watched."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops import describers  # noqa: F401  (fills the table of describers)
from staticnet.compiler.codegen.loops.describe import describe
from staticnet.compiler.codegen.loops.form import Array, Kernel, Routine, View
from staticnet.compiler.dtypes import as_dtype
from staticnet.compiler.ir import Layout, Op, Type
from staticnet.runtime.native import host, jit
from staticnet.runtime.native.driver import entry_symbol, wrap

#: watched bytes before and behind each array
ZONE = 192
POISON = 0xFF
#: around results: what is read around operands, and written on, is seen
_BESIDE = 0x5A

#: ops that run as their cards' kernels under the native backend too, and why
NO_NATIVE: dict[str, str] = {}

_Entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Refused(Exception):
    """A Fail of the description held."""


@dataclass(frozen=True)
class Spot:
    """An array in the middle of poisoned memory."""

    memory: np.ndarray
    seen: np.ndarray

    def untouched(self) -> bytes:
        """The bytes around and between the elements."""
        keep = np.ones(self.memory.size, bool)
        if self.seen.size:
            first = address(self.seen) - address(self.memory)
            places = np.full(self.seen.shape, first)
            for axis, stride in enumerate(self.seen.strides):
                along = np.arange(self.seen.shape[axis]) * stride
                places = places + along.reshape([-1 if k == axis else 1 for k in range(self.seen.ndim)])
            keep[(places[..., None] + np.arange(self.seen.itemsize)).reshape(-1)] = False
        return self.memory[keep].tobytes()


def spot(
    shape: Sequence[int], dtype: Any, order: Sequence[int] | None = None, shift: int = 0, fill: int = POISON
) -> Spot:
    """A packed array, its axes from slowest to fastest in `order`, that begins `shift` elements after a cache line."""
    dtype = np.dtype(dtype)
    layout = Layout.dense(tuple(shape), None if order is None else tuple(order))
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.full(2 * ZONE + 128 + size, fill, np.uint8)
    start = ZONE + -(address(memory) + ZONE) % 64 + shift * dtype.itemsize
    flat = memory[start : start + size].view(dtype)
    strides = [stride * dtype.itemsize for stride in layout.strides]
    return Spot(memory, np.lib.stride_tricks.as_strided(flat, shape, strides))


class NativeOp:
    """A bound card described for arrays that lie where they lie, its results as `orders` say; `run` fills `results`.

    `routine` is None where there is no description.
    """

    def __init__(
        self,
        op: Op,
        arrays: Sequence[np.ndarray],
        types: Sequence[Type],
        *,
        shift: int = 0,
        orders: Sequence[Sequence[int] | None] | None = None,
    ):
        self.op, self.arrays = op, arrays
        orders = orders or [None] * len(types)
        self.outs = [spot(t.shape, t.dtype.numpy, o, shift, _BESIDE) for t, o in zip(types, orders, strict=True)]  # type: ignore[arg-type]
        inputs = [_view(array, "input", number) for number, array in enumerate(arrays)]
        outputs = [_view(out.seen, "output", number) for number, out in enumerate(self.outs)]
        self.addresses = {view.array: address for view, address in (*inputs, *outputs)}
        self.routine = describe(op, [view for view, _ in inputs], [view for view, _ in outputs], host.machine())
        self._functions = [] if self.routine is None else _functions(self.routine.kernels)

    @property
    def results(self) -> list[np.ndarray]:
        return [out.seen for out in self.outs]

    def run(self, *cuts: float) -> list[np.ndarray]:
        """Run each kernel in ranges that end at these parts of its iterations, as several workers would.

        Fails when operands, or bytes beside the results and the workspace, change. Raises Refused.
        """
        assert self.routine is not None
        for out in self.outs:
            out.seen[...] = np.frombuffer(bytes([POISON]) * out.seen.itemsize, out.seen.dtype)[0]
        before = self._rest()
        self._run(self.routine, cuts)
        assert self._rest() == before, f"{self.op} wrote beside its results\n{self.routine}"
        return self.results

    def _rest(self) -> list[bytes]:
        return [*(array.tobytes() for array in self.arrays), *(out.untouched() for out in self.outs)]

    def _run(self, routine: Routine, cuts: Sequence[float]) -> None:
        workspace = {array: spot((array.size,), array.dtype.numpy) for array in routine.workspace}
        places = {**self.addresses, **{array: address(own.seen) for array, own in workspace.items()}}
        for kernel, function in zip(routine.kernels, self._functions, strict=True):
            pointers = np.array([places[array] for array in kernel.arrays], np.int64)
            ends = [round(kernel.loop.extent * cut) for cut in cuts]
            for begin, end in itertools.pairwise((0, *ends, kernel.loop.extent)):
                for array, own in workspace.items():
                    if array.role == "local":
                        own.seen.view(np.uint8)[...] = POISON
                if begin < end and function(pointers.ctypes.data, begin, end):
                    raise Refused
        for array, own in workspace.items():
            assert set(own.untouched()) <= {POISON}, f"written beside workspace {array}\n{routine}"


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _view(array: np.ndarray, role: str, number: int) -> tuple[View, int]:
    """A view of an array as programs make it, and the address of its lowest element."""
    strides = tuple(stride // array.itemsize for stride in array.strides)
    assert all(stride % array.itemsize == 0 for stride in array.strides)
    reach = [(size - 1) * stride for size, stride in zip(array.shape, strides, strict=True)]
    below = 0 if 0 in array.shape else sum(min(each, 0) for each in reach)
    size = 0 if 0 in array.shape else sum(max(each, 0) for each in reach) - below + 1
    place = Array(f"{role[0]}{number}", as_dtype(array.dtype), size, role, number)
    view = View(place, Layout(array.shape, strides, -below))
    return view, address(array) + below * array.itemsize


def _functions(kernels: Sequence[Kernel]) -> list[Any]:
    texts = []
    for kernel in kernels:
        text = print_kernel(kernel, host.machine(), "kernel")
        name = f"kernel_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
        texts.append((entry_symbol(name), text.replace("@kernel(", f"@{name}(") + wrap(name, len(kernel.arrays))))
    return [_Entry(address) for address in jit.load(texts, host.machine())]


# -- how far a result is off --------------------------------------------------------------------


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Floats between two floats of one type: 0 for equal ones, two NaN, and zeros of either sign."""
    kind = {2: np.int16, 4: np.int32, 8: np.int64}[one.itemsize]
    numbers = []
    for array in (one, other):
        bits = np.ascontiguousarray(array).view(kind).astype(np.float64 if kind != np.int64 else np.longdouble)
        numbers.append(np.where(bits < 0, float(np.iinfo(kind).min) - bits, bits))
    apart = np.abs(numbers[0] - numbers[1]).astype(np.float64)
    nan = np.isnan(one), np.isnan(other)
    return np.where(nan[0] & nan[1], 0, np.where(nan[0] | nan[1], np.inf, apart))
