"""Where the time of a call goes, instruction by instruction, with the user's own lines."""

from __future__ import annotations

from dataclasses import dataclass

from staticnet.compiler.origins import Origin


@dataclass(frozen=True)
class StepTime:
    """One instruction: median seconds, arithmetic operations, bytes read and written."""

    step: int
    op: str
    seconds: float
    flops: int
    bytes: int
    shape: tuple[int, ...]
    origin: Origin | None


@dataclass(frozen=True)
class Profile:
    """The times of all instructions of one program."""

    name: str
    entries: tuple[StepTime, ...]

    @property
    def seconds(self) -> float:
        """Time inside kernels for one call."""
        return sum(entry.seconds for entry in self.entries)

    def text(self, rows: int = 20) -> str:
        """The `rows` slowest instructions as a table."""
        total = self.seconds or 1.0
        lines = [
            f"profile of {self.name}: {self.seconds * 1e3:.3f} ms in {len(self.entries)} instructions",
            f"  {'step':>4} {'op':<22} {'ms':>8} {'share':>6} {'GFLOP/s':>8} {'GB/s':>7}  result, source",
        ]
        for entry in sorted(self.entries, key=lambda entry: -entry.seconds)[:rows]:
            seconds = max(entry.seconds, 1e-9)
            where = ""
            if entry.origin:
                where = f"  {entry.origin.module + ' ' if entry.origin.module else ''}{entry.origin.short}"
            lines.append(
                f"  {entry.step:>4} {entry.op:<22} {entry.seconds * 1e3:>8.3f} {entry.seconds / total:>6.1%} "
                f"{entry.flops / seconds / 1e9:>8.1f} {entry.bytes / seconds / 1e9:>7.1f}  {entry.shape}{where}"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()
