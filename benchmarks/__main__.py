"""`python -m benchmarks [name ...]`: run all benchmarks, or those named, and print their figures against the goals."""

from __future__ import annotations

import os

# Before NumPy is imported: all times are those of one thread.
if __name__ == "__main__":
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", VECLIB_MAXIMUM_THREADS="1")

import argparse
import importlib
from pathlib import Path

from benchmarks import machine
from benchmarks.figures import Figure, markdown_table, text_table

NAMES = ("memory", "scaling", "cnn_step", "import_time", "call_overhead")

INTRODUCTION = """# Benchmarks

`make bench` runs them all and prints their figures as ratios against the goals; `make bench ARGS="memory scaling"`
runs those named, `ARGS="--markdown docs/benchmarks.md"` writes this page. Peers are measured where they are
installed, in the same run and in turn with staticnet. Times depend on the machine, ratios less so.

Measured on: {machine}.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; none means all")
    parser.add_argument("--quick", action="store_true", help="small settings that only show that everything runs")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the figures as a page")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    print(machine.describe())
    sections, figures = [INTRODUCTION.format(machine=machine.describe())], []
    for name in options.names or NAMES:
        measured, section = run_one(name, options.quick)
        figures += measured
        sections.append(section)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text("\n".join(sections), encoding="utf-8")
    missed = [figure.label for figure in figures if figure.verdict == "MISSED"]
    print(f"\n{len(missed)} goals missed{': ' if missed else ''}{'; '.join(missed)}")
    return bool(missed)


def run_one(name: str, quick: bool) -> tuple[list[Figure], str]:
    """Run a benchmark and print its table; its figures, and its section of the page."""
    benchmark = importlib.import_module(f"benchmarks.{name}")
    print(f"\n{benchmark.TITLE}", flush=True)
    figures = benchmark.run(quick=quick)
    print(text_table(figures), flush=True)
    return figures, f"## {benchmark.TITLE}\n\n{benchmark.METHOD}\n\n{markdown_table(figures)}\n"


if __name__ == "__main__":
    raise SystemExit(main())
