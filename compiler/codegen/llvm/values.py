"""Values as instructions: operands before what is made of them, scalars until a lane makes them differ."""

from __future__ import annotations

from staticnet.compiler.codegen.llvm.context import Context, Operand
from staticnet.compiler.codegen.llvm.memory import Memory
from staticnet.compiler.codegen.llvm.operations import print_operation
from staticnet.compiler.codegen.llvm.registers import Registers
from staticnet.compiler.codegen.llvm.survey import ordered
from staticnet.compiler.codegen.llvm.types import number
from staticnet.compiler.codegen.loops.form import Apply, Const, Get, Load, Position, Value
from staticnet.compiler.dtypes import DType


class Values:
    """Prints values of a kernel."""

    def __init__(self, context: Context, memory: Memory, registers: Registers):
        self.context, self.memory, self.registers = context, memory, registers
        self._orders: dict[int, tuple[Value, ...]] = {}

    def print(self, root: Value) -> Operand:
        """The operand that a value is here and now."""
        order = self._orders.get(id(root))
        if order is None:
            order = self._orders[id(root)] = ordered(root, self._parts)
        made: dict[int, Operand] = {}
        for value in order:
            made[id(value)] = self._print(value, made)
        return made[id(root)]

    def _print(self, value: Value, made: dict[int, Operand]) -> Operand:
        if isinstance(value, Apply):
            return self._apply(value, made)
        if isinstance(value, Const):
            return Operand(number(value.value, value.dtype))
        if isinstance(value, Get):
            return self.registers.get(value.register, value.index)
        if isinstance(value, Position):
            return self.context.position(value.index)
        assert isinstance(value, Load)
        offset = made[id(value.offset)] if value.offset is not None else None
        otherwise = made[id(value.otherwise)] if value.otherwise is not None else None
        return self.memory.load(value, offset, otherwise)

    def _parts(self, value: Value) -> tuple[Value, ...]:
        """What must be printed before a value."""
        fused = self._fused(value)
        return value.children() if fused is None else fused

    def _apply(self, value: Apply, made: dict[int, Operand]) -> Operand:
        fused = self._fused(value)
        arguments = value.arguments if fused is None else fused
        operands = [made[id(argument)] for argument in arguments]
        dtypes = [argument.dtype for argument in arguments]
        if fused is None:
            return self.apply(value.operation, operands, dtypes, value.dtype)
        if value.operation == "subtract":
            negated = 0 if value.arguments[0] is fused[2] else 2
            operands[negated] = self.apply("negative", [operands[negated]], dtypes[:1], value.dtype)
        return self.apply("multiply_add", operands, dtypes, value.dtype)

    def apply(self, operation: str, operands: list[Operand], dtypes: list[DType], result: DType) -> Operand:
        """An operation on operands, in lanes if one of them is."""
        lanes = max(operand.lanes for operand in operands)
        texts = [self.context.spread(o, dtype, lanes) for o, dtype in zip(operands, dtypes, strict=True)]
        return Operand(print_operation(self.context.emitter(lanes), operation, texts, dtypes[-1], result), lanes)

    def _fused(self, value: Value) -> tuple[Value, Value, Value] | None:
        """(x, y, z) if the value is x * y + z, x * y - z or z - x * y and is to be rounded once.

        Decided here, not by the code generator, so that it is the same wherever the value stands.
        """
        if not isinstance(value, Apply) or value.operation not in {"add", "subtract"}:
            return None
        for product, other in (value.arguments, value.arguments[::-1]):
            factors = self.factors(product)
            if factors:
                return *factors, other
        return None

    def factors(self, value: Value) -> tuple[Value, Value] | None:
        """(x, y) if the value is x * y and something may be added to it without rounding between."""
        if not isinstance(value, Apply) or value.operation not in {"multiply", "square"}:
            return None
        fuses = self.context.machine.has_fma and value.dtype.is_float and value.dtype.itemsize >= 4
        return (value.arguments[0], value.arguments[-1]) if fuses else None
