"""Programs of lazy expressions: equal structures share one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from staticnet.compiler.ir import Graph
from staticnet.compiler.pipeline import assemble, prepare
from staticnet.runtime.devices import get_backend
from staticnet.runtime.executor import Executor

#: structures whose programs are kept; the least recently used goes first
PROMPT_LIMIT = 256

_prompt: OrderedDict[str, Executor] = OrderedDict()
_prompt_lock = threading.Lock()


def run_graph(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph without symbolic sizes or states; equal structures share one program."""
    key = graph.digest()
    with _prompt_lock:
        executor = _prompt.get(key)
        if executor is None:
            backend = get_backend("cpu")
            executor = _prompt[key] = Executor(assemble(prepare(graph, backend.target), {}), backend, ())
            if len(_prompt) > PROMPT_LIMIT:
                _prompt.popitem(last=False)
        else:
            _prompt.move_to_end(key)
    return executor(arrays)


def prompt_program_count() -> int:
    """How many programs the lazy expressions evaluated so far share."""
    return len(_prompt)
