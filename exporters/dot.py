"""Graphs as DOT text, for Graphviz and whatever else reads it; needs nothing installed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.ir import Graph, Node
from staticnet.exporters.captions import as_html, as_quoted, as_tooltip
from staticnet.exporters.picture import Box, Frame, Link, Picture, Row, link_lines

_FONT = "DejaVu Sans,Verdana,Helvetica,Arial,sans-serif"
_INK, _FAINT, _LINE = "#1F2933", "#5F6B76", "#7B8794"
_MANY_BOXES = 800  # from here on edges are straight lines: curves take Graphviz minutes

#: role -> (fill, border): hues that stay apart for colour-blind readers
_ROLES = {
    None: ("#E3EEF9", "#3D7AB5"),
    "forward": ("#E3EEF9", "#3D7AB5"),
    "backward": ("#FCEBD3", "#C77C11"),
    "update": ("#D9F0E6", "#23836A"),
}
_UNKNOWN_ROLE = ("#EEEEEE", "#666666")
#: kind of row -> (fill, what the legend calls it)
_ROWS = {"state": ("#EADFF0", "state"), "constant": ("#F4F4F4", "constant"), "update": ("#BFE5D5", "writes a state")}


def to_dot(
    graph: Graph,
    *,
    depth: int | None = None,
    groups: Sequence[Sequence[Node]] | None = None,
    roles: Mapping[Node, str] | None = None,
    trainable: Collection[Node] | None = None,
    title: str | None = None,
    horizontal: bool = False,
) -> str:
    """The graph as DOT text, the same bytes in every process.

    Modules are frames; with `depth` everything that lies that many modules deep becomes one box per
    module. States and small constants stand as rows in the boxes that read them, shapes and dtypes on
    the edges. `groups` are drawn as dashed frames, `roles` ('forward', 'backward', 'update') as fills
    with a legend; `trainable` are the states that count as parameters of a collapsed module, where None
    takes all states of the module. `horizontal` draws left to right.

    Raises ArgumentError for a negative depth.
    """
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ArgumentError(f"depth must be 0 or more levels of modules, or None for all, not {depth!r}")
    picture = Picture(graph, depth=depth, groups=groups or (), roles=roles, trainable=trainable)
    lines = [f"digraph {as_quoted(graph.name)} {{", *_settings(picture, title, horizontal)]
    lines += _framed_boxes(picture)
    lines += [_link_line(link) for link in picture.links.values()]
    return "\n".join([*lines, "}"]) + "\n"


def _settings(picture: Picture, title: str | None, horizontal: bool) -> Iterator[str]:
    yield f'  graph [rankdir={"LR" if horizontal else "TB"}, fontname="{_FONT}", fontsize=11, fontcolor="{_INK}",'
    yield '    bgcolor="white", pad=0.3, nodesep=0.25, ranksep=0.35, compound=true, tooltip=" "];'
    yield f'  node [shape=box, style="rounded,filled", fontname="{_FONT}", fontsize=11, fontcolor="{_INK}",'
    yield '    penwidth=1.1, margin="0.09,0.05", height=0.3, width=0.5];'
    yield f'  edge [color="{_LINE}", fontname="{_FONT}", fontsize=8, fontcolor="{_FAINT}", arrowsize=0.6];'
    if len(picture.boxes) > _MANY_BOXES:
        yield "  graph [splines=line, nslimit=1, nslimit1=1, mclimit=0.1];"
    head = _head(picture, title)
    if head:
        yield f"  graph [labelloc=t, label=<{head}>];"


def _head(picture: Picture, title: str | None) -> str:
    """The title and, where roles tell nodes apart, the legend."""
    rows = []
    if title:
        rows.append(f'<tr><td><font point-size="15"><b>{as_html(title, 200)}</b></font></td></tr>')
    used = dict.fromkeys(box.role for box in picture.boxes if box.role is not None)
    if used:
        cells = [(role, *_ROLES.get(role, _UNKNOWN_ROLE)) for role in sorted(used, key=_role_order)]
        kinds = {row.kind for box in picture.boxes for row in box.rows}
        cells += [(name, fill, fill) for kind, (fill, name) in _ROWS.items() if kind in kinds]
        legend = "".join(
            f'<td bgcolor="{fill}" color="{border}" border="1" style="rounded">{as_html(name)}</td>'
            for name, fill, border in cells
        )
        rows.append(f'<tr><td><table border="0" cellspacing="6" cellpadding="4"><tr>{legend}</tr></table></td></tr>')
    return f'<table border="0" cellspacing="0" cellpadding="2">{"".join(rows)}</table>' if rows else ""


def _role_order(role: str) -> tuple[int, str]:
    known = list(_ROLES)
    return (known.index(role) if role in known else len(known), role)


# -- boxes in their frames --------------------------------------------------------------------


def _framed_boxes(picture: Picture) -> Iterator[str]:
    """The boxes, each inside its frames; frames in the order in which they are met."""
    inside: dict[tuple[Frame, ...], list[Box | tuple[Frame, ...]]] = {(): []}
    for box in picture.boxes:
        for level in range(1, len(box.place) + 1):
            place = box.place[:level]
            if place not in inside:
                inside[place] = []
                inside[place[:-1]].append(place)
        inside[box.place].append(box)
    count = 0
    waiting: list[tuple[int, Box | tuple[Frame, ...] | None]] = [(1, thing) for thing in reversed(inside[()])]
    while waiting:
        level, thing = waiting.pop()
        indent = "  " * level
        if thing is None:
            yield f"{indent}}}"
        elif isinstance(thing, Box):
            yield indent + _box_line(thing)
        else:
            yield f"{indent}subgraph cluster_{count} {{"
            yield f"{indent}  {_frame_attributes(thing)}"
            count += 1
            waiting.append((level, None))
            waiting.extend((level + 1, inner) for inner in reversed(inside[thing]))


def _frame_attributes(place: tuple[Frame, ...]) -> str:
    kind, what = place[-1][:2]
    if kind == "fused":
        return (
            f'label="fused {what}"; labeljust=r; style="dashed,rounded"; color="{_INK}"; fontcolor="{_INK}"; '
            f'fontsize=9; margin=8; tooltip="fused {what}";'
        )
    fill = "#F7F9FB" if len(place) % 2 else "#EFF3F6"
    role = place[-1][2]
    label = f"{what} · {role}" if role not in (None, "forward") else what
    return (
        f'label={as_quoted(label)}; labeljust=l; style="rounded,filled"; color="#CBD2D9"; fillcolor="{fill}"; '
        f'fontcolor="{_FAINT}"; fontsize=10; margin=10; tooltip={as_tooltip([label])};'
    )


def _box_line(box: Box) -> str:
    attributes = [f"label=<{_label(box)}>", *_looks(box), f"tooltip={as_tooltip(box.tooltip)}"]
    return f"n{box.number} [{', '.join(attributes)}];"


def _looks(box: Box) -> list[str]:
    if box.kind == "input":
        return ["shape=oval", 'fillcolor="#FFFFFF"', f'color="{_INK}"', "penwidth=1.6"]
    if box.kind == "output":
        return ["shape=oval", "peripheries=2", 'fillcolor="#FFFFFF"', f'color="{_INK}"']
    if box.kind == "state":
        return ["shape=cylinder", 'style="filled"', f'fillcolor="{_ROWS["state"][0]}"', 'color="#7B5B8C"']
    if box.kind == "constant":
        return ["shape=note", 'style="filled"', f'fillcolor="{_ROWS["constant"][0]}"', f'color="{_LINE}"']
    fill, border = _ROLES.get(box.role, _UNKNOWN_ROLE)
    if box.is_move:
        fill = "#FFFFFF"
    return [f'fillcolor="{fill}"', f'color="{border}"', *(["penwidth=2.2"] if box.kind == "module" else [])]


def _label(box: Box) -> str:
    lines = [_small(box.module)] if box.module else []
    lines.append(f"<tr><td><b>{as_html(box.title)}</b></td></tr>")
    if box.name and box.name != box.title:
        lines.append(f'<tr><td><font point-size="10"><i>{as_html(box.name)}</i></font></td></tr>')
    lines += [_row(row) for row in box.rows]
    if box.source:
        lines.append(_small(box.source))
    return f'<table border="0" cellborder="0" cellspacing="1" cellpadding="1">{"".join(lines)}</table>'


def _row(row: Row) -> str:
    fill = f' bgcolor="{_ROWS[row.kind][0]}"' if row.kind in _ROWS else ""
    return f'<tr><td{fill}><font point-size="8">{as_html(row.text, 80)}</font></td></tr>'


def _small(text: str) -> str:
    return f'<tr><td><font point-size="8" color="{_FAINT}">{as_html(text)}</font></td></tr>'


def _link_line(link: Link) -> str:
    """One edge; the backward half runs upwards beside the forward half, each value at the height of its gradient."""
    first, last, attributes = link.source, link.target, []
    text = "\\n".join(as_html(line) for line in link_lines(link))
    if text:
        attributes.append(f'label=" {text} "')
    if first.role == "backward" and (last.role == "backward" or last.kind == "output"):
        first, last = last, first
        attributes.append("dir=back")
    elif last.role == "backward":
        attributes.append("style=dashed, minlen=0")
    elif first.role == "forward" and (last.role == "forward" or last.kind == "output"):
        attributes.append("weight=20")
    return f"  n{first.number} -> n{last.number}" + (f" [{', '.join(attributes)}];" if attributes else ";")
