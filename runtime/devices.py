"""Devices by name: which backend stands for 'cpu', 'cuda', 'cuda:N' and 'auto'."""

from __future__ import annotations

from staticnet.compiler.errors import DeviceError
from staticnet.runtime.backend import Backend


def get_backend(device: str) -> Backend:
    """The backend of 'cpu', 'cuda', 'cuda:N', or of 'auto': a GPU when there is one.

    Raises DeviceError, in one sentence, for a device that is not there.
    """
    if device == "cpu":
        from staticnet.runtime.numpy_backend import NUMPY

        return NUMPY
    if device == "auto":
        from staticnet.runtime.cupy_backend import cuda_devices

        return get_backend("cuda" if cuda_devices() else "cpu")
    if device == "cuda" or device.startswith("cuda:"):
        from staticnet.runtime.cupy_backend import cuda_backend

        return cuda_backend(device)
    raise DeviceError(f"there is no device {device!r}; take 'cpu', 'cuda', 'cuda:N' or 'auto'")
