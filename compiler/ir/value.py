"""The operators and methods that symbolic values share: graph nodes inside, tensors at the user's side.

Each method looks a function up by name, so that a value's `x + y` and `x.sum()` are the functions
`add` and `sum`, whatever kind of value it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.ir.types import Shape, Type


def _binary(name: str) -> tuple[Callable, Callable]:
    def forward(self: Any, other: Any) -> Any:
        return self._function(name)(self, other)

    def reflected(self: Any, other: Any) -> Any:
        return self._function(name)(other, self)

    return forward, reflected


def _unary(name: str) -> Callable:
    def method(self: Any) -> Any:
        return self._function(name)(self)

    return method


def _method(name: str) -> Callable:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._function(name)(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"`{name}(self, ...)`."
    return method


class Value:
    """A value of a graph, with Python's operators and NumPy's method names."""

    __slots__ = ()
    # An ndarray on the left must hand over the whole operation, not iterate over us.
    __array_ufunc__: Any = None
    __array_priority__ = 1000

    def _function(self, name: str) -> Callable:
        raise NotImplementedError

    @property
    def aval(self) -> Type:
        """The array type of this value."""
        raise NotImplementedError

    @property
    def shape(self) -> Shape:
        return self.aval.shape

    @property
    def dtype(self) -> DType:
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        return len(self.aval.shape)

    @property
    def size(self) -> Size:
        """Number of elements, symbolic where a size is."""
        return dims.product(self.aval.shape)

    __add__, __radd__ = _binary("add")
    __sub__, __rsub__ = _binary("subtract")
    __mul__, __rmul__ = _binary("multiply")
    __truediv__, __rtruediv__ = _binary("divide")
    __floordiv__, __rfloordiv__ = _binary("floor_divide")
    __mod__, __rmod__ = _binary("remainder")
    __pow__, __rpow__ = _binary("power")
    __matmul__, __rmatmul__ = _binary("matmul")
    __and__, __rand__ = _binary("logical_and")
    __or__, __ror__ = _binary("logical_or")
    __xor__, __rxor__ = _binary("logical_xor")
    __lt__, __gt__ = _binary("less")[0], _binary("greater")[0]
    __le__, __ge__ = _binary("less_equal")[0], _binary("greater_equal")[0]
    __neg__ = _unary("negative")
    __abs__ = _unary("absolute")
    __invert__ = _unary("logical_not")

    def __pos__(self) -> Any:
        return self

    def __getitem__(self, index: Any) -> Any:
        return self._function("getitem")(self, index)

    # Python would otherwise iterate by asking for x[0], x[1], ... for ever.
    __iter__: Any = None

    @property
    def T(self) -> Any:
        """The value with its axes reversed."""
        return self._function("transpose")(self)

    def astype(self, dtype: Any) -> Any:
        """The value cast to `dtype`."""
        return self._function("cast")(self, dtype)

    def reshape(self, *shape: Any) -> Any:
        """The same elements in another shape, given as sizes or as one tuple; one size may be -1."""
        return self._function("reshape")(self, shape[0] if len(shape) == 1 and not _is_size(shape[0]) else shape)

    def transpose(self, *axes: Any) -> Any:
        """The value with its axes permuted, reversed when none are given."""
        if len(axes) == 1 and not isinstance(axes[0], int):
            axes = axes[0] or ()
        return self._function("transpose")(self, tuple(axes) or None)

    def abs(self) -> Any:
        """`absolute(self)`."""
        return self._function("absolute")(self)

    def clamp(self, min: Any = None, max: Any = None) -> Any:
        """`clip(self, min, max)`."""
        return self._function("clip")(self, min, max)

    def detach(self) -> Any:
        """The same value, through which no gradient flows."""
        return self._function("stop_gradient")(self)


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, dims.Dim)) or hasattr(value, "__index__")


#: NumPy's method names; every one is the function of that name.
METHODS = (
    *("sum", "mean", "prod", "max", "min", "argmax", "argmin", "var", "std", "all", "any"),
    *("squeeze", "flatten", "clip", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "square"),
)
for _name in METHODS:
    setattr(Value, _name, _method(_name))
