"""Every kind of error, one class per kind; each knows the user's own line."""

from __future__ import annotations

import os
import types

from staticnet.compiler import origins
from staticnet.compiler.origins import Origin


class StaticnetError(Exception):
    """Base of all errors raised on purpose.

    The message says what was wrong, with the values, and what to do. The user's own
    file and line are added: those of `origin` when given, else of the calling script.
    """

    def __init__(self, message: str, *, origin: Origin | None = None):
        self.origin = origin or origins.here()
        self.message = message
        super().__init__(message)

    def __str__(self) -> str:
        if self.origin is None:
            return self.message
        source = self.origin.source
        return f"{self.message}\n  at {self.origin}" + (f"\n     {source}" if source else "")


class ShapeError(StaticnetError, ValueError):
    """Shapes, ranks or axes that do not fit an operation."""


class DTypeError(StaticnetError, TypeError):
    """A dtype that an operation, a feed or an update does not take."""


class UndecidableSizeError(StaticnetError, ValueError):
    """A question about a symbolic size whose answer depends on its value."""


class ArgumentError(StaticnetError, ValueError):
    """An argument or option outside what a function takes."""


class TraceError(StaticnetError, TypeError):
    """Something that has no meaning on a symbolic value, such as `if tensor:`."""


class FeedError(StaticnetError, ValueError):
    """Inputs of a compiled call: missing, surplus, of another dtype or shape."""


class RunError(StaticnetError, ValueError):
    """A value met at run time that an operation cannot take, such as a label out of range."""


class GradientError(StaticnetError, ValueError):
    """A derivative that does not exist or was not asked for properly."""


class MemoryBudgetError(StaticnetError, MemoryError):
    """A memory budget that no plan keeps."""


class ExportError(StaticnetError, ValueError):
    """A graph, or a part of it, that cannot leave in the format asked for."""


class VerificationError(StaticnetError, AssertionError):
    """Two executions that should agree and do not."""


class DataError(StaticnetError, ValueError):
    """A malformed data file, or data that contradicts itself."""


class StateError(StaticnetError, ValueError):
    """A state dict or a weights file that does not fit, or is damaged."""


class DeviceError(StaticnetError, RuntimeError):
    """A device that is not there or cannot do what is asked."""


class MissingDependencyError(StaticnetError, ImportError):
    """An optional package or program that is needed and not installed."""


class HabitError(StaticnetError, AttributeError):
    """A habit of define-by-run frameworks that is written differently here."""


class CompilerError(StaticnetError, RuntimeError):
    """A graph, plan or program that breaks a rule of the compiler: our mistake, or a custom op's."""


def is_full_traceback() -> bool:
    """STATICNET_TRACEBACK=full: leave tracebacks as Python makes them."""
    return os.environ.get("STATICNET_TRACEBACK") == "full"


def trim(error: BaseException) -> BaseException:
    """Leave of the traceback only the user's own frames; the boundary that raises it again adds one line of ours.

    `STATICNET_TRACEBACK=full` keeps everything.
    """
    if is_full_traceback():
        return error
    entries = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    kept = []
    is_ours = False
    for e in entries:
        name = e.tb_frame.f_globals.get("__name__", "")
        is_ours = origins.is_internal(name) or (is_ours and origins.is_transparent(name))
        if not is_ours:
            kept.append(e)
    chain: types.TracebackType | None = None
    for e in reversed(kept):
        chain = types.TracebackType(chain, e.tb_frame, e.tb_lasti, e.tb_lineno)
    return error.with_traceback(chain)
