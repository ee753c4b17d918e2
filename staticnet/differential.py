"""The differential harness: one graph run in many ways that must agree, and the name of the pass that is to blame.

Ways are {no pass, each pass alone, all passes} x {with the memory plan, without}, and each also as the
poisoned run. The plain evaluation of the graph, node by node in fresh memory, is what all are held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from staticnet.compiler.errors import VerificationError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Graph
from staticnet.compiler.lowering import lower
from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.passes import LOWERED_PASSES, PASSES, Pass
from staticnet.compiler.passes.verify import verify
from staticnet.compiler.pipeline import Prepared, assemble, grouped
from staticnet.compiler.target import Target
from staticnet.runtime.backend import Backend
from staticnet.runtime.devices import get_backend
from staticnet.runtime.executor import Executor
from staticnet.runtime.poison import run_poisoned
from staticnet.runtime.state import State

#: passes after which results agree bit by bit with the plain evaluation
EXACT_PASSES = frozenset({"eliminate", "fold", "simplify", "cse"})


@dataclass(frozen=True)
class Way:
    """One way of running a graph: which passes, and whether memory is planned."""

    passes: tuple[str, ...]
    reuse: bool

    def __str__(self) -> str:
        return f"{'+'.join(self.passes) or 'no pass'}, {'with' if self.reuse else 'without'} the memory plan"


@dataclass(frozen=True)
class Difference:
    """A way of running that does not agree, and what it gives."""

    way: Way
    output: str
    message: str


@dataclass(frozen=True)
class Report:
    """What the harness found. `guilty` names the passes (or 'plan', 'lower') that alone make a difference."""

    ways: tuple[Way, ...]
    differences: tuple[Difference, ...]
    guilty: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.differences

    def raise_for_status(self) -> None:
        """VerificationError naming the guilty pass, unless all ways agree."""
        if self.ok:
            return
        first = self.differences[0]
        raise VerificationError(
            f"{', '.join(self.guilty) or 'a combination of passes'} changes results: {first.output} with {first.way}: "
            f"{first.message} ({len(self.differences)} of {len(self.ways)} ways differ)"
        )


def differential(
    graph: Graph,
    feeds: Sequence[np.ndarray],
    states: Sequence[np.ndarray] = (),
    binding: Mapping[str, int] | None = None,
    *,
    passes: Sequence[Pass] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> Report:
    """Run a graph in every way and compare outputs and new states.

    `feeds` and `states` are arrays in the order of the graph's inputs. Ways with exact passes only must
    agree bit by bit, others, and those in which the plan made views, within `rtol` and `atol`, for NumPy
    sums in an order that depends on strides. The poisoned run must always give the bits of its run. NaN
    equals NaN. `passes` are those to try, all by default.
    """
    binding = binding or {}
    backend = get_backend("cpu")
    candidates = tuple(passes if passes is not None else dict.fromkeys((*PASSES, *LOWERED_PASSES)))
    expected = _plain(graph, feeds, states, binding)
    ways: list[Way] = []
    differences: list[Difference] = []
    for chosen in ((), *((each,) for each in candidates), candidates):
        for reuse in (False, True):
            way = Way(tuple(each.__name__ for each in chosen), reuse)
            ways.append(way)
            try:
                runs, has_views = _run(graph, chosen, reuse, feeds, states, binding, backend)
            except Exception as error:
                differences.append(Difference(way, "the run", f"{type(error).__name__}: {error}"))
                continue
            is_exact = all(name in EXACT_PASSES for name in way.passes) and not has_views
            differences += _compare(way, expected, runs[0], "the run", None if is_exact else (rtol, atol))
            differences += _compare(way, runs[0], runs[1], "the poisoned run", None)
    return Report(tuple(ways), tuple(differences), _guilty(differences))


def _plain(
    graph: Graph, feeds: Sequence[np.ndarray], states: Sequence[np.ndarray], binding: Mapping[str, int]
) -> dict[str, np.ndarray]:
    kinds: dict[str, list] = {"feed": list(feeds), "state": list(states)}
    values = {node: kinds[node.op.kind].pop(0) for node in graph.inputs}  # type: ignore[attr-defined]
    results = evaluate(graph.roots, values, binding)
    return dict(zip(_names(graph), (np.array(array) for array in results), strict=True))


def _names(graph: Graph) -> list[str]:
    return [*graph.output_names, *(f"new {state.op.label}" for state in graph.updates)]  # type: ignore[attr-defined]


def _run(
    graph: Graph,
    passes: Sequence[Pass],
    reuse: bool,
    feeds: Sequence[np.ndarray],
    states: Sequence[np.ndarray],
    binding: Mapping[str, int],
    backend: Backend,
) -> tuple[list[dict[str, np.ndarray]], bool]:
    """Results of the run and of the poisoned run, each by name, and whether any value is a view of another."""
    prepared = _prepare(graph, passes, backend.target)
    program = check_plan(assemble(prepared, binding, reuse=reuse))
    results = []
    for is_poisoned in (False, True):
        stores = [State(value) for value in states]
        executor = Executor(program, backend, stores)
        outputs = run_poisoned(executor.new_bound(), feeds) if is_poisoned else executor(feeds)
        new = dict(zip([slot.name for slot in program.states], (store.numpy() for store in stores), strict=True))
        updated = {f"new {state.op.label}": new[state.op.label] for state in graph.updates}  # type: ignore[attr-defined]
        results.append({**dict(zip(graph.output_names, outputs, strict=True)), **updated})
    return results, program.memory.views > 0


def _prepare(graph: Graph, passes: Sequence[Pass], target: Target) -> Prepared:
    """The pipeline with some passes only, each verified."""
    early = [each for each in PASSES if each in passes] + [each for each in passes if each not in PASSES]
    for each in early:
        graph = verify(each(graph))
    graph = verify(lower(graph, target))
    for each in LOWERED_PASSES:
        if each in passes:
            graph = verify(each(graph))
    return grouped(graph, target)


def _compare(
    way: Way,
    expected: Mapping[str, np.ndarray],
    results: Mapping[str, np.ndarray],
    label: str,
    tolerance: tuple[float, float] | None,
) -> list[Difference]:
    found = []
    for name, wanted in expected.items():
        message = _mismatch(wanted, results[name], tolerance)
        if message:
            found.append(Difference(way, f"{name} of {label}", message))
    return found


def _mismatch(wanted: np.ndarray, got: np.ndarray, tolerance: tuple[float, float] | None) -> str | None:
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return f"{got.dtype}{got.shape} instead of {wanted.dtype}{wanted.shape}"
    differs = _differences(wanted, got, tolerance)
    if not differs.any():
        return None
    place = tuple(int(i) for i in np.argwhere(differs)[0])
    return f"{got[place]!r} instead of {wanted[place]!r} at {place}, {int(differs.sum())} elements differ"


def _differences(wanted: np.ndarray, got: np.ndarray, tolerance: tuple[float, float] | None) -> np.ndarray:
    """Where two arrays differ; without a tolerance in any bit, but for those of NaN."""
    if wanted.dtype.kind != "f":
        return np.asarray(wanted != got)
    if tolerance is not None:
        return ~np.isclose(got, wanted, rtol=tolerance[0], atol=tolerance[1], equal_nan=True)
    is_nan = np.isnan(wanted)
    is_same = (wanted == got) & (np.signbit(wanted) == np.signbit(got))
    return np.where(is_nan, ~np.isnan(got), ~is_same)


def _guilty(differences: Sequence[Difference]) -> tuple[str, ...]:
    """Who makes a difference all alone: nobody's pass and no plan blames lowering, no pass and a plan the plan."""
    bare = {d.way.reuse for d in differences if not d.way.passes}
    if False in bare:
        return ("lower",)
    if True in bare:
        return ("plan",)
    alone = [d.way.passes[0] for d in differences if len(d.way.passes) == 1]
    return tuple(dict.fromkeys(alone))
