"""Compiled functions: traced once, one program for each binding of the symbolic sizes, arrays in and arrays out."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from staticnet.boundary import boundary, cause_to_show
from staticnet.compiler.errors import (
    ArgumentError,
    GradientError,
    ShapeError,
    TraceError,
    UndecidableSizeError,
    trim,
)
from staticnet.compiler.ir import Graph, Node
from staticnet.compiler.memory_report import MemoryReport
from staticnet.compiler.pipeline import Prepared, assemble, prepare
from staticnet.compiler.program import Program
from staticnet.config import config
from staticnet.feeds import Feeds, batch_specs, check_finite, kinds_of, signature_of
from staticnet.results import packing
from staticnet.route import Route, TreeRoute
from staticnet.runtime import changes
from staticnet.runtime.backend import Backend
from staticnet.runtime.devices import get_backend
from staticnet.runtime.executor import Executor
from staticnet.runtime.profile import Profile
from staticnet.runtime.segments import Segment
from staticnet.runtime.state import State, place
from staticnet.sizes import as_bytes
from staticnet.tracer import current_tracer, suspended
from staticnet.tracing import TracedGraph, argument_names, name_of, positional, trace

#: programs kept per traced graph, and traced graphs per function; the least recently used goes first
PROGRAM_LIMIT = 64
GRAPH_LIMIT = 16


class CompiledGraph:
    """One traced graph with its programs: one per device and binding of the symbolic sizes.

    `modules` are those that the trace called and all below them, a new part of which shows in its owner.
    """

    def __init__(self, graph: TracedGraph, backend: Backend, memory_budget: int | None = None):
        self.graph, self.backend, self.memory_budget = graph, backend, memory_budget
        self.feeds = Feeds(graph)
        self.pack = packing(graph.results, [node.aval.ndim for node in graph.outputs])
        self.modules = tuple(dict.fromkeys(part for module in graph.modules for part in module.modules()))
        self.revisions, self.modes = self._revisions(), self._modes()
        #: what of the arguments it is for
        self.signature: Any = None
        self.program_count = 0
        self.latest: Executor | None = None
        self._prepared: dict[str, Prepared] = {}
        self._executors: OrderedDict[tuple, Executor] = OrderedDict()
        self._lock = threading.RLock()

    def _revisions(self) -> list[int]:
        return [part._revision for part in self.modules]

    def _modes(self) -> list[bool]:
        return [part.training for part in self.modules]

    @property
    def is_outdated(self) -> bool:
        """Whether a module is no longer as it was at the end of the trace; it never will be again."""
        return self._revisions() != self.revisions

    @property
    def has_its_modes(self) -> bool:
        """Whether every module is in the mode in which it was traced."""
        return self._modes() == self.modes

    @property
    def states(self) -> tuple[State, ...]:
        return tuple(self.graph.states.values())

    def prepared(self, backend: Backend) -> Prepared:
        """The optimised graph for a backend, sizes symbolic."""
        with self._lock:
            name = backend.target.name
            if name not in self._prepared:
                self._prepared[name] = prepare(self.graph, backend.target)
            return self._prepared[name]

    def executor(self, binding: Mapping[str, int]) -> Executor:
        """The executor for one binding, made unless it is there."""
        backend = self.backend
        key = (backend.name, backend.target.name, *sorted(binding.items()))
        with self._lock:
            found = self._executors.get(key)
            if found is None:
                program = backend.program(
                    self.graph,
                    binding,
                    self.memory_budget,
                    lambda: assemble(self.prepared(backend), binding, memory_budget=self.memory_budget),
                )
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
        memory_budget: Any = None,
    ):
        self.function, self.specs = function, specs
        self.memory_budget = None if memory_budget is None else as_bytes("memory_budget", memory_budget)
        self.device = device or getattr(function, "_device", None) or config.device
        self.name = name or name_of(function)
        self.trace_count = 0
        #: the way of the latest call, where the next may go without looking around
        self.route: Route | None = None
        #: in order of use, the latest last
        self._graphs: list[CompiledGraph] = []
        self._dropped_programs = 0
        #: signatures that could not be traced with a symbolic batch
        self._without_batch: set[Any] = set()
        self._lock = threading.RLock()
        functools.update_wrapper(self, function, updated=())
        get_backend(self.device)
        if specs:
            self._keep(self._trace(specs))

    # -- calling ------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if (route := self.route) is not None and route.fits(args, kwargs):
                return route.run(args, kwargs)
            if current_tracer() is not None:
                return self.function(*args, **kwargs)
            return self._call(args, kwargs)
        except Exception as error:  # a boundary without a call more
            raise trim(error) from cause_to_show(error)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Find the graph, check the feeds, find their program, run it; remember the way for calls like this one."""
        since = changes.latest
        feeds = positional(self.function, args, kwargs)
        kinds = kinds_of(feeds)
        graph = self._graph_for(feeds, kinds)
        arrays, binding = graph.feeds.check(feeds, kinds)
        executor = graph.executor(binding)
        executor.backend.limit_threads(threads := config.num_threads)
        if config.check_finite:
            self.route = None
            check_finite(graph.feeds.labels, arrays)
        elif kinds is not None and self._is_in_order(kwargs, len(feeds)):
            kind = Route if all(type(feed) is np.ndarray for feed in feeds) else TreeRoute
            self.route = kind(kinds, tuple(kwargs), since, threads, executor, graph.pack)
        return graph.pack(executor(arrays))

    def _is_in_order(self, kwargs: dict[str, Any], count: int) -> bool:
        """Whether keywords are given in the order of the function's own."""
        return not kwargs or tuple(kwargs) == tuple(argument_names(self.function, count)[-len(kwargs) :])

    def _graph_for(self, args: tuple[Any, ...], kinds: Any) -> CompiledGraph:
        with self._lock:
            signature = self._signature(args, kinds)
            for graph in reversed(self._graphs):
                if graph.signature == signature and self._is_current(graph):
                    if graph is not self._graphs[-1]:
                        self._graphs.remove(graph)
                        self._graphs.append(graph)
                    return graph
            return self._keep(self._trace_for(args), args, kinds)

    def _is_current(self, graph: CompiledGraph) -> bool:
        """Whether a trace would be the same now."""
        return graph.has_its_modes and not graph.is_outdated

    def _keep(self, graph: CompiledGraph, args: tuple[Any, ...] = (), kinds: Any = None) -> CompiledGraph:
        """Take a new graph among those to find again; those that will never be right again go, and the oldest."""
        graph.signature = self._signature(args, kinds)
        kept = [*(other for other in self._graphs if not other.is_outdated), graph][-GRAPH_LIMIT:]
        self._dropped_programs += sum(other.program_count for other in self._graphs if other not in kept)
        self._graphs = kept
        return graph

    def _signature(self, args: tuple[Any, ...], kinds: Any) -> Any:
        """What of the arguments tells traces apart: without specs dtypes, ranks and the fixed sizes."""
        if self.specs:
            return None
        free = signature_of(args, kinds, symbolic=True)
        return signature_of(args, kinds, symbolic=False) if free in self._without_batch else free

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
        self._without_batch.add(signature_of(args, None, symbolic=True))
        return graph

    def _trace(self, specs: tuple[Any, ...]) -> CompiledGraph:
        with suspended():
            graph = trace(self.function, *specs, name=self.name)
        self.trace_count += 1
        return CompiledGraph(graph, get_backend(self.device), self.memory_budget)

    # -- looking inside -----------------------------------------------------------------------

    @property
    def program_count(self) -> int:
        """How many programs were made, over all traces and bindings."""
        return self._dropped_programs + sum(graph.program_count for graph in self._graphs)

    def _latest(self) -> CompiledGraph:
        if not self._graphs:
            raise ArgumentError(f"{self.name} is not compiled yet: call it once, or give specs to sn.compile")
        return self._graphs[-1]

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
        self.route = None  # which would pass over the latest
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
        """Run on arrays `repeats` times and report the median time of each step; states change as by calls."""
        if repeats < 1:
            raise ArgumentError(f"repeats = {repeats}: a profile is of at least one call")
        graph = self._graph_for(args, kinds_of(args))
        arrays, binding = graph.feeds.check(args)
        self.route = None
        executor = graph.executor(binding)
        executor.backend.limit_threads(config.num_threads)
        return executor.profile(arrays, repeats)

    @property
    @boundary
    def segments(self) -> tuple[Segment, ...]:
        """How the program that ran last is cut: native calls of many steps, and steps that run in Python."""
        return self.executor.segments

    @boundary
    def step_source(self, index: int, form: str = "loops") -> str:
        """The generated code of a step of the program that ran last: its 'loops', 'llvm' or 'assembly'.

        Raises ArgumentError for another form, for a step that there is not, and for one that runs as its op's kernel.
        """
        from staticnet.runtime.native.source import step_source

        return step_source(self.program, index, form)

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
        backend = get_backend(device)
        self.device = device
        for graph in self._graphs:
            graph.backend = backend
        changes.note()
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
def compile(
    function: Any = None,
    *specs: Any,
    device: str | None = None,
    name: str | None = None,
    memory_budget: Any = None,
) -> Any:
    """The compiled form of a function or module; also a decorator, with or without arguments.

    `specs` are TensorSpecs, one per argument; without them the first call decides. `device` is 'cpu',
    'cuda', 'cuda:N' or 'auto'. A `memory_budget`, bytes or text such as "64MB", bounds what a call needs beside
    feeds, states and results: values are computed twice where that keeps it. Raises DeviceError for a device
    that is not there; a call raises MemoryBudgetError, with how much is missing, for a budget that cannot be kept.
    """
    if function is None:
        return functools.partial(compile, device=device, name=name, memory_budget=memory_budget)
    if not callable(function):
        raise ArgumentError(f"sn.compile takes a function or a module, not {function!r:.60}")
    return CompiledFunction(function, specs, device=device, name=name, memory_budget=memory_budget)


__all__ = ["CompiledFunction", "CompiledGraph", "compile"]
