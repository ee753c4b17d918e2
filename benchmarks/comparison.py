"""What was measured of a workload: the times of all sides, how they stand to ours, and whether the goal is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.ceilings import COPY, PRODUCT
from benchmarks.figures import median
from benchmarks.interleave import Times
from benchmarks.peers import OURS
from benchmarks.workloads import COPY as COPY_RIVAL
from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Comparison:
    """One workload on one number of threads.

    `times` has the sides, and the ceilings among them under their own names; `differences` how far each
    peer's results are from ours; `faults` the sides that were not timed and why. `work` is what a call
    does: operations of products, and bytes of a stream, of ours (under OURS) and of the ceilings.
    """

    workload: Workload
    threads: int
    times: dict[str, Times]
    differences: dict[str, float]
    faults: dict[str, str]
    work: dict[str, int]

    @property
    def peers(self) -> list[str]:
        """The peers that were timed, the fastest first."""
        found = [name for name in self.times if name not in (OURS, PRODUCT, COPY)]
        return sorted(found, key=self.ms)

    @property
    def best_rival(self) -> str | None:
        """The fastest of those that the goal is about."""
        wanted = self.workload.rivals
        return next((name for name in self.peers if not wanted or name in wanted), None)

    def ms(self, side: str) -> float:
        """Milliseconds of a call."""
        return self.times[side].median * 1e3

    def times_as_fast(self, peer: str) -> float:
        """How many times as long a peer takes as staticnet: the median over the rounds."""
        ours = self.times[OURS].rounds
        return median([theirs / own for theirs, own in zip(self.times[peer].rounds, ours, strict=True)])

    def share(self, side: str) -> float | None:
        """The side's rate relative to that of the machine's ceiling, where there is one."""
        ceiling = self.ceiling
        if ceiling is None:
            return None
        per_call = self.work[OURS] / self.work[ceiling]
        pairs = zip(self.times[ceiling].rounds, self.times[side].rounds, strict=True)
        return median([per_call * limit / own for limit, own in pairs])

    @property
    def ceiling(self) -> str | None:
        """Which ceiling was measured beside the sides."""
        return next((name for name in (PRODUCT, COPY) if name in self.times), None)

    @property
    def ceiling_text(self) -> str:
        """The ceiling in its unit."""
        if self.ceiling is None:
            return ""
        rate = self.work[self.ceiling] / self.times[self.ceiling].median / 1e9
        return f"{rate:.4g} {'GFLOP/s' if self.ceiling == PRODUCT else 'GB/s'}"

    @property
    def achieved(self) -> float | None:
        """What the goal is held against; None where staticnet or all rivals are missing."""
        if OURS not in self.times:
            return None
        if COPY_RIVAL in self.workload.rivals:
            return self.share(OURS)
        return self.times_as_fast(self.best_rival) if self.best_rival else None

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, or nothing where there is no rival."""
        if self.achieved is None:
            return "" if OURS in self.times else "MISSED"
        return "met" if self.achieved >= self.workload.goal else "MISSED"

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def of_data(data: Mapping[str, Any]) -> Comparison:
        """From JSON."""
        row = data["workload"]
        return Comparison(
            **{
                **data,
                "workload": Workload(**{**row, "rivals": tuple(row["rivals"])}),
                "times": {name: Times(**times) for name, times in data["times"].items()},
            }
        )
