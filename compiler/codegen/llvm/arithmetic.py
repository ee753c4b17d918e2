"""Numbers in LLVM IR as Python values with operators, so that a formula reads as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import (
    DType,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

SIGNED = {1: int8, 2: int16, 4: int32, 8: int64}
UNSIGNED = {1: uint8, 2: uint16, 4: uint32, 8: uint64}


class Emitter(Protocol):
    """Where instructions go; `lanes` is 1 for scalars, else how many numbers a value holds."""

    @property
    def lanes(self) -> int: ...

    @property
    def machine(self) -> Machine: ...

    def type_of(self, dtype: DType) -> str:
        """The LLVM type of a value of this dtype; float16 is computed with as float."""
        ...

    def do(self, template: str, type: str) -> str:
        """Emit an instruction without side effects, and give the name of its result."""
        ...

    def const(self, value: Any, dtype: DType) -> str:
        """A number as an operand, in every lane."""
        ...

    def declare(self, text: str) -> None:
        """Place a declaration or a function in the module, once."""
        ...


@dataclass(frozen=True, eq=False)
class Number:
    """A value of the code being emitted. Operators take numbers of the same dtype, or Python's as constants.

    Comparisons are `<`, `<=`, `>`, `>=` and the methods `equal` and `not_equal`; all but the last are false of NaN.
    """

    emitter: Emitter
    name: str
    dtype: DType

    @property
    def type(self) -> str:
        return self.emitter.type_of(self.dtype)

    @property
    def is_constant(self) -> bool:
        return not self.name.startswith("%")

    def like(self, name: str) -> Number:
        """Another number of the same dtype."""
        return Number(self.emitter, name, self.dtype)

    def number(self, value: Number | float | int) -> Number:
        """A constant of the same dtype; integers wrap around."""
        if isinstance(value, Number):
            assert value.dtype == self.dtype, (value.dtype, self.dtype)
            return value
        return constant(self.emitter, value, self.dtype)

    def emit(self, operation: str, *others: Number | float | int) -> Number:
        """An instruction whose operands and result are of this dtype."""
        names = [self.name, *(self.number(other).name for other in others)]
        return self.like(self.emitter.do(f"{operation} {self.type} {', '.join(names)}", self.type))

    def intrinsic(self, name: str, *others: Number | float | int) -> Number:
        """A call of an LLVM intrinsic on numbers of this dtype, `name` without its type."""
        operands = [self, *map(self.number, others)]
        return call(f"@{name}.{suffix(self)}", operands, self.dtype)

    def compare(self, floats: str, signed: str, unsigned: str, other: Number | float | int) -> Number:
        other = self.number(other)
        predicate = f"fcmp {floats}" if self.dtype.is_float else f"icmp {signed if is_signed(self.dtype) else unsigned}"
        text = f"{predicate} {self.type} {self.name}, {other.name}"
        return Number(self.emitter, self.emitter.do(text, self.emitter.type_of(bool_)), bool_)

    def convert(self, instruction: str, dtype: DType) -> Number:
        """One of LLVM's conversion instructions."""
        type = self.emitter.type_of(dtype)
        if type == self.type:
            return Number(self.emitter, self.name, dtype)
        return Number(self.emitter, self.emitter.do(f"{instruction} {self.type} {self.name} to {type}", type), dtype)

    def __add__(self, other: Number | float | int) -> Number:
        return self.emit("fadd" if self.dtype.is_float else "add", other)

    def __sub__(self, other: Number | float | int) -> Number:
        return self.emit("fsub" if self.dtype.is_float else "sub", other)

    def __mul__(self, other: Number | float | int) -> Number:
        return self.emit("fmul" if self.dtype.is_float else "mul", other)

    def __radd__(self, other: float | int) -> Number:
        return self.number(other) + self

    def __rsub__(self, other: float | int) -> Number:
        return self.number(other) - self

    def __rmul__(self, other: float | int) -> Number:
        return self.number(other) * self

    def __truediv__(self, other: Number | float) -> Number:
        return self.emit("fdiv", other)

    def __rtruediv__(self, other: float) -> Number:
        return self.number(other) / self

    def __neg__(self) -> Number:
        return self.emit("fneg") if self.dtype.is_float else 0 - self

    def __and__(self, other: Number | int) -> Number:
        return self.emit("and", other)

    def __or__(self, other: Number | int) -> Number:
        return self.emit("or", other)

    def __xor__(self, other: Number | int) -> Number:
        return self.emit("xor", other)

    def __invert__(self) -> Number:
        return self ^ (1 if self.dtype.is_bool else -1)

    def __lshift__(self, other: Number | int) -> Number:
        return self.emit("shl", other)

    def __rshift__(self, other: Number | int) -> Number:
        """Copies the sign of signed integers."""
        return self.emit("ashr" if is_signed(self.dtype) else "lshr", other)

    def __lt__(self, other: Number | float | int) -> Number:
        return self.compare("olt", "slt", "ult", other)

    def __le__(self, other: Number | float | int) -> Number:
        return self.compare("ole", "sle", "ule", other)

    def __gt__(self, other: Number | float | int) -> Number:
        return self.compare("ogt", "sgt", "ugt", other)

    def __ge__(self, other: Number | float | int) -> Number:
        return self.compare("oge", "sge", "uge", other)

    def equal(self, other: Number | float | int) -> Number:
        return self.compare("oeq", "eq", "eq", other)

    def not_equal(self, other: Number | float | int) -> Number:
        """True of NaN."""
        return self.compare("une", "ne", "ne", other)

    def is_nan(self) -> Number:
        return self.compare("uno", "", "", self)

    def absolute(self) -> Number:
        """|x| of a float."""
        return self.intrinsic("llvm.fabs")

    def copysign(self, sign: Number) -> Number:
        return self.intrinsic("llvm.copysign", sign)

    def bits(self) -> Number:
        """The bits of a float as a signed integer of its size."""
        return self.convert("bitcast", SIGNED[self.dtype.itemsize])

    def as_float(self) -> Number:
        """Bits as a float of their size."""
        return self.convert("bitcast", float32 if self.dtype.itemsize == 4 else float64)


def is_signed(dtype: DType) -> bool:
    return dtype.numpy.kind == "i"


def working(dtype: DType) -> DType:
    """The dtype that numbers of a dtype are computed in: float32 for float16."""
    return float32 if dtype == float16 else dtype


def constant(emitter: Emitter, value: float | int, dtype: DType) -> Number:
    """A number in every lane; integers wrap around."""
    if dtype.is_integer:
        width = 8 * dtype.itemsize
        value = int(value) % (1 << width)
        if is_signed(dtype) and value >= 1 << (width - 1):
            value -= 1 << width
    elif dtype.is_bool:
        value = bool(value)
    else:
        value = dtype.numpy.type(value).item()
    return Number(emitter, emitter.const(value, dtype), dtype)


def suffix(number: Number) -> str:
    """How LLVM names the type of a number in the name of an intrinsic."""
    kind = "f" if number.dtype.is_float else "i"
    bits = 1 if number.dtype.is_bool else 8 * working(number.dtype).itemsize
    lanes = number.emitter.lanes
    return f"{kind}{bits}" if lanes == 1 else f"v{lanes}{kind}{bits}"


def call(name: str, operands: Sequence[Number], result: DType, declare: bool = True) -> Number:
    """A call of a function without side effects, which is declared unless told otherwise."""
    emitter = operands[0].emitter
    type = emitter.type_of(result)
    if declare:
        emitter.declare(f"declare {type} {name}({', '.join(number.type for number in operands)})")
    arguments = ", ".join(f"{number.type} {number.name}" for number in operands)
    return Number(emitter, emitter.do(f"call {type} {name}({arguments})", type), result)


def select(condition: Number, x: Number | float | int, y: Number | float | int) -> Number:
    """x where the condition holds, else y; one of the two must be a Number."""
    if not isinstance(x, Number):
        assert isinstance(y, Number)
        x = y.number(x)
    y = x.number(y)
    text = f"select {condition.type} {condition.name}, {x.type} {x.name}, {y.type} {y.name}"
    return x.like(x.emitter.do(text, x.type))


def fma(x: Number, y: Number | float, z: Number | float) -> Number:
    """x * y + z, rounded once where the machine can."""
    if x.emitter.machine.has_fma and x.dtype.is_float:
        return x.intrinsic("llvm.fma", y, z)
    return x * y + z


def polynomial(x: Number, coefficients: Sequence[float]) -> Number:
    """The sum of coefficients[i] * x**i, by Horner's rule."""
    total = x.number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = fma(total, x, coefficient)
    return total


def clamp(x: Number, low: float, high: float) -> Number:
    """x within low ... high; NaN stays NaN."""
    return at_most(at_least(x, low), high)


def at_least(x: Number, low: Number | float | int) -> Number:
    """The larger of x and low, which must not be NaN; a NaN of x stays: one instruction on x86."""
    low = x.number(low)
    return select(low > x, low, x)


def at_most(x: Number, high: Number | float | int) -> Number:
    """The smaller of x and high, which must not be NaN; a NaN of x stays: one instruction on x86."""
    high = x.number(high)
    return select(high < x, high, x)
