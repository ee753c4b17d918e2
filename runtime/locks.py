"""Readers and writers of state: calls that only read run together, a call that writes runs alone.

States that one program uses together come under one lock, so that a call takes a single lock however
many states it has.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol


class Domain:
    """A readers-writer lock, possibly merged into another's."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.changed = threading.Condition(self.mutex)
        #: how many threads wait for a change
        self.waiting = 0
        self.readers = 0
        self.is_writing = False
        self.parent: Domain | None = None

    @property
    def is_held(self) -> bool:
        return self.is_writing or self.readers > 0

    def wait(self) -> None:
        """Wait for a change; the mutex is held before and after."""
        self.waiting += 1
        try:
            self.changed.wait()
        finally:
            self.waiting -= 1


_merging = threading.Lock()


class Guarded(Protocol):
    """What comes under a lock: a state, which remembers the lock it shares."""

    domain: Domain | None


class _Side:
    """The lock from the side of readers, or of writers: a block in which they may read or write.

    Any number of threads may be inside the same one; who is inside keeps the domain from being merged away.
    """

    __slots__ = ("_domain", "_is_writer")

    def __init__(self, domain: Domain, is_writer: bool):
        self._domain, self._is_writer = domain, is_writer

    def __enter__(self) -> None:
        domain, is_writer, is_inside = self._domain, self._is_writer, False
        try:
            while True:
                with domain.mutex:
                    while domain.parent is None and (domain.is_writing or (is_writer and domain.readers)):
                        domain.wait()
                    if domain.parent is None:
                        if is_writer:
                            domain.is_writing = True
                        else:
                            domain.readers += 1
                        is_inside = True
                        return
                domain = self._domain = _root(domain)
        except BaseException:  # Ctrl-C is heard when the mutex has been given back
            if is_inside:
                self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        domain = self._domain
        if domain.parent is not None:  # another thread has not yet taken the one that it was merged into
            domain = _root(domain)
        with domain.mutex:
            if self._is_writer:
                domain.is_writing = False
            else:
                domain.readers -= 1
            if domain.waiting:
                domain.changed.notify_all()


class StateLock:
    """The one lock of all the states that a program uses."""

    def __init__(self, states: Sequence[Guarded]):
        domain = _joined(states)
        self._reading, self._writing = _Side(domain, False), _Side(domain, True)

    def reading(self) -> _Side:
        """A block that waits until nobody writes."""
        return self._reading

    def writing(self) -> _Side:
        """A block that waits until nobody reads or writes."""
        return self._writing


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
        with held.mutex:
            while held.is_held and held.parent is None:
                held.wait()


def _merge(domain: Domain, into: Domain) -> bool:
    """Let a domain stand for another from now on; False when somebody holds it."""
    if _root(domain) is into:
        return True
    with domain.mutex:
        if domain.is_held:
            return False
        domain.parent = into
        domain.changed.notify_all()
        return True
