"""The table of a model, from its graph alone: per module ops, output shape, parameters, multiply-adds, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from staticnet.compiler.dims import Size
from staticnet.compiler.ir import Graph, Node, Shape, Type, format_shape, has_rule, leaves, topological
from staticnet.compiler.ops.leaf import Input, Item, Pack

#: ops whose arithmetic is pairs of one multiplication and one addition
_MULTIPLY_ADD = frozenset({"matmul", "conv2d", "conv2d_input_grad", "conv2d_weight_grad"})
_SILENT = (Input, Item, Pack)
_HEAD = ("name", "op", "output shape", "parameters", "MACs", "output bytes")
_LEFT = 3  # columns that are text and stand to the left
_WIDEST = 44


@dataclass(frozen=True)
class SummaryRow:
    """One module of the model, or one op that lies in no module.

    `macs` are multiply-adds of matrix products and convolutions, `output_bytes` the size of all values
    that leave the module; both may be symbolic. `output_shape` is that of the last such value.
    """

    name: str
    op: str
    output_shape: Shape
    dtype: str
    parameters: int
    trainable_parameters: int
    macs: Size
    output_bytes: Size


@dataclass(frozen=True)
class Summary:
    """Rows in the order of the computation, and totals; `str()` is an aligned table.

    A state that several modules read counts once, where it is read first. `activation_bytes` is what
    all values that ops compute would take together, before any memory is shared between them.
    """

    title: str
    rows: tuple[SummaryRow, ...]
    total_parameters: int
    trainable_parameters: int
    total_macs: Size
    parameter_bytes: int
    activation_bytes: Size

    def text(self) -> str:
        """The table, one line a row, then the totals."""
        cells = [_HEAD, *(_cells(row) for row in self.rows)]
        widths = [min(max(len(line[column]) for line in cells), _WIDEST) for column in range(len(_HEAD))]
        lines = [_line(line, widths) for line in cells]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:], rule, *self._totals()]) + "\n"

    def _totals(self) -> Iterator[str]:
        frozen = self.total_parameters - self.trainable_parameters
        parts = f" ({self.trainable_parameters:,} trainable, {frozen:,} frozen)" if frozen else ""
        yield f"parameters        {self.total_parameters:,}{parts}"
        yield f"parameter bytes   {self.parameter_bytes:,}"
        yield f"multiply-adds     {_number(self.total_macs)}"
        yield f"activation bytes  {_number(self.activation_bytes)}"

    def __str__(self) -> str:
        return self.text()


@dataclass
class _Layer:
    """What is known of one row while the graph is walked."""

    name: str
    ops: Counter[str] = field(default_factory=Counter)
    macs: Size = 0
    states: list[Node] = field(default_factory=list)
    leaving: list[Type] = field(default_factory=list)
    last: Type | None = None


def summarize(graph: Graph) -> Summary:
    """The summary of a graph; sizes that are not known stay symbolic, as in `1152*batch`.

    Rows are the innermost modules that ops were made in. Only what the outputs need is listed, so that
    a training graph's updates are no layers.
    """
    needed = topological(graph.outputs)
    layers = _layers(graph, needed)
    parameters = parameters_of(graph)
    trainable = trainable_of(graph, parameters)
    return Summary(
        title=graph.name,
        rows=tuple(_row(layer, parameters, trainable) for layer in layers),
        total_parameters=_count(parameters),
        trainable_parameters=_count(trainable),
        total_macs=_total(layer.macs for layer in layers),
        parameter_bytes=sum(_static(node.aval.bytes) for node in parameters),
        activation_bytes=_total(type.bytes for node in needed if not _is_free(node) for type in leaves(node.type)),
    )


def _layers(graph: Graph, needed: tuple[Node, ...]) -> list[_Layer]:
    layers: dict[object, _Layer] = {}
    home: dict[Node, _Layer] = {}
    seen: set[Node] = set()
    for node in needed:
        if isinstance(node.op, _SILENT):
            continue
        path = _module(graph, node)
        if not path and not node.inputs:
            continue  # a constant outside modules is no layer
        layer = home[node] = layers.setdefault(path or node, _Layer(path or graph.names.get(node) or node.op.name))
        if node.inputs:
            layer.ops[node.op.name] += 1
        layer.macs = layer.macs + multiply_adds(node)
        for source in map(_producer, node.inputs):
            if _is_state(source) and source not in seen:
                seen.add(source)
                layer.states.append(source)
    _note_leaving(graph, needed, home)
    return [layer for layer in layers.values() if layer.ops]


def _note_leaving(graph: Graph, needed: tuple[Node, ...], home: dict[Node, _Layer]) -> None:
    """Which values leave their module: read in another one, or an output; where none does, the last value."""
    leaving = dict.fromkeys(graph.outputs)
    for node in needed:
        if isinstance(node.op, Item):
            continue
        here = home.get(node)
        leaving.update((source, None) for source in node.inputs if home.get(_producer(source)) is not here)
    for node in needed:
        layer = home.get(_producer(node))
        if layer is None or not isinstance(node.type, Type):
            continue
        if node in leaving:
            layer.leaving.append(node.type)
        if node in leaving or not layer.leaving:
            layer.last = node.type


def multiply_adds(node: Node) -> Size:
    """Multiply-adds of one call of a matrix product or convolution, 0 for other ops; may be symbolic."""
    if node.op.name not in _MULTIPLY_ADD:
        return 0
    return node.op.flops(node.type, *(source.aval for source in node.inputs)) // 2


# -- parameters -------------------------------------------------------------------------------


def parameters_of(graph: Graph) -> dict[Node, None]:
    """The state inputs of a graph that are parameters of the model, in order.

    Where the owner of a state is not known, it counts when it is float, no update writes it, and it is
    not read as running statistics.
    """
    found: dict[Node, None] = {}
    for node in graph.inputs:
        if not _is_state(node):
            continue
        owner = _owner(graph, node)
        if _is_parameter(owner) or (owner is None and _looks_like_weight(graph, node)):
            found[node] = None
    return found


def trainable_of(graph: Graph, parameters: Iterable[Node]) -> dict[Node, None]:
    """Those of the parameters that are not frozen, as far as their owners are known."""
    return {node: None for node in parameters if getattr(_owner(graph, node), "requires_grad", True)}


def _owner(graph: Graph, node: Node) -> object:
    """The Parameter or Buffer that owns a state, None when nobody knows."""
    state = getattr(graph, "states", {}).get(node)
    reference = getattr(state, "owner", None)
    return None if reference is None else reference()


def _is_parameter(owner: object) -> bool:
    from staticnet.nn.parameter import Parameter

    return isinstance(owner, Parameter)


def _looks_like_weight(graph: Graph, node: Node) -> bool:
    from staticnet.exporters.captions import operand_name

    if not node.dtype.is_float or node in graph.updates:
        return False
    roles = [
        operand_name(user.op, position)
        for user in graph.users[node]
        for position, source in enumerate(user.inputs)
        if source is node
    ]
    return not roles or not all(role.startswith("running_") for role in roles)


# -- text and small parts ---------------------------------------------------------------------


def _row(layer: _Layer, parameters: Collection[Node], trainable: Collection[Node]) -> SummaryRow:
    own = [state for state in layer.states if state in parameters]
    shown = layer.last
    return SummaryRow(
        name=layer.name,
        op=", ".join(f"{name} ×{count}" if count > 1 else name for name, count in layer.ops.items()),
        output_shape=shown.shape if shown is not None else (),
        dtype=str(shown.dtype) if shown is not None else "",
        parameters=_count(own),
        trainable_parameters=_count(state for state in own if state in trainable),
        macs=layer.macs,
        output_bytes=_total(type.bytes for type in layer.leaving or ([shown] if shown is not None else [])),
    )


def _cells(row: SummaryRow) -> tuple[str, ...]:
    numbers = (row.parameters, row.macs, row.output_bytes)
    return (row.name, row.op, f"{row.dtype} {format_shape(row.output_shape)}", *(_number(value) for value in numbers))


def _line(cells: Iterable[str], widths: list[int]) -> str:
    shown = [_cut(cell) for cell in cells]
    text = [cell.ljust(width) for cell, width in zip(shown[:_LEFT], widths, strict=False)]
    return "  ".join([*text, *(c.rjust(w) for c, w in zip(shown[_LEFT:], widths[_LEFT:], strict=True))]).rstrip()


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _number(value: Size) -> str:
    if isinstance(value, int):
        return f"{value:,}" if value else "-"
    return str(value)


def _total(sizes: Iterable[Size]) -> Size:
    total: Size = 0
    for size in sizes:
        total = total + size
    return total


def _count(states: Iterable[Node]) -> int:
    return sum(_static(state.aval.size) for state in states)


def _static(size: Size) -> int:
    assert isinstance(size, int), f"a state of symbolic size {size}"
    return size


def _module(graph: Graph, node: Node) -> str:
    places = graph.origins.get(node, ())
    return places[0].module if places else ""


def _producer(node: Node) -> Node:
    while isinstance(node.op, Item):
        node = node.inputs[0]
    return node


def _is_state(node: Node) -> bool:
    return getattr(node.op, "kind", "") == "state"


def _is_free(node: Node) -> bool:
    """Whether a node needs no memory of its own: given from outside, or a view of its operand."""
    return isinstance(node.op, _SILENT) or not node.inputs or has_rule(node.op, "view")
