"""What a drawing says about one node: its telling attributes, operand names, small constants, source lines."""

from __future__ import annotations

import functools
import html
import inspect
from typing import Any

import numpy as np

from staticnet.compiler.ir import Graph, Node, Op, Type
from staticnet.compiler.ir.op import format_attribute
from staticnet.compiler.ops.leaf import Constant, SizeOf, scalar_value

_LONGEST_LABEL = 60
_LONGEST_TOOLTIP = 600
_MOST_INLINE = 4  # elements of a constant that is written out

#: attributes that the type on the outgoing edge tells already, or that mean nothing to a reader
_SILENT = frozenset({"shape", "index", "serial", "stream", "dtype"})
#: values at which an attribute without a default says nothing
_NEUTRAL = {"stride": 1, "dilation": 1, "groups": 1, "padding": 0, "steps": 1, "epsilon": 1e-5, "momentum": 0.1}
_COMMUTATIVE = frozenset(
    {"add", "multiply", "maximum", "minimum", "equal", "not_equal", "logical_and", "logical_or", "logical_xor"}
)


# -- text that cannot break out ---------------------------------------------------------------


def visible(text: object, limit: int = _LONGEST_LABEL) -> str:
    """One line of printable characters: control characters are spelt out, what is too long is cut."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def as_html(text: object, limit: int = _LONGEST_LABEL) -> str:
    """`text` for an HTML-like label."""
    return html.escape(visible(text, limit)).replace("\\", "\\\\")


def as_quoted(text: object, limit: int = _LONGEST_LABEL) -> str:
    """`text` as a quoted string; Graphviz decodes entities in it and expands backslashes."""
    return '"' + as_html(text, limit) + '"'


def as_tooltip(lines: list[str]) -> str:
    """A quoted tooltip of several lines."""
    # Graphviz expands backslashes in tooltips once or twice, by version; a look-alike is safe in all of them.
    text = "&#10;".join(html.escape(visible(line, _LONGEST_TOOLTIP)) for line in lines)
    return '"' + text.replace("\\", "⧵") + '"'


# -- captions ---------------------------------------------------------------------------------


def attributes_text(op: Op) -> str:
    """`stride=2, padding=1`: the attributes that differ from their defaults and tell something."""
    found = []
    for name, value in op.attributes.items():
        if name in _SILENT or _says_nothing(op, name, value):
            continue
        found.append(name if value is True else f"{name}={visible(_compact(value), 40)}")
    return ", ".join(found)


def _says_nothing(op: Op, name: str, value: Any) -> bool:
    if value is None or value is False:
        return True
    flat = _flatten(value)
    if name in _NEUTRAL and flat and all(item == _NEUTRAL[name] for item in flat):
        return True
    default = getattr(type(op), name, inspect.Parameter.empty)
    return isinstance(default, (bool, int, float, str, tuple)) and format_attribute(default) == format_attribute(value)


def _compact(value: Any) -> str:
    """An attribute in few characters: `(2, 2)` is 2, `((1, 1), (1, 1))` is 1."""
    flat = _flatten(value)
    if flat and all(type(item) is int and item == flat[0] for item in flat):
        return str(flat[0])
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else format_attribute(value)


def _flatten(value: Any) -> list[Any]:
    """The items of nested tuples; a lone value is its own item."""
    items, waiting = [], [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (tuple, list)):
            waiting.extend(reversed(item))
        else:
            items.append(item)
    return items


def operand_name(op: Op, position: int) -> str:
    """What the card calls its operand at `position`."""
    names, rest = _operand_names(type(op))  # type: ignore[arg-type]
    if position < len(names):
        return names[position]
    return "xyz"[position] if rest == "types" and position < 3 else f"{rest}[{position - len(names)}]"


@functools.cache
def _operand_names(card: type[Op]) -> tuple[tuple[str, ...], str]:
    parameters = list(inspect.signature(card.infer).parameters.values())[1:]
    named = tuple(p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL)
    rest = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    return named, rest[0] if rest else "types"


def order_matters(op: Op) -> bool:
    """Whether a reader must know which operand is which."""
    return op.name not in _COMMUTATIVE


def constant_text(node: Node) -> str | None:
    """A small constant written out, a large one as its type; None when the node is no constant."""
    leaf = node
    while leaf.op.name in ("broadcast", "reshape", "cast") and leaf.inputs:
        leaf = leaf.inputs[0]
    if isinstance(leaf.op, SizeOf):
        return str(leaf.op.size)
    if not isinstance(leaf.op, Constant):
        return None
    scalar = scalar_value(leaf)
    if scalar is not None:
        return scalar_text(scalar)
    if leaf is node and leaf.op.value.size <= _MOST_INLINE:
        return np.array2string(leaf.op.value, separator=", ").replace("\n", "")
    return f"constant {node.type}"


def scalar_text(value: Any) -> str:
    """A number as a reader writes it: `2`, `0.1`, `1e-05`."""
    if isinstance(value, np.floating):
        return str(int(value)) if value == np.round(value) and abs(value) < 1e6 else f"{value:.6g}"
    return str(value)


def source_text(graph: Graph, node: Node) -> str:
    """`script.py:12`, or nothing when it is not known."""
    places = graph.origins.get(node, ())
    if not places:
        return ""
    return places[0].short + (f" +{len(places) - 1}" if len(places) > 1 else "")


def tooltip_lines(graph: Graph, node: Node) -> list[str]:
    """All there is to say: name, op with every attribute, type, each place in the user's script."""
    name = graph.names.get(node)
    lines = [name] if name else []
    lines += [visible(node.op, _LONGEST_TOOLTIP), f": {node.type}"]
    for place in graph.origins.get(node, ())[:8]:
        lines.append(f"{place.short} {place.module}".rstrip())
    return lines


def count_text(count: Any) -> str:
    """`4,816`, or a symbolic count as it is."""
    return f"{count:,}" if isinstance(count, int) else str(count)


def type_text(type: Any) -> str:
    """`f32[batch, 16]`; scalars without their empty brackets."""
    return str(type.dtype.short) if isinstance(type, Type) and not type.shape else str(type)
