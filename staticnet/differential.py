"""The differential harness: one graph run in many ways that must agree, and the name of the pass that is to blame.

Ways are {no pass, each pass alone, all passes} x {with the memory plan, without}, {no pass, all passes} of them
also as native code, and each also as the poisoned run. The plain evaluation of the graph, node by node in fresh
memory, is what all are held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from staticnet.compiler.errors import VerificationError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Graph
from staticnet.compiler.lowering import lower
from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.passes import LOWERED_PASSES, PASSES, Pass
from staticnet.compiler.passes.verify import verify
from staticnet.compiler.pipeline import Prepared, assemble, grouped
from staticnet.compiler.program import Program
from staticnet.compiler.target import Target
from staticnet.runtime.backend import Backend
from staticnet.runtime.executor import Executor
from staticnet.runtime.numpy_backend import NUMPY
from staticnet.runtime.poison import run_poisoned
from staticnet.runtime.state import State

#: passes after which results agree bit by bit with the plain evaluation
EXACT_PASSES = frozenset({"eliminate", "fold", "simplify", "cse"})


@dataclass(frozen=True)
class Way:
    """One way of running a graph: which passes, whether memory is planned, and as native code or not."""

    passes: tuple[str, ...]
    reuse: bool
    is_native: bool = False

    def __str__(self) -> str:
        plan = f"{'with' if self.reuse else 'without'} the memory plan"
        return f"{'+'.join(self.passes) or 'no pass'}, {plan}{', as native code' if self.is_native else ''}"


@dataclass(frozen=True)
class Difference:
    """A way of running that does not agree, and what it gives."""

    way: Way
    output: str
    message: str


@dataclass(frozen=True)
class Report:
    """What the harness found.

    `guilty` names the passes (or 'plan', 'lower') that alone make a difference, and 'native' where native code
    differs and its reference does not.
    """

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
    agree bit by bit, others, those in which the plan made views, for NumPy sums in an order that depends on
    strides, and native code within `rtol` and `atol`. The poisoned run must always give the bits of its run. NaN
    equals NaN. `passes` are those to try, all by default.
    """
    binding = binding or {}
    candidates = tuple(passes if passes is not None else dict.fromkeys((*PASSES, *LOWERED_PASSES)))
    trial = _Trial(graph, feeds, states, binding, (rtol, atol))
    for chosen in ((), *((each,) for each in candidates), candidates):
        for reuse in (False, True):
            trial.run(chosen, reuse, NUMPY)
    native = _native_backend()
    for chosen in dict.fromkeys(((), candidates)) if native else ():
        for reuse in (False, True):
            trial.run(chosen, reuse, native)  # type: ignore[arg-type]
    return Report(tuple(trial.ways), tuple(trial.differences), _guilty(trial.differences))


def _native_backend() -> Backend | None:
    from staticnet.runtime.native import host

    if not host.available():
        return None
    from staticnet.runtime.native.backend import native_backend

    return native_backend()


class _Trial:
    """One graph with its operands, and what was found until now."""

    def __init__(
        self,
        graph: Graph,
        feeds: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        binding: Mapping[str, int],
        tolerance: tuple[float, float],
    ):
        self.graph, self.feeds, self.states, self.binding, self.tolerance = graph, feeds, states, binding, tolerance
        self.expected = _plain(graph, feeds, states, binding)
        self.ways: list[Way] = []
        self.differences: list[Difference] = []

    def run(self, passes: Sequence[Pass], reuse: bool, backend: Backend) -> None:
        """One way, plainly and poisoned."""
        way = Way(tuple(each.__name__ for each in passes), reuse, backend is not NUMPY)
        self.ways.append(way)
        try:
            prepared = _prepare(self.graph, passes, backend.target)
            program = check_plan(assemble(prepared, self.binding, reuse=reuse))
            plain, poisoned = self._results(program, backend, False), self._results(program, backend, True)
        except Exception as error:
            self.differences.append(Difference(way, "the run", f"{type(error).__name__}: {error}"))
            return
        has_fixed_order = not way.is_native and program.memory.views == 0
        is_exact = has_fixed_order and all(name in EXACT_PASSES for name in way.passes)
        found = _compare(way, self.expected, plain, "the run", None if is_exact else self.tolerance)
        if found and way.is_native:
            place = self._first_wrong(program, backend)
            found = [replace(each, message=f"{each.message}{place}") for each in found]
        self.differences += [*found, *_compare(way, plain, poisoned, "the poisoned run", None)]

    def _results(self, program: Program, backend: Backend, is_poisoned: bool) -> dict[str, np.ndarray]:
        """Outputs and new states by name."""
        stores = [State(value) for value in self.states]
        executor = Executor(program, backend, stores)
        outputs = run_poisoned(executor.new_bound(), self.feeds) if is_poisoned else executor(self.feeds)
        new = dict(zip([slot.name for slot in program.states], (store.numpy() for store in stores), strict=True))
        labels = [state.op.label for state in self.graph.updates]  # type: ignore[attr-defined]
        updated = {f"new {label}": new[label] for label in labels}
        return {**dict(zip(self.graph.output_names, outputs, strict=True)), **updated}

    def _first_wrong(self, program: Program, backend: Backend) -> str:
        """Which instruction of a native program is the first to differ from its card's kernel."""
        from staticnet.runtime.native.beside import first_difference
        from staticnet.runtime.native.bound import NativeBound

        bound = Executor(program, backend, [State(value) for value in self.states]).new_bound()
        assert isinstance(bound, NativeBound)
        found = first_difference(bound, self.feeds, *self.tolerance)
        return f"; first in {found}" if found else "; each instruction alone is right"


def _plain(
    graph: Graph, feeds: Sequence[np.ndarray], states: Sequence[np.ndarray], binding: Mapping[str, int]
) -> dict[str, np.ndarray]:
    kinds: dict[str, list] = {"feed": list(feeds), "state": list(states)}
    values = {node: kinds[node.op.kind].pop(0) for node in graph.inputs}  # type: ignore[attr-defined]
    results = evaluate(graph.roots, values, binding)
    return dict(zip(_names(graph), (np.array(array) for array in results), strict=True))


def _names(graph: Graph) -> list[str]:
    return [*graph.output_names, *(f"new {state.op.label}" for state in graph.updates)]  # type: ignore[attr-defined]


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
    wrong = {d.way for d in differences if not d.way.is_native}
    native = {replace(d.way, is_native=False) for d in differences if d.way.is_native}
    blamed = ("native",) if native - wrong else ()
    bare = {way.reuse for way in wrong if not way.passes}
    if bare:
        return ("lower" if False in bare else "plan", *blamed)
    alone = [d.way.passes[0] for d in differences if d.way in wrong and len(d.way.passes) == 1]
    return (*dict.fromkeys(alone), *blamed)
