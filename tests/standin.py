"""A stand-in for CuPy: its arrays are no NumPy arrays, and it knows only what CuPy knows, as CuPy knows it.

Kernels are run with this module as `xp` where there is no GPU. Results are NumPy's; what is held to
CuPy's rules is the interface: names, keywords, shapes of `out`, masks, alignment, and that host memory
and device memory never meet except through `asarray`, `asnumpy`, `get` and `set`.
Sources: CuPy's reference, and cupy/_core/_kernel.pyx (ufunc), _routines_indexing.pyx, _gufuncs.py.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

# fmt: off
UFUNCS = (
    "add subtract multiply divide true_divide floor_divide remainder mod fmod power float_power negative positive "
    "absolute abs sign rint square sqrt cbrt reciprocal exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 "
    "sin cos tan arcsin arccos arctan arctan2 hypot sinh cosh tanh arcsinh arccosh arctanh copysign nextafter "
    "maximum minimum fmax fmin floor ceil trunc isnan isinf isfinite signbit ldexp heaviside "
    "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor logical_not "
    "bitwise_and bitwise_or bitwise_xor bitwise_not invert left_shift right_shift"
)
#: what is NumPy's own in CuPy too
BORROWED = (
    "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 intp "
    "integer floating dtype inf nan pi e newaxis finfo iinfo issubdtype promote_types"
)
#: functions, with the arguments that CuPy and NumPy both take; those before the slash go by position
FUNCTIONS = {
    "sum prod mean": "a / axis dtype out keepdims",
    "max min amax amin argmax argmin all any": "a / axis out keepdims",
    "var std": "a / axis dtype out ddof keepdims",
    "cumsum cumprod": "a / axis dtype out",
    "matmul": "x1 x2 / out",
    "dot": "a b / out",
    "tensordot": "a b / axes",
    "einsum": "subscripts *operands / dtype optimize",
    "take": "a indices / axis out",
    "take_along_axis": "a indices / axis",
    "where": "condition x y /",
    "clip": "a a_min a_max / out",
    "concatenate stack": "arrays / axis out dtype casting",
    "pad": "array pad_width mode / constant_values",
    "reshape": "a shape /",
    "transpose": "a / axes",
    "moveaxis": "a source destination /",
    "swapaxes": "a axis1 axis2 /",
    "expand_dims squeeze flip count_nonzero": "a / axis",
    "ravel copy argwhere nonzero flatnonzero": "a /",
    "broadcast_to": "array shape /",
    "roll": "a shift / axis",
    "repeat": "a repeats / axis",
    "tile": "A reps /",
    "ascontiguousarray asfortranarray zeros_like ones_like empty_like": "a / dtype",
    "diagonal": "a / offset axis1 axis2",
    "isin": "element test_elements /",
    "unravel_index": "indices shape /",
    "array_equal shares_memory may_share_memory": "a b /",
    "result_type": "*arrays_and_dtypes /",
    "empty zeros ones": "shape / dtype",
    "full": "shape fill_value / dtype",
    "full_like": "a fill_value / dtype",
    "arange": "start stop step / dtype",
    "linspace": "start stop / num",
    "eye tri": "N / M k dtype",
    "indices": "dimensions / dtype",
}
#: methods of arrays, with the keywords that CuPy takes
METHODS = {
    "reshape": "order", "astype": "dtype order casting copy", "copy": "order", "squeeze": "axis", "dot": "out",
    "transpose swapaxes ravel flatten fill item tolist nonzero": "",
    "sum prod mean": "axis dtype out keepdims", "max min argmax argmin all any": "axis out keepdims",
    "cumsum": "axis dtype out", "take": "indices axis out", "diagonal": "offset axis1 axis2", "clip": "min max out",
}
# fmt: on

# CuPy scatters with atomic operations, which CUDA has for these.
_SCATTER_TYPES = ("int32", "uint32", "uint64", "float16", "float32", "float64")
_REDUCING_UFUNCS = ("add", "multiply")
_SCATTERING_UFUNCS = ("add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor")


class ndarray:
    """An array on the device that is not there. NumPy refuses it, and it refuses NumPy's arrays."""

    __slots__ = ("_host",)
    __array_ufunc__ = None

    def __init__(self, host: np.ndarray):
        self._host = host

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("implicit conversion of a device array to a NumPy array; call asnumpy")

    def __array_function__(self, function: Callable, *_: Any, **__: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was given a device array; take the function from xp")

    @property
    def __array_interface__(self) -> Any:
        raise AttributeError("a device array has no memory on the host")

    def get(self) -> np.ndarray:
        """A copy on the host."""
        return self._host.copy()

    def set(self, array: np.ndarray) -> None:
        """Copy a NumPy array of equal shape and dtype in."""
        if not isinstance(array, np.ndarray) or array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(f"set needs a NumPy array {self.dtype}{self.shape}")
        self._host[...] = array

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    strides = property(lambda self: self._host.strides)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: ndarray(self._host.T))

    @property
    def base(self) -> ndarray | None:
        base = self._host.base
        return ndarray(base) if isinstance(base, np.ndarray) else None

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self._host.__array_interface__["data"][0])

    def view(self, dtype: Any = None) -> ndarray:
        seen = self._host.view() if dtype is None else self._host.view(dtype)
        if seen.size and not seen.flags.aligned:
            raise ValueError(f"a view as {seen.dtype} at an address that is no multiple of {seen.itemsize} bytes")
        return ndarray(seen)

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(np.asarray(self._host[_index(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[_index(index)] = _to_host(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return iter([self[i] for i in range(len(self))])

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __index__(self) -> int:
        return self._host.__index__()

    def __repr__(self) -> str:
        return f"standin.{self._host!r}"


def _method(name: str, parameters: str) -> Callable:
    allowed = tuple(parameters.split())

    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        _check_keywords(f"ndarray.{name}", kwargs, allowed)
        return _apply(getattr(self._host, name), f"ndarray.{name}", args, kwargs)

    return method


for _names, _parameters in METHODS.items():
    for _name in _names.split():
        setattr(ndarray, _name, _method(_name, _parameters))


class Ufunc:
    """A NumPy ufunc under CuPy's rules: no array of the host, `out` of exactly the result's shape."""

    def __init__(self, name: str):
        self.name = name
        self._ufunc: np.ufunc = getattr(np, name)
        self.nin, self.nout = self._ufunc.nin, self._ufunc.nout

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _check_keywords(self.name, kwargs, ("out", "dtype", "casting", "where"))
        operands, positional_out = args[: self.nin], args[self.nin :]
        out = positional_out[0] if positional_out else kwargs.get("out")
        if isinstance(out, tuple):
            (out,) = out
        _check_out(self.name, out)
        where = kwargs.get("where", True)
        if isinstance(where, ndarray) and where.dtype != np.bool_:
            raise TypeError(f"cupy.{self.name}: where must be bool, not {where.dtype}")
        host = [_to_host(operand) for operand in operands]
        if out is not None:
            _check_shape(self.name, out, np.broadcast_shapes(*(np.shape(operand) for operand in host)))
            kwargs["out"] = out._host
        kwargs["where"] = _to_host(where)
        result = self._ufunc(*host, **kwargs)
        return out if out is not None else _to_device(result)

    def reduce(
        self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> ndarray:
        self._require("reduce", _REDUCING_UFUNCS)
        kwargs = _given(dtype=dtype, out=out, keepdims=keepdims)
        return _apply(self._ufunc.reduce, f"{self.name}.reduce", (array,), {"axis": axis, **kwargs})

    def accumulate(self, array: ndarray, axis: int = 0, dtype: Any = None, out: Any = None) -> ndarray:
        self._require("accumulate", _REDUCING_UFUNCS)
        kwargs = _given(axis=axis, dtype=dtype, out=out)
        return _apply(self._ufunc.accumulate, f"{self.name}.accumulate", (array,), kwargs)

    def reduceat(self, array: ndarray, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> ndarray:
        self._require("reduceat", ("add",))
        kwargs = _given(axis=axis, dtype=dtype, out=out)
        return _apply(self._ufunc.reduceat, f"{self.name}.reduceat", (array, indices), kwargs)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        self._require("at", _SCATTERING_UFUNCS)
        if a.dtype.name not in _SCATTER_TYPES:
            raise TypeError(f"cupy.{self.name}.at only supports {', '.join(_SCATTER_TYPES)}, not {a.dtype}")
        self._ufunc.at(_to_host(a), _index(indices), _to_host(b))

    def outer(self, a: ndarray, b: ndarray, **kwargs: Any) -> ndarray:
        return self(a[(..., *[None] * b.ndim)], b, **kwargs)

    def _require(self, method: str, names: tuple[str, ...]) -> None:
        if self.name not in names:
            raise NotImplementedError(f"`cupy_{self.name}.{method}` is not supported yet")


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    """As CuPy's: a mask is a device array of bool, and a source of several elements lies on the device."""
    if not isinstance(dst, ndarray):
        raise TypeError(f"cupy.copyto needs a device array to copy to, not {type(dst).__name__}")
    if isinstance(src, np.ndarray) and src.size == 1:
        src = src.item()
    if where is None:
        np.copyto(dst._host, _to_host(src), casting=casting)  # type: ignore[arg-type]
        return
    if isinstance(where, ndarray) and where.dtype != np.bool_:
        raise TypeError(f"cupy.copyto: where must be bool, not {where.dtype}")
    np.copyto(dst._host, _to_host(src), casting=casting, where=_to_host(where))  # type: ignore[arg-type]


def as_strided(x: ndarray, shape: Any = None, strides: Any = None) -> ndarray:
    """A view with a shape and byte strides of one's own."""
    if not isinstance(x, ndarray):
        raise TypeError(f"cupy.lib.stride_tricks.as_strided needs a device array, not {type(x).__name__}")
    return ndarray(np.lib.stride_tricks.as_strided(x._host, shape, strides))


def sliding_window_view(x: ndarray, window_shape: Any, axis: Any = None) -> ndarray:
    """A view of all windows of a shape."""
    return ndarray(np.lib.stride_tricks.sliding_window_view(x._host, window_shape, axis, writeable=True))


lib = types.SimpleNamespace(
    stride_tricks=types.SimpleNamespace(as_strided=as_strided, sliding_window_view=sliding_window_view)
)


def asarray(a: Any, dtype: Any = None) -> ndarray:
    """A device array of a device array (itself) or of values on the host (a copy)."""
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else ndarray(a._host.astype(dtype))
    return ndarray(np.array(a, dtype=dtype))


def array(obj: Any, dtype: Any = None, copy: bool = True) -> ndarray:
    """A new device array of a device array or of values on the host."""
    return ndarray(np.array(obj._host if isinstance(obj, ndarray) else obj, dtype=dtype))


def asnumpy(a: Any) -> np.ndarray:
    """A NumPy array with the values of a device array."""
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def __getattr__(name: str) -> Any:
    if name in _TABLE:
        return _TABLE[name]
    raise AttributeError(f"module 'cupy' has no attribute {name!r}, as far as the stand-in knows")


# -- crossing between the two memories ----------------------------------------------------------


def _to_host(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("unsupported type <class 'numpy.ndarray'>: an array of the host met the device; use xp.asarray")
    if isinstance(value, (tuple, list)):
        return type(value)(map(_to_host, value))
    return value


def _to_device(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    return tuple(map(_to_device, value)) if isinstance(value, tuple) else value


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    if isinstance(index, np.ndarray) and index.ndim:
        raise IndexError("unsupported type <class 'numpy.ndarray'>: an index array of the host; use xp.asarray")
    return index._host if isinstance(index, ndarray) else index


def _check_out(name: str, out: Any) -> None:
    if out is not None and not isinstance(out, ndarray):
        raise TypeError(f"cupy.{name}: out must be a device array, not {type(out).__name__}")


def _check_shape(name: str, out: ndarray, shape: tuple[int, ...]) -> None:
    if out.shape != shape:
        raise ValueError(f"cupy.{name}: out has shape {out.shape}, the result {shape}")


def _check_keywords(name: str, kwargs: dict[str, Any], allowed: tuple[str, ...]) -> None:
    unknown = [keyword for keyword in kwargs if keyword not in allowed]
    if unknown:
        raise TypeError(f"cupy.{name} does not take {', '.join(unknown)}")


def _given(**kwargs: Any) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if value is not None}


def _apply(call: Callable, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a NumPy function with what device arrays hold; the result is a device array, `out` if given."""
    out = kwargs.get("out")
    _check_out(name, out)
    result = call(*map(_to_host, args), **{keyword: _to_host(value) for keyword, value in kwargs.items()})
    return _to_device(result) if out is None else out


def _take(a: ndarray, indices: Any, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    if out is not None and out.dtype != a.dtype:
        raise TypeError(f"cupy.take: out is {out.dtype}, the array {a.dtype}")
    return _apply(np.take, "take", (a, indices), _given(axis=axis, out=out))


def _wrapped(name: str, parameters: str) -> Callable:
    by_position, by_keyword = (part.split() for part in parameters.split("/"))
    is_variadic = any(parameter.startswith("*") for parameter in by_position)
    host_function = getattr(np, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        _check_keywords(name, kwargs, (*by_position, *by_keyword))
        if not is_variadic:
            if len(args) > len(by_position) + len(by_keyword):
                raise TypeError(f"cupy.{name} takes the arguments {parameters}, not {len(args)}")
            given = {**dict(zip((*by_position, *by_keyword), args, strict=False)), **kwargs}
            args = tuple(given[parameter] for parameter in by_position if parameter in given)
            kwargs = {parameter: given[parameter] for parameter in by_keyword if parameter in given}
        return _apply(host_function, name, args, kwargs)

    function.__name__ = name
    return function


_TABLE: dict[str, Any] = {
    **{name: Ufunc(name) for name in UFUNCS.split()},
    **{name: _wrapped(name, parameters) for names, parameters in FUNCTIONS.items() for name in names.split()},
    **{name: getattr(np, name) for name in BORROWED.split()},
    "take": _take,
}


# -- operators, which are the ufuncs -----------------------------------------------------------

# fmt: off
_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}
_COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}
_UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
# fmt: on


def _add_operators() -> None:
    for short, name in {**_OPERATORS, **_COMPARISONS}.items():
        call = _TABLE[name]
        setattr(ndarray, f"__{short}__", lambda self, other, call=call: call(self, other))
        if short in _OPERATORS:
            setattr(ndarray, f"__r{short}__", lambda self, other, call=call: call(other, self))
            setattr(ndarray, f"__i{short}__", lambda self, other, call=call: call(self, other, out=self))
    for short, name in _UNARY.items():
        setattr(ndarray, f"__{short}__", lambda self, call=_TABLE[name]: call(self))


_add_operators()
