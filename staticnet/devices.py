"""Moving models between devices: states move, programs follow at their next call, nothing is traced again."""

from __future__ import annotations

from typing import Any

from staticnet.runtime import changes
from staticnet.runtime.devices import get_backend
from staticnet.runtime.state import place


def move(module: Any, device: str) -> None:
    """Put all parameters and buffers of a module on a device, and run its compiled calls there.

    Raises DeviceError, before anything moves, for a device that is not there.
    """
    backend = get_backend(device)
    for tensor in (*module.parameters(), *module.buffers()):
        place(tensor.state, backend)
    for part in module.modules():
        object.__setattr__(part, "_device", backend.name)
    changes.note()


def available() -> tuple[str, ...]:
    """The devices that programs can run on here."""
    from staticnet.runtime.cupy_backend import cuda_devices

    return ("cpu", *(f"cuda:{index}" for index in range(cuda_devices())))
