"""Programs as files: an object for a C compiler to link, or a shared library, and the header that goes with it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.errors import ArgumentError, CompilerError, ExportError, MissingDependencyError
from staticnet.compiler.flags import verify
from staticnet.compiler.program import Program
from staticnet.runtime.native import host
from staticnet.runtime.native.export_header import header_text
from staticnet.runtime.native.export_plan import make_plan
from staticnet.runtime.native.export_text import ModuleText, module_text

LIBRARIES = (".so", ".dylib")
#: of files that native code is written to
SUFFIXES = (".o", ".obj", *LIBRARIES)
#: code reaches its data over at most 2 GiB
_MOST_DATA = 3 << 29


def machine_for(cpu: str) -> Machine:
    """The processor that `cpu` names: 'native' for the one that programs here are compiled for, or a level.

    Raises ArgumentError for what is no level, MissingDependencyError without llvmlite.
    """
    try:
        return host.machine() if cpu == "native" else host.machine_of(cpu, "cpu")
    except ImportError as error:
        raise MissingDependencyError("native code needs llvmlite: pip install llvmlite") from error


def export_program(
    program: Program, states: Sequence[np.ndarray], machine: Machine, name: str
) -> tuple[bytes, str]:
    """The object file of a program compiled for `machine`, its states as given, and the text of its header.

    Raises ExportError for a program with steps that only Python can run, or with more data than an object can hold.
    """
    nbytes = sum(array.nbytes for array in (*program.constants, *states))
    if nbytes > _MOST_DATA:
        raise ExportError(f"{program.name} has {nbytes} bytes of weights and constants; at most {_MOST_DATA} fit")
    plan = make_plan(program, states, machine, name)
    return _object(module_text(plan), machine), header_text(plan)


def _object(given: ModuleText, machine: Machine) -> bytes:
    """The object file of a module, to be linked into programs and libraries alike."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(machine.triple).create_target_machine(
        cpu=machine.name, features=machine.features, opt=3, reloc="pic", codemodel="default"
    )
    try:
        module = llvm.parse_assembly(given.text, llvm.create_context())
        if verify():
            module.verify()
        content = bytearray(target.emit_object(module))
    except RuntimeError as error:
        raise CompilerError(f"LLVM does not take the text of an exported program: {error}") from error
    for mark, array in given.long.items():
        place = content.find(mark)
        assert place >= 0 and content.find(mark, place + 1) < 0
        content[place : place + len(array)] = array
    return bytes(content)


def link(content: bytes, path: Path, library: str) -> None:
    """Write the shared library of an object file to `path`; programs will look for it as `library`.

    Raises MissingDependencyError where there is no C compiler, ExportError when it fails.
    """
    compiler = _compiler()
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "program.o"
        given.write_bytes(content)
        command = [*compiler, *_sharing(library), "-o", str(path), str(given), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        except OSError as error:
            raise MissingDependencyError(f"the C compiler {command[0]} cannot be run: {error}") from error
    if done.returncode:
        raise ExportError(f"{shlex.join(command)} failed with {done.returncode}: {done.stderr.strip() or done.stdout}")


def _sharing(library: str) -> list[str]:
    if sys.platform == "darwin":
        return ["-dynamiclib", "-install_name", f"@rpath/{library}"]
    return ["-shared"]


def _compiler() -> list[str]:
    """The command of the C compiler: CC of the environment, or the one that is there."""
    if given := os.environ.get("CC", "").strip():
        return shlex.split(given)
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found is None:
        raise MissingDependencyError(
            "a shared library is made by a C compiler, and there is none (cc, gcc, clang; CC may name another): "
            "write an object instead, such as model.o, and link it where there is one"
        )
    return [found]


def check_suffix(path: Path) -> bool:
    """Whether a file of this name is a shared library, and not an object; ArgumentError for one that is neither."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ArgumentError(f"{str(path)!r} ends in {suffix or 'nothing'!r}: native code is written to {known}")
    return suffix in LIBRARIES
