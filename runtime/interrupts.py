"""Ctrl-C during a run that writes states: it is heard when the run has finished, so that no state is half written."""

from __future__ import annotations

# The bare functions: those of `signal` also make enums of numbers and handlers, which takes as long as a small run.
import _signal  # type: ignore[import-not-found]

_SIGNAL = int(_signal.SIGINT)
_PLAIN = _signal.default_int_handler
_heard: list[int] = []


def _hold(number: int, frame: object) -> None:
    _heard.append(number)


class undisturbed:
    """Hold KeyboardInterrupt back until the end of the block; an error of the block is then its context.

    Only Python's own handler in the main thread is replaced; other threads are never interrupted.
    """

    __slots__ = ("_is_holding",)

    def __enter__(self) -> None:
        self._is_holding = False
        if _signal.getsignal(_SIGNAL) is not _PLAIN:
            return
        _heard.clear()
        try:
            _signal.signal(_SIGNAL, _hold)
        except ValueError:  # not the main thread
            return
        self._is_holding = True

    def __exit__(self, *_: object) -> None:
        if not self._is_holding:
            return
        _signal.signal(_SIGNAL, _PLAIN)
        if _heard:
            raise KeyboardInterrupt
