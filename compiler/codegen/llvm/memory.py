"""Loads and stores: addresses, contiguous and scattered lanes, masks and guards, and what may be loaded early.

A load is done once as long as nothing is stored to its array (the array's epoch says that), and before a loop
that stores nothing to it. An output may be the memory of an input; what is meant then is what the input held
before, so loads of inputs are as early as can be, and never done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from staticnet.compiler.codegen.llvm.arithmetic import Number
from staticnet.compiler.codegen.llvm.context import Context, Operand
from staticnet.compiler.codegen.llvm.conversions import narrow_half, widen_half
from staticnet.compiler.codegen.llvm.types import mangled, spread, steps, stored_type, value_type, vector
from staticnet.compiler.codegen.loops.form import Affine, Array, Load, Store
from staticnet.compiler.dtypes import DType, float16, float32, uint16


@dataclass
class Stretch:
    """An open scope as loads see it: which arrays change while it runs again, and whether it runs at all."""

    changing: frozenset[Array]
    certain: bool


class Memory:
    """Prints loads and stores of a kernel with these arrays."""

    def __init__(self, context: Context, arrays: Sequence[Array]):
        self.context, self.text = context, context.text
        self.pointers = {array: f"%a{i}" for i, array in enumerate(arrays)}
        self.text.levels.update(dict.fromkeys(self.pointers.values(), 0))
        self.epochs = dict.fromkeys(arrays, 0)
        self._epoch = 0
        #: one for each scope inside the function's
        self.stretches: list[Stretch] = []

    # -- what may change ------------------------------------------------------------------------

    def change(self, *arrays: Array) -> None:
        """Let nothing loaded before be taken for what these arrays hold now."""
        self._epoch += 1
        self.epochs.update(dict.fromkeys(arrays, self._epoch))

    def _inside(self, array: Array) -> int:
        """The number of the scope that an unconditional load of the array must stay in."""
        for number in range(len(self.stretches), 0, -1):
            stretch = self.stretches[number - 1]
            if not stretch.certain or array in stretch.changing:
                return number
        return 0

    # -- addresses ------------------------------------------------------------------------------

    def address(self, array: Array, index: Affine, offset: Operand | None = None) -> str:
        """The address of an element (that of the first lane); the parts of outer loops are added first."""
        constant, named = self.context.parts(index)
        kind, pointer = stored_type(array.dtype), self.pointers[array]
        for name, factor in named:
            pointer = self.text.do(f"getelementptr {kind}, ptr {pointer}, i64 {self.context.scaled(name, factor)}")
        if offset is not None:
            pointer = self.text.do(f"getelementptr {kind}, ptr {pointer}, i64 {offset.text}")
        return self.text.do(f"getelementptr {kind}, ptr {pointer}, i64 {constant}") if constant else pointer

    def addresses(self, array: Array, index: Affine, offset: Operand | None) -> str:
        """The addresses of all lanes."""
        assert self.context.lanes
        count, step = self.context.lanes.count, self.context.step(index)
        kind = stored_type(array.dtype)
        base = self.address(array, index, offset if offset and offset.lanes == 1 else None)
        if offset is None or offset.lanes == 1:
            short = "i32" if abs(step) * count < 1 << 31 else "i64"
            return self.text.do(f"getelementptr {kind}, ptr {base}, <{count} x {short}> {steps(step, count, short)}")
        places = offset.text
        if step:
            places = self.text.do(f"add <{count} x i64> {places}, {steps(step, count)}")
        return self.text.do(f"getelementptr {kind}, ptr {base}, <{count} x i64> {places}")

    # -- loads ----------------------------------------------------------------------------------

    def load(self, load: Load, offset: Operand | None, otherwise: Operand | None) -> Operand:
        """Print a load, its computed parts given."""
        context, array = self.context, load.array
        missing = otherwise if otherwise is not None else Operand(_zero(array.dtype))
        condition, mask = context.holds(load.guard)
        if condition.text == "false" or not array.size:
            return missing
        alike = context.lanes is None or (not context.step(load.index) and (offset is None or offset.lanes == 1))
        if alike and mask is None:
            return self._load_one(load, offset, condition, missing)
        assert context.lanes
        count = context.lanes.count
        mask = context.join(context.lanes.mask, mask)
        row = context.step(load.index) == 1 and (offset is None or offset.lanes == 1)
        able = self.has_masks(array.dtype) if row else self.has_gathers(array.dtype)
        if condition.text != "true" and able:
            mask, condition = context.join(mask, context.spread_type(condition, "i1", count)), Operand("true")

        def produce() -> Operand:
            read = self._load_row if row and (able or not mask) else self._gather
            value = read(load, offset, mask)
            if not load.guard or (otherwise is None and able):
                return value
            other = context.spread(missing, array.dtype, count)
            return Operand(context.masked(mask, value.text, other, array.dtype), count)

        return self._choose(condition, produce, missing, array.dtype) if condition.text != "true" else produce()

    def _load_one(self, load: Load, offset: Operand | None, condition: Operand, missing: Operand) -> Operand:
        """One element; a false condition has element 0 read instead, and not used."""
        array, text = load.array, self.text
        address = self.address(array, load.index, offset)
        if condition.text != "true":
            address = text.do(f"select i1 {condition.text}, ptr {address}, ptr {self.pointers[array]}")
        kind = stored_type(array.dtype)
        value = self._once(f"load {kind}, ptr {address}, align {array.dtype.itemsize}", array, offset is None)
        value = self._widen(value, array.dtype, 1)
        if condition.text == "true":
            return Operand(value)
        if missing.lanes != 1:
            lanes = missing.lanes
            kind = vector(value_type(array.dtype), lanes)
            value = self.context.spread(Operand(value), array.dtype, lanes)
            return Operand(text.do(f"select i1 {condition.text}, {kind} {value}, {kind} {missing.text}"), lanes)
        kind = value_type(array.dtype)
        return Operand(text.do(f"select i1 {condition.text}, {kind} {value}, {kind} {missing.text}"))

    def _load_row(self, load: Load, offset: Operand | None, mask: str | None) -> Operand:
        assert self.context.lanes
        array, count = load.array, self.context.lanes.count
        kind = vector(stored_type(array.dtype), count)
        address = self.address(array, load.index, offset)
        if mask is None:
            value = self._once(f"load {kind}, ptr {address}, align {array.dtype.itemsize}", array, offset is None)
            return Operand(self._widen(value, array.dtype, count), count)
        name = f"llvm.masked.load.{mangled(stored_type(array.dtype), count)}.p0"
        self.context.declare(f"declare {kind} @{name}(ptr, i32, <{count} x i1>, {kind})")
        arguments = f"ptr {address}, i32 {array.dtype.itemsize}, <{count} x i1> {mask}, {kind} zeroinitializer"
        value = self._once(f"call {kind} @{name}({arguments})", array, offset is None)
        return Operand(self._widen(value, array.dtype, count), count)

    def _gather(self, load: Load, offset: Operand | None, mask: str | None) -> Operand:
        """Lanes from anywhere; where the processor has no such instruction, missing lanes read element 0."""
        assert self.context.lanes
        array, count = load.array, self.context.lanes.count
        kind = vector(stored_type(array.dtype), count)
        addresses = self.addresses(array, load.index, offset)
        if mask is not None and not self.has_gathers(array.dtype):
            pointers = f"<{count} x ptr>"
            home = self.context.spread_type(Operand(self.pointers[array]), "ptr", count)
            addresses = self.text.do(f"select <{count} x i1> {mask}, {pointers} {addresses}, {pointers} {home}")
            mask = None
        name = f"llvm.masked.gather.{mangled(stored_type(array.dtype), count)}.v{count}p0"
        self.context.declare(f"declare {kind} @{name}(<{count} x ptr>, i32, <{count} x i1>, {kind})")
        held = mask or spread("true", "i1", count)
        size = array.dtype.itemsize
        arguments = f"<{count} x ptr> {addresses}, i32 {size}, <{count} x i1> {held}, {kind} zeroinitializer"
        value = self._once(f"call {kind} @{name}({arguments})", array, offset is None)
        return Operand(self._widen(value, array.dtype, count), count)

    def _choose(
        self, condition: Operand, produce: Callable[[], Operand], missing: Operand, dtype: DType
    ) -> Operand:
        """The produced value where a condition holds, with a branch around it."""
        text = self.text
        there, after = text.fresh("there"), text.fresh("after")
        self.open(there, False, frozenset(), certain=False)
        value = produce()
        inner = self.close()
        kind = vector(value_type(dtype), value.lanes)
        other = self.context.spread(missing, dtype, value.lanes)
        before = text.scope.label
        text.put(f"br i1 {condition.text}, label %{there}, label %{after}")
        text.scope.lines += [f"{there}:", *inner.lines, f"  br label %{after}"]
        text.start(after)
        name = text.define()
        text.put(f"{name} = phi {kind} [ {value.text}, %{inner.label} ], [ {other}, %{before} ]")
        return Operand(name, value.lanes)

    def _once(self, instruction: str, array: Array, early: bool) -> str:
        """A load, moved before loops unless its address was computed: such a one may depend on an earlier check."""
        inside = self._inside(array) if early else self.text.level
        return self.text.do(instruction, inside, f";{self.epochs[array]}")

    def _widen(self, value: str, dtype: DType, lanes: int) -> str:
        """A stored number as one to compute with."""
        if dtype.is_bool:
            return self.text.do(f"icmp ne {vector('i8', lanes)} {value}, {'zeroinitializer' if lanes > 1 else '0'}")
        if dtype == float16:
            return widen_half(Number(self.context.emitter(lanes), value, uint16)).name
        return value

    # -- stores ---------------------------------------------------------------------------------

    def store(self, store: Store, value: Operand, offset: Operand | None, mask: str | None) -> None:
        """Print a store; `mask` is that of its guard, which the caller has tested where all lanes agree."""
        context, array = self.context, store.array
        lanes = context.lanes
        alike = lanes is None or (not context.step(store.index) and (offset is None or offset.lanes == 1))
        size = array.dtype.itemsize
        if alike and mask is None and value.lanes == 1:
            text = self._narrow(value.text, array.dtype, 1)
            address = self.address(array, store.index, offset)
            self.text.put(f"store {stored_type(array.dtype)} {text}, ptr {address}, align {size}")
            return self.change(array)
        assert lanes
        count = lanes.count
        kind, suffix = vector(stored_type(array.dtype), count), mangled(stored_type(array.dtype), count)
        text = self._narrow(context.spread(value, array.dtype, count), array.dtype, count)
        mask = context.join(lanes.mask, mask)
        if context.step(store.index) == 1 and (offset is None or offset.lanes == 1):
            address = self.address(array, store.index, offset)
            if mask is None:
                self.text.put(f"store {kind} {text}, ptr {address}, align {size}")
                return self.change(array)
            name, where = f"llvm.masked.store.{suffix}.p0", "ptr"
        else:
            address = self.addresses(array, store.index, offset)
            name, where = f"llvm.masked.scatter.{suffix}.v{count}p0", f"<{count} x ptr>"
        held = mask or spread("true", "i1", count)
        context.declare(f"declare void @{name}({kind}, {where}, i32, <{count} x i1>)")
        self.text.put(f"call void @{name}({kind} {text}, {where} {address}, i32 {size}, <{count} x i1> {held})")
        return self.change(array)

    def _narrow(self, value: str, dtype: DType, lanes: int) -> str:
        """A number as it is stored."""
        if dtype.is_bool:
            return self.text.do(f"zext {vector('i1', lanes)} {value} to {vector('i8', lanes)}")
        if dtype == float16:
            return narrow_half(Number(self.context.emitter(lanes), value, float32)).name
        return value

    # -- scopes ---------------------------------------------------------------------------------

    def open(self, label: str, loop: bool, changing: frozenset[Array], *, certain: bool) -> None:
        """Begin a scope of the text, and say what it does to arrays."""
        self.text.open(label, loop)
        self.stretches.append(Stretch(changing, certain))

    def close(self):
        self.stretches.pop()
        return self.text.close()

    # -- what the processor can -------------------------------------------------------------------

    def has_masks(self, dtype: DType) -> bool:
        """Whether lanes of this type can be loaded and stored under a mask."""
        return has_masks(self.context.machine.features, dtype)

    def has_gathers(self, dtype: DType) -> bool:
        features = self.context.machine.features.split(",")
        return dtype.itemsize >= 4 and ("+avx2" in features or "+avx512f" in features)


def has_masks(features: str, dtype: DType) -> bool:
    """Whether a machine with these features loads and stores lanes of this type under a mask."""
    flags = features.split(",")
    if dtype.itemsize >= 4:
        return "+avx" in flags or "+avx512f" in flags
    return "+avx512bw" in flags


def _zero(dtype: DType) -> str:
    return "false" if dtype.is_bool else "0x0000000000000000" if dtype.is_float else "0"
