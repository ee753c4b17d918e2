"""Settings that hold everywhere: the device, finite checks, threads and progress bars."""

from __future__ import annotations

import contextvars
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import _GeneratorContextManager, contextmanager
from typing import Any, Generic, NoReturn, TypeVar, overload

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.runtime import changes

Value = TypeVar("Value")

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")

#: what enclosing `using_config` blocks have changed; another mapping after each change, None outside of blocks
overriding: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("staticnet_config")


def _device(value: object) -> str:
    if isinstance(value, str) and _DEVICE.fullmatch(value):
        return value
    raise ValueError("'auto', 'cpu', 'cuda' or 'cuda:<number>'")


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("True or False")


def _switch_or_none(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ValueError("True, False or None")


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("a whole number of at least 1")


def _read_switch(text: str) -> object:
    return _WORDS.get(text.lower(), text)


def _read_switch_or_none(text: str) -> object:
    return None if text.lower() in ("none", "auto") else _read_switch(text)


def _read_count(text: str) -> object:
    return int(text) if text.isdecimal() else text


def _usual_threads() -> int:
    """As many as OMP_NUM_THREADS says, or one for each processor that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Setting(Generic[Value]):
    """One row of the configuration: what it means, its default, and what values it takes."""

    def __init__(
        self,
        meaning: str,
        default: Callable[[], Value],
        check: Callable[[object], Value],
        read: Callable[[str], object] = str,
    ):
        self.meaning, self.default, self.check, self.read = meaning, default, check, read

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.variable = f"STATICNET_{name.upper()}"

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[Value]: ...
    @overload
    def __get__(self, instance: Config, owner: type) -> Value: ...
    def __get__(self, instance: Config | None, owner: type) -> Setting[Value] | Value:
        if instance is None:
            return self
        value: Value = instance._find(self)[0]
        return value

    def __set__(self, instance: Config, value: Value) -> None:
        instance._assign(self.name, self.checked(value))

    def checked(self, value: object, source: str | None = None) -> Value:
        """`value` if this setting takes it; ArgumentError, naming `source`, if not."""
        try:
            return self.check(value)
        except ValueError as error:
            raise ArgumentError(f"{source or self.name} = {value!r}: it takes {error}") from None

    def initial(self) -> tuple[Value, str]:
        """The value outside any block before an assignment, and where it comes from."""
        text = os.environ.get(self.variable, "").strip()
        if not text:
            return self.default(), "default"
        return self.checked(self.read(text), self.variable), self.variable


class Config:
    """The settings, read and assigned as attributes.

    Each begins as its STATICNET_ environment variable, read when the setting is first used, or as
    its default. An assignment holds for the whole process; inside a `using_config` block it holds
    until the block ends. An unknown name or a value that a setting does not take raises
    ArgumentError.
    """

    device = Setting("where compiled functions run: 'auto', 'cpu', 'cuda' or 'cuda:<number>'", lambda: "cpu", _device)
    check_finite = Setting(
        "refuse NaN and infinity in what is fed and in the loss of a Trainer", lambda: False, _switch, _read_switch
    )
    num_threads = Setting("the most threads that programs on the CPU take", _usual_threads, _count, _read_count)
    progress = Setting[bool | None](
        "show progress bars; None shows them where stderr is a terminal",
        lambda: None,
        _switch_or_none,
        _read_switch_or_none,
    )

    _process: dict[str, tuple[Any, str]]

    def __init__(self) -> None:
        object.__setattr__(self, "_process", {})

    @boundary
    def __getattr__(self, name: str) -> NoReturn:
        # Python's own look-ups (copy, pickle, hasattr on dunders) need the ordinary error.
        if name.startswith("_"):
            raise AttributeError(name)
        raise _UnknownSetting(name)

    @boundary
    def __setattr__(self, name: str, value: object) -> None:
        self._setting(name)
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return [*settings(), "describe", "reset"]

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={self._find(row)[0]!r}' for name, row in settings().items())})"

    def describe(self) -> str:
        """A table of all settings, one per line: its value, where that comes from, and its meaning."""
        rows = []
        for name, setting in settings().items():
            value, source = self._find(setting)
            rows.append((name, repr(value), f"({source})", setting.meaning))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        )

    def reset(self) -> None:
        """Forget all assignments, so that the environment is read again; `using_config` blocks stay."""
        self._process.clear()
        changes.note()

    def _setting(self, name: str) -> Setting[Any]:
        found = settings().get(name)
        if found is None:
            raise _UnknownSetting(name)
        return found

    def _find(self, setting: Setting[Value]) -> tuple[Value, str]:
        overrides = overriding.get({})
        if setting.name in overrides:
            return overrides[setting.name], "using_config"
        if setting.name not in self._process:
            self._process[setting.name] = setting.initial()
        return self._process[setting.name]

    def _assign(self, name: str, value: object) -> None:
        overrides = overriding.get(None)
        if overrides is None:
            self._process[name] = (value, "assigned")
            changes.note()
        else:
            overriding.set({**overrides, name: value})


class _UnknownSetting(ArgumentError, AttributeError):
    """A name that is no setting; an AttributeError too, so that `hasattr` answers."""

    def __init__(self, name: str):
        near = difflib.get_close_matches(name, settings(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(settings())}"
        super().__init__(f"no setting is called {name!r}; {hint}")
        self.name = name


_UnknownSetting.__name__ = _UnknownSetting.__qualname__ = "ArgumentError"


def settings() -> dict[str, Setting[Any]]:
    """All settings by name, in the order of `Config`."""
    return {name: row for name, row in vars(Config).items() if isinstance(row, Setting)}


config = Config()


@boundary
def using_config(**values: Any) -> _GeneratorContextManager[Config]:
    """Change settings inside a `with` block or a decorated function, and put them back afterwards.

    They are put back when an exception leaves the block, too. The change is seen by this thread or
    asynchronous task and by tasks begun inside the block, not by other threads. All names and
    values are checked before any takes effect; ArgumentError if one is not fit.
    """
    return _overriding({name: config._setting(name).checked(value) for name, value in values.items()})


@contextmanager
def _overriding(checked: Mapping[str, Any]) -> Iterator[Config]:
    token = overriding.set({**overriding.get({}), **checked})
    try:
        yield config
    finally:
        overriding.reset(token)
