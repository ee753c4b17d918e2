"""An exported program as LLVM IR: one module of its kernels, its data, and the functions that the header declares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops.form import Kernel
from staticnet.compiler.codegen.machine import Machine
from staticnet.runtime.native.export_plan import ALIGNMENT, Call, Plan, Spot
from staticnet.runtime.native.system_text import arithmetic_text

_KERNEL = "kernel"
#: bytes from which an array is not printed: LLVM takes long to read it, and much memory
_LONG = 1 << 10
_HEAD = re.compile(r"^(?:define[^@\n]*|declare[^@\n]*)?@(?P<name>[\w.$]+)", re.MULTILINE)


@dataclass(frozen=True)
class ModuleText:
    """A module's text, in which long arrays are zeros after a mark; they are put into the object, in its place."""

    text: str
    #: what to put there, by the mark
    long: dict[bytes, bytes]


def module_text(plan: Plan) -> ModuleText:
    """The text of the module of a program."""
    module = _Module(plan)
    return ModuleText(module.text(), module.long)


class _Module:
    def __init__(self, plan: Plan):
        self.plan = plan
        self.kernels = Kernels(plan.machine)
        self.long: dict[bytes, bytes] = {}

    def text(self) -> str:
        plan = self.plan
        functions = [self.init(), self.run(), self.error(), self.bytes()]
        if plan.pointers:
            functions.append(self.prepare())
        parts = [
            f'target triple = "{plan.machine.triple}"\n',
            *self.data(),
            *self.kernels.texts(),
            arithmetic_text(plan.machine.triple),
            "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n",
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\n",
            *functions,
            self.kernels.attributes(),
        ]
        return "".join(parts)

    # -- data -----------------------------------------------------------------------------------

    def data(self) -> list[str]:
        """Constants, and the values that states begin with, unless they are zeros of the instance's own."""
        constants = enumerate(self.plan.program.constants)
        lines = [self.array(f"constant{number}", np.ascontiguousarray(value)) for number, value in constants]
        for member in self.plan.members:
            if member.is_pointer or not member.starts_at_zero:
                lines.append(self.array(f"state{member.slot}", member.initial))
        messages = self.plan.failures().items()
        return lines + [_data(f"message{step}", text.encode() + b"\0", 1) for step, text in messages]

    def array(self, name: str, array: np.ndarray) -> str:
        """An array as data, or a place for one that is long."""
        content = array.tobytes()
        if len(content) < _LONG or not array.reshape(-1).view(np.uint8).any():
            return _data(name, content)
        mark = hashlib.blake2b(name.encode(), digest_size=32, person=b"staticnet").digest()
        self.long[mark] = content
        zeros = f"[{len(content) - len(mark)} x i8]"
        kind, value = f"<{{ [{len(mark)} x i8], {zeros} }}>", f"<{{ {_bytes(mark)}, {zeros} zeroinitializer }}>"
        return f"@{name} = internal constant {kind} {value}, align {ALIGNMENT}\n"

    # -- functions ------------------------------------------------------------------------------

    def init(self) -> str:
        """Set the states, and the pointers to states."""
        code = _Code(self)
        plan = self.plan
        if plan.state_bytes:
            code.put(f"call void @llvm.memset.p0.i64(ptr align 8 %model, i8 0, i64 {plan.state_bytes}, i1 false)")
        for member in plan.members:
            place = code.address(Spot("model", 0, member.offset))
            if member.is_pointer:
                code.put(f"store ptr @state{member.slot}, ptr {place}, align 8")
            elif not member.starts_at_zero:
                given = f"ptr align 8 {place}, ptr align {ALIGNMENT} @state{member.slot}, i64 {member.initial.nbytes}"
                code.put(f"call void @llvm.memcpy.p0.p0.i64({given}, i1 false)")
        if plan.pointers:
            code.put(f"call void @{plan.name}_prepare(ptr %model)")
        code.put("ret void")
        return code.function("void", f"{plan.name}_init", ["ptr %model"])

    def prepare(self) -> str:
        """Do the work that outlasts a run."""
        code = _Code(self)
        code.begin()
        code.calls(self.plan.preparation)
        code.end()
        code.put("ret void")
        return code.function("void", f"{self.plan.name}_prepare", ["ptr %model"])

    def run(self) -> str:
        """All kernels in order, then the outputs, then the states that were not written in place."""
        plan, code = self.plan, _Code(self)
        code.begin()
        code.calls(plan.calls)
        for number, calls in enumerate(plan.giving):
            code.put(f"%wanted{number} = icmp ne ptr %output{number}, null")
            code.put(f"br i1 %wanted{number}, label %give{number}, label %given{number}")
            code.label(f"give{number}")
            code.calls(calls)
            code.put(f"br label %given{number}")
            code.label(f"given{number}")
        code.calls(plan.copies)
        code.put("br label %done")
        last = code.block
        code.label("done")
        ends = ", ".join(f"[ {result}, %{block} ]" for result, block in [("0", last), *code.failing])
        code.put(f"%result = phi i32 {ends}")
        code.end()
        code.put("ret i32 %result")
        feeds = [f"ptr %feed{number}" for number in range(len(plan.feeds))]
        outputs = [f"ptr %output{number}" for number in range(len(plan.outputs))]
        return code.function("i32", f"{plan.name}_run", ["ptr %model", *feeds, *outputs])

    def error(self) -> str:
        """The text that stands for a result of the run."""
        code, steps = _Code(self), self.plan.failures()
        cases = " ".join(f"i32 {step}, label %step{step}" for step in steps)
        code.put(f"switch i32 %code, label %unknown [ i32 0, label %fine {cases} ]")
        for label, name in [("fine", "fine"), ("unknown", "unknown"), *((f"step{n}", f"message{n}") for n in steps)]:
            code.label(label)
            code.put(f"ret ptr @{name}")
        texts = _data("fine", b"no error\0", 1) + _data("unknown", b"no such error\0", 1)
        return texts + code.function("ptr", f"{self.plan.name}_error", ["i32 %code"])

    def bytes(self) -> str:
        """The size of an instance."""
        return f"define i64 @{self.plan.name}_bytes() #0 {{\n  ret i64 {self.plan.nbytes}\n}}\n"


class _Code:
    """The body of one function."""

    def __init__(self, module: _Module):
        self.module = module
        self.lines: list[str] = []
        self.count = 0
        self.block = "entry"
        #: (code, block) of every way out
        self.failing: list[tuple[str, str]] = []

    def function(self, result: str, name: str, parameters: Sequence[str]) -> str:
        header = f"define {result} @{name}({', '.join(parameters)}) #0 {{"
        return "\n".join([header, "entry:", *self.lines, "}"]) + "\n"

    def put(self, line: str) -> None:
        self.lines.append(f"  {line}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def new(self, text: str) -> str:
        """A new name for what an instruction gives."""
        self.count += 1
        self.put(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def begin(self) -> None:
        """The arithmetic that all kernels are made for."""
        self.put("%arithmetic = call i64 @usual_arithmetic()")

    def end(self) -> None:
        """The caller's arithmetic."""
        self.put("call void @restore_arithmetic(i64 %arithmetic)")

    def address(self, spot: Spot) -> str:
        base = {"model": "%model", "constant": f"@constant{spot.number}"}.get(spot.base)
        if spot.base == "state":
            member = next(each for each in self.module.plan.pointers if each.slot == spot.number)
            base = self.new(f"load ptr, ptr {self.address(Spot('model', 0, member.offset))}, align 8")
        base = base or f"%{spot.base}{spot.number}"
        return self.new(f"getelementptr i8, ptr {base}, i64 {spot.offset}") if spot.offset else base

    def calls(self, calls: Sequence[Call]) -> None:
        for call in calls:
            arguments = [f"ptr {self.address(spot)}" for spot in call.spots]
            given = ", ".join([*arguments, "i64 0", f"i64 {call.kernel.loop.extent}"])
            result = self.new(f"call i32 @{self.module.kernels.symbol(call.kernel)}({given})")
            if call.can_fail:
                fails = self.new(f"icmp ne i32 {result}, 0")
                self.failing.append((str(call.step), self.block))
                following = f"after{self.count}"
                self.put(f"br i1 {fails}, label %done, label %{following}")
                self.label(following)


def _data(name: str, content: bytes, alignment: int = ALIGNMENT) -> str:
    content = content or b"\0"
    return f"@{name} = internal constant {_bytes(content)}, align {alignment}\n"


def _bytes(content: bytes) -> str:
    """Bytes as a constant with its type."""
    kind = f"[{len(content)} x i8]"
    if not any(content):
        return f"{kind} zeroinitializer"
    escaped = "".join(f"\\{byte:02x}" for byte in content)
    return f'{kind} c"{escaped}"'


# -- kernels ------------------------------------------------------------------------------------


class Kernels:
    """Kernels of one module: those with one text are one function, and so are the functions that they call."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self._symbols: dict[int, str] = {}
        self._by_text: dict[str, str] = {}
        self._functions: list[str] = []
        #: what stands beside kernels, by name
        self._others: dict[str, str] = {}
        self._attributes = ""
        self._kept: list[Kernel] = []  # so that no two have one identity

    def symbol(self, kernel: Kernel) -> str:
        """The name of a kernel's function, printed unless it is there."""
        found = self._symbols.get(id(kernel))
        if found is None:
            self._kept.append(kernel)
            text = print_kernel(kernel, self.machine, _KERNEL)
            found = self._by_text.get(text)
            if found is None:
                found = self._by_text[text] = f"{_KERNEL}_{len(self._by_text)}"
                self._add(text, found)
            self._symbols[id(kernel)] = found
        return found

    def texts(self) -> list[str]:
        return [*self._others.values(), *self._functions]

    def attributes(self) -> str:
        """The attributes of all functions, as the printer gives them; alike in all kernels."""
        return self._attributes or self._printed_nothing()

    def _printed_nothing(self) -> str:
        features = f' "target-features"="{self.machine.features}"' if self.machine.features else ""
        return f'attributes #0 = {{ nounwind "target-cpu"="{self.machine.name}"{features} }}\n'

    def _add(self, text: str, symbol: str) -> None:
        own, others = None, {}
        for item in _items(text):
            if item.startswith("attributes #0"):
                assert self._attributes in ("", item), (self._attributes, item)
                self._attributes = item
                continue
            match = _HEAD.match(item)
            assert match is not None, item
            if match["name"] == _KERNEL:
                own = item
            else:
                others[match["name"]] = item
        assert own is not None
        own = own.replace(f"@{_KERNEL}(", f"@{symbol}(", 1).replace("define ", "define internal ", 1)
        if any(self._others.get(name, item) != item for name, item in others.items()):
            own, others = _renamed(own, others, symbol)
        self._functions.append(own)
        self._others.update(others)


def _items(text: str) -> list[str]:
    """The functions, declarations and attributes of a module, but not its triple."""
    found: list[str] = []
    is_open = False
    for line in text.splitlines(keepends=True):
        if line.startswith("target triple") or not line.strip():
            continue
        if is_open:
            found[-1] += line
        else:
            found.append(line)
        is_open = line.rstrip() != "}" if is_open else line.startswith("define")
    return found


def _renamed(own: str, others: dict[str, str], symbol: str) -> tuple[str, dict[str, str]]:
    """A kernel whose helpers are called as those of another kernel but are not the same: all get names of their own."""
    names = [name for name, item in others.items() if not item.startswith("declare")]
    pattern = re.compile("|".join(rf"@{re.escape(name)}(?![\w.$])" for name in sorted(names, key=len, reverse=True)))

    def rename(text: str) -> str:
        return pattern.sub(lambda match: f"{match[0]}.{symbol}", text)

    kept = {name: item for name, item in others.items() if name not in names}
    return rename(own), kept | {f"{name}.{symbol}": rename(others[name]) for name in names}
