"""Feeds: the arrays of a call held against what the graph was traced for, and the sizes that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticnet import trees
from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import FeedError
from staticnet.compiler.ir import Type, format_shape
from staticnet.spec import TensorSpec
from staticnet.tensors import Tensor
from staticnet.tracing import TracedGraph


class Feeds:
    """What a traced graph expects of each call."""

    def __init__(self, graph: TracedGraph):
        self.labels = tuple(node.op.label for node in graph.feeds)  # type: ignore[attr-defined]
        self.types = tuple(node.aval for node in graph.feeds)
        self.name = graph.name
        #: what followed from arrays of these shapes and dtypes before
        self._bindings: dict[Any, dict[str, int]] = {}

    def check(self, args: Any, kinds: Any = None) -> tuple[list[np.ndarray], dict[str, int]]:
        """The feeds as arrays, and the number of each symbolic size; FeedError names what does not fit.

        `kinds` are those of `args`, if they are known.
        """
        values = trees.leaves(args)
        if kinds is not None and (known := self._bindings.get(kinds)) is not None:
            return values, known
        if len(values) != len(self.types):
            raise FeedError(self._count_message(values))
        arrays = [self._as_array(i, value) for i, value in enumerate(values)]
        binding = self._bind([array.shape for array in arrays])
        if kinds is not None:
            _remember(self._bindings, kinds, binding)
        return arrays, binding

    def _count_message(self, values: Sequence[Any]) -> str:
        given = len(values)
        wanted = ", ".join(f"{label}: {type}" for label, type in zip(self.labels, self.types, strict=True))
        if given < len(self.types):
            return f"{self.name} is called without {', '.join(self.labels[given:])}; it takes {wanted}"
        surplus = f"{self.name} is called with {given} arrays, {given - len(self.types)} too many; it takes {wanted}"
        are_numbers = all(isinstance(value, (bool, int, float)) for value in values)
        return f"{surplus}. Each number of a list is an input itself: give np.array(...)" if are_numbers else surplus

    def _as_array(self, index: int, value: Any) -> np.ndarray:
        type, label = self.types[index], self.labels[index]
        array = as_array(value, type, label)
        if array.dtype.newbyteorder("=") != type.dtype.numpy:
            raise FeedError(
                f"{label} is fed as {array.dtype}, but {self.name} was traced for {type}: "
                f"convert it with `.astype('{type.dtype}')`"
            )
        if array.ndim != type.ndim:
            raise FeedError(
                f"{label} is fed with shape {format_shape(array.shape)}, of rank {array.ndim}, "
                f"but {self.name} was traced for {type}, of rank {type.ndim}"
            )
        return array

    def _bind(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        binding: dict[str, int] = {}
        whence: dict[str, str] = {}
        pairs = [
            (label, axis, size, given)
            for label, type, shape in zip(self.labels, self.types, shapes, strict=True)
            for axis, (size, given) in enumerate(zip(type.shape, shape, strict=True))
        ]
        changed = True
        while changed:
            changed = False
            for label, axis, size, given in pairs:
                found = {} if isinstance(size, int) else dims.solve(size, given, binding)
                for name, number in (found or {}).items():
                    if name not in binding:
                        binding[name], whence[name], changed = number, f"axis {axis} of {label}", True
        for label, axis, size, given in pairs:
            self._check_size(label, axis, size, given, binding, whence)
        return binding

    def _check_size(
        self, label: str, axis: int, size: Size, given: int, binding: Mapping[str, int], whence: Mapping[str, str]
    ) -> None:
        if isinstance(size, int):
            if size != given:
                raise FeedError(
                    f"axis {axis} of {label} has size {given}, but {self.name} was traced for {size}; "
                    f"to let it vary give it a name in a TensorSpec"
                )
            return
        unknown = dims.symbols(size) - set(binding)
        if unknown:
            raise FeedError(
                f"axis {axis} of {label} is `{size}` and has size {given}: "
                f"{', '.join(sorted(unknown))} cannot be told from the feeds"
            )
        expected = dims.evaluate(size, binding)
        if expected != given:
            because = ", ".join(f"{name} = {binding[name]} from {whence[name]}" for name in sorted(dims.symbols(size)))
            raise FeedError(f"axis {axis} of {label} has size {given}, but `{size}` is {expected} ({because})")


def as_array(value: Any, type: Type, label: str) -> np.ndarray:
    """A feed as an array; a Python number takes the dtype that is expected, if nothing of it gets lost."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic) or hasattr(value, "__array__"):
        return np.asarray(value)
    if isinstance(value, float) and not type.dtype.is_float:
        raise FeedError(f"{label} is fed with {value!r}, but takes {type}: give a whole number, or round it")
    try:
        return np.array(value, dtype=type.dtype.numpy)
    except (TypeError, ValueError, OverflowError) as error:
        raise FeedError(f"{label} is fed with {value!r:.60}, of which no {type} can be made: {error}") from None


def check_finite(labels: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
    """FeedError naming the first feed with a NaN or an infinity."""
    for label, array in zip(labels, arrays, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise FeedError(f"{label} holds {array[place]} at {place}; clean it, or switch check_finite off")


#: shapes and dtypes of calls that are remembered, at each place where they are
_MOST_REMEMBERED = 256
_signatures: dict[Any, tuple] = {}


def kinds_of(tree: Any) -> tuple | None:
    """Shapes and dtypes of nested plain arrays, from which all else about them follows; None where there are others."""
    kind = type(tree)
    if kind is np.ndarray:
        return tree.shape, tree.dtype
    if kind is not tuple and kind is not list and kind is not dict:
        return None
    found: list[Any] = [kind, *tree] if kind is dict else [kind]
    for branch in tree.values() if kind is dict else tree:
        below = kinds_of(branch)
        if below is None:
            return None
        found.append(below)
    return tuple(found)


def _remember(table: dict[Any, Any], key: Any, value: Any) -> None:
    if len(table) >= _MOST_REMEMBERED:
        table.clear()
    table[key] = value


def signature_of(args: Any, kinds: Any, *, symbolic: bool) -> tuple:
    """What of some arguments decides how a function is traced: dtypes, ranks, and all sizes but those of a batch."""
    if kinds is not None and (known := _signatures.get((kinds, symbolic))) is not None:
        return known
    specs = batch_specs(args, symbolic=symbolic)
    found = tuple((path, spec.dtype.name, tuple(map(str, spec.shape))) for path, spec in trees.flatten(specs))
    if kinds is not None:
        _remember(_signatures, (kinds, symbolic), found)
    return found


def batch_specs(args: tuple[Any, ...], *, symbolic: bool) -> tuple[Any, ...]:
    """Specs for arguments: the first size is called `batch` where `symbolic` and all arrays agree on it."""
    arrays = [_known_array(leaf) for leaf in trees.leaves(args)]
    firsts = {array.shape[0] for array in arrays if array.ndim}
    has_batch = symbolic and len(firsts) == 1

    def spec(path: str, leaf: Any) -> TensorSpec:
        array = _known_array(leaf)
        shape: tuple[Any, ...] = array.shape
        return TensorSpec(("batch", *shape[1:]) if has_batch and shape else shape, array.dtype)

    return trees.map_leaves(spec, args)


def _known_array(value: Any) -> np.ndarray:
    from staticnet.tensors import to_array

    if isinstance(value, Tensor):
        return value.numpy()
    return value if isinstance(value, np.ndarray) else to_array(value)
