"""Readers and writers of state: calls that only read run together, a call that writes runs alone.

States that one program uses together come under one lock, so that a call takes a single lock however
many states it has. Nothing is locked but a domain that somebody waits for: who enters says so first and
looks then whether it may, so that of two who exclude each other at least one sees the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")

#: seconds; after these who waits looks again by itself, since Ctrl-C may have kept somebody from saying that it left
_PATIENCE = 0.05


class Domain:
    """A readers-writer lock, possibly merged into another's.

    Who is inside has its token, an object of its own, among `readers` or as the `writer`. It leaves with
    `readers.discard(token)` or `writer.clear()`, and then calls `wake()` if anybody is `waiting`. Those two
    are safe from Ctrl-C in a `finally` clause: it is heard before a function written in Python begins (so a
    context manager may never come to its `__exit__`), and only after a built-in one has ended.
    """

    def __init__(self) -> None:
        self.readers: set[object] = set()
        #: None -> token, while there is one; `setdefault` lets one of several in
        self.writer: dict[None, object] = {}
        self.parent: Domain | None = None
        self.waiting = 0
        self._changed = threading.Condition(threading.Lock())

    @property
    def is_held(self) -> bool:
        return bool(self.writer or self.readers)

    def enter(self, token: object, is_writer: bool) -> bool:
        """Come in, unless one must wait, or the domain is merged into another."""
        if not is_writer:
            self.readers.add(token)
            if not self.writer and self.parent is None:
                return True
        elif self.writer.setdefault(None, token) is token and not self.readers and self.parent is None:
            return True
        self.leave(token)
        return False

    def leave(self, token: object) -> None:
        """Take the token out, wherever it is."""
        self.readers.discard(token)
        if self.writer.get(None) is token:
            self.writer.clear()
        if self.waiting:
            self.wake()

    def wait(self, is_writer: bool = True) -> None:
        """Wait while one may not come in; until the domain is merged at the latest."""
        with self._changed:
            self.waiting += 1
            try:
                while self.parent is None and (self.writer or (is_writer and self.readers)):
                    self._changed.wait(_PATIENCE)
            finally:
                self.waiting -= 1

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()


_merging = threading.Lock()


class Guarded(Protocol):
    """What comes under a lock: a state, which remembers the lock it shares."""

    domain: Domain | None


class StateLock:
    """The one lock of all the states that a program uses."""

    def __init__(self, states: Sequence[Guarded]):
        self._domain = _joined(states)

    def read(self, run: Callable[..., Result], *args: Any) -> Result:
        """`run(*args)` while nobody writes; Ctrl-C never leaves the lock behind."""
        token = object()
        domain = self._enter(token, is_writer=False)
        try:
            return run(*args)
        finally:
            domain.readers.discard(token)
            if domain.waiting:
                domain.wake()

    def write(self, run: Callable[..., Result], *args: Any) -> Result:
        """`run(*args)` while nobody else reads or writes; Ctrl-C never leaves the lock behind."""
        token = object()
        domain = self._enter(token, is_writer=True)
        try:
            return run(*args)
        finally:
            domain.writer.clear()
            if domain.waiting:
                domain.wake()

    def _enter(self, token: object, is_writer: bool) -> Domain:
        """Come in when nobody writes, and for a writer nobody reads; gives the domain to leave."""
        domain = self._domain
        try:
            while not domain.enter(token, is_writer):
                domain.wait(is_writer)
                domain = self._domain = _root(domain)
        except BaseException:
            domain.leave(token)
            raise
        return domain


def _root(domain: Domain) -> Domain:
    while domain.parent is not None:
        domain = domain.parent
    return domain


def _joined(states: Sequence[Guarded]) -> Domain:
    """The one domain of some states, theirs merged into it; waits for runs, but keeps nobody else waiting."""
    while True:
        with _merging:
            domains = [_root(state.domain or Domain()) for state in states] or [Domain()]
            joint = next((domain for domain in domains if domain.is_held), domains[0])
            held = next((domain for domain in domains if not _merge(domain, joint)), None)
            if held is None:
                for state in states:
                    state.domain = joint
                return joint
        held.wait()


def _merge(domain: Domain, into: Domain) -> bool:
    """Let a domain stand for another from now on; False when somebody holds it."""
    if _root(domain) is into:
        return True
    token = object()
    if not domain.enter(token, is_writer=True):
        return False
    domain.parent = into
    domain.leave(token)
    return True
