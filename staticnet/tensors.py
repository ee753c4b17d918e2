"""Tensor: what a user computes with, symbolic inside a trace and lazy outside; and `tensor`, which makes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from staticnet import habits, lazy, trees
from staticnet.boundary import boundary
from staticnet.compiler import dtypes
from staticnet.compiler.errors import ArgumentError, DTypeError, HabitError, TraceError
from staticnet.compiler.ir import FUNCTIONS, Node, Type, Value
from staticnet.compiler.ir.value import METHODS
from staticnet.compiler.ops.base import F
from staticnet.spec import TensorSpec
from staticnet.tracer import Tracer, current_tracer

__all__ = ["Tensor", "TensorSpec", "tensor"]


class Tensor(Value):
    """An array value that is a node of a graph, with NumPy's operators, methods and indexing.

    Inside a trace it is symbolic: it has a shape and a dtype and no value. Outside it is lazy: it is
    computed, once, when its value is asked for by `numpy()`, `print`, `float`, `bool` and the like.
    A tensor never changes; `x += y` binds the name to a new one.
    """

    __slots__ = ("__weakref__", "_node", "_tracer")
    _node: Node
    _tracer: Tracer | None

    def __init__(self, node: Node, tracer: Tracer | None = None):
        if not isinstance(node, Node):
            raise ArgumentError("a tensor of given values is made by `sn.tensor(values)`")
        self._node = node
        self._tracer = tracer
        if tracer is None:
            lazy.hold(self, node)

    # -- what it is ---------------------------------------------------------------------------

    def _function(self, name: str) -> Callable:
        from staticnet.functional import unguarded

        return unguarded(name)

    def resolve(self, tracer: Tracer | None) -> Node:
        """The node that this tensor is in what is being built now: a trace, or lazily when None.

        Raises TraceError for a tensor of another trace.
        """
        if self._tracer is tracer:
            return self._node
        if self._tracer is None:
            assert tracer is not None
            return tracer.capture(self, self._value())
        where = f"used in the trace of {tracer.name}" if tracer is not None else "used outside any trace"
        raise TraceError(
            f"{self._describe()} belongs to the trace of {self._tracer.name} and is {where}: a tensor lives no longer "
            "than its trace. Return it from the traced function, or pass it in as an argument"
        )

    def replace_node(self, node: Node) -> None:
        """Stand for another node of the same value from now on."""
        names = lazy.PROMPT.names
        if self._node in names:
            names[node] = names[self._node]
        self._node = node
        lazy.hold(self, node)

    @property
    def aval(self) -> Type:
        return self._node.aval

    @property
    def is_symbolic(self) -> bool:
        """Whether this is a value of a trace, without numbers."""
        return self._tracer is not None

    @property
    def name(self) -> str | None:
        """The name it has in graphs, pictures and ONNX files; None unless given."""
        return self._names().get(self._node)

    @name.setter
    def name(self, text: str) -> None:
        if not isinstance(text, str) or not text or not text.isprintable():
            raise ArgumentError(f"a tensor's name is a non-empty printable string, got {text!r}")
        self._names()[self._node] = text

    def _names(self) -> Any:
        return lazy.PROMPT.names if self._tracer is None else self._tracer.builder.names

    @boundary
    def __getattr__(self, name: str) -> Any:
        habits.explain("a tensor", name, habits.OF_TENSORS)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in habits.OF_TENSORS:
            raise HabitError(f"`.{name} = ...` is not how it is done here: {habits.OF_TENSORS[name]}")
        super().__setattr__(name, value)

    # -- its value ----------------------------------------------------------------------------

    def _value(self) -> np.ndarray:
        """The value, read-only; computed if need be."""
        return lazy.value_of(self._node)

    def _concrete(self, use: str) -> np.ndarray:
        if self._tracer is not None:
            raise TraceError(
                f"{use} needs a value, but {self._describe()} is symbolic while {self._tracer.name} is traced: "
                "return it and look at what a run gives"
            )
        return self._value()

    @boundary
    def numpy(self) -> np.ndarray:
        """The value as a NumPy array of its own; TraceError inside a trace."""
        return self._concrete("`.numpy()`").copy()

    @boundary
    def item(self) -> bool | int | float:
        """The only element as a Python number; ArgumentError when there are more."""
        return self._scalar("`.item()`")

    @boundary
    def tolist(self) -> Any:
        """The value as nested lists of Python numbers."""
        return self._concrete("`.tolist()`").tolist()

    def _scalar(self, use: str) -> Any:
        value = self._concrete(use)
        if value.size != 1:
            raise ArgumentError(f"{use} takes the only element of a tensor; {self._describe()} has {value.size}")
        return value.reshape(()).item()

    @boundary
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        value = self._concrete("a NumPy array")
        if copy is False:
            raise ArgumentError("the array of a tensor is always a copy: ask without copy=False")
        return np.array(value, dtype)

    @boundary
    def __float__(self) -> float:
        return float(self._scalar("`float()`"))

    @boundary
    def __int__(self) -> int:
        return int(self._scalar("`int()`"))

    @boundary
    def __index__(self) -> int:
        if not self.dtype.is_integer or self.ndim:
            raise DTypeError(f"an index is an integer without axes, not {self._describe()}")
        return self._scalar("an index")

    @boundary
    def __bool__(self) -> bool:
        if self._tracer is not None:
            raise TraceError(
                f"the truth of {self._describe()} is not known while {self._tracer.name} is traced, so `if`, `while`, "
                "`and`, `or`, `not` and `in` cannot ask for it: choose between values with "
                "`sn.where(condition, x, y)`, combine booleans with &, | and ~"
            )
        return bool(self._scalar("`bool()`"))

    # -- NumPy's functions --------------------------------------------------------------------

    @boundary
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """`np.exp(t)` is `sn.exp(t)`, and `array + t` is `sn.add(array, t)`."""
        name = _NUMPY_NAMES.get(ufunc.__name__, ufunc.__name__)
        if "out" in kwargs:
            raise HabitError("a tensor cannot be written into an array: instead of `a += t` or `out=a` write `t + a`")
        if method != "__call__" or kwargs or name not in FUNCTIONS:
            raise HabitError(
                f"np.{ufunc.__name__}{'' if method == '__call__' else '.' + method} has no meaning for tensors: "
                "use a function of staticnet, or take `.numpy()` first"
            )
        return self._function(name)(*inputs)

    @boundary
    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """`np.sum(t)` is `sn.sum(t)`; what has no namesake here gets the values, outside a trace."""
        name = _NUMPY_NAMES.get(function.__name__, function.__name__)
        if name in FUNCTIONS:
            return self._function(name)(*args, **kwargs)
        if self._tracer is not None:
            raise HabitError(
                f"np.{function.__name__} has no meaning while {self._tracer.name} is traced: compose it of ours"
            )
        args, kwargs = trees.map_leaves(lambda path, leaf: _value_or_same(leaf), (tuple(args), dict(kwargs)))
        return function(*args, **kwargs)

    # -- sequences ----------------------------------------------------------------------------

    @boundary
    def __len__(self) -> int:
        if not self.ndim:
            raise TraceError(f"len() of {self._describe()}, which has no axes")
        return self._first_size("len()")

    @boundary
    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TraceError(f"{self._describe()} has no axes to iterate over")
        return iter([self[position] for position in range(self._first_size("iteration"))])

    def _first_size(self, use: str) -> int:
        size = self.shape[0]
        if isinstance(size, int):
            return size
        raise TraceError(
            f"{use} needs the first size of {self._describe()}, but `{size}` is not known before the run: give it a "
            "number in the TensorSpec, or compute with whole axes"
        )

    @boundary
    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise HabitError(
            "a tensor never changes, so `x[i] = v` has no meaning: build a new one with `sn.where(mask, v, x)` or "
            "`sn.concatenate([...])`; for state write `buffer.assign(value)`"
        )

    # -- comparison ---------------------------------------------------------------------------

    @boundary
    def __eq__(self, other: object) -> Any:
        return NotImplemented if _is_foreign(other) else self._function("equal")(self, other)

    @boundary
    def __ne__(self, other: object) -> Any:
        return NotImplemented if _is_foreign(other) else self._function("not_equal")(self, other)

    __hash__ = object.__hash__

    # -- text ---------------------------------------------------------------------------------

    def _describe(self) -> str:
        return f"`{self.name}` ({self.aval})" if self.name else f"{_article(self._node.op.name)} ({self.aval})"

    @boundary
    def __repr__(self) -> str:
        if self._tracer is not None:
            name = f"{self.name!r}, " if self.name else ""
            sizes = ", ".join(str(size) for size in self.shape) + ("," if self.ndim == 1 else "")
            return f"Tensor({name}shape=({sizes}), dtype={self.dtype}, op={self._node.op.name})"
        value = self._value()
        text = np.array2string(value, separator=", ", prefix="tensor(")
        shape = "" if value.size or value.shape == (0,) else f", shape={value.shape}"
        return f"tensor({text}{shape}{'' if self.dtype in _PLAIN else f', dtype={self.dtype}'})"

    @boundary
    def __format__(self, form: str) -> str:
        return format(self._scalar(f"the format {form!r}"), form) if form else repr(self)

    # -- copies -------------------------------------------------------------------------------

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self if self._tracer is not None else tensor(self._value())

    def __reduce__(self) -> tuple[Any, ...]:
        return tensor, (self._concrete("pickling"),)


_PLAIN = (dtypes.float32, dtypes.int64, dtypes.bool_)

# Each operator and method is a boundary itself, so that errors show one line of ours.
_OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor"
_NAMES = [f"__{side}{name}__" for name in _OPERATORS.split() for side in ("", "r")]
_NAMES += ["__lt__", "__gt__", "__le__", "__ge__", "__neg__", "__abs__", "__invert__", "__getitem__"]
_NAMES += ["astype", "reshape", "transpose", "abs", "clamp", "detach", *METHODS]
for _name in _NAMES:
    setattr(Tensor, _name, boundary(getattr(Value, _name)))
setattr(Tensor, "T", property(boundary(Value.T.fget)))  # type: ignore[attr-defined] # noqa: B010


#: what NumPy calls differently
_NUMPY_NAMES = {"rint": "round", "bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor"}


def _value_or_same(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def _is_foreign(value: object) -> bool:
    """Whether comparing with this is no comparison of numbers, so that Python's identity decides."""
    return value is None or isinstance(value, (str, bytes, dict, set, type))


def _article(op: str) -> str:
    return f"the result of {op}" if op not in ("input", "constant") else "a tensor"


@boundary
def tensor(data: Any, dtype: Any = None) -> Tensor:
    """A tensor of an array, a number, or nested lists of numbers; a copy is taken at once.

    Arrays keep their dtype, Python floats become float32, ints int64, unless `dtype` is given. Inside
    a trace the data become a constant. Raises ArgumentError for lists of unequal lengths, DTypeError
    for what is no number.
    """
    tracer = current_tracer()
    if isinstance(data, Tensor):
        return data if dtype is None else data.astype(dtype)
    array = to_array(data, dtype)
    return Tensor(lazy.leaf(array)) if tracer is None else Tensor(F.constant(array), tracer)


def to_array(data: Any, dtype: Any = None) -> np.ndarray:
    """A fresh row-major array of data, in the dtype that `tensor` documents."""
    wanted = None if dtype is None else dtypes.as_dtype(dtype).numpy
    try:
        array = np.array(data)
    except ValueError as error:
        raise ArgumentError(f"no array can be made of {data!r:.80}: {error}") from None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DTypeError(f"a tensor holds numbers or booleans of at most 64 bits, not {array.dtype} ({data!r:.60})")
    if wanted is None and array.dtype == np.float64 and not hasattr(data, "__array__"):
        wanted = np.dtype(np.float32)
    if wanted is not None and wanted.kind in "iu" and array.dtype.kind in "iu":
        _check_range(array, wanted)
    return np.array(array, dtype=wanted or array.dtype.newbyteorder("="), order="C")


def _check_range(array: np.ndarray, wanted: np.dtype) -> None:
    limits = np.iinfo(wanted)
    if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
        found = f"from {array.min()} to {array.max()}"
        raise DTypeError(f"values {found} do not fit {wanted} ({limits.min} to {limits.max})")
