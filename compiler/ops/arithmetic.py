"""Elementwise arithmetic, comparison and logic."""

from __future__ import annotations

from typing import Any

from staticnet.compiler import dtypes
from staticnet.compiler.errors import DTypeError, RunError
from staticnet.compiler.ir import Node, Type, apply
from staticnet.compiler.ops.base import Elementwise, F, Pointwise, as_node, broadcast_shapes, function, lift


class Binary(Elementwise, abstract=True):
    arity = 2


class Add(Binary):
    """x + y; the logical or of booleans."""

    onnx = "Add"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return g, g


class Subtract(Binary):
    """x - y."""

    onnx, kinds = "Sub", "iuf"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return g, -g


class Multiply(Binary):
    """x * y; the logical and of booleans."""

    onnx = "Mul"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return g * b, g * a


class Divide(Binary):
    """x / y in floating point; integers are divided as float64, as in NumPy."""

    onnx, kinds = "Div", "f"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return g / b, -(g * y) / b


class FloorDivide(Binary):
    """floor(x / y). The gradient is zero wherever it exists."""

    kinds = "iuf"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return None, None


class Remainder(Binary):
    """x - floor(x / y) * y, with the sign of y."""

    kinds = "iuf"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return g, -g * F.floor_divide(a, b)


class Power(Binary):
    """x to the power y; of integers y must not be negative."""

    onnx, kinds = "Pow", "iuf"

    def kernel(self, xp: Any, x: Any, y: Any, *, out: Any, scratch: Any) -> None:
        if y.dtype.kind == "i" and y.size and (least := int(y.min())) < 0:
            raise RunError(
                f"power: an integer to the power {least} is no integer; cast the base to a float type first, "
                'as in `x.astype("float32") ** y`'
            )
        xp.power(x, y, out=out)

    def can_fail(self, x: Type, y: Type) -> bool:
        return y.dtype.numpy.kind == "i"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        # The guards keep d(x^0)/dx and d(0^y)/dy zero instead of 0 * inf.
        slope = b * F.power(a, F.where(F.equal(b, 0), 1, b - 1))
        return g * slope, g * y * F.log(F.where(F.equal(a, 0), 1, a))


class Maximum(Binary):
    """The larger of x and y; NaN if either is. Ties share the gradient evenly."""

    onnx, kinds = "Max", "biuf"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return _share_ties(g, a, b, F.greater)


class Minimum(Binary):
    """The smaller of x and y; NaN if either is. Ties share the gradient evenly."""

    onnx, kinds = "Min", "biuf"

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple:
        return _share_ties(g, a, b, F.less)


def _share_ties(g: Node, a: Node, b: Node, wins: Any) -> tuple:
    tie = F.where(F.equal(a, b), g * 0.5, 0)
    return F.where(wins(a, b), g, tie), F.where(wins(b, a), g, tie)


class Unary(Elementwise, abstract=True):
    arity = 1


class Negative(Unary):
    """-x."""

    onnx, kinds = "Neg", "iuf"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (-g,)


class Absolute(Unary):
    """|x|; the slope at 0 is 0."""

    onnx, kinds = "Abs", "biuf"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * F.sign(x),)


class Sign(Unary):
    """-1, 0 or 1 by the sign of x; NaN of NaN."""

    onnx, kinds = "Sign", "iuf"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (None,)


class Square(Unary):
    """x * x."""

    kinds = "iuf"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (g * 2 * x,)


class Reciprocal(Unary):
    """1 / x; of integers too the real quotient, not the truncated one of NumPy."""

    onnx, kinds = "Reciprocal", "f"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (-g * F.square(y),)


class _Step(Unary, abstract=True):
    """Piecewise constant: the gradient is zero wherever it exists."""

    kinds = "f"

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        return (None,)


class Floor(_Step):
    """The largest integer not above x."""

    onnx = "Floor"


class Ceil(_Step):
    """The smallest integer not below x."""

    onnx = "Ceil"


class Round(_Step):
    """The nearest integer, halves to even."""

    onnx, numpy = "Round", "rint"


def _rounding(card: type[_Step]) -> None:
    name: str = card.name

    @function(name)
    def build(x: Any) -> Node:
        x = as_node(x)
        return apply(card(), x) if x.dtype.is_float else x

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{card.__doc__} Integers and booleans are returned as they are."


for _card in (Floor, Ceil, Round):
    _rounding(_card)


class _Compare(Binary, abstract=True):
    result = dtypes.bool_


class Equal(_Compare):
    """x == y; NaN equals nothing."""

    onnx = "Equal"


class NotEqual(_Compare):
    """x != y."""


class Less(_Compare):
    """x < y."""

    onnx = "Less"


class LessEqual(_Compare):
    """x <= y."""

    onnx = "LessOrEqual"


class Greater(_Compare):
    """x > y."""

    onnx = "Greater"


class GreaterEqual(_Compare):
    """x >= y."""

    onnx = "GreaterOrEqual"


class IsNan(Unary):
    """Whether x is not a number."""

    name, numpy, onnx, kinds, result = "isnan", "isnan", "IsNaN", "f", dtypes.bool_


class IsInf(Unary):
    """Whether x is plus or minus infinity."""

    name, numpy, onnx, kinds, result = "isinf", "isinf", "IsInf", "f", dtypes.bool_


class LogicalAnd(Binary):
    """x and y, of booleans."""

    onnx, kinds = "And", "b"


class LogicalOr(Binary):
    """x or y, of booleans."""

    onnx, kinds = "Or", "b"


class LogicalXor(Binary):
    """Either x or y, of booleans."""

    onnx, kinds = "Xor", "b"


class LogicalNot(Unary):
    """not x, of booleans."""

    onnx, kinds = "Not", "b"


class Where(Pointwise):
    """x where the condition holds, else y; the three broadcast together."""

    onnx = "Where"
    in_place = (1,)

    def infer(self, condition: Type, x: Type, y: Type) -> Type:
        if not condition.dtype.is_bool:
            raise DTypeError(f"where: the condition must be bool, not {condition.dtype}; compare it with something")
        if x.dtype != y.dtype:
            raise DTypeError(f"where: the two values have different dtypes, {x.dtype} and {y.dtype}")
        return Type(broadcast_shapes("where", condition.shape, x.shape, y.shape), x.dtype)

    def kernel(self, xp: Any, condition: Any, x: Any, y: Any, *, out: Any, scratch: Any) -> None:
        # y ^ ((x ^ y) * condition) on the bits: a masked copy costs ten times as much.
        x, y, bits = as_bits(x), as_bits(y), as_bits(out)
        if x.shape != out.shape:
            x = xp.broadcast_to(x, out.shape)  # cupy wants `out` in the shape of the operands together
        xp.bitwise_xor(x, y, out=bits)
        xp.multiply(bits, condition, out=bits)
        xp.bitwise_xor(bits, y, out=bits)

    def grad(self, g: Node, y: Node, condition: Node, a: Node, b: Node) -> tuple:
        return None, F.where(condition, g, 0), F.where(condition, 0, g)


class Masked(Pointwise):
    """x where the mask holds, else 0, whatever x is there: what `where(mask, x, 0)` becomes."""

    in_place = (0,)

    def infer(self, x: Type, mask: Type) -> Type:
        if not mask.dtype.is_bool:
            raise DTypeError(f"masked: the mask must be bool, not {mask.dtype}")
        return x.with_shape(broadcast_shapes("masked", x.shape, mask.shape))

    def kernel(self, xp: Any, x: Any, mask: Any, *, out: Any, scratch: Any) -> None:
        # On the bits, for 0 * NaN is not 0.
        xp.multiply(as_bits(x), mask, out=as_bits(out))

    def expand(self, x: Node, mask: Node) -> Node:
        return F.where(mask, x, 0)

    def grad(self, g: Node, y: Node, x: Node, mask: Node) -> tuple:
        return F.masked(g, mask), None


@function("masked")
def masked(x: Any, mask: Any) -> Node:
    """`x` where the boolean `mask` holds, else 0, also where `x` is NaN or infinite."""
    return apply(Masked(), as_node(x), as_node(mask))


def as_bits(array: Any) -> Any:
    """The same memory as signed integers of the elements' size."""
    return array.view(f"int{8 * array.dtype.itemsize}")


@function("where")
def where(condition: Any, x: Any, y: Any) -> Node:
    """`x` where `condition` (bool) holds, else `y`; shapes broadcast, dtypes promote."""
    return apply(Where(), as_node(condition), *lift(x, y))


class Clip(Elementwise):
    """x kept between two numbers; the slope at a bound is 1."""

    minimum: float | int | None
    maximum: float | int | None
    kinds = "iuf"

    def kernel(self, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
        xp.clip(x, self.minimum, self.maximum, out=out)

    def grad(self, g: Node, y: Node, x: Node) -> tuple:
        # A comparison with the result: x inside the bounds, and the bounds themselves; NaN compares false.
        return (F.where(F.equal(x, y), g, 0),)


@function("clip")
def clip(x: Any, min: Any = None, max: Any = None) -> Node:
    """`x` kept between `min` and `max`, numbers or values; None leaves a side open.

    Of `min > max` the result is `max`, as in NumPy. The slope at a bound is 1.
    """
    x = as_node(x)
    if all(bound is None or isinstance(bound, (bool, int, float)) for bound in (min, max)):
        if min is None and max is None:
            return x
        for bound in (min, max):
            if bound is not None:
                (x,) = lift(x, bound)[:1]
        return apply(Clip(minimum=min, maximum=max), x)
    if min is not None:
        x = F.where(F.less(x, min), min, x)
    return x if max is None else F.where(F.greater(x, max), max, x)
