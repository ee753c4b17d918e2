"""Where in the user's own script, and in which module of the model, something was made."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_module_path: ContextVar[tuple[str, ...]] = ContextVar("staticnet_module_path", default=())


@dataclass(frozen=True)
class Origin:
    """One place in a user's script, with the path of the module that was being called there."""

    file: str
    line: int
    module: str = ""

    @property
    def source(self) -> str:
        """The text of the line, stripped; empty when the source cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def short(self) -> str:
        """`script.py:12`, the same on every machine."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where} in {self.module}" if self.module else where


def is_internal(module_name: str) -> bool:
    """Whether a module of this dotted name belongs to the framework itself."""
    return module_name == "staticnet" or module_name.startswith("staticnet.")


#: parts of the standard library that call back into a script on its behalf
_TRANSPARENT = frozenset({"contextlib", "functools", "threading", "concurrent.futures.thread"})


def is_transparent(module_name: str) -> bool:
    """Whether a module only passes calls on, so that its frames belong to whoever called it."""
    return module_name in _TRANSPARENT


def here() -> Origin | None:
    """The innermost frame outside the framework, or None when there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not is_internal(name) and not is_transparent(name) and not name.startswith("importlib"):
            return Origin(frame.f_code.co_filename, frame.f_lineno, ".".join(_module_path.get()))
        frame = frame.f_back  # type: ignore[assignment]
    return None


def module_path() -> str:
    """The dotted path of the module being called, empty outside any module."""
    return ".".join(_module_path.get())


@contextmanager
def inside_module(name: str) -> Iterator[None]:
    """Add one name to the module path of everything made inside the block."""
    token = _module_path.set((*_module_path.get(), name) if name else _module_path.get())
    try:
        yield
    finally:
        _module_path.reset(token)
