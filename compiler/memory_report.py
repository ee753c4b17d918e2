"""What a memory plan costs, in numbers that programs can read and a table that people can."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TimelineEntry:
    """One step: the bytes of the arena that are live while it runs."""

    step: int
    label: str
    live_bytes: int
    result_bytes: int


@dataclass(frozen=True)
class MemoryReport:
    """Planned memory of one program, in bytes.

    `lower_bound_bytes` is the largest sum of buffers that are live at one time under the schedule: no
    plan can need less. `naive_bytes` gives every computed value a buffer of its own. `scratch_bytes` is
    workspace inside kernels, one region for all. Feeds, states and constants are counted apart.
    """

    arena_bytes: int
    lower_bound_bytes: int
    naive_bytes: int
    scratch_bytes: int
    feed_bytes: int
    state_bytes: int
    constant_bytes: int
    views: int
    in_place: int
    buffers: int
    timeline: tuple[TimelineEntry, ...]
    #: values computed again because a budget left no room to keep them
    recomputed: int = 0

    @property
    def working_bytes(self) -> int:
        """What a memory budget bounds: arena and scratch."""
        return self.arena_bytes + self.scratch_bytes

    @property
    def total_bytes(self) -> int:
        """All that one call holds: arena, scratch, feeds, states and constants."""
        return self.arena_bytes + self.scratch_bytes + self.feed_bytes + self.state_bytes + self.constant_bytes

    @property
    def peak(self) -> TimelineEntry | None:
        """The step at which most is live."""
        return max(self.timeline, key=lambda entry: entry.live_bytes, default=None)

    def text(self, rows: int = 8) -> str:
        """A table of the sums and of the `rows` fullest steps."""
        lines = [
            "memory plan",
            f"  arena         {format_bytes(self.arena_bytes):>10}   one allocation, reused by {self.buffers} buffers",
            f"  lower bound   {format_bytes(self.lower_bound_bytes):>10}   arena is "
            f"{_ratio(self.arena_bytes, self.lower_bound_bytes)} of it",
            f"  without reuse {format_bytes(self.naive_bytes):>10}   arena is "
            f"{_ratio(self.arena_bytes, self.naive_bytes)} of it",
            f"  scratch       {format_bytes(self.scratch_bytes):>10}   workspace inside kernels",
            f"  states        {format_bytes(self.state_bytes):>10}   parameters, buffers, optimiser",
            f"  feeds         {format_bytes(self.feed_bytes):>10}",
            f"  constants     {format_bytes(self.constant_bytes):>10}",
            f"  {self.views} views and {self.in_place} results in place need no memory",
        ]
        if self.recomputed:
            lines.append(f"  {self.recomputed} values are computed twice to keep the memory budget")
        fullest = sorted(self.timeline, key=lambda entry: -entry.live_bytes)[:rows]
        if fullest:
            lines.append("  fullest steps:")
            width = max(len(entry.label[:40]) for entry in fullest)
            most = max(fullest[0].live_bytes, 1)
            for entry in sorted(fullest, key=lambda entry: entry.step):
                bar = "#" * round(24 * entry.live_bytes / most)
                lines.append(
                    f"    {entry.step:>4} {entry.label[:40]:<{width}} {format_bytes(entry.live_bytes):>10} {bar}"
                )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def format_bytes(count: int) -> str:
    """`1.5 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.2f} x" if whole else "1.00 x"
