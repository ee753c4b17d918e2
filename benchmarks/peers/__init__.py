"""The peers that staticnet is timed beside: one module each, none of them needed, all with the same few functions.

A peer's module has PACKAGE, what must be installed; `prepare(threads)`, called once before the first side is made;
and `sides(workload, start, quick)`, a function without arguments per way in which the peer can do the workload, by
name, empty when it has none. `start` is the first weights of a network by name, or the arrays of a stream.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

#: what a peer is called on the command line -> its module
MODULES = {
    "staticnet": "benchmarks.peers.staticnet_peer",
    "torch": "benchmarks.peers.torch_peer",
    "jax": "benchmarks.peers.jax_peer",
    "onnxruntime": "benchmarks.peers.ort_peer",
    "numpy": "benchmarks.peers.numpy_peer",
}
OURS = "staticnet"

Start = Mapping[str, np.ndarray]
Made = dict[str, Callable[[], "Side"]]


@dataclass
class Side:
    """One way to do a workload: what is timed is `call(*batches[number])`, whose work is done when it returns.

    `batches` are in the arrays that the side takes without conversion. `states` gives what calls have changed,
    the weights or the result of a stream, as NumPy arrays under staticnet's names and in its layout.
    """

    call: Callable[..., Any]
    batches: Sequence[tuple[Any, ...]]
    states: Callable[[], dict[str, np.ndarray]] = field(default=dict)

    def run(self, number: int) -> Any:
        """One call on one of the batches."""
        return self.call(*self.batches[number % len(self.batches)])


def installed(name: str) -> bool:
    """Whether the package of a peer can be found; it is not imported."""
    return importlib.util.find_spec(name) is not None


def load(name: str) -> ModuleType:
    """The module of a peer, which imports the peer itself."""
    return importlib.import_module(MODULES[name])
