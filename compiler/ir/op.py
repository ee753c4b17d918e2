"""What an op is: a frozen card whose fields are the attributes and whose methods are the rules."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from staticnet.compiler.dims import Dim, Size
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir.types import AnyType, Shape, Type

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable:
        return lambda cls: cls


REGISTRY: dict[str, type[Op]] = {}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the elements of a view lie in its base: element strides and an element offset."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @staticmethod
    def dense(shape: tuple[int, ...], order: tuple[int, ...] | None = None) -> Layout:
        """Without gaps; `order` names the axes from the slowest to the fastest, by default as they come."""
        strides, step = [0] * len(shape), 1
        for axis in reversed(order or range(len(shape))):
            strides[axis] = step
            step *= max(shape[axis], 1)
        return Layout(tuple(shape), tuple(strides))

    @property
    def is_packed(self) -> bool:
        """Without gaps or overlaps from its start on, the axes in any order."""
        if 0 in self.shape:
            return True
        step = 1
        for stride, size in sorted((s, n) for n, s in zip(self.shape, self.strides, strict=True) if n > 1):
            if stride != step:
                return False
            step *= size
        return self.offset == 0

    @property
    def is_dense(self) -> bool:
        """Row-major without gaps; axes of size 1 or arrays of size 0 never matter."""
        if 0 in self.shape:
            return True
        dense = Layout.dense(self.shape).strides
        return all(n == 1 or s == d for n, s, d in zip(self.shape, self.strides, dense, strict=True))


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
class Op:
    """Base of all op cards. A subclass becomes a frozen keyword-only dataclass and is registered by its name.

    A card gives `infer`, and a `kernel` or an `expand`; what it leaves out does not exist for that op.
    """

    name: ClassVar[str] = ""
    #: the ONNX operator of the same meaning, when attributes need no code to map
    onnx: ClassVar[str | None] = None
    #: operands whose buffer the output may overwrite, when types and lifetimes allow
    in_place: ClassVar[tuple[int, ...]] = ()
    #: the kernel may refuse values it meets (a label out of range): it runs before any state is written
    may_fail: ClassVar[bool] = False

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)(cls)
        if abstract:
            return
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if cls.name in REGISTRY and REGISTRY[cls.name].__qualname__ != cls.__qualname__:
            raise CompilerError(f"two op cards are called {cls.name!r}: {REGISTRY[cls.name]} and {cls}")
        REGISTRY[cls.name] = cls

    # -- the rules a card may give ------------------------------------------------------------

    def infer(self, *types: Type) -> AnyType:
        """The type of the result; raises ShapeError or DTypeError naming the operands."""
        raise CompilerError(f"op {self.name} has no shape rule")

    if TYPE_CHECKING:
        # Absent on a card that does not give them: ask with `has_rule`.
        def expand(self, *inputs: Any) -> Any:
            """The meaning in smaller ops: a node, or a tuple of nodes for a tuple type."""

        def grad(self, g: Any, y: Any, *inputs: Any) -> tuple[Any, ...]:
            """One cotangent (or None) per input, in the inputs' own dtype; broadcasting is undone by the driver."""

        def kernel(self, xp: Any, *arrays: Any, out: Any, scratch: Any) -> None:
            """Write the result into `out`; `xp` is numpy or cupy."""

        def view(self, layout: Layout, shape: tuple[int, ...]) -> Layout | None:
            """The result as a view of the first operand, or None when it needs a copy."""

    def can_fail(self, *types: Any) -> bool:
        """Whether the kernel may refuse values on operands of these types."""
        return self.may_fail

    def check_bound(self, *types: Any) -> None:
        """Refuse sizes that only a binding tells, with ShapeError; asked of the graph as it was traced."""

    def bind(self, binding: Any) -> Op:
        """This card with every symbolic size in its attributes replaced by its number."""
        changes = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            bound = _bind(value, binding)
            if bound is not value:
                changes[field.name] = bound
        return dataclasses.replace(self, **changes) if changes else self  # type: ignore[type-var]

    def scratch(self, *types: Type) -> int:
        """Bytes of workspace the kernel needs beside its output; types are bound."""
        return 0

    def flops(self, out: AnyType, *types: Type) -> Size:
        """Arithmetic operations of one call: one per output element unless the card knows better."""
        return out.size if isinstance(out, Type) else 0

    # -- identity -----------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What steps and pictures call it: the name, unless the card has more to say."""
        return self.name

    @property
    def attributes(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    @property
    def key(self) -> tuple:
        """What makes two cards interchangeable: 0.0 and -0.0, 1 and True and 1.0 are all different."""
        try:
            return self.__dict__["_key"]
        except KeyError:
            key = (self.name, *(freeze(value) for value in self.attributes.values()))
            object.__setattr__(self, "_key", key)
            return key

    @property
    def structure(self) -> Any:
        """What of this card counts when two graphs are compared; the same in every process."""
        return self.key

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Op) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        text = ", ".join(f"{name}={format_attribute(value)}" for name, value in self.attributes.items())
        return f"{self.name}({text})"


def has_rule(op: Op | type[Op], rule: str) -> bool:
    """Whether the card gives `rule`: 'kernel', 'expand', 'grad', 'view'."""
    return hasattr(op, rule)


def freeze(value: Any) -> Any:
    """A hashable key of an attribute that never confuses values of different types, and equals itself for NaN."""
    if value is None or isinstance(value, (str, DType)):
        return value
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    if isinstance(value, (bool, int)):
        return (type(value).__name__, value)
    if isinstance(value, Dim):
        return ("dim", str(value))
    if isinstance(value, (tuple, list)):
        return ("tuple", *(freeze(item) for item in value))
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, array_digest(value))
    if isinstance(value, slice):
        return ("slice", freeze(value.start), freeze(value.stop), freeze(value.step))
    if isinstance(value, Type):
        return ("type", value.dtype.name, freeze(value.shape))
    if callable(getattr(value, "digest", None)):
        return (type(value).__name__, value.digest())
    raise CompilerError(f"an op attribute of type {type(value).__name__} cannot be compared: {value!r}")


def array_digest(array: np.ndarray) -> bytes:
    """A digest of the bytes of an array, 16 bytes long."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def format_attribute(value: Any) -> str:
    """One attribute as the text form prints it, the same in every process."""
    if isinstance(value, (tuple, list)):
        return f"({', '.join(format_attribute(v) for v in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, np.ndarray):
        if value.size <= 8:
            return np.array2string(value, separator=", ", threshold=16).replace("\n", "")
        return f"<{value.dtype} {value.shape} {array_digest(value).hex()[:12]}>"
    if isinstance(value, Dim):
        return str(value)
    if callable(getattr(value, "digest", None)):
        return f"<{value.digest()[:12]}>"
    return str(value) if isinstance(value, (DType, Type)) else repr(value)


def _bind(value: Any, binding: Any) -> Any:
    from staticnet.compiler import dims

    if isinstance(value, Dim):
        return dims.evaluate(value, binding)
    if isinstance(value, tuple):
        items = tuple(_bind(item, binding) for item in value)
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def bind_shape(shape: Shape, binding: Any) -> tuple[int, ...]:
    """A shape with every symbolic size replaced by its number."""
    return tuple(_bind(size, binding) for size in shape)
