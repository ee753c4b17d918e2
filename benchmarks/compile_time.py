"""What the first training step takes longer than the next ones, with an empty and with a filled cache on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Figure
from benchmarks.peers import installed

TITLE = "Compile time"
METHOD = (
    "Training steps as under the peers (the CNN with batch 64, ResNet-20 with batch 32), each in a fresh process on "
    "one thread: the first call less the fastest of the next three, so tracing, gradients, passes, memory plan and "
    "machine code. Before it the process has compiled a step of the MLP 2-10-3, so that all that is imported late is "
    "there; what that first step of all took stands as a note. Cold: the folder of the cache is new; warm: a second "
    "process with the folder that the first has filled."
)

CASES = (("cnn", "CNN 1-32-64", 64, 1.0), ("resnet20", "ResNet-20", 32, 4.0))
WARM_GOAL = 0.1
#: peer, side, whether it takes long
SIDES = (
    ("staticnet", "staticnet", False),
    ("jax", "JAX", False),
    ("torch", "torch.compile", True),
)


def run(*, quick: bool = False) -> list[Figure]:
    """Seconds of all sides that are installed; of the small network, and without torch.compile, when `quick`."""
    figures = []
    for network, title, batch, goal in CASES[:1] if quick else CASES:
        for peer, side, is_slow in SIDES:
            if not installed(peer) or (quick and is_slow):
                continue
            goals = (goal, WARM_GOAL) if peer == "staticnet" else (None, None)
            arguments = ["compile", peer, side, network, "--batch", str(3 if quick else batch)]
            with tempfile.TemporaryDirectory() as folder:
                for state, limit in zip(("cold", "warm"), goals, strict=True):
                    found = processes.answer("fresh", arguments, 1, caches(Path(folder)))
                    note = f"the first of all {found['first']:.3g} s"
                    label = f"{title} step, {side}, {state}"
                    figures.append(Figure(label, max(found["compile"], 0.0), "s", limit, note))
    return figures


def caches(folder: Path) -> dict[str, str]:
    """The variables that keep every side's compiled code in a folder."""
    return {
        "STATICNET_CACHE_DIR": str(folder / "staticnet"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
