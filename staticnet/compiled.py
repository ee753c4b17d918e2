"""Compiled functions: traced once, one program for each binding of the symbolic sizes, arrays in and arrays out."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from staticnet import trees
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, GradientError, ShapeError, TraceError, UndecidableSizeError
from staticnet.compiler.ir import Graph, Node
from staticnet.compiler.memory_report import MemoryReport
from staticnet.compiler.pipeline import Prepared, assemble, prepare
from staticnet.compiler.program import Program
from staticnet.config import config
from staticnet.feeds import Feeds, batch_specs, check_finite, signature_of
from staticnet.results import for_caller
from staticnet.runtime.backend import Backend
from staticnet.runtime.devices import get_backend
from staticnet.runtime.executor import Executor
from staticnet.runtime.numpy_backend import NUMPY
from staticnet.runtime.profile import Profile
from staticnet.runtime.state import State, place
from staticnet.tracer import current_tracer, suspended
from staticnet.tracing import TracedGraph, name_of, positional, trace

#: programs kept per traced graph, and traced graphs per function; the least recently used goes first
PROGRAM_LIMIT = 64
GRAPH_LIMIT = 16


class CompiledGraph:
    """One traced graph with its programs: one per device and binding of the symbolic sizes."""

    def __init__(self, graph: TracedGraph, device: str):
        self.graph, self.device = graph, device
        self.feeds = Feeds(graph)
        self.program_count = 0
        self.latest: Executor | None = None
        self._prepared: dict[str, Prepared] = {}
        self._executors: OrderedDict[tuple, Executor] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def backend(self) -> Backend:
        return get_backend(self.device)

    @property
    def states(self) -> tuple[State, ...]:
        return tuple(self.graph.states.values())

    def prepared(self, backend: Backend) -> Prepared:
        """The optimised graph for a backend, sizes symbolic."""
        with self._lock:
            if backend.name not in self._prepared:
                self._prepared[backend.name] = prepare(self.graph, backend.target)
            return self._prepared[backend.name]

    def executor(self, binding: Mapping[str, int]) -> Executor:
        """The executor for one binding, made unless it is there."""
        backend = self.backend
        key = (backend.name, *sorted(binding.items()))
        with self._lock:
            found = self._executors.get(key)
            if found is None:
                program = assemble(self.prepared(backend), binding)
                found = self._executors[key] = Executor(program, backend, [place(s, backend) for s in self.states])
                self.program_count += 1
                if len(self._executors) > PROGRAM_LIMIT:
                    self._executors.popitem(last=False)
            else:
                self._executors.move_to_end(key)
                for state in self.states:
                    place(state, backend)
            self.latest = found
            return found

    def run(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        """Check the feeds, find their program, run it."""
        arrays, binding = self.feeds.check(leaves)
        if config.check_finite:
            check_finite(self.feeds.labels, arrays)
        NUMPY.threads = config.num_threads
        return self.executor(binding)(arrays)


class CompiledFunction:
    """A function or module that is compiled when it is first called; then every call is one run of a program.

    Called with arrays it returns arrays, in the structure that the function returned. With specs the
    first call must fit them; without, the first axis becomes `batch` where all arrays agree on it, and
    arrays of another rank, dtype or further sizes are traced anew, and so is everything when a module
    that is called has changed its mode or its attributes. `trace_count` and `program_count` say how
    often either happened.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        specs: tuple[Any, ...] = (),
        *,
        device: str | None = None,
        name: str | None = None,
    ):
        self.function, self.specs = function, specs
        self.device = device or getattr(function, "_device", None) or config.device
        self.name = name or name_of(function)
        self.trace_count = 0
        self._graphs: OrderedDict[Any, CompiledGraph] = OrderedDict()
        #: signatures that could not be traced with a symbolic batch
        self._without_batch: set[Any] = set()
        #: modules that were called in a trace, and all below them: a new part shows in its owner's revision
        self._modules: dict[Any, None] = {}
        self._lock = threading.RLock()
        functools.update_wrapper(self, function, updated=())
        get_backend(self.device)
        if specs:
            self._graphs[self._key(())] = self._trace(specs)

    # -- calling ------------------------------------------------------------------------------

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current_tracer() is not None:
            return self.function(*args, **kwargs)
        args = positional(self.function, args, kwargs)
        graph = self._graph_for(args)
        return graph.graph.unflatten(map(for_caller, graph.run(trees.leaves(args))))

    def _graph_for(self, args: tuple[Any, ...]) -> CompiledGraph:
        with self._lock:
            key = self._key(args)
            if (found := self._graphs.get(key)) is None:
                found = self._trace_for(args)
                # Tracing may have set attributes: what counts is how the modules look now.
                key = self._key(args)
                self._graphs[key] = found
                if len(self._graphs) > GRAPH_LIMIT:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(key)
            return found

    def _key(self, args: tuple[Any, ...]) -> Any:
        """What tells traces apart: how the modules look; without specs dtypes, ranks and the fixed sizes as well."""
        looks = tuple([(part._revision, part.training) for part in self._modules])
        return looks, None if self.specs else self._signature(args)

    def _signature(self, args: tuple[Any, ...]) -> Any:
        free = signature_of(args, symbolic=True)
        return signature_of(args, symbolic=False) if free in self._without_batch else free

    def _trace_for(self, args: tuple[Any, ...]) -> CompiledGraph:
        """Trace with a symbolic batch where the arrays agree on one; with fixed sizes where that makes no sense."""
        if self.specs:
            return self._trace(self.specs)
        specs, fixed = batch_specs(args, symbolic=True), batch_specs(args, symbolic=False)
        try:
            return self._trace(specs)
        except (ShapeError, UndecidableSizeError, TraceError, GradientError):  # a seed's shape, say
            if fixed == specs:
                raise
        graph = self._trace(fixed)
        self._without_batch.add(signature_of(args, symbolic=True))
        return graph

    def _trace(self, specs: tuple[Any, ...]) -> CompiledGraph:
        with suspended():
            graph = trace(self.function, *specs, name=self.name)
        self.trace_count += 1
        self._modules = dict.fromkeys(part for module in (*self._modules, *graph.modules) for part in module.modules())
        return CompiledGraph(graph, self.device)

    # -- looking inside -----------------------------------------------------------------------

    @property
    def program_count(self) -> int:
        """How many programs were made, over all traces and bindings."""
        return sum(graph.program_count for graph in self._graphs.values())

    def _latest(self) -> CompiledGraph:
        if not self._graphs:
            raise ArgumentError(f"{self.name} is not compiled yet: call it once, or give specs to sn.compile")
        return next(reversed(self._graphs.values()))

    @property
    @boundary
    def graph(self) -> TracedGraph:
        """The traced graph, as the user wrote it."""
        return self._latest().graph

    @property
    @boundary
    def executor(self) -> Executor:
        """The executor that ran last."""
        latest = self._latest()
        if latest.latest is None:
            if latest.graph.symbols:
                raise ArgumentError(
                    f"{self.name} has no program yet: its sizes {', '.join(latest.graph.symbols)} are known at the "
                    f"first call; call it once, or bind them with `.bind({latest.graph.symbols[0]}=32)`"
                )
            return latest.executor({})
        return latest.latest

    @boundary
    def bind(self, **sizes: int) -> Program:
        """The program for these symbolic sizes, made unless it is there; it becomes the latest."""
        latest = self._latest()
        wanted = set(latest.graph.symbols)
        if set(sizes) != wanted:
            raise ArgumentError(f"{self.name} has the symbolic sizes {sorted(wanted)}; given are {sorted(sizes)}")
        return latest.executor(sizes).program

    @property
    @boundary
    def program(self) -> Program:
        """The program that ran last."""
        return self.executor.program

    @property
    @boundary
    def memory(self) -> MemoryReport:
        """The memory plan of the program that ran last."""
        return self.program.memory

    @boundary
    def profile(self, *args: Any, repeats: int = 5) -> Profile:
        """Run on arrays `repeats` times and report the time of each instruction; states change as by calls."""
        graph = self._graph_for(args)
        arrays, binding = graph.feeds.check(trees.leaves(args))
        return graph.executor(binding).profile(arrays, repeats)

    @boundary
    def graph_at(self, stage: str) -> Graph:
        """The graph at a stage: 'forward' and 'backward' as traced, 'optimised' as it runs."""
        latest = self._latest()
        if stage == "optimised":
            return latest.prepared(latest.backend).graph
        if stage not in {"forward", "backward"}:
            raise ArgumentError(f"there is no stage {stage!r}; take 'forward', 'backward' or 'optimised'")
        return latest.graph

    def fusion_groups(self) -> list[list[Node]]:
        """Nodes of the optimised graph that run as one step, where there are several."""
        latest = self._latest()
        return [list(group) for group in latest.prepared(latest.backend).groups if len(group) > 1]

    def roles(self) -> dict[Node, str]:
        """'forward', 'backward' or 'update' for each node of the backward stage."""
        return dict.fromkeys(self._latest().graph.nodes, "forward")

    @boundary
    def to(self, device: str) -> CompiledFunction:
        """Run on another device from now on, without tracing again; states move along at the next call."""
        get_backend(device)
        self.device = device
        for graph in self._graphs.values():
            graph.device = device
        return self

    def to_gpu(self) -> CompiledFunction:
        """`to('cuda')`."""
        return self.to("cuda")

    def to_cpu(self) -> CompiledFunction:
        """`to('cpu')`."""
        return self.to("cpu")

    def __repr__(self) -> str:
        counts = [(self.trace_count, "trace"), (self.program_count, "program")]
        made = ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts)
        return f"<compiled {self.name}: {made}, on {get_backend(self.device).name}>"


@boundary
def compile(function: Any = None, *specs: Any, device: str | None = None, name: str | None = None) -> Any:
    """The compiled form of a function or module; also a decorator, with or without arguments.

    `specs` are TensorSpecs, one per argument; without them the first call decides. `device` is 'cpu',
    'cuda', 'cuda:N' or 'auto'. Raises DeviceError for a device that is not there.
    """
    if function is None:
        return functools.partial(compile, device=device, name=name)
    if not callable(function):
        raise ArgumentError(f"sn.compile takes a function or a module, not {function!r:.60}")
    return CompiledFunction(function, specs, device=device, name=name)


__all__ = ["CompiledFunction", "CompiledGraph", "compile"]
