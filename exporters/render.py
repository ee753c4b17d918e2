"""DOT text to pictures, by the `dot` program or by the Graphviz inside pygraphviz's wheel."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

from staticnet.compiler.errors import ArgumentError, ExportError, MissingDependencyError
from staticnet.files import atomic_path

#: suffixes that are text as it is, and those that Graphviz draws
TEXT_FORMATS = ("dot", "gv")
PICTURE_FORMATS = ("png", "svg", "pdf")

_PIXELS_PER_INCH = 144
_LONGEST_SIDE = 100  # inches of a PNG: beyond that the drawing is scaled down instead of filling the memory

_OWN_FONTS = Path(__file__).parent / "fonts"
_FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/usr/share/X11/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
)
_FONT_SUFFIXES = (".ttf", ".otf", ".ttc", ".pfb")
_SYSTEM_FONT_CONFIGURATION = "/etc/fonts/fonts.conf"

# A process of its own: Graphviz reads its fonts once per process, writes warnings to stderr, cannot be
# interrupted, and a graph it cannot lay out may take the process down.
_CHILD = """
import sys
sys.path.append(sys.argv[1])
import pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
for setting in sys.argv[3:]:
    name, value = setting.split("=", 1)
    graph.graph_attr[name] = value
picture = graph.draw(None, format=sys.argv[2], prog="dot")
sys.stdout.buffer.write(picture if isinstance(picture, bytes) else picture.encode("utf-8"))
"""


def render(dot_text: str, path: str | os.PathLike[str], format: str | None = None) -> Path:
    """Write a drawing to `path` in the format of its suffix (.dot, .gv, .png, .svg, .pdf) and return the path.

    `format` overrides the suffix. An existing file is replaced only by a whole drawing. A PNG is at
    most 14,400 pixels wide or high; what is larger is scaled down, and better drawn as SVG or PDF.

    Raises ArgumentError for an unknown format or a path that cannot be written, MissingDependencyError
    when nothing installed can draw, ExportError when Graphviz fails.
    """
    target = Path(path)
    format = known_format(format or target.suffix, f"'{target}'")
    command = None if format in TEXT_FORMATS else _command(format)
    with atomic_path(target) as temporary:
        if command is None:
            temporary.write_text(dot_text, encoding="utf-8", newline="\n")
        else:
            temporary.write_bytes(_run(command, dot_text))
    return target


def picture(dot_text: str, format: str) -> bytes:
    """The drawing as the bytes of a PNG, SVG or PDF file; errors as in `render`."""
    format = known_format(format, "a picture")
    return dot_text.encode() if format in TEXT_FORMATS else _run(_command(format), dot_text)


def known_format(format: str, what: str) -> str:
    """The format in lower case without a dot; raises ArgumentError for one that is not drawn."""
    found = format.lower().removeprefix(".")
    if found not in (*TEXT_FORMATS, *PICTURE_FORMATS):
        known = ", ".join(f".{name}" for name in (*TEXT_FORMATS, *PICTURE_FORMATS))
        raise ArgumentError(f"cannot draw {what}: its format {found!r} is none of {known}")
    return found


def _command(format: str) -> list[str]:
    """The command that reads DOT from stdin and writes the picture to stdout."""
    settings = [f"dpi={_PIXELS_PER_INCH}", f"size={_LONGEST_SIDE},{_LONGEST_SIDE}"] if format == "png" else []
    program = shutil.which("dot")
    if program is not None:
        return [program, f"-T{format}", *(f"-G{setting}" for setting in settings)]
    folder = _pygraphviz_folder()
    if folder is None:
        raise MissingDependencyError(
            f"drawing a .{format} needs Graphviz, which is not installed: run pip install \"staticnet[draw]\", "
            f"or draw to a .dot file, which needs nothing"
        )
    return [sys.executable, "-c", _CHILD, folder, format, *settings]


def _pygraphviz_folder() -> str | None:
    """Where a pygraphviz that carries Graphviz in its wheel is installed; None when there is none."""
    spec = importlib.util.find_spec("pygraphviz")
    if spec is None or spec.origin is None:
        return None
    try:
        version = importlib.metadata.version("pygraphviz")
    except importlib.metadata.PackageNotFoundError:
        return None
    if not version.split(".")[0].isdigit() or int(version.split(".")[0]) < 2:
        return None
    return str(Path(spec.origin).parent.parent)


def _run(command: list[str], dot_text: str) -> bytes:
    with _environment() as environment:
        done = subprocess.run(command, input=dot_text.encode(), capture_output=True, env=environment)
    if done.returncode == 0 and done.stdout:
        return done.stdout
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else f"it ended with status {done.returncode}"
    raise ExportError(f"Graphviz could not draw the graph: {reason}; fewer boxes (depth=1) may help, or a .dot file")


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """The environment for Graphviz; on a machine without fonts it is shown those that lie beside this file."""
    environment = dict(os.environ)
    if sys.platform != "linux" or "FONTCONFIG_FILE" in environment or "FONTCONFIG_PATH" in environment or _has_fonts():
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="staticnet-fonts-") as folder:
        for font in _OWN_FONTS.glob("*.ttf"):
            shutil.copy(font, folder)  # fontconfig may write into a folder it reads
        configuration = Path(folder) / "fonts.conf"
        configuration.write_text(
            '<?xml version="1.0"?>\n<fontconfig>\n'
            f'<include ignore_missing="yes">{escape(_SYSTEM_FONT_CONFIGURATION)}</include>\n'
            f"<dir>{escape(folder)}</dir>\n<cachedir>{escape(folder)}</cachedir>\n</fontconfig>\n",
            encoding="utf-8",
        )
        yield environment | {"FONTCONFIG_FILE": str(configuration)}


def _has_fonts() -> bool:
    for folder in _FONT_FOLDERS:
        for _, _, names in os.walk(os.path.expanduser(folder)):
            if any(name.lower().endswith(_FONT_SUFFIXES) for name in names):
                return True
    return False
