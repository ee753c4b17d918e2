"""What a drawing shows: which nodes become boxes, which fold into rows of others, what links and encloses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.ir import Graph, Node, Type
from staticnet.compiler.ops.leaf import Input, Item
from staticnet.exporters import captions

#: one enclosing frame, innermost last in a place: ("module", path, role) or ("fused", number)
Frame = tuple
Place = tuple[Frame, ...]

_MOST_KINDS = 4  # op kinds that the summary of a collapsed module names
_MOST_UPDATES = 3  # states that one box names as updated by it
_MOST_TYPES = 3  # types that one link names
_PLAIN_VIEWS = frozenset({"reshape", "broadcast", "transpose", "cast"})


@dataclass
class Row:
    """A line inside a box: an operand that is no box of its own, or a remark."""

    text: str
    #: 'state', 'constant', 'update' or 'note'
    kind: str = "note"


@dataclass
class Box:
    """One drawn thing; `kind` is input, output, state, constant, op or module."""

    number: int
    kind: str
    title: str
    place: Place = ()
    role: str | None = None
    name: str | None = None
    module: str = ""
    is_move: bool = False
    rows: list[Row] = field(default_factory=list)
    source: str = ""
    tooltip: list[str] = field(default_factory=list)
    ops: Counter[str] = field(default_factory=Counter)
    states: dict[Node, None] = field(default_factory=dict)
    updated: int = 0


@dataclass
class Link:
    """Values that go from one box to another; the labels are their types, operand names where order matters."""

    source: Box
    target: Box
    labels: dict[str, None] = field(default_factory=dict)


class Picture:
    """The boxes and links of a graph, in an order that depends on the graph alone; linear in its size.

    States and constants fold into rows of the boxes that read them, tuple items into links. With
    `depth`, what lies `depth` modules deep or deeper becomes one box per module. `groups` are the
    fused groups, `roles` say 'forward', 'backward' or 'update' of nodes, `trainable` which states
    count as parameters (all that lie in a module, when None).
    """

    def __init__(
        self,
        graph: Graph,
        *,
        depth: int | None = None,
        groups: Sequence[Sequence[Node]] = (),
        roles: Mapping[Node, str] | None = None,
        trainable: Collection[Node] | None = None,
    ):
        self.graph = graph
        self.depth = depth
        self.roles = roles or {}
        self.trainable = trainable
        self.boxes: list[Box] = []
        self.links: dict[tuple[int, int], Link] = {}
        self._homes: dict[Node, Box] = {}
        self._modules: dict[tuple, Box] = {}
        self._paths = {node: self._module_path(node) for node in graph.nodes}
        self._fused = self._fused_places(groups)
        self._folded = self._fold()
        self._draw_inputs()
        for node in graph.nodes:
            self._draw_node(node)
        self._draw_results()
        for box in self._modules.values():
            self._summarise(box)
        self._drop_frames_of_one()

    def _fold(self) -> dict[Node, Row]:
        """What the boxes that read them show as a row: constants, states, and plain views of these."""
        folded: dict[Node, Row] = {}
        self._state_of: dict[Node, Node] = {}
        for node in self.graph.nodes:
            text = captions.constant_text(node)
            if text is not None:
                folded[node] = Row(text, "constant")
            elif _is_state(node):
                folded[node] = Row(self._label(node), "state")
                self._state_of[node] = node
            elif node.op.name in _PLAIN_VIEWS and node not in self.graph.names and node.inputs[0] in self._state_of:
                folded[node] = Row(f"{node.op.name}({folded[node.inputs[0]].text})", "state")
                self._state_of[node] = self._state_of[node.inputs[0]]
        return folded

    # -- nodes --------------------------------------------------------------------------------

    def _draw_inputs(self) -> None:
        for node in self.graph.inputs:
            if not _is_state(node):
                self._draw_leaf(node, "input")

    def _draw_leaf(self, node: Node, kind: str) -> Box:
        title = self.graph.names.get(node) or self._folded.get(node, Row(self._label(node))).text
        box = self._new_box(kind, title)
        box.rows.append(Row(captions.type_text(node.type)))
        box.tooltip = captions.tooltip_lines(self.graph, node)
        self._homes[node] = box
        return box

    def _draw_node(self, node: Node) -> None:
        op = node.op
        if isinstance(op, (Input, Item)) or node in self._folded:
            return
        box = self._homes[node] = self._module_box(node) or self._op_box(node)
        for position, operand in enumerate(node.inputs):
            self._draw_operand(box, node, position, operand)

    def _op_box(self, node: Node) -> Box:
        box = self._new_box("op", node.op.name, place=self._place(node), role=self.roles.get(node))
        box.name = self.graph.names.get(node)
        flops = node.op.flops(node.type, *(source.type for source in node.inputs))  # type: ignore[arg-type]
        box.is_move = isinstance(node.type, Type) and dims.same(flops, 0)
        attributes = captions.attributes_text(node.op)
        if attributes:
            box.rows.append(Row(attributes))
        box.source = captions.source_text(self.graph, node)
        box.tooltip = captions.tooltip_lines(self.graph, node)
        return box

    def _module_box(self, node: Node) -> Box | None:
        path, depth, role = self._paths[node], self.depth, self.roles.get(node)
        is_update = role == "update" and not path  # an optimiser is no module of the model
        if depth is None or (len(path) < depth and not is_update):
            return None
        key = (role, path[:depth])
        box = self._modules.get(key)
        if box is None:
            title = ".".join(path[:depth]) or (str(role) if is_update else self.graph.name)
            box = self._new_box("module", title, place=self._module_place(path[: max(depth - 1, 0)], role), role=role)
            self._modules[key] = box
        box.ops[node.op.name] += 1
        return box

    def _draw_operand(self, box: Box, node: Node, position: int, operand: Node) -> None:
        row = self._folded.get(operand)
        if row is None:
            label = _link_text(operand)
            if box.kind == "op" and captions.order_matters(node.op) and self._linked_operands(node) > 1:
                label = f"{captions.operand_name(node.op, position)}: {label}"
            self._link(self._homes[_producer(operand)], box, label)
            return
        if row.kind == "state":
            box.states[self._state_of[operand]] = None
        if box.kind == "op":
            box.rows.append(Row(self._row_text(row, node, position), row.kind))

    def _linked_operands(self, node: Node) -> int:
        return sum(operand not in self._folded for operand in node.inputs)

    def _row_text(self, row: Row, node: Node, position: int) -> str:
        if row.kind == "constant":
            return f"{captions.operand_name(node.op, position)} = {row.text}"
        module = ".".join(self._paths[node])
        text = row.text.replace(f"{module}.", "", 1) if module else row.text
        return f"{text}  {captions.type_text(node.inputs[position].type)}"

    # -- results ------------------------------------------------------------------------------

    def _draw_results(self) -> None:
        for state, value in self.graph.updates.items():
            box = self._home(value)
            box.updated += 1
            if box.kind != "module" and box.updated <= _MOST_UPDATES:
                box.rows.append(Row(f"→ {self._label(state)}", "update"))
        for box in self.boxes:
            if box.kind != "module" and box.updated > _MOST_UPDATES:
                box.rows.append(Row(f"→ {box.updated - _MOST_UPDATES} more states", "update"))
        for name, value in zip(self.graph.output_names, self.graph.outputs, strict=True):
            source = self._home(value)
            box = self._new_box("output", name)
            box.rows.append(Row(captions.type_text(value.type)))
            box.tooltip = captions.tooltip_lines(self.graph, value)
            self._link(source, box, "")

    def _home(self, value: Node) -> Box:
        """The box of a value; a state or a constant that is a result itself gets one here."""
        source = _producer(value)
        return self._homes.get(source) or self._draw_leaf(source, self._folded[source].kind)

    def _summarise(self, box: Box) -> None:
        kinds = [f"{name} ×{count}" if count > 1 else name for name, count in box.ops.items()]
        more = [f"+{len(kinds) - _MOST_KINDS} more"] if len(kinds) > _MOST_KINDS else []
        box.rows.append(Row(", ".join(kinds[:_MOST_KINDS] + more)))
        count = self._parameter_count(box)
        if count and box.role in (None, "forward"):
            box.rows.append(Row(f"{captions.count_text(count)} parameters", "state"))
        if box.updated:
            box.rows.append(Row(f"→ {box.updated} state{'s' if box.updated > 1 else ''}", "update"))
        box.tooltip = [box.title, ", ".join(kinds)]

    def _parameter_count(self, box: Box) -> Size:
        total: Size = 0
        for state in box.states:
            if self._is_parameter(state, box):
                total = total + state.aval.size
        return total

    def _is_parameter(self, state: Node, box: Box) -> bool:
        if self.trainable is not None:
            return state in self.trainable
        return not self.depth or self._label(state).startswith(f"{box.title}.")

    # -- where things lie ---------------------------------------------------------------------

    def _module_path(self, node: Node) -> tuple[str, ...]:
        places = self.graph.origins.get(node, ())
        return tuple(places[0].module.split(".")) if places and places[0].module else ()

    def _place(self, node: Node) -> Place:
        return self._fused.get(node) or self._module_place(self._paths[node], self.roles.get(node))

    def _module_place(self, path: tuple[str, ...], role: str | None) -> Place:
        return tuple(("module", ".".join(path[: level + 1]), role) for level in range(len(path)))

    def _fused_places(self, groups: Sequence[Sequence[Node]]) -> dict[Node, Place]:
        """Fused groups lie in the deepest module that holds all their members; a lone node is no group."""
        places: dict[Node, Place] = {}
        inside = set(self.graph.nodes)
        for number, group in enumerate(groups, 1):
            members = [node for node in group if node in inside]
            if len(members) < 2:
                continue
            common = self._module_place(self._paths[members[0]], self.roles.get(members[0]))
            for node in members[1:]:
                other = self._module_place(self._paths[node], self.roles.get(node))
                same = (level for level, pair in enumerate(zip(common, other, strict=False)) if pair[0] != pair[1])
                common = common[: next(same, min(len(common), len(other)))]
            for node in members:
                places[node] = (*common, ("fused", number))
        return places

    def _drop_frames_of_one(self) -> None:
        """A module that is drawn as a single box stands as a caption in it, without a frame."""
        count = Counter(box.place[:level] for box in self.boxes for level in range(1, len(box.place) + 1))
        for box in self.boxes:
            if box.kind == "op" and box.place and box.place[-1][0] == "module" and count[box.place] == 1:
                box.module = box.place[-1][1]
                box.place = box.place[:-1]

    # -- parts --------------------------------------------------------------------------------

    def _label(self, node: Node) -> str:
        return str(self.graph.names.get(node) or getattr(node.op, "label", node.op.name))

    def _new_box(self, kind: str, title: str, *, place: Place = (), role: str | None = None) -> Box:
        box = Box(number=len(self.boxes), kind=kind, title=title, place=place, role=role)
        self.boxes.append(box)
        return box

    def _link(self, source: Box, target: Box, label: str) -> None:
        if source is not target:
            key = (source.number, target.number)
            link = self.links.setdefault(key, Link(source, target))
            if label:
                link.labels[label] = None


def link_lines(link: Link) -> list[str]:
    """The label of a link, one line a value, cut when many values share it."""
    labels = list(link.labels)
    if len(labels) <= _MOST_TYPES:
        return labels
    return [*labels[: _MOST_TYPES - 1], f"+{len(labels) - _MOST_TYPES + 1} more"]


def _producer(node: Node) -> Node:
    """The node that makes a value: items of a tuple are no boxes."""
    while isinstance(node.op, Item):
        node = node.inputs[0]
    return node


def _link_text(operand: Node) -> str:
    prefix = f"[{operand.op.index}] " if isinstance(operand.op, Item) else ""
    return prefix + captions.type_text(operand.type)


def _is_state(node: Node) -> bool:
    return getattr(node.op, "kind", "") == "state"
