"""The price of `import staticnet` against that of `import numpy`, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from benchmarks.figures import Figure, median

TITLE = "Import time"
METHOD = (
    "Each import in a fresh interpreter, outside the repository, several rounds in turn; the median of an interpreter "
    "that imports nothing is taken off both. Modules of staticnet load when they are first used, so the same with what "
    "a training script touches stands beside it; that includes NumPy."
)

GOAL = 1.5
ROUNDS = 25
HEAVY = ("onnx", "onnxruntime", "llvmlite", "cupy", "matplotlib", "graphviz")
STATEMENTS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "staticnet": "import staticnet",
    "used": "import staticnet as sn; sn.nn, sn.optim, sn.Tensor, sn.compile_train_step",
}


def run(*, quick: bool = False) -> list[Figure]:
    """Ratios of the medians; few rounds when `quick`."""
    times = measure(STATEMENTS, 2 if quick else ROUNDS)
    bare = times["nothing"]
    numpy, plain, used = (max(times[name] - bare, 1e-4) for name in ("numpy", "staticnet", "used"))
    loaded = heavy_modules()
    named = ", ".join(loaded) or f"none of {', '.join(HEAVY)}"
    return [
        Figure("import staticnet / import numpy", plain / numpy, goal=GOAL, note=f"{_ms(plain)} / {_ms(numpy)}"),
        Figure("import and use of nn, optim, Tensor, compile / import numpy", used / numpy, note=_ms(used)),
        Figure("heavy packages imported", len(loaded), "packages", goal=0, note=named),
    ]


def measure(statements: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Median seconds of an interpreter that runs each statement."""
    times: dict[str, list[float]] = {name: [] for name in statements}
    for statement in statements.values():  # writes the byte code, warms the file cache
        _interpret(statement)
    for _ in range(rounds):
        for name, statement in statements.items():
            start = time.perf_counter()
            _interpret(statement)
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def heavy_modules() -> list[str]:
    """Which of the heavy packages `import staticnet` brings in."""
    return _interpret(f"import sys, staticnet; print(*sorted(set({HEAVY!r}) & set(sys.modules)))").split()


def _interpret(statement: str) -> str:
    command = [sys.executable, "-c", statement]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir()).stdout


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
