"""The executor: states written in place under their lock, bound programs borrowed from a pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staticnet.compiler.program import Program
from staticnet.runtime import changes
from staticnet.runtime.backend import Backend
from staticnet.runtime.bound import Bound
from staticnet.runtime.ceilings import Ceilings
from staticnet.runtime.interrupts import undisturbed
from staticnet.runtime.locks import StateLock
from staticnet.runtime.profile import Profile
from staticnet.runtime.segments import Segment, segments_of
from staticnet.runtime.state import State


class Executor:
    """Runs one program on one backend; several threads may call it.

    Each call borrows a bound copy of the program from a pool. A program that writes states runs alone
    among all that use them. Feeds are copied in and outputs out: neither is ever shared with a caller.
    """

    def __init__(self, program: Program, backend: Backend, states: Sequence[State]):
        self.program, self.backend, self.states = program, backend, tuple(states)
        self.constants = [backend.to_device(np.array(value)) for value in program.constants]
        self._bind = backend.binder(program)
        self._pool: list[Bound] = []
        self._since: object = None
        #: what bound programs rest on beside the program: where the states lie, and the backend's settings
        self._basis: tuple = ()
        self._lock = StateLock(self.states)
        self._guarded = self._lock.write if program.writes_state else self._lock.read
        self._inside = self._run_writing if program.writes_state else self._run
        slots = {*program.written, *(copy.state for copy in program.copies)}
        self._written = [self.states[slot] for slot in sorted(slots)]

    def __call__(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on checked feeds: arrays of the program's feed types, in order."""
        return self._guarded(self._inside, feeds)

    def _run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        bound = self._borrow()
        try:
            return bound.run(feeds)
        finally:
            self._give_back(bound)

    def _run_writing(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        bound = self._borrow()
        self._note_writes()
        try:
            if bound.is_atomic:
                return bound.run(feeds)
            with undisturbed():
                return bound.run(feeds)
        finally:
            self._give_back(bound)

    def _note_writes(self) -> None:
        content = object()
        for state in self._written:
            state.content = content

    def profile(self, feeds: Sequence[np.ndarray], repeats: int = 5) -> Profile:
        """The median of `repeats` runs by the clock; states end as after that many calls."""
        return self._guarded(self._timed, feeds, repeats, self.backend.ceilings())

    def _timed(self, feeds: Sequence[np.ndarray], repeats: int, ceilings: Ceilings | None) -> Profile:
        from staticnet.runtime.profiler import profile_of

        bound = self._borrow()
        self._note_writes()
        try:
            return profile_of(bound, [bound.run_timed(feeds) for _ in range(repeats)], ceilings)
        finally:
            self._give_back(bound)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """How the program is cut into native calls and what runs in Python."""
        bound = self._borrow()
        try:
            return segments_of(self.program, bound.runs_natively)
        finally:
            self._give_back(bound)

    def new_bound(self) -> Bound:
        """A fresh binding outside the pool: for runs that look inside."""
        return self._bind(self.program, self.backend, self.states, self.constants)

    def _borrow(self) -> Bound:
        if self._since is not changes.latest:
            self._look_again()
        try:
            return self._pool.pop()
        except IndexError:
            basis = self._basis
            bound = self.new_bound()
            bound.basis = basis
            return bound

    def _look_again(self) -> None:
        """Forget bound programs that rest on what has changed."""
        since = changes.latest
        basis = (*(state.version for state in self.states), self.backend.settings())
        if basis != self._basis:
            self._pool, self._basis = [], basis
        self._since = since

    def _give_back(self, bound: Bound) -> None:
        if bound.basis is self._basis:
            self._pool.append(bound)
