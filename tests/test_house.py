"""The rules of the house, read off the source: who imports whom, how, and what a file looks like."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# ---- the rules

# The folders of the package, and the names they are imported by.
ROOMS = {
    "staticnet": "staticnet",
    "compiler": "staticnet.compiler",
    "runtime": "staticnet.runtime",
    "exporters": "staticnet.exporters",
}
OTHER_FOLDERS = ("tests", "examples", "benchmarks", "docs")

# Which of our modules a room may import, in a function or not. staticnet.files is a leaf that
# belongs to no floor; it is held to the compiler's own rule.
MAY_IMPORT = {
    "staticnet.compiler": ("staticnet.compiler.*",),
    "staticnet.runtime": ("staticnet.compiler.*", "staticnet.runtime.*"),
    "staticnet.exporters": ("staticnet.compiler.*", "staticnet.exporters.*", "staticnet.files"),
    "staticnet.files": ("staticnet.compiler.errors",),
}
MAY_NOT_IMPORT = {
    "staticnet.runtime": tuple(f"staticnet.compiler.{unit}" for unit in ("autodiff", "rewrite", "passes", "pipeline")),
}

# The floors of the compiler, lowest first. What a unit imports, directly or through units that
# stand in no row, is on its own floor or below; and no two units import each other.
FLOORS = (
    ("origins", "errors"),
    ("dtypes", "dims"),
    ("ir",),
    ("ops",),
    ("autodiff", "cut", "rewrite"),
    ("passes",),
    ("target", "lowering", "schedule", "memory", "program", "codegen"),
    ("pipeline",),
)

# Packages from elsewhere that only some of our modules may import.
ONLY_IN = {
    "cupy": ("staticnet.runtime.cupy*",),
    "cupyx": ("staticnet.runtime.cupy*",),
    "onnx": ("staticnet.exporters.onnx", "staticnet.exporters.onnx.*"),
    "onnxruntime": ("staticnet.exporters.onnx", "staticnet.exporters.onnx.*"),
    "llvmlite": ("staticnet.runtime.native*",),
}
# Packages that need not be installed: imported inside functions, for those who ask.
OPTIONAL = ("graphviz", "pygraphviz", "matplotlib", "pooch", "PIL", "onnxruntime", "sklearn", "pandas", "IPython")
# What `import staticnet` does not import.
NOT_AT_IMPORT = ("onnx", "onnxruntime", "llvmlite", "cupy", "matplotlib", "graphviz", "pygraphviz", "pooch", "PIL")
# Peers that only benchmarks and tests may use.
NEVER = ("torch", "jax", "tensorflow")

MOST_LINES = 500

UNWANTED = {
    "a path of one machine": r"(?<![\w./~])/(?:home|Users|root|work|mnt|tmp)/\w|\b[A-Z]:\\{1,2}(?:Users|Windows)",
    "the number of an issue": r"(?i)\b(?:issue|ticket|pull request)s?\s*#?\d+\b|\bGH-\d+",
    "a note to oneself": r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b",
    "a conversation": r"(?i)\b(?:system|user) prompt\b|\bas (?:requested|instructed)\b|\bthe brief\b",
    "the host of a registry": r"pypi\.(?:org|io)|python[h]osted",
}


# ---- reading the source


@dataclass(frozen=True)
class Import:
    """One imported module: where, whether inside a function, and whether for type checkers only."""

    target: str
    line: int
    lazy: bool
    typing: bool
    level: int = 0


@dataclass(frozen=True)
class Module:
    """A source file, by its place and its dotted name."""

    path: Path
    name: str

    @property
    def place(self) -> str:
        return str(self.path.relative_to(ROOT))

    @functools.cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.place)

    @functools.cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, lazy=False, typing=False))


def _imports(node: ast.AST, *, lazy: bool, typing: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, lazy, typing)
        return
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield Import(inner if inner in modules() else base, node.lineno, lazy, typing, node.level)
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield Import(name.value, node.lineno, lazy, typing)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        lazy = True
    guarded = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    for child in ast.iter_child_nodes(node):
        inside = guarded and isinstance(node, ast.If) and child in node.body
        yield from _imports(child, lazy=lazy, typing=typing or inside)


@functools.cache
def modules() -> dict[str, Module]:
    """All modules of the package by dotted name."""
    found = {}
    for folder, package in ROOMS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            found[name] = Module(path, name)
    return found


def other_files() -> list[Module]:
    paths = [path for folder in OTHER_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [Module(path, path.stem) for path in paths]


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) or name == pattern.removesuffix(".*") for pattern in patterns)


def is_ours(name: str) -> bool:
    return name == "staticnet" or name.startswith("staticnet.")


def room(module: Module) -> str:
    if module.name in MAY_IMPORT:
        return module.name
    return ROOMS[module.path.relative_to(ROOT).parts[0]]


def report(faults: list[str]) -> None:
    assert not faults, "\n" + "\n".join(faults)


def where(module: Module, imported: Import) -> str:
    return f"{module.place}:{imported.line} imports {imported.target}"


# ---- the tests


def test_the_source_is_found():
    assert {"staticnet", "staticnet.compiler.errors", "staticnet.runtime", "staticnet.exporters"} <= modules().keys()


def test_rooms():
    report(
        [
            f"{where(module, imported)}; {room(module)} may import {', '.join(MAY_IMPORT[room(module)])}"
            for module in modules().values()
            if room(module) in MAY_IMPORT
            for imported in module.imports
            if is_ours(imported.target)
            and (
                not matches(imported.target, MAY_IMPORT[room(module)])
                or matches(imported.target, tuple(f"{name}.*" for name in MAY_NOT_IMPORT.get(room(module), ())))
            )
        ]
    )


def compiler_unit(name: str) -> str | None:
    return name.split(".")[2] if name.startswith("staticnet.compiler.") else None


def compiler_imports() -> dict[str, dict[str, str]]:
    """For each unit of the compiler the other units it imports, with a place where it does."""
    found: dict[str, dict[str, str]] = {}
    for module in modules().values():
        unit = compiler_unit(module.name)
        for imported in module.imports:
            other = compiler_unit(imported.target)
            if unit and other and other != unit and not imported.typing:
                found.setdefault(unit, {}).setdefault(other, where(module, imported))
    return found


def reachable(unit: str, imports: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Every unit that `unit` imports, directly or not, with the chain of places that leads there."""
    chains: dict[str, list[str]] = {unit: []}
    waiting = [unit]
    while waiting:
        current = waiting.pop(0)
        for other, place in imports.get(current, {}).items():
            if other not in chains or (other == unit and not chains[unit]):
                chains[other] = [*chains[current], place]
                waiting.append(other)
    return {name: chain for name, chain in chains.items() if chain}


def chains_upwards(imports: dict[str, dict[str, str]]) -> list[str]:
    floor = {unit: number for number, units in enumerate(FLOORS) for unit in units}
    return [
        f"{unit} is below {other}:\n    " + "\n    ".join(chain)
        for unit in floor
        for other, chain in reachable(unit, imports).items()
        if floor.get(other, -1) > floor[unit]
    ]


def circles(imports: dict[str, dict[str, str]]) -> list[str]:
    chains = {unit: reachable(unit, imports).get(unit) for unit in imports}
    return [f"{unit} imports itself:\n    " + "\n    ".join(chain) for unit, chain in chains.items() if chain]


def test_floors_of_the_compiler():
    report(chains_upwards(compiler_imports()))


def test_no_circles_in_the_compiler():
    report(circles(compiler_imports()))


def test_the_compiler_package_itself_imports_nothing():
    report([where(modules()["staticnet.compiler"], imported) for imported in modules()["staticnet.compiler"].imports])


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_that_only_some_may_import(package):
    report(
        [
            f"{where(module, imported)}; only {', '.join(ONLY_IN[package])} may"
            for module in modules().values()
            for imported in module.imports
            if imported.target.split(".")[0] == package and not matches(module.name, ONLY_IN[package])
        ]
    )


def test_optional_packages_are_imported_inside_functions():
    report(
        [
            f"{where(module, imported)} at its top"
            for module in modules().values()
            for imported in module.imports
            if imported.target.split(".")[0] in OPTIONAL and not imported.lazy and not imported.typing
        ]
    )


def test_peers_are_never_imported():
    report(
        [
            where(module, imported)
            for module in modules().values()
            for imported in module.imports
            if imported.target.split(".")[0] in NEVER
        ]
    )


def test_imports_are_absolute():
    report(
        [
            f"{module.place}:{imported.line} imports relatively, or a second copy of {imported.target}"
            for module in [*modules().values(), *other_files()]
            for imported in module.imports
            if imported.level or imported.target.split(".")[0] in ("compiler", "runtime", "exporters")
        ]
    )


def test_import_staticnet_is_light():
    script = f"import sys, staticnet; print(*sorted(set({NOT_AT_IMPORT!r}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT.parent, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_every_file_begins_with_what_it_is():
    report(
        [
            f"{module.place} has no docstring"
            for module in [*modules().values(), *other_files()]
            if module.tree.body and not ast.get_docstring(module.tree)
        ]
    )


def test_no_file_is_too_long():
    lengths = {module.place: module.text.count("\n") for module in [*modules().values(), *other_files()]}
    report([f"{place} has {lines} lines" for place, lines in lengths.items() if lines > MOST_LINES])


@pytest.mark.parametrize("what", UNWANTED)
def test_unwanted_words(what):
    report(
        [
            f"{module.place}:{number} names {what}: {line.strip()}"
            for module in [*modules().values(), *other_files()]
            for number, line in enumerate(module.text.splitlines(), 1)
            if re.search(UNWANTED[what], line)
        ]
    )


# ---- and that these tests see what they should see


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b", [("a.b", False, False, 0)]),
        ("def f():\n import a", [("a", True, False, 0)]),
        ("class C:\n import a\n f = lambda: __import__('b')", [("a", False, False, 0), ("b", True, False, 0)]),
        ("importlib.import_module('a.b')", [("a.b", False, False, 0)]),
        ("try:\n import a\nexcept ImportError:\n a = None", [("a", False, False, 0)]),
        ("if TYPE_CHECKING:\n import a\nelse:\n import b", [("a", False, True, 0), ("b", False, False, 0)]),
        ("from . import a", [("", False, False, 1)]),
        ("from staticnet.compiler import errors", [("staticnet.compiler.errors", False, False, 0)]),
        ("from staticnet.compiler.errors import StateError", [("staticnet.compiler.errors", False, False, 0)]),
    ],
)
def test_imports_are_read(source, expected):
    found = _imports(ast.parse(source), lazy=False, typing=False)
    assert [(imported.target, imported.lazy, imported.typing, imported.level) for imported in found] == expected


def test_floors_and_circles_are_found():
    fine = {"ops": {"ir": "", "helper": ""}, "helper": {"dims": ""}, "pipeline": {"ops": "", "memory": ""}}
    assert chains_upwards(fine) == circles(fine) == []
    (chain,) = chains_upwards({**fine, "helper": {"passes": "helper.py:3"}, "ops": {"helper": "card.py:1"}})
    assert chain.startswith("ops is below passes") and chain.endswith("card.py:1\n    helper.py:3")
    assert len(circles({"rewrite": {"helper": "1"}, "helper": {"autodiff": "2"}, "autodiff": {"rewrite": "3"}})) == 3


@pytest.mark.parametrize(
    ("what", "line", "found"),
    [
        ("a path of one machine", "open('/ho" "me/me/x')", True),
        ("a path of one machine", "open('C:" "\\\\Us" "ers')", True),
        ("a path of one machine", "see https://example.com/home/me, ~/x and a/work/b", False),
        ("the number of an issue", "fixes iss" "ue #12", True),
        ("the number of an issue", "the issue is 12", False),
        ("a note to oneself", "# TO" "DO later", True),
        ("a conversation", "at the prompt", False),
    ],
)
def test_unwanted_words_are_found(what, line, found):
    assert bool(re.search(UNWANTED[what], line)) is found
