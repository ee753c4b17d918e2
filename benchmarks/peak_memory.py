"""The most memory that training takes above what is imported, beside the peers."""

from __future__ import annotations

from benchmarks import processes
from benchmarks.figures import Figure
from benchmarks.peers import installed

TITLE = "Peak memory of training"
METHOD = (
    "ResNet-20, batch 128 of 32x32, SGD with momentum, three steps in a fresh process on one thread: the largest "
    "resident set from the making of the model on, less the resident set before it. Before that the process has "
    "trained the CNN 1-32-64 on 2 images, so that all that is imported late is there. What compilation takes counts."
)

BATCH = 128
GOAL = 0.5
#: peer, side, whether it takes long
SIDES = (
    ("staticnet", "staticnet", False),
    ("torch", "PyTorch", False),
    ("torch", "PyTorch channels_last", False),
    ("torch", "torch.compile", True),
    ("jax", "JAX", False),
    ("jax", "JAX channels_last", False),
)


def run(*, quick: bool = False) -> list[Figure]:
    """Mebibytes of all sides that are installed, and the ratio to PyTorch; a small case when `quick`."""
    network, batch = ("cnn", 3) if quick else ("resnet20", BATCH)
    sides = [(peer, side) for peer, side, is_slow in SIDES if installed(peer) and not (quick and is_slow)]
    found = {}
    for peer, side in sides:
        arguments = ["memory", peer, side, network, "--batch", str(batch)]
        found[side] = processes.answer("fresh", arguments, 1)["memory"]
    figures = [Figure(f"peak, {side}", value / 2**20, "MiB") for side, value in found.items()]
    if "PyTorch" in found:
        figures.append(Figure("staticnet / PyTorch", found["staticnet"] / found["PyTorch"], goal=GOAL))
    return figures
