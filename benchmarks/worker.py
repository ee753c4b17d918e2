"""One process with a fixed number of threads that times workloads on all its peers: `python -m benchmarks.worker`.

Prints one line of JSON: the comparisons. It is started by benchmarks/against_peers.py with the right environment.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks import processes

if TYPE_CHECKING:
    from benchmarks.comparison import Comparison
    from benchmarks.interleave import Turns
    from benchmarks.peers import Side, Start
    from benchmarks.workloads import Workload


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--peers", nargs="*", default=("numpy",), help="beside staticnet")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    # Before any peer looks at how many processors there are.
    processes.pin(options.threads)
    found = measure(options.peers, tuple(options.only), options.threads, options.quick)
    print(json.dumps([comparison.as_data() for comparison in found]))
    return 0


def measure(peers: Sequence[str], only: tuple[str, ...], threads: int, quick: bool) -> list[Comparison]:
    """The comparisons of the chosen workloads."""
    from benchmarks import interleave, workloads
    from benchmarks import peers as all_peers

    names = [all_peers.OURS, *peers]
    for name in names:
        all_peers.load(name).prepare(threads)
    turns = interleave.QUICK if quick else interleave.Turns()
    found = []
    for workload in workloads.chosen(only, quick):
        print(f"  {workload.title}, {threads} thread{'s' * (threads > 1)}", file=sys.stderr, flush=True)
        found.append(compare(workload, names, threads, turns, quick))
    return found


def compare(workload: Workload, names: Sequence[str], threads: int, turns: Turns, quick: bool) -> Comparison:
    """Make all sides, hold their results against ours, time those that agree."""
    from benchmarks import agreement, interleave, workloads
    from benchmarks.comparison import Comparison
    from benchmarks.peers import OURS, load, staticnet_peer

    start = workloads.arrays(workload) if workload.kind == "stream" else _first_weights(workload)
    sides, faults, differences = {}, {}, {}
    ours: Any = None
    moves = workload.network.moves if workload.kind == "train" else agreement.MOVES
    for peer in names:
        for name, make in load(peer).sides(workload, start, quick).items():
            try:
                side, trace = _followed(make, workload)
            except Exception as error:
                faults[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            if name == OURS:
                ours = trace
            elif ours is not None:
                differences[name], fault = agreement.difference(ours, trace, start, moves)
                if fault:
                    faults[name] = f"results differ, so there is nothing to time: {fault}"
                    continue
            sides[name] = side
    ceilings, work = _ceilings(workload, names, quick)
    calls = {name: side.run for name, side in sides.items()} | ceilings
    times = interleave.interleave(calls, turns)
    if OURS in sides:
        work[OURS] = workloads.bytes_moved(workload) if workload.kind == "stream" else staticnet_peer.flops(workload)
    return Comparison(workload, threads, times, differences, faults, work)


def _followed(make: Any, workload: Workload) -> tuple[Side, Any]:
    from benchmarks import agreement

    side = make()
    return side, agreement.follow(side, with_results=workload.kind != "stream")


def _first_weights(workload: Workload) -> Start:
    from benchmarks.peers import staticnet_peer

    return {} if workload.kind == "function" else staticnet_peer.first_weights(workload)


def _ceilings(workload: Workload, names: Sequence[str], quick: bool) -> tuple[dict[str, Any], dict[str, int]]:
    """Which ceilings are measured beside a workload, and what a call of each does."""
    from benchmarks import ceilings

    if workload.kind == "function":
        return {}, {}
    if workload.kind == "stream":
        call, moved = ceilings.copy(quick)
        return {ceilings.COPY: call}, {ceilings.COPY: moved}
    call, flops = ceilings.product(names, quick)
    return {ceilings.PRODUCT: call}, {ceilings.PRODUCT: flops}


if __name__ == "__main__":
    raise SystemExit(main())
