"""staticnet beside its peers: a process per number of threads, tables of all sides, goals, and a chart of each.

Run with `python -m benchmarks peers --threads 1 2 --only cnn_train`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes
from benchmarks.comparison import Comparison
from benchmarks.figures import Figure, markdown, text
from benchmarks.peers import MODULES, OURS, installed

TITLE = "Beside the peers"
METHOD = """All in float32, from the same weights, on the same batches. Each side takes its own arrays, made beforehand,
and a call is over when its result is there; a training step gives its loss as a Python float. Before anything is
timed three calls are held against staticnet's: results within 1e-4, and weights, after the first and after the third
step, within 1e-3 of how far they have moved (networks with ReLU 1e-2, ResNet-20 5e-2: rounding turns single ReLUs on
or off). A side whose results differ is named and not timed. Then nine rounds: in each, all sides in turn have a tenth
of a second of calls, those at the start of a turn not counted, the garbage collector off. Times are medians over the
rounds; ratios are medians of the ratios within a round.

For n threads there is one process on n processors, with every peer limited to n. The ceiling is measured in the same
rounds: for networks the fastest product of two 1024 x 1024 matrices, against which stand the multiply-adds of
convolutions and products as two operations each; for what moves arrays of 256 MB it is np.copyto, against which stand
the bytes that are read and written at the least, from arrays that stay to arrays that stay.

torch.compile takes the model and the loss, with frozen weights for inference; optimisers of PyTorch are the fused
ones; nn.LSTM is not compiled, since its compiler leaves it alone. The LSTM of staticnet is unrolled basic ops, that of
JAX a scan; JAX is given its old weights to write the new ones on, and dispatches without a thread. ONNX Runtime runs
what staticnet exports."""


def peers_here(wanted: Sequence[str] = ()) -> list[str]:
    """The peers to measure: those wanted, by default all, as far as they are installed."""
    return [name for name in wanted or MODULES if name != OURS and installed(name)]


def missing(wanted: Sequence[str] = ()) -> list[str]:
    """The peers that are not installed."""
    return [name for name in wanted or MODULES if not installed(name)]


def measure(
    threads: Sequence[int] = (1,), only: Sequence[str] = (), peers: Sequence[str] = (), quick: bool = False
) -> list[Comparison]:
    """The comparisons, for one number of threads after the other."""
    if absent := missing(peers):
        print(f"  not installed: {', '.join(absent)}", file=sys.stderr)
    found = []
    for count in threads:
        arguments = ["--threads", str(count), "--only", *only, "--peers", *peers_here(peers)]
        rows = processes.answer("worker", [*arguments, *(["--quick"] if quick else [])], count)
        found += [Comparison.of_data(row) for row in rows]
    return found


def figures_of(comparisons: Sequence[Comparison]) -> list[Figure]:
    """One figure per goal; a side that gave other results is a goal missed as well."""
    found = []
    for comparison in comparisons:
        label = f"{comparison.workload.title}, {_threads(comparison)}"
        achieved = comparison.achieved
        if achieved is None and comparison.verdict == "MISSED":
            achieved = 0.0
        if achieved is not None:
            note = f"of {comparison.workload.goal_text}"
            found.append(Figure(label, achieved, goal=comparison.workload.goal, note=note, at_least=True))
        found += [
            Figure(f"{label}: {name} not compared", 1, "faults", goal=0, note=fault)
            for name, fault in comparison.faults.items()
        ]
    return found


def as_text(comparison: Comparison) -> str:
    """All sides of one workload, for the terminal."""
    lines = [("", "ms", "fastest", "staticnet is", "of the ceiling", "apart by")]
    for name in ([OURS] if OURS in comparison.times else []) + comparison.peers:
        share = comparison.share(name)
        lines.append(
            (
                name,
                f"{comparison.ms(name):.4g}",
                f"{comparison.times[name].fastest * 1e3:.4g}",
                f"{comparison.times_as_fast(name):.2f} x" if name != OURS and OURS in comparison.times else "",
                "" if share is None else f"{share:.0%}",
                f"{comparison.differences[name]:.0e}" if name in comparison.differences else "",
            )
        )
    head = f"{comparison.workload.title}; {_threads(comparison)}"
    head += f"; ceiling {comparison.ceiling_text}" if comparison.ceiling_text else ""
    faults = [f"  {name}: {fault}" for name, fault in comparison.faults.items()]
    goal = f"  goal {comparison.workload.goal_text}: {achieved_text(comparison)} {comparison.verdict}".rstrip()
    return "\n".join([head, text(lines, right=range(1, 6)), *faults, goal])


def achieved_text(comparison: Comparison) -> str:
    """What the goal is held against, in its unit."""
    achieved = comparison.achieved
    if achieved is None:
        return "not measured"
    return f"{achieved:.0%}" if "copy" in comparison.workload.rivals else f"{achieved:.2f} x"


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """A table per number of threads: a row per workload, a column per side."""
    return "\n\n".join(_table([c for c in comparisons if c.threads == n]) for n in _counts(comparisons))


def charts(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """A picture per number of threads; none where matplotlib is not installed."""
    if not installed("matplotlib"):
        print("  no charts: matplotlib is not installed", file=sys.stderr)
        return []
    from benchmarks import chart

    drawn = []
    for count in _counts(comparisons):
        path = folder / f"peers_{count}_thread{'s' * (count > 1)}.png"
        chart.draw([c for c in comparisons if c.threads == count], path)
        drawn.append(path)
    return drawn


def _table(comparisons: Sequence[Comparison]) -> str:
    sides = list(dict.fromkeys(name for c in comparisons for name in (*c.peers, *c.faults) if name != OURS))
    sides = [name for name in _ORDER if name in sides] + [name for name in sides if name not in _ORDER]
    rows = [("workload", "staticnet", "of the ceiling", *sides, "times as fast", "goal", "")]
    for c in comparisons:
        share = c.share(OURS) if OURS in c.times else None
        rows.append(
            (
                c.workload.title,
                f"**{c.ms(OURS):.4g}**" if OURS in c.times else "failed",
                "" if share is None else f"{share:.0%} of {c.ceiling_text}",
                *(_cell(c, name) for name in sides),
                achieved_text(c),
                c.workload.goal_text,
                c.verdict,
            )
        )
    head = f"### {_threads(comparisons[0]).capitalize()}\n\nMilliseconds, and how many times as fast staticnet is.\n\n"
    return head + markdown(rows, right=range(1, len(rows[0]) - 2))


_ORDER = (
    "PyTorch",
    "PyTorch channels_last",
    "torch.compile",
    "JAX",
    "JAX channels_last",
    "ONNX Runtime",
    "NumPy",
)


def _cell(comparison: Comparison, name: str) -> str:
    if name in comparison.faults:
        return "failed"
    if name not in comparison.times:
        return ""
    ratio = f" ({comparison.times_as_fast(name):.2f} x)" if OURS in comparison.times else ""
    return f"{comparison.ms(name):.4g}{ratio}"


def _counts(comparisons: Sequence[Comparison]) -> list[int]:
    return list(dict.fromkeys(c.threads for c in comparisons))


def _threads(comparison: Comparison) -> str:
    return f"{comparison.threads} thread{'s' * (comparison.threads > 1)}"
