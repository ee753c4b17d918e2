"""The CUDA backend over CuPy: the same kernels on device arrays, in one device arena."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from staticnet.compiler.errors import DeviceError
from staticnet.compiler.program import Instruction
from staticnet.compiler.target import Target
from staticnet.runtime.array_backend import ArrayBackend
from staticnet.runtime.backend import Call

CUDA = Target("cuda", alignment=256)


def _sign(xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    # CuPy's own sign of NaN has been 0 in versions still in use.
    out[...] = xp.where(xp.isnan(x), x, xp.sign(x)) if x.dtype.kind == "f" else xp.sign(x)


#: kernels that take the place of a card's own on this device
KERNELS = {"sign": _sign}


class CupyBackend(ArrayBackend):
    """CuPy arrays on one device; host arrays come and go only at feeds, fetches and states."""

    def __init__(self, index: int):
        import cupy

        super().__init__(f"cuda:{index}", cupy, CUDA)
        self.device = cupy.cuda.Device(index)

    def empty(self, nbytes: int) -> Any:
        with self.device:
            return super().empty(nbytes)

    def address(self, memory: Any) -> int:
        return memory.data.ptr

    def to_device(self, array: np.ndarray) -> Any:
        with self.device:
            return self.xp.array(np.asarray(array, order="C"))

    def to_host(self, array: Any) -> np.ndarray:
        with self.device:
            return np.asarray(array.get(), order="C")

    def write(self, target: Any, source: np.ndarray) -> None:
        with self.device:
            # Not ascontiguousarray, which gives a number an axis.
            target.set(np.asarray(source, target.dtype, order="C"))

    def copy(self, target: Any, source: Any) -> None:
        with self.device:
            super().copy(target, source)

    def fill(self, memory: Any, byte: int) -> None:
        with self.device:
            super().fill(memory, byte)

    def call(self, instruction: Instruction, inputs: tuple, outputs: tuple, scratch: Any) -> Call:
        special = KERNELS.get(instruction.op.name)
        if special is None:
            kernel = super().call(instruction, inputs, outputs, scratch)
        else:
            kernel = functools.partial(special, self.xp, *inputs, out=outputs[0], scratch=scratch)

        def on_device() -> None:
            with self.device:
                kernel()

        return on_device

    def synchronize(self) -> None:
        self.device.synchronize()


@functools.cache
def cuda_devices() -> int:
    """How many CUDA devices CuPy can use; 0 without CuPy or a driver."""
    try:
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount())
    except Exception:
        return 0


@functools.cache
def _backend(index: int) -> CupyBackend:
    return CupyBackend(index)


def cuda_backend(device: str) -> CupyBackend:
    """The backend of 'cuda' or 'cuda:N'; raises DeviceError when that GPU is not there."""
    number = device.partition(":")[2] or "0"
    if not number.isdigit():
        raise DeviceError(f"there is no device {device!r}; take 'cuda' or 'cuda:N' with a number N")
    try:
        import cupy  # noqa: F401
    except ImportError:
        raise DeviceError(
            f"device {device!r} needs CuPy, which is not installed: "
            "pip install 'staticnet[cuda12]' or 'staticnet[cuda13]'"
        ) from None
    count = cuda_devices()
    if int(number) >= count:
        raise DeviceError(f"device {device!r} is not there: {count or 'no'} CUDA device{'s' * (count != 1)} found")
    return _backend(int(number))
