"""A measured figure, the goal it is held against, and tables of both as text and as markdown."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

HEADINGS = ("figure", "measured", "goal", "")


@dataclass(frozen=True)
class Figure:
    """One number: what it is, its value and unit, the most that it may be, and whatever must be known to read it.

    A ratio has the unit `x`. A figure without a goal is for information; with `at_least` the goal is the least
    that it may be.
    """

    label: str
    value: float
    unit: str = "x"
    goal: float | None = None
    note: str = ""
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, or nothing where there is no goal."""
        if self.goal is None:
            return ""
        is_met = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "met" if is_met else "MISSED"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Label, value, goal and verdict as text; the note stands with the label."""
        label = f"{self.label} ({self.note})" if self.note else self.label
        goal = "" if self.goal is None else f"{'>=' if self.at_least else '<='} {_number(self.goal, self.unit)}"
        return label, _number(self.value, self.unit), goal, self.verdict


def _number(value: float, unit: str) -> str:
    return f"{value:.3f} {unit}" if unit == "x" else f"{value:.4g} {unit}"


def text_table(figures: Sequence[Figure]) -> str:
    """Columns for the terminal."""
    return text([HEADINGS, *(figure.row for figure in figures)], right=(1, 2))


def markdown_table(figures: Sequence[Figure]) -> str:
    """The same columns as markdown."""
    return markdown([HEADINGS, *(figure.row for figure in figures)], right=(1, 2))


def text(rows: Sequence[Sequence[str]], right: Collection[int]) -> str:
    """Rows, the headings first, in columns as wide as need be, those in `right` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def markdown(rows: Sequence[Sequence[str]], right: Collection[int]) -> str:
    """The same as markdown."""
    rule = ["---:" if column in right else "---" for column in range(len(rows[0]))]
    cells = [rows[0], rule, *rows[1:]]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells)


def median(values: Sequence[float]) -> float:
    """The middle one of several measurements."""
    return statistics.median(values)
