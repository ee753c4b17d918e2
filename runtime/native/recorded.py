"""Programs on disk: a warm start neither optimises, plans, prints nor compiles what it did before.

Beside the objects of its functions a program is kept under a digest of all it was made from: the traced graph
with its source lines, sizes, target, budget, settings and our own source. What is kept is the plan and which
functions are called on what; loops and LLVM text are made again when somebody asks for them.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from staticnet.compiler import flags
from staticnet.compiler.codegen.loops.describe import ANCHORS, DESCRIBERS
from staticnet.compiler.codegen.loops.form import Routine
from staticnet.compiler.codegen.loops.pointwise import MEANINGS
from staticnet.compiler.ir import Graph
from staticnet.compiler.program import Generated, Program
from staticnet.compiler.target import Target
from staticnet.runtime.native import cache, jit
from staticnet.runtime.native.code import Code

#: stands for the routine of an instruction whose loops were not kept
NOT_KEPT = Routine()


@dataclass(frozen=True)
class _Record:
    program: Program
    has_code: tuple[bool, ...]
    code: Code
    #: symbol -> digest of its object
    functions: Mapping[str, str]


def key_of(graph: Graph, binding: Mapping[str, int], target: Target, budget: int | None) -> str | None:
    """What a program is filed under; None where the environment wants every stage to run, or source is not ours."""
    is_watched = flags.verify() or flags.guard() or flags.debug_level() or flags.dump_folder()
    if is_watched or target.machine is None or not _is_ours(graph):
        return None
    places = [(position, graph.origins[node]) for position, node in enumerate(graph.nodes) if node in graph.origins]
    parts = (
        graph.name,
        graph.digest(),
        repr(places),
        repr(sorted(binding.items())),
        repr(target.machine),
        repr((target.name, sorted(target.composites), target.fusion_limit)),
        repr((budget, sorted(flags.skipped_passes()), np.__version__, sys.version_info[:2])),
        _fingerprint(),
    )
    return cache.digest("\0".join(parts), target.machine)


def recall(key: str) -> Program | None:
    """The program kept under a key, its functions loaded; None where it, or one of them, is not there."""
    store = cache.configured()
    data = store.read([key]).get(key) if store else None
    if store is None or data is None:
        return None
    try:
        record = pickle.loads(data)
        assert isinstance(record, _Record)
    except Exception:  # whatever a file of another time may raise: then it is made anew
        return None
    machine = record.program.target.machine
    addresses = jit.recall(record.functions, machine) if machine is not None else None
    if addresses is None:
        return None
    code = tuple(
        replace(each, routine=NOT_KEPT if has else None)
        for each, has in zip(record.program.code, record.has_code, strict=True)
    )
    return replace(record.program, code=code, loaded=record.code.at(addresses))


def remember(key: str, program: Program, code: Code) -> None:
    """Keep a program and its code, where there is a cache."""
    store = cache.configured()
    functions = jit.digests([entry.symbol for entry in (*code.entries, *code.standing)])
    if store is None or functions is None:
        return
    has_code = tuple(generated.routine is not None for generated in program.code)
    bare = tuple(Generated(None, each.inputs, each.outputs) for each in program.code)
    record = _Record(replace(program, code=bare, loaded=None), has_code, code.without_kernels(), functions)
    try:
        store.write({key: pickle.dumps(record, protocol=5)})
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
        return


def _is_ours(graph: Graph) -> bool:
    """Whether no op and no loop description was added from elsewhere: its source is not part of the key."""
    cards = {type(node.op) for node in graph.nodes}
    makers = (*cards, *DESCRIBERS.values(), *ANCHORS.values(), *MEANINGS.values())
    return all(maker.__module__.startswith("staticnet.") for maker in makers)


@functools.cache
def _fingerprint() -> str:
    """A digest of our own source as it is installed: names, sizes and times of its files."""
    digest = hashlib.blake2b(digest_size=16)
    for package in ("staticnet", "staticnet.compiler", "staticnet.runtime"):
        for folder in sys.modules[package].__path__:
            for path, folders, files in os.walk(folder):
                folders.sort()
                for name in sorted(files):
                    if name.endswith(".py"):
                        status = os.stat(Path(path) / name)
                        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()

