"""Devices by name: which backend stands for 'cpu', 'cuda', 'cuda:N' and 'auto'."""

from __future__ import annotations

import os

from staticnet.compiler.errors import DeviceError
from staticnet.runtime.backend import Backend


def cpu_backend() -> Backend:
    """Generated code where llvmlite is installed and works, unless STATICNET_NATIVE=0; else NumPy's kernels."""
    if os.environ.get("STATICNET_NATIVE", "1") != "0":
        from staticnet.runtime.native import host

        if host.available():
            from staticnet.runtime.native.backend import native_backend

            return native_backend()
    from staticnet.runtime.numpy_backend import NUMPY

    return NUMPY


def get_backend(device: str) -> Backend:
    """The backend of 'cpu', 'cuda', 'cuda:N', or of 'auto': a GPU when there is one.

    Raises DeviceError, in one sentence, for a device that is not there.
    """
    if device == "cpu":
        return cpu_backend()
    if device == "auto":
        from staticnet.runtime.cupy_backend import cuda_devices

        return get_backend("cuda" if cuda_devices() else "cpu")
    if device == "cuda" or device.startswith("cuda:"):
        from staticnet.runtime.cupy_backend import cuda_backend

        return cuda_backend(device)
    raise DeviceError(f"there is no device {device!r}; take 'cpu', 'cuda', 'cuda:N' or 'auto'")
