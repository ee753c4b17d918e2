"""Pictures: every format, with and without a `dot` program, without fonts, and what happens when nothing draws."""

from __future__ import annotations

import html
import io
import os
import re
import stat
import struct
import sys

import numpy as np
import pytest

from staticnet.compiler import dims
from staticnet.compiler.errors import ArgumentError, ExportError, MissingDependencyError
from staticnet.compiler.ir import Builder, Graph, Type, building
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.origins import inside_module
from staticnet.exporters import render as render_module
from staticnet.exporters.dot import to_dot
from staticnet.exporters.render import picture, render


@pytest.fixture(scope="module")
def dot() -> str:
    builder = Builder()
    with building(builder):
        x = make_input("input", Type((dims.symbol("batch"), 12), "float32"))
        with inside_module("hidden"):
            h = F.tanh(F.matmul(x, make_input("hidden.weight", Type((12, 5), "float32"), "state")))
        with inside_module("head"):
            y = F.softmax(F.clip(h * 0.25, -1, 1), axis=1)
    graph = Graph(builder.names, [y], output_names=["probabilities"], names=builder.names, origins=builder.origins)
    return to_dot(graph, title="Größe λ → 2×2")


@pytest.fixture
def without_program(monkeypatch):
    """As if no `dot` program were installed, so that pygraphviz draws."""
    pytest.importorskip("pygraphviz")
    monkeypatch.setattr(render_module.shutil, "which", lambda name: None)


def png_size(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


def svg_texts(data: bytes) -> list[str]:
    found = re.findall(r"<text[^>]*>([^<]*)</text>", data.decode())
    return [html.unescape(text).replace("\xa0", " ").strip() for text in found]


def text_widths(data: bytes) -> float:
    return float(re.search(r'<svg width="(\d+)pt"', data.decode()).group(1))


# -- formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".dot", ".gv", ".DOT"])
def test_dot_needs_nothing(dot, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(render_module, "_command", None)
    path = render(dot, tmp_path / f"graph{suffix}")
    assert path.read_bytes() == dot.encode()


def test_png(dot, tmp_path, without_program):
    data = render(dot, tmp_path / "graph.png").read_bytes()
    width, height = png_size(data)
    assert width > 300 and height > 900 and len(data) > 20_000


def test_svg_has_every_label(dot, tmp_path, without_program):
    texts = svg_texts(render(dot, tmp_path / "graph.svg").read_bytes())
    expected = {
        "Größe λ → 2×2", "input", "f32[batch, 12]", "matmul", "weight  f32[12, 5]", "tanh", "multiply", "y = 0.25",
        "clip", "softmax", "axis=1", "probabilities", "f32[batch, 5]", "hidden", "head",
    }  # fmt: skip
    assert expected <= set(texts), expected - set(texts)
    assert any(re.fullmatch(r"test_render\.py:\d+", text) for text in texts)


def test_pdf(dot, tmp_path, without_program):
    data = render(dot, tmp_path / "graph.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 5_000


def test_the_format_can_be_named(dot, tmp_path, without_program):
    assert render(dot, tmp_path / "graph", "svg").read_bytes().startswith(b"<?xml")
    assert png_size(picture(dot, "png"))[0] > 300
    assert picture(dot, "dot") == dot.encode()


def test_nothing_is_cut_off(dot, tmp_path, without_program):
    image_module = pytest.importorskip("PIL.Image")
    image = np.asarray(image_module.open(io.BytesIO(picture(dot, "png"))).convert("L"))
    border = np.concatenate([image[:8].ravel(), image[-8:].ravel(), image[:, :8].ravel(), image[:, -8:].ravel()])
    assert border.min() == 255, "something is drawn up to the border"
    assert (image < 100).sum() > 2_000, "no ink"


def test_a_huge_drawing_stays_within_the_largest_png(without_program):
    wide = "digraph { " + " ".join(f"n{i} [label=leaf, width=3];" for i in range(200)) + " }"
    assert max(png_size(picture(wide, "png"))) <= 14_400


# -- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["graph.jpeg", "graph", "graph.png.txt", ".png"])
def test_an_unknown_suffix_lists_the_formats(dot, tmp_path, name):
    with pytest.raises(ArgumentError, match=r"\.dot, \.gv, \.png, \.svg, \.pdf"):
        render(dot, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_path(dot, tmp_path):
    with pytest.raises(ArgumentError, match="there is no folder"):
        render(dot, tmp_path / "nowhere" / "graph.dot")
    with pytest.raises(ArgumentError, match="it is a folder"):
        (tmp_path / "folder.svg").mkdir()
        render(dot, tmp_path / "folder.svg")


def test_a_missing_renderer_is_one_clear_sentence(dot, tmp_path, monkeypatch):
    monkeypatch.setattr(render_module.shutil, "which", lambda name: None)
    monkeypatch.setattr(render_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        render(dot, tmp_path / "graph.png")
    assert 'pip install "staticnet[draw]"' in caught.value.message and ".dot" in caught.value.message
    assert "\n" not in caught.value.message and not list(tmp_path.iterdir())


def test_a_pygraphviz_without_graphviz_is_none(monkeypatch):
    monkeypatch.setattr(render_module.importlib.metadata, "version", lambda name: "1.14")
    assert render_module._pygraphviz_folder() is None


def test_a_failed_drawing_leaves_the_old_file(tmp_path, without_program):
    path = tmp_path / "graph.svg"
    path.write_text("old")
    with pytest.raises(ExportError, match="Graphviz could not draw"):
        render("digraph { a -> ", path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["graph.svg"]


# -- a dot program ----------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for dot is a script")
def test_a_dot_program_is_preferred(dot, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\ntext = sys.stdin.buffer.read()\n"
        "sys.stdout.buffer.write(' '.join(sys.argv[1:]).encode() + b'|' + text)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    arguments, text = render(dot, tmp_path / "graph.png").read_bytes().split(b"|", 1)
    assert arguments == b"-Tpng -Gdpi=144 -Gsize=100,100" and text == dot.encode()
    assert render(dot, tmp_path / "graph.svg").read_bytes().startswith(b"-Tsvg|")
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such font')\n")
    with pytest.raises(ExportError, match="no such font"):
        render(dot, tmp_path / "graph.png")


# -- fonts ------------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems always have fonts")


@pytest.fixture
def without_fonts(monkeypatch, tmp_path, without_program):
    monkeypatch.delenv("FONTCONFIG_FILE", raising=False)
    monkeypatch.delenv("FONTCONFIG_PATH", raising=False)
    monkeypatch.setattr(render_module, "_FONT_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(render_module, "_SYSTEM_FONT_CONFIGURATION", str(tmp_path / "none.conf"))


@linux
def test_a_machine_without_fonts_draws_legible_labels(without_fonts):
    narrow, wide = (picture(f'digraph {{ a [shape=plain, label="{c * 20}"] }}', "svg") for c in "iW")
    assert text_widths(wide) > 2 * text_widths(narrow), "boxes in place of letters are all of one width"


@linux
def test_the_fonts_that_are_carried_cover_what_labels_use(without_fonts, dot, monkeypatch):
    def tofu(text: str) -> bool:
        """Whether two different characters leave the same picture: the box for a missing letter."""
        return len({picture(f'digraph {{ a [shape=plain, label="{c}"] }}', "png") for c in text}) < len(text)

    assert not tofu("a×→λéЖ·")
    monkeypatch.setenv("FONTCONFIG_FILE", os.devnull)
    assert tofu("aé")


@linux
def test_drawing_writes_nothing_beside_the_fonts(without_fonts, dot):
    before = sorted(os.listdir(render_module._OWN_FONTS))
    picture(dot, "svg")
    assert sorted(os.listdir(render_module._OWN_FONTS)) == before


@linux
def test_a_machine_with_fonts_keeps_its_configuration(tmp_path, monkeypatch):
    monkeypatch.delenv("FONTCONFIG_FILE", raising=False)
    monkeypatch.delenv("FONTCONFIG_PATH", raising=False)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "Some.TTF").touch()
    monkeypatch.setattr(render_module, "_FONT_FOLDERS", (str(tmp_path),))
    with render_module._environment() as environment:
        assert "FONTCONFIG_FILE" not in environment
