"""The comparisons as bars: a panel per workload, milliseconds of each side, and where the goal lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison
from benchmarks.peers import OURS

COLUMNS = 3
THICKNESS = 0.72
OUR_COLOUR, PEER_COLOUR, GOAL_COLOUR, INK = "#1f6feb", "#b9c0c9", "#d1242f", "#24292f"


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Write a picture, in the format that the ending of `path` says."""
    from matplotlib import rc_context

    with rc_context({"font.size": 9, "svg.hashsalt": "staticnet", "text.color": INK, "ytick.color": INK}):
        figure = _figure(comparisons)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, facecolor="white")


def _figure(comparisons: Sequence[Comparison]) -> Any:
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(comparisons))
    lines = math.ceil(len(comparisons) / columns)
    bars = max(len(c.peers) for c in comparisons) + 1
    figure = Figure(figsize=(4.6 * columns, (0.75 + 0.26 * bars) * lines + 0.7), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, comparison in zip(panels, comparisons, strict=False):
        _panel(panel, comparison, bars)
    for panel in panels[len(comparisons) :]:
        panel.set_axis_off()
    count = comparisons[0].threads
    figure.suptitle(
        f"Milliseconds per call on {count} thread{'s' * (count > 1)}, and how many times as fast staticnet is; "
        "at the red mark its goal is met",
        fontsize=11,
    )
    return figure


def _panel(panel: Any, comparison: Comparison, bars: int) -> None:
    names = ([OURS] if OURS in comparison.times else []) + comparison.peers
    values = [comparison.ms(name) for name in names]
    colours = [OUR_COLOUR if name == OURS else PEER_COLOUR for name in names]
    panel.barh(range(len(names)), values, color=colours, height=THICKNESS)
    goal = goal_ms(comparison)
    longest = max([*values, goal or 0.0], default=1.0)
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        is_ours = name == OURS
        ratio = "" if is_ours or OURS not in comparison.times else f"  ({comparison.times_as_fast(name):.2f} x)"
        end = max(value, goal or 0.0) if is_ours else value
        panel.text(end + longest * 0.02, place, f"{value:.3g}{ratio}", va="center", fontsize=8)
    if goal is not None:
        panel.vlines(goal, -0.5, 0.5, color=GOAL_COLOUR, linewidth=2)
    panel.set_yticks(range(len(names)), names)
    for label, name in zip(panel.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if name == OURS else "normal")
    # Bars of one thickness in all panels.
    panel.set_ylim(bars - 0.5, -0.6)
    panel.set_xlim(0, longest * 1.35)
    panel.set_xticks([])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_title(_title(comparison), fontsize=9, loc="left")


def goal_ms(comparison: Comparison) -> float | None:
    """The milliseconds with which staticnet would just meet its goal."""
    if comparison.achieved is None:
        return None
    return comparison.ms(OURS) * comparison.achieved / comparison.workload.goal


def _title(comparison: Comparison) -> str:
    goal = f"goal {comparison.workload.goal_text}"
    verdict = f": {comparison.verdict}" if comparison.verdict else ""
    return f"{comparison.workload.title}\n{goal}{verdict}"
