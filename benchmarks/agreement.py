"""Whether two sides compute the same: their results and what their calls leave behind, before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers import Side, Start

#: after these many calls states are compared; results are compared after each
CHECKED_CALLS = (1, 3)
#: largest difference of results, in the norm, relative to the result
RESULTS = 1e-4
#: largest difference of a state, in the norm, relative to how far it has moved; networks may have another
MOVES = 1e-3


@dataclass(frozen=True)
class Trace:
    """What a side's first calls gave: results of all, states after those in CHECKED_CALLS."""

    results: list[np.ndarray]
    states: list[dict[str, np.ndarray]]


def follow(side: Side, with_results: bool = True) -> Trace:
    """Take the first calls; without results where only what they leave behind counts."""
    results: list[np.ndarray] = []
    states: list[dict[str, np.ndarray]] = []
    for number in range(max(CHECKED_CALLS)):
        result = side.run(number)
        results.append(np.asarray(result).copy() if with_results else np.zeros(0))
        if number + 1 in CHECKED_CALLS:
            states.append({name: np.array(value) for name, value in side.states().items()})
    return Trace(results, states)


def difference(ours: Trace, theirs: Trace, start: Start, moves: float = MOVES) -> tuple[float, str]:
    """The largest relative difference, and what is wrong in words, empty where all is within the tolerances."""
    faults: list[str] = []
    every = [0.0]
    for number, (a, b) in enumerate(zip(ours.results, theirs.results, strict=True), 1):
        found = _apart(a, b, a)
        every.append(found)
        if not found <= RESULTS:
            faults.append(f"the result of call {number} differs by {found:.2g}, allowed is {RESULTS:g}")
    for calls, a_states, b_states in zip(CHECKED_CALLS, ours.states, theirs.states, strict=True):
        for name, found in _moves_apart(a_states, b_states, start).items():
            every.append(found)
            if not found <= moves:
                faults.append(f"{name} after {calls} calls differs by {found:.2g} of its move, allowed is {moves:g}")
    # NumPy's maximum, in which NaN is the largest of all.
    return float(np.max(every)), "; ".join(faults[:3])


def _moves_apart(ours: Mapping[str, Any], theirs: Mapping[str, Any], start: Start) -> dict[str, float]:
    """For each float state of ours how far the peer's is from it; infinite where the peer has none."""
    found = {}
    for name, a in ours.items():
        if a.dtype.kind != "f":
            continue
        b = theirs.get(name)
        found[name] = float("inf") if b is None else _apart(a, b, a - start[name])
    return found


def _apart(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> float:
    """The norm of a - b relative to that of `scale`; NaN where there is one in either, infinite for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    distance, size = (float(np.linalg.norm(array.ravel().astype(np.float64, copy=False))) for array in (a - b, scale))
    if not distance:
        return 0.0
    return distance / size if size else float("inf")
