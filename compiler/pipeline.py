"""From graph to Program, all stages on one screen.

    graph -> passes -> lower -> passes -> fuse -> schedule -> layout -> plan -> code -> Program

Everything up to fusion keeps sizes symbolic and is done once; scheduling and planning are done for
each binding of sizes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from staticnet.compiler import flags
from staticnet.compiler.codegen.generate import with_code
from staticnet.compiler.codegen.program_text import code_text
from staticnet.compiler.collector import collector_paused
from staticnet.compiler.errors import ArgumentError, MemoryBudgetError, StaticnetError
from staticnet.compiler.fusion import Group, fuse
from staticnet.compiler.ir import Graph, Node, Op, Type, bind_shape
from staticnet.compiler.ir.node import Origins
from staticnet.compiler.layout import assign_orders
from staticnet.compiler.loop_fusion import cluster, with_fused_nodes
from staticnet.compiler.lowering import lower
from staticnet.compiler.memory.check import check_plan
from staticnet.compiler.memory.plan import plan
from staticnet.compiler.memory.recompute import recompute
from staticnet.compiler.memory_report import format_bytes
from staticnet.compiler.passes import LOWERED_PASSES, PASSES, Pass
from staticnet.compiler.passes.verify import verify
from staticnet.compiler.program import Program
from staticnet.compiler.schedule import schedule
from staticnet.compiler.target import Target


@dataclass(frozen=True)
class Prepared:
    """A graph made ready for a target, sizes still symbolic: lowered, optimised, grouped into steps."""

    graph: Graph
    groups: tuple[Group, ...]
    target: Target
    #: the graph as it is scheduled: `graph`, or for targets that fuse loops with one node a group
    steps: Graph
    #: nodes as they were traced that have something to say about sizes, with their places
    demands: tuple[tuple[Node, Origins], ...] = ()

    def check_sizes(self, binding: Mapping[str, int]) -> None:
        """Let the traced ops refuse sizes that only a binding tells; ShapeError at the user's line."""
        for node, places in self.demands:
            types = [Type(bind_shape(source.aval.shape, binding), source.dtype) for source in node.inputs]
            try:
                node.op.bind(binding).check_bound(*types)
            except StaticnetError as error:
                error.origin = places[0] if places else error.origin
                raise


def pipeline(graph: Graph, binding: Mapping[str, int], target: Target) -> Program:
    """The Program of a graph for one binding of its symbolic sizes."""
    return assemble(prepare(graph, target), binding)


@collector_paused()
def prepare(graph: Graph, target: Target) -> Prepared:
    """All stages that do not need the sizes."""
    _check_skipped()
    watch = _Watch(graph.name)
    demands = tuple((n, graph.origins.get(n, ())) for n in graph.nodes if type(n.op).check_bound is not Op.check_bound)
    graph = run_passes(graph, PASSES, watch)
    graph = watch.stage("lower", lambda g: lower(g, target), graph)
    graph = run_passes(graph, LOWERED_PASSES, watch)
    return grouped(graph, target, demands, watch)


def grouped(
    graph: Graph, target: Target, demands: tuple[tuple[Node, Origins], ...] = (), watch: _Watch | None = None
) -> Prepared:
    """A lowered graph in groups that each become a step."""
    limited = target if "fuse" not in flags.skipped_passes() else replace(target, fusion_limit=1)
    if not target.fuses_loops:
        return Prepared(graph, tuple(fuse(graph, limited)), target, graph, demands)
    groups = cluster(graph, limited)
    steps = (watch or _Watch(graph.name)).stage("fuse", lambda g: with_fused_nodes(g, groups), graph)
    return Prepared(graph, tuple(groups), target, steps, demands)


@collector_paused()
def assemble(
    prepared: Prepared, binding: Mapping[str, int], *, reuse: bool = True, memory_budget: int | None = None
) -> Program:
    """Schedule and plan for one binding; `reuse=False` gives every value bytes of its own.

    A `memory_budget` bounds the bytes of arena and scratch: values are computed twice until the plan keeps it.
    Raises MemoryBudgetError, with the bytes that are too many, where it cannot.
    """
    prepared.check_sizes(binding)
    target, graph = prepared.target, prepared.steps
    groups: Sequence[Group] = prepared.groups
    if target.fuses_loops:
        groups = [(node,) for node in graph.nodes if node.op.name != "input"]
    if "schedule" not in flags.skipped_passes():
        groups = schedule(graph, groups, binding)
    program = _planned(graph, groups, binding, target, reuse)
    if memory_budget is not None:
        program = _within(memory_budget, program, graph, groups, binding, target)
    if flags.verify():
        check_plan(program)
    _show(program)
    return program


def _planned(
    graph: Graph, groups: Sequence[Group], binding: Mapping[str, int], target: Target, reuse: bool = True
) -> Program:
    """The plan for an order of the groups, with the code where the target has it."""
    skipped = flags.skipped_passes()
    orders = assign_orders(graph, target) if reuse and "layout" not in skipped else {}
    program = plan(graph, groups, binding, target, orders, reuse=reuse and "plan" not in skipped)
    return with_code(program, target.machine) if target.machine is not None else program


def _within(
    budget: int, program: Program, graph: Graph, groups: Sequence[Group], binding: Mapping[str, int], target: Target
) -> Program:
    """The program under a budget: what is live is bounded more and more tightly until arena and scratch fit too."""
    best, limit = program, budget
    for _ in range(4):
        need = best.memory.working_bytes
        if need <= budget:
            return best
        limit = min(limit, budget) - max(best.memory.scratch_bytes, 0) if best is program else limit - (need - budget)
        again = recompute(graph, groups, binding, max(limit, 0))
        if not again.count:
            break
        made = _planned(again.graph, again.groups, binding, target)
        made = replace(made, memory=replace(made.memory, recomputed=again.count))
        if made.memory.working_bytes >= best.memory.working_bytes and best is not program:
            break
        best = made if made.memory.working_bytes < best.memory.working_bytes else best
    if best.memory.working_bytes <= budget:
        return best
    need = best.memory.working_bytes
    raise MemoryBudgetError(
        f"{program.name} needs {format_bytes(need)} of arena and scratch where {format_bytes(budget)} are allowed, "
        f"{format_bytes(need - budget)} too many, even with {best.memory.recomputed} values computed twice "
        f"(without a budget {format_bytes(program.memory.working_bytes)}); take a smaller batch or a larger budget"
    )


def run_passes(graph: Graph, passes: Sequence[Pass], watch: _Watch | None = None) -> Graph:
    """The graph after each of `passes` in turn, less those that STATICNET_SKIP names."""
    watch = watch or _Watch(graph.name)
    skipped = flags.skipped_passes()
    for each in passes:
        if each.__name__ not in skipped:
            graph = watch.stage(each.__name__, each, graph)
    return graph


class _Watch:
    """Runs stages: verifies, prints and dumps their results as the environment asks."""

    def __init__(self, name: str):
        self.name = name
        self.count = 0

    def stage(self, name: str, run: Callable[[Graph], Graph], graph: Graph) -> Graph:
        started = time.perf_counter()
        result = run(graph)
        if flags.verify():
            verify(result)
        level, folder = flags.debug_level(), flags.dump_folder()
        if level:
            seconds = time.perf_counter() - started
            _say(f"{self.name}: {name}: {len(graph.nodes)} -> {len(result.nodes)} nodes in {seconds * 1e3:.1f} ms")
        if level >= 3:
            _say(result.text())
        if folder:
            flags.dump(folder, f"{self.name}.{self.count:02}.{name}.txt", result.text())
        self.count += 1
        return result


def _check_skipped() -> None:
    """Raise ArgumentError for names in STATICNET_SKIP that nothing has: a slip would leave out nothing."""
    known = [*dict.fromkeys(each.__name__ for each in (*PASSES, *LOWERED_PASSES)), "fuse", "schedule", "layout", "plan"]
    unknown = sorted(flags.skipped_passes() - set(known))
    if unknown:
        raise ArgumentError(f"STATICNET_SKIP names {', '.join(unknown)}; what can be left out is {', '.join(known)}")


def _show(program: Program) -> None:
    if flags.debug_level() >= 2:
        _say(program.text())
    if flags.debug_level() >= 4 and program.code:
        _say(code_text(program))
    if folder := flags.dump_folder():
        sizes = "_".join(f"{name}{size}" for name, size in program.binding.items())
        ending = f"{'.' + sizes if sizes else ''}.txt"
        flags.dump(folder, f"{program.name}.program{ending}", program.text())
        if program.code:
            flags.dump(folder, f"{program.name}.loops{ending}", code_text(program))


def _say(text: str) -> None:
    print(text, file=sys.stderr)
