"""From LLVM IR text to addresses of functions: looked up in memory, then on disk, else compiled, several at a time.

Texts are taken as they are: no pass of LLVM's middle end runs, only its code generator. The time that takes grows with
the square of the longest basic block, so printers keep those under a few thousand instructions.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.flags import verify
from staticnet.runtime.native import cache
from staticnet.runtime.native.host import usable_cores

#: bytes of text below which it does not pay to start another thread
_TEXT_PER_THREAD = 8 << 10


@dataclass
class Statistics:
    """Functions compiled, found on disk and found in memory since the process began, and seconds spent in `load`."""

    compiled: int = 0
    from_disk: int = 0
    from_memory: int = 0
    seconds: float = 0.0


_statistics = Statistics()
# Held over a fork too, so that a child never inherits LLVM in the middle of its work.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def statistics() -> Statistics:
    """What was compiled and what was found until now."""
    with _lock:
        return replace(_statistics)


def load(functions: Sequence[tuple[str, str]], machine: Machine) -> list[int]:
    """Addresses of functions, each given by its symbol and the LLVM IR text of the module that defines it.

    A symbol stands for one text in the whole process, so it should hold a digest of it. Functions stay loaded to the
    end of the process. Raises CompilerError for a text that LLVM refuses, that does not define its symbol, whose
    symbol stands for another text, or that needs a symbol which no library has.
    """
    with _lock:
        started = time.perf_counter()
        try:
            linker = _linker(machine)
            missing: dict[str, str] = {}
            for symbol, text in functions:
                if not linker.has(symbol, text) and missing.setdefault(symbol, text) != text:
                    raise _ambiguous(symbol)
            _statistics.from_memory += len({symbol for symbol, _ in functions}) - len(missing)
            if missing:
                linker.link(missing, _objects(missing, machine))
            return [linker.addresses[symbol] for symbol, _ in functions]
        finally:
            _statistics.seconds += time.perf_counter() - started


def recall(objects: Mapping[str, str], machine: Machine) -> dict[str, int] | None:
    """Addresses of functions by symbol, given the digests of their objects; None unless all are there already."""
    with _lock:
        started = time.perf_counter()
        try:
            linker, store = _linker(machine), cache.configured()
            missing = {symbol: digest for symbol, digest in objects.items() if symbol not in linker.addresses}
            kept = store.read(missing.values()) if store and missing else {}
            if len(kept) < len(set(missing.values())):
                return None
            if missing:
                linker.place({symbol: kept[digest] for symbol, digest in missing.items()})
                _digests.update(missing)
            _statistics.from_memory += len(objects) - len(missing)
            _statistics.from_disk += len(missing)
            return {symbol: linker.addresses[symbol] for symbol in objects}
        finally:
            _statistics.seconds += time.perf_counter() - started


def digests(symbols: Iterable[str]) -> dict[str, str] | None:
    """What the objects of some functions are filed under; None where one was not filed."""
    with _lock:
        found = {symbol: _digests.get(symbol) for symbol in symbols}
    return None if None in found.values() else found  # type: ignore[return-value]


#: symbol -> what its object is filed under on disk
_digests: dict[str, str] = {}

# -- objects ------------------------------------------------------------------------------------


def _objects(texts: dict[str, str], machine: Machine) -> dict[str, bytes]:
    """The objects of some texts by symbol, from disk or compiled now."""
    store = cache.configured()
    digests = {symbol: cache.digest(text, machine) for symbol, text in texts.items()} if store else {}
    kept = store.read(digests.values()) if store else {}
    objects = {symbol: kept[name] for symbol, name in digests.items() if name in kept}
    missing = {symbol: text for symbol, text in texts.items() if symbol not in objects}
    compiled = _compiled(missing, machine)
    _digests.update(digests)
    if store and compiled:
        store.write({digests[symbol]: data for symbol, data in compiled.items()})
    _statistics.from_disk += len(objects)
    _statistics.compiled += len(compiled)
    return objects | compiled


def _compiled(texts: dict[str, str], machine: Machine) -> dict[str, bytes]:
    """Objects by symbol, compiled by as many threads as pay; the longest texts first."""
    order = sorted(texts, key=lambda symbol: -len(texts[symbol]))
    threads = min(len(order), usable_cores(), 1 + sum(map(len, texts.values())) // _TEXT_PER_THREAD)
    if threads <= 1:
        return {symbol: compile_object(symbol, texts[symbol], machine) for symbol in order}
    with ThreadPoolExecutor(threads) as pool:
        objects = pool.map(lambda symbol: compile_object(symbol, texts[symbol], machine), order)
        return dict(zip(order, objects, strict=True))


def compile_object(symbol: str, text: str, machine: Machine) -> bytes:
    """The object file of one module's LLVM IR; several threads may compile at once.

    Raises CompilerError for text that LLVM refuses.
    """
    return _compile(symbol, text, machine, is_object=True)


def assembly(symbol: str, text: str, machine: Machine) -> str:
    """The assembly of one module's LLVM IR; raises CompilerError for text that LLVM refuses."""
    return _compile(symbol, text, machine, is_object=False).decode()


def _compile(symbol: str, text: str, machine: Machine, *, is_object: bool) -> bytes:
    import llvmlite.binding as llvm
    from llvmlite.binding import ffi

    library = _library()
    with llvm.create_context() as context, ffi.OutputString() as fault, _target_machine(machine) as target:
        module = llvm.ModuleRef(library.LLVMPY_ParseAssembly(context, text.encode(), fault), context)
        with module:
            if fault:
                raise CompilerError(f"LLVM does not take the text of {symbol}: {fault}")
            if verify():
                _verify(symbol, module, library)
            buffer = library.LLVMPY_TargetMachineEmitToMemory(target, module, int(is_object), fault)
            if not buffer:
                raise CompilerError(f"LLVM cannot compile {symbol}: {fault}")
        try:
            return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer))
        finally:
            ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _verify(symbol: str, module: Any, library: Any) -> None:
    from llvmlite.binding import ffi

    with ffi.OutputString() as fault:
        if library.LLVMPY_VerifyModule(module, fault):
            raise CompilerError(f"the text of {symbol} is not sound: {fault}")


def _library() -> Any:
    """LLVM's functions without the one lock that llvmlite puts round them all.

    LLVM itself lets threads work side by side as long as each has its own context, module and target machine,
    as `compile_object` makes them. Where llvmlite keeps its library elsewhere, the functions with the lock.
    """
    from llvmlite.binding import ffi

    library = getattr(ffi.lib, "_lib", None)
    return library if isinstance(library, ctypes.CDLL) else ffi.lib


def _target_machine(machine: Machine) -> Any:
    import llvmlite.binding as llvm

    _prepare()
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(cpu=machine.name, features=machine.features, opt=3, codemodel="jitdefault")


#: libraries whose functions kernels and driver call, beside what is loaded anyway
_LIBRARIES = {"linux": ("libm.so.6",), "win32": ("ucrtbase.dll", "kernelbase.dll")}


@functools.cache
def _prepare() -> None:
    """Once: LLVM's code generator for this processor, and the C library's mathematics."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name in _LIBRARIES.get(sys.platform, ()):
        with contextlib.suppress(RuntimeError):
            llvm.load_library_permanently(name)
    if llvm.address_of_symbol("pow") is None:
        raise CompilerError("the C library's mathematics cannot be found; set STATICNET_NATIVE=0")


# -- linking ------------------------------------------------------------------------------------

_DECLARED = re.compile(r'^declare [^\n]*?@"?([\w.$]+)"?\(', re.MULTILINE)


class _Linker:
    """Places objects in memory, for one machine."""

    def __init__(self, machine: Machine):
        import llvmlite.binding as llvm

        self.texts: dict[str, str] = {}
        self.addresses: dict[str, int] = {}
        # The engine owns its target machine, and an empty module.
        target = _target_machine(machine)
        module = llvm.parse_assembly("", llvm.create_context())
        module.triple = target.triple
        self._engine = llvm.create_mcjit_compiler(module, target)

    def has(self, symbol: str, text: str) -> bool:
        """Whether a symbol stands for this text already."""
        known = self.texts.get(symbol, text)
        if known != text:
            raise _ambiguous(symbol)
        return symbol in self.addresses

    def link(self, texts: dict[str, str], objects: dict[str, bytes]) -> None:
        """Load objects and note the addresses of their symbols, all at once: they share pages then."""
        for symbol, text in texts.items():
            _check_symbols(symbol, text)
        self.place(objects)
        self.texts |= texts

    def place(self, objects: Mapping[str, bytes]) -> None:
        """Load objects whose symbols were checked when they were compiled."""
        import llvmlite.binding as llvm

        for data in objects.values():
            self._engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(data))
        self._engine.finalize_object()
        addresses = {symbol: self._engine.get_function_address(symbol) for symbol in objects}
        if lost := [symbol for symbol, address in addresses.items() if not address]:
            raise CompilerError(f"not found after loading: {', '.join(lost)}; give them external linkage")
        self.addresses |= addresses


def _ambiguous(symbol: str) -> CompilerError:
    return CompilerError(f"the symbol {symbol} stands for two different texts; put a digest of the text into it")


def _check_symbols(symbol: str, text: str) -> None:
    """Raise CompilerError for what would stop LLVM, and with it the process: symbols that nobody defines."""
    import llvmlite.binding as llvm

    if not re.search(rf'^define (?!internal|private)[^\n]*@"?{re.escape(symbol)}"?\(', text, re.MULTILINE):
        raise CompilerError(f"the text of {symbol} does not define it")
    for name in _DECLARED.findall(text):
        if not name.startswith("llvm.") and llvm.address_of_symbol(name) is None:
            raise CompilerError(f"{symbol} calls {name}, which no library that is loaded has")


@functools.cache
def _linker(machine: Machine) -> _Linker:
    return _Linker(machine)
