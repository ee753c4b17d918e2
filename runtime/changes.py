"""The latest change: one token for all that a remembered call rests on beside its arguments.

Modules, parameters, settings and states say when they change. Who remembers something that follows from
them keeps the token that was the latest before it looked, and looks again when there is another.
"""

from __future__ import annotations

#: compared by identity; each change brings a new one
latest = object()


def note() -> None:
    """Say that something has changed: to be called when it has, never before."""
    global latest
    latest = object()
