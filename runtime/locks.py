"""Readers and writers of state: calls that only read run together, a call that writes runs alone.

States that one program uses together come under one lock, so that a call takes a single lock however
many states it has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Domain:
    """A readers-writer lock, possibly merged into another's."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.readers = 0
        self.is_writing = False
        self.parent: Domain | None = None

    @property
    def is_held(self) -> bool:
        return self.is_writing or self.readers > 0


_merging = threading.Lock()


class Guarded(Protocol):
    """What comes under a lock: a state, which remembers the lock it shares."""

    domain: Domain | None


class StateLock:
    """The one lock of all the states that a program uses."""

    def __init__(self, states: Sequence[Guarded]):
        self._domain = _joined(states)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Wait until nobody writes."""
        domain = self._enter(is_writer=False)
        try:
            yield
        finally:
            with domain.condition:
                domain.readers -= 1
                domain.condition.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait until nobody reads or writes."""
        domain = self._enter(is_writer=True)
        try:
            yield
        finally:
            with domain.condition:
                domain.is_writing = False
                domain.condition.notify_all()

    def _enter(self, is_writer: bool) -> Domain:
        while True:
            domain = _root(self._domain)
            with domain.condition:
                while domain.parent is None and (domain.is_writing or (is_writer and domain.readers)):
                    domain.condition.wait()
                if domain.parent is not None:
                    continue  # merged into another while we waited
                if is_writer:
                    domain.is_writing = True
                else:
                    domain.readers += 1
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
        with held.condition:
            while held.is_held and held.parent is None:
                held.condition.wait()


def _merge(domain: Domain, into: Domain) -> bool:
    """Let a domain stand for another from now on; False when somebody holds it."""
    if _root(domain) is into:
        return True
    with domain.condition:
        if domain.is_held:
            return False
        domain.parent = into
        domain.condition.notify_all()
        return True
