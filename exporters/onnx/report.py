"""What a verification found: one row per output and run, printed as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from staticnet.compiler.errors import VerificationError
from staticnet.compiler.ir import format_shape


@dataclass
class Comparison:
    """One output of one run beside what was expected.

    Errors are the largest over all elements; `worst` is where the error is largest against what is
    allowed. They are None when shapes or dtypes differ, so that there is nothing to compare.
    """

    output: str
    binding: Mapping[str, int]
    dtype: str
    shape: tuple[int, ...]
    expected_dtype: str
    expected_shape: tuple[int, ...]
    max_absolute: float | None = None
    max_relative: float | None = None
    worst: tuple[int, ...] | None = None
    actual_value: Any = None
    expected_value: Any = None
    ok: bool = False

    def measure(self, actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> None:
        """Fill in the errors; equal infinities and two NaN agree."""
        self.ok, self.max_absolute, self.max_relative = True, 0.0, 0.0
        if actual.size == 0:
            return
        a, b = (array.astype(np.float64) for array in (actual, expected))
        with np.errstate(all="ignore"):
            is_same = (actual == expected) | (np.isnan(a) & np.isnan(b))
            error = np.where(is_same, 0.0, np.abs(a - b))
            error = np.where(np.isnan(error), np.inf, error)
            allowed = atol + rtol * np.abs(b)
            allowed = np.where(np.isfinite(allowed), allowed, 0.0)
            # An error that float64 cannot tell, between large integers, is still one.
            error = np.where(~is_same & (error == 0), 1.0, error)
            relative = np.where(is_same, 0.0, error / np.abs(b))
        self.ok = bool(np.all(error <= allowed))
        self.max_absolute, self.max_relative = float(error.max()), float(relative.max())
        if self.max_absolute == 0:
            return
        self.worst = tuple(int(k) for k in np.unravel_index(int((error - allowed).argmax()), actual.shape))
        self.actual_value, self.expected_value = actual[self.worst].item(), expected[self.worst].item()

    def describe(self) -> str:
        """What is wrong, in one line."""
        where = f"output {self.output!r}{_at(self.binding)}"
        if self.max_absolute is None:
            return (
                f"{where} is {self.dtype} {format_shape(self.shape)}, "
                f"expected {self.expected_dtype} {format_shape(self.expected_shape)}"
            )
        place = f" at {format_shape(self.worst)}" if self.worst else ""
        return f"{where} is {self.actual_value!r}{place}, expected {self.expected_value!r}"


def _at(binding: Mapping[str, int]) -> str:
    return f" with {', '.join(f'{name} = {size}' for name, size in binding.items())}" if binding else ""


@dataclass
class VerificationReport:
    """All comparisons of a file with its model, and what else is wrong with it. Prints as a table."""

    name: str
    versions: str
    rows: list[Comparison] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the file is sound and every output agrees."""
        return not self.problems and bool(self.rows) and all(row.ok for row in self.rows)

    def raise_for_status(self) -> VerificationReport:
        """The report itself; VerificationError, naming each disagreement, unless all agrees."""
        if self.ok:
            return self
        failures = [*self.problems, *(row.describe() for row in self.rows if not row.ok)] or ["nothing was compared"]
        shown = [*failures[:8], *([f"... and {len(failures) - 8} more"] if len(failures) > 8 else [])]
        raise VerificationError(
            f"{self.name} ({self.versions}) does not give what the model gives:\n  " + "\n  ".join(shown)
        )

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for row in self.rows for name in row.binding))
        head = [*names, "output", "type", "max abs error", "max rel error", "worst at", "result"]
        lines = [head, *([str(row.binding.get(name, "")) for name in names] + _cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        verdict = "verified" if self.ok else "NOT VERIFIED"
        return "\n".join(
            [f"{self.name}: {verdict} ({self.versions})", *table, *(f"! {text}" for text in self.problems)]
        )


def _cells(row: Comparison) -> list[str]:
    type = f"{row.dtype} {format_shape(row.shape)}"
    if row.max_absolute is None or row.max_relative is None:
        return [row.output, type, "-", "-", "-", f"expected {row.expected_dtype} {format_shape(row.expected_shape)}"]
    worst = format_shape(row.worst) if row.worst else "-"
    return [
        row.output,
        type,
        f"{row.max_absolute:.1e}",
        f"{row.max_relative:.1e}",
        worst,
        "ok" if row.ok else "differs",
    ]
