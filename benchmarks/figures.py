"""A measured figure, the goal it is held against, and tables of both as text and as markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HEADINGS = ("figure", "measured", "goal", "")


@dataclass(frozen=True)
class Figure:
    """One number: what it is, its value and unit, the most that it may be, and whatever must be known to read it.

    A ratio has the unit `x`. A figure without a goal is for information.
    """

    label: str
    value: float
    unit: str = "x"
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, or nothing where there is no goal."""
        if self.goal is None:
            return ""
        return "met" if self.value <= self.goal else "MISSED"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Label, value, goal and verdict as text; the note stands with the label."""
        label = f"{self.label} ({self.note})" if self.note else self.label
        goal = "" if self.goal is None else f"<= {_number(self.goal, self.unit)}"
        return label, _number(self.value, self.unit), goal, self.verdict


def _number(value: float, unit: str) -> str:
    return f"{value:.3f} {unit}" if unit == "x" else f"{value:.4g} {unit}"


def text_table(figures: Sequence[Figure]) -> str:
    """Columns for the terminal."""
    rows = [HEADINGS, *(figure.row for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        f"  {label:<{widths[0]}}  {value:>{widths[1]}}  {goal:>{widths[2]}}  {verdict}"
        for label, value, goal, verdict in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(figures: Sequence[Figure]) -> str:
    """The same columns as markdown."""
    rows = [HEADINGS, ("---", "---:", "---:", "---"), *(figure.row for figure in figures)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def median(values: Sequence[float]) -> float:
    """The middle one of several measurements."""
    return statistics.median(values)
