"""Profiles as aligned tables for people, and the few lines above them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from staticnet.runtime.profile import Group, Groups, Profile, StepTime
from staticnet.runtime.segments import say

SOURCE = "module, line"
#: the least that is left of a text that is cut off, and a length to which it may keep the room it wants
_LEAST, _LONG_TEXT = 12, 40
#: seconds from which a whole profile is told in milliseconds
_LONG = 0.01


class Column(NamedTuple):
    """A heading and cells; text stands left, numbers right."""

    title: str
    cells: Sequence[str]
    is_number: bool = True

    @property
    def width(self) -> int:
        return max(map(len, [self.title, *self.cells]))


def profile_text(profile: Profile, rows: int, width: int) -> str:
    """The head, the slowest steps, the rest as one line, and the total."""
    ordered = sorted(profile.entries, key=lambda entry: -entry.seconds)
    shown, rest = ordered[:rows], ordered[rows:]
    lines = [*_head(profile), ""]
    if not profile.entries:
        return "\n".join([*_head(profile), "no steps: results are feeds, states and constants"])
    total = Group("total", profile.entries)
    sums = [*([Group(f"{len(rest)} more", tuple(rest))] if rest else []), total]
    unit = _Unit(profile.seconds)
    is_mixed = any(entry.is_native for entry in profile.entries)
    limits = [_limit(entry, is_mixed) for entry in shown]
    columns = [
        Column("step", [str(entry.step) for entry in shown] + [""] * len(sums)),
        Column("op", [entry.op for entry in shown] + [each.name for each in sums], False),
        *_figures([*shown, *sums], profile.seconds, unit),
        *([Column("limit", limits + [_percent(each.of_limit) for each in sums], False)] if any(limits) else []),
        Column("result", ["x".join(map(str, entry.shape)) or "scalar" for entry in shown] + [""] * len(sums), False),
        Column(SOURCE, [_source(entry) for entry in shown] + [""] * len(sums), False),
    ]
    return "\n".join(lines + _table(_fitted(columns, width, SOURCE, "op")))


def groups_text(groups: Groups, rows: int, width: int) -> str:
    """The head, the slowest groups, the rest as one line, and the total."""
    profile = groups.profile
    shown, rest = groups.groups[:rows], groups.groups[rows:]
    sums = [Group("total", profile.entries)] if profile.entries else []
    if rest:
        sums.insert(0, Group(f"{len(rest)} more", tuple(entry for group in rest for entry in group.entries)))
    every = [*shown, *sums]
    columns = [
        Column(groups.what, [group.name for group in every], False),
        Column("steps", [str(len(group.entries)) for group in every]),
        *_figures(every, profile.seconds, _Unit(profile.seconds)),
        Column("of limit", [_percent(group.of_limit) for group in every]),
        Column("slowest step", [f"{each.slowest.step} {each.slowest.op}" for each in shown] + [""] * len(sums), False),
    ]
    fitted = _fitted(columns, width, groups.what, "slowest step")
    return "\n".join([*_head(profile), "", *_table(fitted)])


# -- the head -----------------------------------------------------------------------------------


def _head(profile: Profile) -> list[str]:
    unit = _Unit(profile.seconds)
    count, calls = len(profile.entries), len(profile.calls)
    runs = f", median of {calls} calls" if calls > 1 else ""
    lines = [f"profile of {profile.name}: {unit.long(profile.seconds)} in {count} step{'s' * (count != 1)}{runs}"]
    if profile.calls:
        whole = f"{unit.short(min(profile.calls))} to {unit.long(max(profile.calls))}"
        beside = f"beside its steps a call takes {unit.long(profile.overhead)}, whole ones took {whole}"
        lines.append(f"  {say(profile.segments)}; {beside}")
    if profile.ceilings:
        threads = f"{profile.threads} thread{'s' * (profile.threads != 1)}"
        lines.append(f"  {profile.ceilings.machine}; up to {threads}; at most")
        lines += [f"    {line}" for line in str(profile.ceilings).splitlines()]
    return lines


# -- cells --------------------------------------------------------------------------------------


class _Unit:
    """Milliseconds where a whole takes many of them, else microseconds."""

    def __init__(self, seconds: float):
        self.name, self.factor, self.digits = ("ms", 1e3, 3) if seconds >= _LONG else ("us", 1e6, 1)

    def short(self, seconds: float) -> str:
        return f"{seconds * self.factor:.{self.digits}f}"

    def long(self, seconds: float) -> str:
        return f"{self.short(seconds)} {self.name}"


def _figures(items: Sequence[StepTime | Group], total: float, unit: _Unit) -> list[Column]:
    """What steps and groups have in common."""
    return [
        Column(unit.name, [unit.short(item.seconds) for item in items]),
        Column("share", [f"{item.seconds / total if total else 0.0:.1%}" for item in items]),
        Column("GFLOP/s", [f"{item.gflops:.1f}" for item in items]),
        Column("GB/s", [f"{item.gbytes:.1f}" for item in items]),
    ]


def _limit(entry: StepTime, is_mixed: bool) -> str:
    """How much of what is possible was reached, and what sets the limit."""
    if is_mixed and not entry.is_native:
        return "in Python"
    return f"{_percent(entry.of_limit):>4} {entry.bound}".rstrip()


def _percent(part: float | None) -> str:
    return "" if part is None else f"{part:.0%}"


def _source(entry: StepTime) -> str:
    return f"{entry.module} {entry.line}".strip()


# -- layout -------------------------------------------------------------------------------------


def _fitted(columns: Sequence[Column], width: int, first: str, other: str) -> list[Column]:
    """Columns in lines no longer than `width`: texts in two of them are cut off, those in `first` only when long."""
    wanted = {column.title: column.width for column in columns}
    spare = width - sum(_gap(column) + column.width for column in columns) + wanted[first] + wanted[other]
    room = {first: max(_LEAST, min(wanted[first], _LONG_TEXT, spare - _LONG_TEXT // 2))}
    room[other] = max(_LEAST, min(wanted[other], spare - room[first]))
    room[first] = max(room[first], min(wanted[first], spare - room[other]))
    return [
        column._replace(cells=[_cut(cell, room.get(column.title, len(cell)), column.title) for cell in column.cells])
        for column in columns
    ]


def _cut(text: str, width: int, title: str) -> str:
    """Text in so many letters: of sources the end is kept, of titles the closing bracket."""
    if len(text) <= width:
        return text
    if title == SOURCE:
        return "..." + text[len(text) - width + 3 :]
    tail = "...]" if text.endswith("]") else "..."
    return text[: width - len(tail)] + tail


def _gap(column: Column) -> int:
    return 1 if column.is_number else 2


def _table(columns: Sequence[Column]) -> list[str]:
    lines = []
    for cells in zip(*([column.title, *column.cells] for column in columns), strict=True):
        line = ""
        for column, cell in zip(columns, cells, strict=True):
            line += " " * _gap(column) + (cell.rjust(column.width) if column.is_number else cell.ljust(column.width))
        lines.append(line.rstrip())
    return lines
