"""Parameter and Buffer: tensors that own a state, kept between calls and saved with the model."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from staticnet import lazy
from staticnet.boundary import boundary
from staticnet.compiler.errors import DTypeError, HabitError, StateError, TraceError
from staticnet.compiler.ir import Node, Type
from staticnet.compiler.ops.base import as_node
from staticnet.runtime import changes
from staticnet.runtime.state import State
from staticnet.tensors import Tensor, to_array
from staticnet.tracer import Tracer, current_tracer

Initializer = Callable[[tuple[int, ...]], Any]


class StateTensor(Tensor):
    """A tensor whose value is kept in a State: a symbolic input inside a trace, read when evaluated outside.

    Without data it is lazy: its shape is settled by `materialize`, when the layer first sees an input.
    """

    __slots__ = ("_label", "_state")
    _state: State | None
    _label: str

    @boundary
    def __init__(self, data: Any = None, dtype: Any = None):
        self._tracer = None
        self._state = None
        self._label = ""
        if data is not None:
            self._own(data._value() if isinstance(data, Tensor) and not data.is_symbolic else data, dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "requires_grad" and hasattr(type(self), name):
            object.__setattr__(self, name, bool(value))
            changes.note()
        else:
            super().__setattr__(name, value)

    def _own(self, data: Any, dtype: Any) -> None:
        if isinstance(data, Tensor):
            raise StateError(f"a state starts from numbers, not from a value of a trace: {data!r}")
        self._state = State(to_array(data, dtype), self._label)
        self._state.owner = weakref.ref(self)
        self._node = lazy.leaf(self._state)
        lazy.hold(self, self._node)

    @property
    def state(self) -> State:
        """The storage; StateError while the shape is not settled."""
        if self._state is None:
            raise StateError(
                f"this {type(self).__name__.lower()} has no shape yet: it is settled when the model first sees an "
                "input, so run or trace the model once before"
            )
        return self._state

    @property
    def is_lazy(self) -> bool:
        """Whether the shape is not settled yet."""
        return self._state is None

    def materialize(self, shape: tuple[int, ...], initialize: Initializer, dtype: Any = "float32") -> None:
        """Settle the shape and take the values that `initialize(shape)` gives; nothing if it is settled."""
        if self._state is None:
            self._own(initialize(shape), dtype)

    def label(self, name: str) -> None:
        """Take the name that messages and graphs made from now on call it by."""
        self._label = name
        if self._state is not None:
            self._state.name = name

    def resolve(self, tracer: Tracer | None) -> Node:
        if tracer is not None:
            return tracer.read(self.state)
        self.state  # noqa: B018 - raises while there is none
        return self._node

    @boundary
    def assign(self, value: Any) -> None:
        """Give the state a new value of its own shape and dtype.

        Inside a trace the update becomes part of the graph, and later reads see it; outside the value is
        computed now and copied in.
        """
        from staticnet.functional import call

        tracer = current_tracer()
        if tracer is None:
            self.set(value)
            return
        if not isinstance(value, Tensor):
            value = self._fitting(value)
        call(lambda node: tracer.assign(self.state, as_node(node)), value)

    @boundary
    def set(self, value: Any) -> None:
        """Copy a value in now: an array, number or lazy tensor of the same shape; outside traces only."""
        if current_tracer() is not None:
            raise TraceError(f"{self._describe()} cannot be set while a graph is traced: write `.assign(value)`")
        self.state.set(value._concrete("`.set()`") if isinstance(value, Tensor) else self._fitting(value))

    def _fitting(self, value: Any) -> np.ndarray:
        """An array or numbers in the dtype of the state; StateError where that would lose their meaning."""
        dtype = self.state.type.dtype
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise StateError(f"no value of {self._describe()} can be made of {value!r:.60}: {error}") from None
        if not np.can_cast(array.dtype, dtype.numpy, "same_kind"):
            raise StateError(f"{self._describe()} stays {dtype}; a value of {array.dtype} would lose its meaning")
        return array.astype(dtype.numpy)

    @property
    def aval(self) -> Type:
        return self.state.type

    @property
    def is_symbolic(self) -> bool:
        return current_tracer() is not None

    @property
    def name(self) -> str | None:
        """The name it has in its model, once that was traced; None before."""
        return self._label or None

    @name.setter
    def name(self, text: str) -> None:
        raise HabitError("a parameter is named by the attribute of the module that holds it; its name cannot be set")

    def _concrete(self, use: str) -> np.ndarray:
        tracer = current_tracer()
        if tracer is not None:
            return Tensor(self.resolve(tracer), tracer)._concrete(use)
        return self._value()

    def _value(self) -> np.ndarray:
        return self.state.numpy()

    @boundary
    def __bool__(self) -> bool:
        tracer = current_tracer()
        if tracer is not None:
            return bool(Tensor(self.resolve(tracer), tracer))
        return bool(self._scalar("`bool()`"))

    def _describe(self) -> str:
        return f"{type(self).__name__.lower()} `{self.name or '?'}`" + ("" if self.is_lazy else f" ({self.aval})")

    @boundary
    def __repr__(self) -> str:
        kind = type(self).__name__
        if self.is_lazy:
            return f"{kind}(no shape yet)"
        body = np.array2string(self._value(), separator=", ", prefix=f"{kind}(")
        return f"{kind}({body}, dtype={self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copy = type(self)()
        memo[id(self)] = copy
        if self._state is not None:
            copy._own(self._value(), None)
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None if self._state is None else self._value(),)

    def replace_node(self, node: Node) -> NoReturn:
        raise AssertionError("a state is read anew each time")


class Parameter(StateTensor):
    """A trainable state of a module, float; assigned to an attribute it belongs to the module.

    With `requires_grad=False` it is frozen: optimisers and training steps leave it alone.
    """

    __slots__ = ("requires_grad",)
    requires_grad: bool

    @boundary
    def __init__(self, data: Any = None, requires_grad: bool = True, dtype: Any = None):
        super().__init__(data, dtype)
        self.requires_grad = requires_grad
        self._check_float()

    def _own(self, data: Any, dtype: Any) -> None:
        super()._own(data, dtype)
        self._check_float()

    def _check_float(self) -> None:
        if not self.is_lazy and getattr(self, "requires_grad", False) and not self.dtype.is_float:
            raise DTypeError(
                f"a parameter is trained, so it is float, not {self.dtype}: cast the data, or take a Buffer for state "
                "that is not trained"
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        copy = super().__deepcopy__(memo)
        copy.requires_grad = self.requires_grad
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None if self.is_lazy else self._value(), self.requires_grad)


class Buffer(StateTensor):
    """A state of a module that is saved with it and not trained, such as a running mean; of any dtype."""

    __slots__ = ()
    requires_grad = False
