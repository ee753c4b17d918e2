"""State that outlives a call: parameters, buffers, optimiser state, hyperparameters, the random key."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticnet.compiler.errors import StateError
from staticnet.compiler.ir import Type, format_shape
from staticnet.runtime import changes
from staticnet.runtime.locks import Domain, StateLock


class State:
    """One array at a stable address, row-major, on one device; programs read it and write it in place.

    `array` is the storage itself and belongs to the programs bound to it; everybody else takes
    `numpy()`, a copy, and gives `set()`, which copies in. `version` changes when the storage moves
    to another device, so that programs know to bind again.
    """

    def __init__(self, value: Any, name: str = ""):
        array = np.array(value, order="C")
        self.array: Any = np.require(array, array.dtype.newbyteorder("="), ["C", "W", "O"])
        self.name = name
        #: a weak reference to the Parameter or Buffer that this is the storage of, if any
        self.owner: Any = None
        self.device = "cpu"
        self.version = 0
        #: another object whenever the value may have changed
        self.content = object()
        self.domain: Domain | None = None  # the lock it shares with states that are used together

    @property
    def type(self) -> Type:
        return Type(self.array.shape, self.array.dtype)

    def numpy(self) -> np.ndarray:
        """A copy of the value in host memory, taken while no program writes it."""
        return StateLock((self,)).read(self._to_host)

    def _to_host(self) -> np.ndarray:
        get = getattr(self.array, "get", None)  # cupy's way to host memory
        return np.array(self.array) if get is None else np.asarray(get())

    def set(self, value: Any) -> None:
        """Copy a new value of the same shape and dtype kind into the storage.

        Raises StateError for another shape, or a dtype that does not convert safely.
        """
        array = np.asarray(value)
        if array.shape != self.array.shape:
            raise StateError(
                f"{self.name or 'state'} has shape {format_shape(self.array.shape)}; "
                f"a value of shape {format_shape(array.shape)} does not fit"
            )
        if not np.can_cast(array.dtype, self.array.dtype, "same_kind"):
            raise StateError(
                f"{self.name or 'state'} is {self.array.dtype}; a value of {array.dtype} would lose its meaning"
            )
        array = np.asarray(array, self.array.dtype, order="C")
        StateLock((self,)).write(self._write, array)

    def _write(self, array: np.ndarray) -> None:
        self.content = object()
        if isinstance(self.array, np.ndarray):
            self.array[...] = array
        else:
            self.array.set(array)

    def move(self, array: Any, device: str) -> None:
        """Continue on new storage, which must hold the value already."""
        self.array, self.device = array, device
        self.version += 1
        changes.note()

    def __repr__(self) -> str:
        return f"<State {self.name} : {self.type}>"


def place(state: State, backend: Any) -> State:
    """The state itself, its storage moved to the backend's device unless it is there."""
    if state.device != backend.name:
        StateLock((state,)).write(lambda: state.move(backend.to_device(state._to_host()), backend.name))
    return state
