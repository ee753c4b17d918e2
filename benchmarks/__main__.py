"""`python -m benchmarks [name ...]`: run all benchmarks, or those named, and print their figures against the goals."""

from __future__ import annotations

import os

# Before NumPy is imported: but for the peers, which have processes of their own, all times are those of one thread.
if __name__ == "__main__":
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", VECLIB_MAXIMUM_THREADS="1")

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.figures import Figure, markdown_table, text_table

PEERS = "peers"
NAMES = (PEERS, "compile_time", "peak_memory", "memory", "scaling", "cnn_step", "import_time", "call_overhead")

INTRODUCTION = """# Benchmarks

`make bench` runs them all and prints their figures as ratios against the goals; `make bench ARGS="memory scaling"`
runs those named, `ARGS="peers --threads 1 2 --only cnn_train"` some workloads beside the peers, and
`ARGS="--markdown docs/benchmarks.md"` writes this page. Peers are measured where they are installed, in the same
run and in turn with staticnet. Times depend on the machine, ratios less so.

Measured on: {machine}.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 1 when a goal is missed."""
    options = parsed(arguments)
    print(machine.describe())
    sections, figures = [INTRODUCTION.format(machine=machine.describe())], []
    for name in options.names or NAMES:
        measured, section = run_peers(options) if name == PEERS else run_one(name, options.quick)
        figures += measured
        sections.append(section)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text("\n".join(sections), encoding="utf-8")
    missed = [figure.label for figure in figures if figure.verdict == "MISSED"]
    print(f"\n{len(missed)} goals missed{': ' if missed else ''}{'; '.join(missed)}")
    return bool(missed)


def parsed(arguments: Sequence[str] | None) -> Any:
    """The options; ends the program where they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; none means all")
    parser.add_argument("--quick", action="store_true", help="small settings that only show that everything runs")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the figures as a page")
    group = parser.add_argument_group("beside the peers")
    group.add_argument("--threads", type=int, nargs="+", default=[1], metavar="N", help="numbers of threads, default 1")
    group.add_argument("--only", nargs="+", default=[], metavar="START", help="workloads whose names begin so")
    group.add_argument("--peers", nargs="+", default=[], metavar="PEER", help="torch, jax, onnxruntime, numpy")
    group.add_argument("--charts", type=Path, metavar="FOLDER", help="also draw the times, a picture per thread count")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    from benchmarks import peers, workloads

    if unknown := [name for name in options.peers if name not in peers.MODULES or name == peers.OURS]:
        parser.error(f"no peer is called {', '.join(unknown)}; there are torch, jax, onnxruntime, numpy")
    if least := [count for count in options.threads if count < 1]:
        parser.error(f"there is at least 1 thread, not {least[0]}")
    try:
        workloads.chosen(tuple(options.only))
    except ValueError as error:
        parser.error(str(error))
    return options


def run_one(name: str, quick: bool) -> tuple[list[Figure], str]:
    """Run a benchmark and print its table; its figures, and its section of the page."""
    benchmark = importlib.import_module(f"benchmarks.{name}")
    print(f"\n{benchmark.TITLE}", flush=True)
    figures = benchmark.run(quick=quick)
    print(text_table(figures), flush=True)
    return figures, f"## {benchmark.TITLE}\n\n{benchmark.METHOD}\n\n{markdown_table(figures)}\n"


def run_peers(options: Any) -> tuple[list[Figure], str]:
    """The same for the workloads beside the peers, whose tables have a column per side."""
    from benchmarks import against_peers

    print(f"\n{against_peers.TITLE}", flush=True)
    comparisons = against_peers.measure(options.threads, options.only, options.peers, options.quick)
    for comparison in comparisons:
        print(f"\n{against_peers.as_text(comparison)}", flush=True)
    pictures = against_peers.charts(comparisons, options.charts) if options.charts else []
    for picture in pictures:
        print(f"\ndrawn: {picture}")
    page = options.markdown.parent if options.markdown else Path()
    links = [f"![times]({os.path.relpath(picture, page)})\n" for picture in pictures]
    tables = against_peers.as_markdown(comparisons)
    section = [f"## {against_peers.TITLE}\n", f"{against_peers.METHOD}\n", f"{tables}\n", *links]
    return against_peers.figures_of(comparisons), "\n".join(section)


if __name__ == "__main__":
    raise SystemExit(main())
