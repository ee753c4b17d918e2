"""The planner: each value becomes a buffer: a view of another, the bytes of an operand that dies, or new bytes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.errors import ShapeError
from staticnet.compiler.fusion import Group
from staticnet.compiler.ir import Graph, Layout, Node, Op, Type, bind_shape, format_shape, has_rule, leaves
from staticnet.compiler.memory.allocate import allocate, live_peak
from staticnet.compiler.memory_report import MemoryReport, TimelineEntry
from staticnet.compiler.ops.leaf import Constant, Identity, Item, Pack, SizeOf
from staticnet.compiler.program import Buffer, Copy, Instruction, Program, Slot, Step, Storage
from staticnet.compiler.target import Target

#: for each node the order of the axes of each of its values; None is row-major
Orders = Mapping[Node, tuple[tuple[int, ...] | None, ...]]
#: a last time beyond every instruction
FOREVER = 1 << 60


def _maker(value: Node) -> tuple[Node, int]:
    """The node that computes a value, and which of its results it is."""
    return (value.inputs[0], value.op.index) if isinstance(value.op, Item) else (value, 0)


@dataclass
class _Space:
    """A storage in the making: how many reads of values inside it are still to come."""

    index: int
    place: str
    nbytes: int
    first: int
    last: int
    pending: int = 0
    slot: int = -1
    values: int = 0


@dataclass
class _Plan:
    spaces: list[_Space] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    places: dict[Node, tuple[int, ...]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    written: dict[int, int] = field(default_factory=dict)  # state slot -> buffer
    views: int = 0
    in_place: int = 0
    naive: int = 0


def plan(
    graph: Graph,
    groups: Sequence[Group],
    binding: Mapping[str, int],
    target: Target,
    orders: Orders | None = None,
    *,
    reuse: bool = True,
) -> Program:
    """The Program that runs `groups` in their order.

    `orders` are the axes from slowest to fastest of values that are not to be stored row-major. With
    `reuse=False` every value gets bytes of its own: no views, nothing in place, no sharing.
    """
    return _Planner(graph, groups, binding, target, orders or {}, reuse).run()


def nbytes(type: Type) -> int:
    """Bytes of a value whose sizes are bound."""
    assert isinstance(type.bytes, int)
    return type.bytes


class _Planner:
    def __init__(
        self,
        graph: Graph,
        groups: Sequence[Group],
        binding: Mapping[str, int],
        target: Target,
        orders: Orders,
        reuse: bool,
    ):
        self.graph, self.groups, self.binding, self.target, self.reuse = graph, groups, binding, target, reuse
        self.orders = orders
        self.plan = _Plan()
        self.time = 0
        self.uses = self._count_uses()
        self.last_failure = self._last_failure()
        #: (node, which of its values) -> states that take that value
        self.states_of: dict[tuple[Node, int], list[int]] = {}
        slots = {node: slot for slot, node in enumerate(self._inputs("state"))}
        for state, value in graph.updates.items():
            self.states_of.setdefault(_maker(value), []).append(slots[state])

    def _inputs(self, kind: str) -> list[Node]:
        return [node for node in self.graph.inputs if node.op.kind == kind]  # type: ignore[attr-defined]

    def _count_uses(self) -> dict[Node, int]:
        """Reads of each node's value: one per operand place, and one that never ends per output or update."""
        uses = dict.fromkeys(self.graph.nodes, 0)
        for node in self.graph.nodes:
            for source in node.inputs:
                uses[source] += 1
        for root in self.graph.roots:
            uses[root] += 1
        return uses

    def _last_failure(self) -> int:
        time, last = 0, -1
        for group in self.groups:
            for node in group:
                last = time if node.can_fail else last
                time += 1
        return last

    # -- the walk -------------------------------------------------------------------------------

    def run(self) -> Program:
        for slot, node in enumerate(self._inputs("feed")):
            self._new(node, "feed", slot)
        for slot, node in enumerate(self._inputs("state")):
            self._new(node, "state", slot)
        for group in self.groups:
            instructions = [made for node in group if (made := self._place(node)) is not None]
            if instructions:
                self.plan.steps.append(Step(len(self.plan.steps), tuple(instructions)))
        copies = self._copies()
        return self._finish(copies)

    def _place(self, node: Node) -> Instruction | None:
        """Give the node's value a buffer; the instruction that computes it, or None for a view or a constant."""
        time, self.time = self.time, self.time + 1
        plan = self.plan
        if isinstance(node.op, (Constant, SizeOf)):
            self._new_constant(node)
            return None
        sources = [plan.places[source] for source in node.inputs]
        if isinstance(node.op, (Item, Pack)):
            picked = (sources[0][node.op.index],) if isinstance(node.op, Item) else tuple(s[0] for s in sources)
            self._alias(node, picked)
            return None
        op = node.op.bind(self.binding)
        operands = tuple(source[0] for source in sources)
        view = self._view(op, node, operands)
        if view is not None:
            self._alias(node, (view,))
            return None
        return self._compute(node, op, operands, time)

    def _alias(self, node: Node, picked: tuple[int, ...]) -> None:
        self.plan.places[node] = picked
        for source in node.inputs:
            self._read(source)
        for index in picked:
            self.plan.spaces[self.plan.buffers[index].storage].pending += self.uses[node]

    def _view(self, op: Op, node: Node, operands: tuple[int, ...]) -> int | None:
        if not self.reuse or node in self.orders or not has_rule(op, "view"):
            return None
        base = self.plan.buffers[operands[0]]
        type = self._bound(node.aval)
        layout = op.view(base.layout, type.shape)  # type: ignore[arg-type]
        if layout is None:
            return None
        self.plan.views += 1
        return self._buffer(base.storage, type, layout, node.aval)

    def _compute(self, node: Node, op: Op, operands: tuple[int, ...], time: int) -> Instruction:
        plan = self.plan
        for source in node.inputs:
            self._read(source)
        types = [self._bound(type) for type in leaves(node.type)]
        plan.naive += sum(self._aligned(nbytes(type)) for type in types)
        outputs: list[int] = []
        taken: set[int] = set()
        in_place: int | None = None
        for number, (type, symbolic) in enumerate(zip(types, leaves(node.type), strict=True)):
            layout = self._layout(node, number, type)
            storage, operand = self._home((node, number), op, operands, type, layout, time, taken)
            if operand is not None:
                in_place = operand if in_place is None else in_place
            if storage is None:
                storage = self._space("arena", nbytes(type), time)
            taken.add(storage)
            space = plan.spaces[storage]
            space.pending += self.uses[node]
            space.last = max(space.last, time)
            outputs.append(self._buffer(storage, type, layout, symbolic))
        plan.places[node] = tuple(outputs)
        for operand in operands:
            space = plan.spaces[plan.buffers[operand].storage]
            space.last = max(space.last, time)
        places = self.graph.origins.get(node)
        scratch = op.scratch(*(plan.buffers[operand].type for operand in operands))
        return Instruction(
            time, op, operands, tuple(outputs), in_place, self._aligned(scratch), places[0] if places else None
        )

    def _layout(self, node: Node, number: int, type: Type) -> Layout:
        order = self.orders[node][number] if node in self.orders else None
        return Layout.dense(type.shape, order)  # type: ignore[arg-type]

    def _home(
        self,
        result: tuple[Node, int],
        op: Op,
        operands: tuple[int, ...],
        type: Type,
        layout: Layout,
        time: int,
        taken: set[int],
    ) -> tuple[int | None, int | None]:
        """The storage that a result may take over, and the operand that gave it up; `taken` are others' homes."""
        if not self.reuse:
            return None, None
        for slot in self.states_of.get(result, ()):
            storage = self._state_storage(slot)
            if slot in self.plan.written or time <= self.last_failure or self.plan.spaces[storage].pending:
                continue
            reading = [i for i, operand in enumerate(operands) if self.plan.buffers[operand].storage == storage]
            if all(i in op.in_place and self._is_whole(operands[i], type, layout) for i in reading):
                self.plan.written[slot] = storage
                return storage, reading[0] if reading else None
        # What may be refused stays as it is, so that the refusal can name it.
        for i in () if result[0].can_fail else op.in_place:
            if i >= len(operands):
                continue
            storage = self.plan.buffers[operands[i]].storage
            space = self.plan.spaces[storage]
            is_free = space.place == "arena" and not space.pending and storage not in taken
            if not is_free or not self._is_whole(operands[i], type, layout):
                continue
            sharing = [j for j, o in enumerate(operands) if self.plan.buffers[o].storage == storage]
            if all(j in op.in_place and self._is_whole(operands[j], type, layout) for j in sharing):
                self.plan.in_place += 1
                return storage, i
        return None, None

    def _is_whole(self, operand: int, type: Type, layout: Layout) -> bool:
        """Whether a buffer is all of its storage in this type and layout: then element i lies where it would."""
        buffer = self.plan.buffers[operand]
        space = self.plan.spaces[buffer.storage]
        return buffer.type == type and buffer.layout == layout and not layout.offset and space.nbytes == type.bytes

    def _read(self, source: Node) -> None:
        for index in self.plan.places[source]:
            space = self.plan.spaces[self.plan.buffers[index].storage]
            space.pending -= 1
            space.last = max(space.last, self.time - 1)

    # -- making storages and buffers ---------------------------------------------------------------

    def _bound(self, type: Type) -> Type:
        if type.is_static:
            return type
        shape = bind_shape(type.shape, self.binding)
        if any(size < 0 for size in shape):
            raise ShapeError(
                f"with {dict(self.binding)} a value of shape {format_shape(type.shape)} would have the negative "
                f"shape {shape}"
            )
        return Type(shape, type.dtype)

    def _aligned(self, nbytes: int) -> int:
        return -(-nbytes // self.target.alignment) * self.target.alignment

    def _space(self, place: str, nbytes: int, first: int, slot: int = -1) -> int:
        last = first if place == "arena" else FOREVER
        self.plan.spaces.append(_Space(len(self.plan.spaces), place, nbytes, first, last, slot=slot))
        return len(self.plan.spaces) - 1

    def _buffer(self, storage: int, type: Type, layout: Layout, symbolic: Type) -> int:
        self.plan.buffers.append(Buffer(len(self.plan.buffers), storage, type, layout, symbolic))
        return len(self.plan.buffers) - 1

    def _new(self, node: Node, place: str, slot: int) -> None:
        type = self._bound(node.aval)
        storage = self._space(place, nbytes(type), -1, slot)
        self.plan.places[node] = (self._buffer(storage, type, Layout.dense(type.shape), node.aval),)  # type: ignore[arg-type]
        self.plan.spaces[storage].pending = self.uses[node]

    def _new_constant(self, node: Node) -> None:
        if isinstance(node.op, Constant):
            value = node.op.value
        else:
            value = np.array(dims.evaluate(node.op.size, self.binding), np.int64)  # type: ignore[attr-defined]
            value.flags.writeable = False
        self._new(node, "constant", len(self.plan.constants))
        self.plan.constants.append(value)

    def _state_storage(self, slot: int) -> int:
        return next(s.index for s in self.plan.spaces if s.place == "state" and s.slot == slot)

    # -- results -------------------------------------------------------------------------------------

    def _copies(self) -> list[Copy]:
        """States whose new value was not computed in place; values that lie in other states move out of the way."""
        plan, copies = self.plan, []
        slots = {node: slot for slot, node in enumerate(self._inputs("state"))}
        updated = {slots[state] for state in self.graph.updates}
        for state, value in self.graph.updates.items():
            slot, buffer = slots[state], plan.places[value][0]
            space = plan.spaces[plan.buffers[buffer].storage]
            if plan.written.get(slot) == space.index and space.slot == slot:
                continue
            if space.place == "state" and space.slot in updated and space.slot not in plan.written:
                buffer = self._move_out(buffer)
            copies.append(Copy(buffer, slot))
        return copies

    def _move_out(self, buffer: int) -> int:
        time, self.time = self.time, self.time + 1
        type = self.plan.buffers[buffer].type
        self.plan.naive += self._aligned(type.bytes)  # type: ignore[arg-type]
        storage = self._space("arena", nbytes(type), time)
        self.plan.spaces[storage].pending = 1
        made = self._buffer(storage, type, Layout.dense(type.shape), type)  # type: ignore[arg-type]
        self.plan.steps.append(Step(len(self.plan.steps), (Instruction(time, Identity(), (buffer,), (made,)),)))
        return made

    def _finish(self, copies: Sequence[Copy]) -> Program:
        plan, graph = self.plan, self.graph
        for space in plan.spaces:
            if space.pending:
                space.last = FOREVER
        arena = [space for space in plan.spaces if space.place == "arena"]
        blocks = [(space.first, space.last, self._aligned(space.nbytes)) for space in arena]
        if self.reuse:
            offsets, total = allocate(blocks, self.target.alignment)
        else:
            *offsets, total = itertools.accumulate((size for _, _, size in blocks), initial=0)
        place = {space.index: offset for space, offset in zip(arena, offsets, strict=True)}
        storages = tuple(
            Storage(s.index, s.place, s.nbytes, s.first, min(s.last, self.time), place.get(s.index, 0), s.slot)
            for s in plan.spaces
        )
        scratch = max((i.scratch for step in plan.steps for i in step.instructions), default=0)
        return Program(
            name=graph.name,
            target=self.target,
            binding=dict(sorted(self.binding.items())),
            feeds=self._slots("feed"),
            states=self._slots("state"),
            outputs=tuple(self._slot(name, node) for name, node in zip(graph.output_names, graph.outputs, strict=True)),
            constants=tuple(plan.constants),
            storages=storages,
            buffers=tuple(plan.buffers),
            steps=tuple(plan.steps),
            written=tuple(sorted(plan.written)),
            copies=tuple(copies),
            arena_bytes=total,
            scratch_bytes=scratch,
            memory=self._report(storages, blocks, total, scratch),
        )

    def _slots(self, kind: str) -> tuple[Slot, ...]:
        return tuple(self._slot(node.op.label, node) for node in self._inputs(kind))  # type: ignore[attr-defined]

    def _slot(self, name: str, node: Node) -> Slot:
        (buffer,) = self.plan.places[node]
        return Slot(name, self.plan.buffers[buffer].type, buffer)

    def _report(self, storages: Sequence[Storage], blocks: Sequence, total: int, scratch: int) -> MemoryReport:
        def bytes_in(place: str) -> int:
            return sum(storage.nbytes for storage in storages if storage.place == place)

        return MemoryReport(
            arena_bytes=total,
            lower_bound_bytes=live_peak(blocks),
            naive_bytes=self.plan.naive,
            scratch_bytes=scratch,
            feed_bytes=bytes_in("feed"),
            state_bytes=bytes_in("state"),
            constant_bytes=bytes_in("constant"),
            views=self.plan.views,
            in_place=self.plan.in_place,
            buffers=len(self.plan.buffers),
            timeline=self._timeline(blocks),
        )

    def _timeline(self, blocks: Sequence[tuple[int, int, int]]) -> tuple[TimelineEntry, ...]:
        changes = [0] * (self.time + 2)
        for first, last, size in blocks:
            changes[first] += size
            changes[min(last, self.time) + 1] -= size
        live, running = [], 0
        for change in changes:
            running += change
            live.append(running)
        entries = []
        for step in self.plan.steps:
            times = [instruction.time for instruction in step.instructions]
            results = step.instructions[-1].outputs
            made = sum(nbytes(self.plan.buffers[index].type) for index in results)
            entries.append(TimelineEntry(step.index, step.label, max(live[t] for t in times), made))
        return tuple(entries)
