"""The progress bar of an epoch on standard error, with tqdm where it is shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from staticnet.config import config


def is_shown(wanted: bool | None) -> bool:
    """Whether to show bars: as asked, else as configured, else where standard error is a terminal."""
    chosen = config.progress if wanted is None else wanted
    return sys.stderr is not None and sys.stderr.isatty() if chosen is None else chosen


class EpochBar:
    """The bar of one epoch; without `shown` it does nothing."""

    def __init__(self, title: str, total: int | None, done: int, shown: bool):
        self._bar: Any = None
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(desc=title, total=total, initial=done, unit="batch", file=sys.stderr, dynamic_ncols=True)

    def step(self, loss: float) -> None:
        """One more batch, the mean loss so far being `loss`."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            self._bar.update()

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Show the figures of the epoch."""
        if self._bar is not None:
            shown = [f"{name} {value:.4g}" for name, value in figures.items() if np.ndim(value) == 0]
            self._bar.set_postfix_str(", ".join(shown))

    def __enter__(self) -> EpochBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
