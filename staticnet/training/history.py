"""History: the figures of a training, epoch by epoch, as a mapping, a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, MissingDependencyError

_MOST_ROWS = 20
_FIRST_ROWS = 3


class History(Mapping[str, list[Any]]):
    """`history["val_loss"]` is the list of that figure, one per finished epoch; `epochs` are their numbers, from 1.

    A figure that an epoch does not have is NaN there. Printed, it is a table.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self._columns: dict[str, list[Any]] = {}

    @property
    def history(self) -> dict[str, list[Any]]:
        """All figures as a dict of lists."""
        return {name: list(column) for name, column in self._columns.items()}

    def append(self, epoch: int, figures: Mapping[str, Any]) -> None:
        """Add the figures of one more epoch, counted from 1."""
        for name in figures:
            self._columns.setdefault(name, [float("nan")] * len(self.epochs))
        self.epochs.append(epoch)
        for name, column in self._columns.items():
            column.append(figures.get(name, float("nan")))

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._columns:
            raise KeyError(f"the history has no {name!r}; it has {', '.join(self._columns) or 'nothing yet'}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    # -- text and picture ---------------------------------------------------------------------

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(no epoch)"
        rows = [["epoch", *self._columns]]
        for row, epoch in enumerate(self.epochs):
            rows.append([str(epoch), *(_cell(column[row]) for column in self._columns.values())])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        if len(lines) > _MOST_ROWS + 1:
            left_out = len(lines) - 1 - _MOST_ROWS
            lines[1 + _FIRST_ROWS : 1 + _FIRST_ROWS + left_out] = [f"... {left_out} more ..."]
        return "\n".join(lines)

    @boundary
    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Curves over the epochs, a figure and its `val_` twin in one plot each.

        With a `path` they are written there, in the format of its suffix, and the path is returned; without,
        the matplotlib Figure. ArgumentError when there is no epoch or nothing to plot, or for a path that
        cannot be written; MissingDependencyError without matplotlib.
        """
        groups = self._groups()
        if not groups:
            raise ArgumentError("there is nothing to plot: no epoch was finished")
        figure = _figure(groups, self)
        if path is None:
            return figure
        return _write(figure, Path(path))

    def _groups(self) -> dict[str, list[str]]:
        """Columns of plain numbers, each with its `val_` twin."""
        groups: dict[str, list[str]] = {}
        for name, column in self._columns.items():
            if all(np.ndim(value) == 0 for value in column):
                groups.setdefault(name.removeprefix("val_"), []).append(name)
        return groups

    # -- for checkpoints ----------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Everything as numbers, lists and dicts that JSON can hold."""
        columns = {name: [_plain(value) for value in column] for name, column in self._columns.items()}
        return {"epochs": self.epochs, "columns": columns}

    def load_json(self, content: Mapping[str, Any]) -> None:
        """Take the place of the history that `to_json` was asked of."""
        self.epochs = list(content["epochs"])
        self._columns = {name: [_restored(v) for v in column] for name, column in content["columns"].items()}


def _cell(value: Any) -> str:
    if np.ndim(value):
        return "array " + "x".join(map(str, np.shape(value)))
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "values": value.tolist()}
    return value.item() if isinstance(value, np.generic) else value


def _restored(value: Any) -> Any:
    return np.array(value["values"], value["dtype"]) if isinstance(value, dict) else value


def _figure(groups: Mapping[str, list[str]], history: History) -> Any:
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'staticnet[plot]'") from error
    figure = Figure(figsize=(4.5 * len(groups), 3.5), layout="constrained")
    marker = "o" if len(history.epochs) == 1 else None
    for axes, (title, names) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for name in names:
            axes.plot(history.epochs, history[name], label=name, marker=marker)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _write(figure: Any, path: Path) -> Path:
    from staticnet.files import atomic_path

    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lower()[1:] not in known:
        raise ArgumentError(f"'{path}': a plot is a .png, .svg or .pdf file, as its suffix says")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return path
