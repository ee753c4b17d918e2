"""A profile as a trace that Chrome and Perfetto show: complete events of one run, with what is known of each step.

The format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

from staticnet.compiler.errors import ArgumentError
from staticnet.runtime.profile import Profile, StepTime

_PROCESS = 1
#: rows of the picture
_CALL, _MODULES = 1, 2


def write_trace(profile: Profile, path: str | PathLike[str]) -> None:
    """Write the trace of a profile; raises ArgumentError for one without a run, or a file that cannot be written."""
    text = json.dumps(trace(profile), indent=1)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise ArgumentError(f"cannot write {str(path)!r} ({error.strerror}); name another file") from error


def trace(profile: Profile) -> dict[str, Any]:
    """The trace as JSON's own types."""
    if profile.run is None:
        raise ArgumentError(f"the profile of {profile.name} has no run to show: make it with `profile` of what runs it")
    run = profile.run
    events: list[dict[str, Any]] = [
        _named("process_name", 0, profile.name),
        _named("thread_name", _CALL, "steps"),
        _named("thread_name", _MODULES, "modules"),
        _event(profile.name, "call", 0.0, run.finished, _CALL, {}),
        _event("feeds", "call", 0.0, run.ready, _CALL, {}),
    ]
    for entry, begin, end in zip(profile.entries, run.begins, run.ends, strict=True):
        place = "native" if entry.is_native else "python"
        events.append(_event(entry.op, place, begin, end, _CALL, _about(entry)))
    last = max(run.ends, default=run.ready)
    events.append(_event("results", "call", last, run.finished, _CALL, {}))
    events += _modules(profile)
    about = {"machine": profile.ceilings.machine if profile.ceilings else "", "threads": profile.threads}
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": about}


def _modules(profile: Profile) -> list[dict[str, Any]]:
    """Consecutive steps of one module as one event."""
    assert profile.run is not None
    events: list[dict[str, Any]] = []
    before = None
    for entry, begin, end in zip(profile.entries, profile.run.begins, profile.run.ends, strict=True):
        if entry.module and entry.module == before:
            events[-1]["dur"] = _microseconds(end) - events[-1]["ts"]
        elif entry.module:
            events.append(_event(entry.module, "module", begin, end, _MODULES, {}))
        before = entry.module
    return events


def _event(name: str, category: str, begin: float, end: float, row: int, about: dict[str, Any]) -> dict[str, Any]:
    start = _microseconds(begin)
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": start,
        "dur": max(round(_microseconds(end) - start, 4), 0.0),
        "pid": _PROCESS,
        "tid": row,
        "args": about,
    }


def _named(what: str, row: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": row, "args": {"name": name}}


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 4)


def _about(entry: StepTime) -> dict[str, Any]:
    """What is known of a step; rates are those of its median time."""
    about: dict[str, Any] = {
        "step": entry.step,
        "shape": list(entry.shape),
        "dtype": entry.dtype,
        "median us": _microseconds(entry.seconds),
        "GFLOP/s": round(entry.gflops, 3),
        "GB/s": round(entry.gbytes, 3),
        "threads": entry.threads,
    }
    if entry.of_limit is not None:
        about |= {"bound": entry.bound, "of limit": round(entry.of_limit, 4)}
    if entry.origin is not None:
        about |= {"module": entry.module, "line": str(entry.origin), "source": entry.origin.source}
    return about
