"""Where the time of a call goes, step by step: how fast each was, what held it back, and the user's own line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.origins import Origin
from staticnet.runtime.ceilings import Ceilings, Limit
from staticnet.runtime.segments import Segment
from staticnet.runtime.times import Times


@dataclass(frozen=True)
class StepTime:
    """One instruction: median seconds, arithmetic operations, distinct bytes read and written.

    `op` is its title, such as `fused[conv2d add relu]`, `kind` what it counts as in groups. `limit` is the least that
    the machine could take with so many `threads`, None where its ceilings are not known.
    """

    step: int
    op: str
    seconds: float
    flops: int
    bytes: int
    shape: tuple[int, ...]
    origin: Origin | None
    kind: str = ""
    dtype: str = ""
    threads: int = 1
    is_native: bool = True
    limit: Limit | None = None

    @property
    def gflops(self) -> float:
        """1e9 operations a second."""
        return _rate(self.flops, self.seconds)

    @property
    def gbytes(self) -> float:
        """1e9 bytes a second."""
        return _rate(self.bytes, self.seconds)

    @property
    def bound(self) -> str:
        """'arithmetic' or 'memory', whichever takes longer at best; empty where that is not known."""
        return self.limit.bound if self.limit else ""

    @property
    def of_limit(self) -> float | None:
        """The part of what is possible that was reached: 1.0 is as fast as the machine can."""
        return self.limit.seconds / self.seconds if self.limit and self.seconds else None

    @property
    def module(self) -> str:
        """The path of the module that the step comes from; empty outside of modules."""
        return self.origin.module if self.origin else ""

    @property
    def line(self) -> str:
        """Where in the user's script, as `script.py:12`."""
        return self.origin.short if self.origin else ""


@dataclass(frozen=True)
class Group:
    """Steps that have something in common."""

    name: str
    entries: tuple[StepTime, ...]

    @property
    def seconds(self) -> float:
        return sum(entry.seconds for entry in self.entries)

    @property
    def gflops(self) -> float:
        return _rate(sum(entry.flops for entry in self.entries), self.seconds)

    @property
    def gbytes(self) -> float:
        return _rate(sum(entry.bytes for entry in self.entries), self.seconds)

    @property
    def of_limit(self) -> float | None:
        """As of a step; None unless it is known of all."""
        limits = [entry.limit.seconds for entry in self.entries if entry.limit]
        return sum(limits) / self.seconds if len(limits) == len(self.entries) and self.seconds else None

    @property
    def slowest(self) -> StepTime:
        return max(self.entries, key=lambda entry: entry.seconds)


@dataclass(frozen=True)
class Groups:
    """All steps of a profile in groups, the slowest first."""

    profile: Profile
    what: str
    groups: tuple[Group, ...]

    def text(self, rows: int = 20, width: int = 120) -> str:
        """The `rows` slowest groups as a table of lines that are no longer than `width`."""
        from staticnet.runtime.profile_table import groups_text

        return groups_text(self, rows, width)

    def __str__(self) -> str:
        return self.text()

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, name: str) -> Group:
        found = next((group for group in self.groups if group.name == name), None)
        if found is None:
            raise KeyError(f"{name!r}: the groups are {', '.join(group.name for group in self.groups)}")
        return found


#: what tells groups apart, and what they are called
_KEYS: dict[str, tuple[Callable[[StepTime], object], Callable[[StepTime], str]]] = {
    "module": (lambda entry: entry.module, lambda entry: entry.module or "(no module)"),
    "op": (lambda entry: entry.kind or entry.op, lambda entry: entry.kind or entry.op),
    "line": (
        lambda entry: entry.origin and (entry.origin.file, entry.origin.line),
        lambda entry: entry.line or "(no line)",
    ),
}


@dataclass(frozen=True)
class Profile:
    """The times of all instructions of one program.

    `overhead` is what a call takes beside its steps, to be made and for feeds and results; `calls` are the seconds of
    whole calls, `run` is one of them, whose time is the median.
    """

    name: str
    entries: tuple[StepTime, ...]
    overhead: float = 0.0
    calls: tuple[float, ...] = ()
    threads: int = 1
    ceilings: Ceilings | None = None
    segments: tuple[Segment, ...] = ()
    run: Times | None = None

    @property
    def seconds(self) -> float:
        """Time inside steps for one call."""
        return sum(entry.seconds for entry in self.entries)

    @property
    def in_python(self) -> tuple[StepTime, ...]:
        """The steps that run in Python, as their ops' own kernels."""
        return tuple(entry for entry in self.entries if not entry.is_native)

    def by(self, what: str) -> Groups:
        """The steps grouped by 'module', by 'op' (what it is at heart, whatever is fused to it) or by 'line'.

        Raises ArgumentError for anything else.
        """
        if what not in _KEYS:
            raise ArgumentError(f"a profile cannot be grouped by {what!r}; take 'module', 'op' or 'line'")
        key, name = _KEYS[what]
        found: dict[object, list[StepTime]] = {}
        for entry in self.entries:
            found.setdefault(key(entry), []).append(entry)
        groups = [Group(name(entries[0]), tuple(entries)) for entries in found.values()]
        return Groups(self, what, tuple(sorted(groups, key=lambda group: -group.seconds)))

    def text(self, rows: int = 20, width: int = 120) -> str:
        """The `rows` slowest steps as a table of lines that are no longer than `width`."""
        from staticnet.runtime.profile_table import profile_text

        return profile_text(self, rows, width)

    def to_chrome(self, path: str | PathLike[str]) -> None:
        """Write one run in the trace event format that chrome://tracing and ui.perfetto.dev read.

        Raises ArgumentError where there is none, or the file cannot be written.
        """
        from staticnet.runtime.chrome_trace import write_trace

        write_trace(self, path)

    def __str__(self) -> str:
        return self.text()

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[StepTime]:
        return iter(self.entries)

    def __getitem__(self, index: Any) -> Any:
        return self.entries[index]


def _rate(amount: int, seconds: float) -> float:
    return amount / seconds / 1e9 if seconds > 0 else 0.0
