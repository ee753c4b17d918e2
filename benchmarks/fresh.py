"""One side in a process of its own: `python -m benchmarks.fresh compile|memory`, for what happens only once.

Prints one line of JSON. Started by benchmarks/compile_time.py and benchmarks/peak_memory.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import processes

if TYPE_CHECKING:
    from benchmarks.peers import Side
    from benchmarks.workloads import Workload

STEPS = 3
#: what a process does first, so that all that is imported late is there: network and batch. Compilation is timed
#: after a network that shares nothing with those to come; for memory only the kind of layer counts.
WARM = {"compile": ("tiny", 30), "memory": ("cnn", 2)}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main(arguments: list[str] | None = None) -> int:
    """Measure one thing of one side."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fresh", description=__doc__)
    parser.add_argument("what", choices=("compile", "memory"))
    parser.add_argument("peer")
    parser.add_argument("side")
    parser.add_argument("network")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    processes.pin(options.threads)
    from benchmarks import peers, workloads

    peers.load(options.peer).prepare(options.threads)
    network, batch = WARM[options.what]
    warm = _side(options.peer, options.side, workloads.Workload("", "", "train", network, batch, 1.0))
    first = _seconds(warm, 0)
    for number in range(1, STEPS):
        warm.run(number)
    workload = workloads.Workload("", "", "train", options.network, options.batch, 1.0)
    measured = {"compile": compile_seconds, "memory": peak_bytes}[options.what](options.peer, options.side, workload)
    print(json.dumps({options.what: measured, "first": first}))
    return 0


def compile_seconds(peer: str, name: str, workload: Workload) -> float:
    """Seconds that the first training step takes longer than the fastest of the next ones."""
    side = _side(peer, name, workload)
    first = _seconds(side, 0)
    return first - min(_seconds(side, number) for number in range(1, STEPS + 1))


def peak_bytes(peer: str, name: str, workload: Workload) -> int:
    """The most memory that this process ever held, less what it holds now, while it makes a model and trains it.

    On Linux the resident set; elsewhere the growth of its largest size ever.
    """
    before = _resident()
    side = _side(peer, name, workload)
    for number in range(STEPS):
        side.run(number)
    return _largest() - before


def _side(peer: str, name: str, workload: Workload) -> Side:
    from benchmarks import peers
    from benchmarks.peers import staticnet_peer

    return peers.load(peer).sides(workload, staticnet_peer.first_weights(workload), False)[name]()


def _seconds(side: Side, number: int) -> float:
    start = time.perf_counter()
    side.run(number)
    return time.perf_counter() - start


def _resident() -> int:
    """Bytes held now; from here on the largest size is counted anew where the system allows it."""
    if not STATUS.exists():
        return _largest()
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")
    return _status("VmRSS")


def _largest() -> int:
    if STATUS.exists():
        return _status("VmHWM")
    import resource
    import sys

    usage: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


def _status(name: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    raise SystemExit(main())
