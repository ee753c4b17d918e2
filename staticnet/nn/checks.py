"""What layers check of their arguments and inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from staticnet.compiler import dims
from staticnet.compiler.errors import ArgumentError, ShapeError, TraceError
from staticnet.compiler.ir import format_shape

if TYPE_CHECKING:
    from staticnet.nn.module import Module
    from staticnet.tensors import Tensor


def whole(module: Module, name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least`; ArgumentError otherwise."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
        raise ArgumentError(f"{type(module).__name__}: {name} is a whole number from {least} up, got {value!r}")
    return int(value)


def number(module: Module, name: str, value: Any) -> float:
    """A Python number; ArgumentError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentError(f"{type(module).__name__}: {name} is a number, got {value!r}")
    return float(value)


def require_axes(module: Module, x: Tensor, *layouts: str) -> None:
    """Raise ShapeError unless the input has as many axes as one of the layouts, such as '(N, C, H, W)'."""
    if x.ndim not in [layout.count(",") + 1 for layout in layouts]:
        expected = " or ".join(layouts)
        module._reject(ShapeError, f"expects an input of shape {expected}, got {format_shape(x.shape)}: {x.ndim} axes")


def settled_size(module: Module, name: str, x: Tensor, axis: int) -> int:
    """The size of an axis of the first input, by which a lazy layer settles `name`; it must be a number."""
    size = x.shape[axis]
    if isinstance(size, int):
        return size
    module._reject(
        TraceError,
        f"{name} is settled by the first input, but axis {axis} of {format_shape(x.shape)} is no number: "
        f"give that axis a number in the TensorSpec, or give {name}",
    )


def require_size(module: Module, what: str, expected: int, x: Tensor, axis: int) -> None:
    """Raise ShapeError unless an axis of the input has the size the layer was made for."""
    if not dims.same(x.shape[axis], expected):
        where = "last axis" if axis == -1 else f"axis {axis}"
        module._reject(ShapeError, f"expects {expected} {what} ({where} of its input), got {format_shape(x.shape)}")
