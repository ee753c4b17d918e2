"""What an export writes and refuses: headers, names, symbols, other processors, the command line, the example."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import staticnet as sn
from staticnet.cli import main
from staticnet.compiler.codegen.loops.describe import DESCRIBERS
from staticnet.compiler.errors import ArgumentError, ExportError, MissingDependencyError
from staticnet.compiler.ops.slice import Concat
from staticnet.runtime.native import host
from staticnet.runtime.native.export_names import Names, prefix
from staticnet.runtime.native.export_text import Kernels
from tests.runtime.native import exported
from tests.runtime.native.exported import (
    BATCH,
    CLASSES,
    IMAGES,
    Cnn,
    library,
    mlp,
    mlp_step,
    needs_compiler,
    needs_native,
)

pytestmark = needs_native

ODD_NAMES = ("class", "x", "X", "0.größe", "a*/b /*", "model", "a__b", "int64_t", "linux", "日本")


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> list[Path]:
    """A step, a network, and a function of inputs that no C program could call by their names."""
    folder = tmp_path_factory.mktemp("objects")
    _, step = mlp_step()
    odd = [sn.TensorSpec((2,), name=name) for name in ODD_NAMES]
    return [
        sn.export_native(step, folder / "mlp.o").code,
        sn.export_native(Cnn(), folder / "cnn.o", IMAGES, sizes={"batch": 1}).code,
        sn.export_native(lambda *given: sum(given[1:], given[0]), folder / "0 odd-names.o", *odd).code,
    ]


CLEAN = """
#include "mlp.h"
#include "cnn.h"
#include "mlp.h"
#include "0 odd-names.h"
static mlp_t model, other;
static cnn_t cnn;
static n0_odd_names_t odd;
static const float one[2] = {1, 2};
int main(void) {
    static const int shape[] = CNN_IMAGES_SHAPE;
    float sum[N0_ODD_NAMES_OUTPUT_SIZE];
    mlp_init(&model);
    cnn_init(&cnn);
    n0_odd_names_init(&odd);
    other = model;
    if (n0_odd_names_run(&odd, one, one, one, one, one, one, one, one, one, one, sum) || sum[1] != 20)
        return 2;
    return sizeof model != mlp_bytes() || sizeof cnn != cnn_bytes() || shape[1] != 2 || ((size_t)&model) % 64
        || other.optimizer_lr != 0.1 || other.n0_weight[3] != model.n0_weight[3];
}
"""


@needs_compiler
@pytest.mark.parametrize("standard", ["c99", "c11", "c++98", "c++17"])
def test_headers_are_clean(tmp_path: Path, objects: list[Path], standard: str):
    """Several programs in one, in C and in C++, without a warning; an instance can be copied."""
    compiler = exported.CPP_COMPILER if "++" in standard else exported.COMPILER
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    for path in objects[0].parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    exported.run(exported.build(tmp_path, CLEAN, *objects, compiler=compiler, standard=standard))


def test_names_in_c_are_valid_and_differ():
    names = Names("model")
    found = [names.new(name) for name in ODD_NAMES]
    assert found == ["class_", "x", "X_2", "n0_groe", "a_b", "model_2", "a_b_2", "int64_t_", "linux_", "value"]
    assert [prefix(name) for name in ("cnn", "int", "Size", "2d-net")] == ["cnn", "int_model", "Size_model", "n2d_net"]



# -- what is refused -------------------------------------------------------------------------------


def test_a_module_without_specs_is_taken_as_it_was_called_but_infers(tmp_path: Path):
    model = mlp()
    with pytest.raises(ArgumentError, match="needs the specs of the inputs"):
        sn.export_native(model, tmp_path / "m.o")
    assert model.training
    model(np.zeros((3, 7), np.float32))
    header = sn.export_native(model, tmp_path / "m.o").header.read_text()
    assert "M_X_SHAPE {3, 7}" in header and "random_key" not in header


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "batch of Cnn is not given: add sizes={'batch': 1}"),
        ({"sizes": {"bach": 2}}, "sizes names 'bach', which Cnn has not; its symbolic sizes are batch"),
        ({"sizes": {"batch": 2.5}}, "a size is a whole number"),
        ({"sizes": {"batch": 2}, "name": "2d"}, "names in C cannot begin so; take 'n2d'"),
        ({"sizes": {"batch": 2}, "cpu": "z80"}, "cpu = 'z80': on .* it takes native"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path: Path, options, message):
    with pytest.raises(ArgumentError, match=message):
        sn.export_native(Cnn(), tmp_path / "cnn.o", IMAGES, **options)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_and_models_are_refused(tmp_path: Path):
    with pytest.raises(ArgumentError, match=r"ends in '.c': native code is written to .o, .obj, .so, .dylib"):
        sn.export_native(Cnn(), tmp_path / "cnn.c", IMAGES)
    with pytest.raises(ArgumentError, match="takes a module, a function"):
        sn.export_native(3, tmp_path / "cnn.o")
    with pytest.raises(ArgumentError, match="already knows its inputs"):
        sn.export_native(sn.trace(Cnn(), IMAGES), tmp_path / "cnn.o", IMAGES)
    with pytest.raises(ArgumentError, match="there is no folder"):
        sn.export_native(Cnn(), tmp_path / "no" / "cnn.o", IMAGES, sizes={"batch": 1})


def test_steps_without_native_code_are_refused_by_line(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(DESCRIBERS, Concat, lambda *_: None)
    with pytest.raises(ExportError, match=r"1 steps without native code: concat at test_native_export_files.py:\d+"):
        sn.export_native(lambda x: sn.concatenate([x, x]) + 1, tmp_path / "f.o", sn.TensorSpec((2, 2)))
    assert not list(tmp_path.iterdir())


def test_a_library_needs_a_compiler(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="write an object instead"):
        sn.export_native(lambda x: x + 1, tmp_path / "f.so", sn.TensorSpec((2,)))
    monkeypatch.setenv("CC", "no-such-compiler --odd")
    with pytest.raises(MissingDependencyError, match="no-such-compiler cannot be run"):
        sn.export_native(lambda x: x + 1, tmp_path / "f.so", sn.TensorSpec((2,)))
    assert not list(tmp_path.iterdir())


# -- other processors ------------------------------------------------------------------------------

LEVELS = {"x86_64": ("sse2", "avx2", "avx512", "generic", "native"), "aarch64": ("neon", "generic", "native")}
#: of the C library, and of its mathematics
_MATHEMATICS = ("pow", "sin", "cos", "tan", "exp", "log", "fma", "fmod", "floor", "ceil", "rint", "round", "trunc")
ALLOWED = {"memcpy", "memset", *_MATHEMATICS, *(f"{name}f" for name in _MATHEMATICS)}


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
@pytest.mark.parametrize("cpu", LEVELS.get(host.architecture(), ()))
def test_nothing_but_the_c_library_is_needed(tmp_path: Path, cpu: str):
    _, step = mlp_step()
    objects = [
        sn.export_native(step, tmp_path / "mlp.o", cpu=cpu).code,
        sn.export_native(Cnn(), tmp_path / "cnn.o", IMAGES, sizes={"batch": 2}, cpu=cpu).code,
        sn.export_native(everything, tmp_path / "f.o", sn.TensorSpec((3, 4)), cpu=cpu).code,
    ]
    for path in objects:
        lines = exported.run("nm", path).splitlines()
        undefined = {line.split()[-1].lstrip("_") for line in lines if line.split()[-2] == "U"}
        public = {line.split()[-1].lstrip("_") for line in lines if line.split()[-2] in "TDBRVW"}
        assert undefined <= ALLOWED, undefined - ALLOWED
        functions = {"bytes", "error", "init", "run"} | ({"prepare"} if path.stem == "cnn" else set())
        assert public == {f"{path.stem}_{function}" for function in functions}


def everything(x):
    """Functions that processors lack, and types that older ones know little of."""
    half, double = x.astype("float16"), x.astype("float64")
    return (
        sn.exp(x) + sn.log(x) + sn.tanh(x) + sn.sin(x) + sn.cos(x) + sn.floor(x) + sn.round(x) + sn.sqrt(x),
        half * 2 + sn.exp(half),
        sn.sin(double) + sn.exp(double) + sn.floor(double) + sn.round(double),
        x.astype("int32").astype("uint8"),
    )


@needs_compiler
@pytest.mark.parametrize("cpu", LEVELS.get(host.architecture(), ())[:2])
def test_code_for_other_processors_computes_the_same(tmp_path: Path, cpu: str):
    try:
        host._machine(cpu)
    except ArgumentError:
        pytest.skip(f"this processor cannot run {cpu}")
    sn.manual_seed(1)
    model = Cnn().eval()
    made = library(tmp_path, model, IMAGES, sizes={"batch": BATCH}, cpu=cpu)
    images = np.random.default_rng(0).standard_normal((BATCH, 2, 8, 8), np.float32)
    found = np.empty((BATCH, CLASSES), np.float32)
    assert made.instance().run([images], [found]) == 0
    np.testing.assert_allclose(found, model(images), rtol=1e-5, atol=1e-6)


def test_equal_programs_give_equal_files(tmp_path: Path):
    """Also in another process: files do not depend on identities or hashes."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _, step = mlp_step()
        sn.export_native(step, tmp_path / name / "mlp.o")
    assert (tmp_path / "a/mlp.o").read_bytes() == (tmp_path / "b/mlp.o").read_bytes()
    assert (tmp_path / "a/mlp.h").read_text() == (tmp_path / "b/mlp.h").read_text()


def test_helpers_of_one_name_that_differ_are_kept_apart(monkeypatch):
    """Kernels with equal texts are one function; a helper that another kernel has otherwise gets another name."""
    kernel = """define i32 @kernel(i64 %begin0, i64 %end0) #0 {{
  %v = call i32 @help.f(i32 {0})
  ret i32 %v
}}
declare float @llvm.fabs.f32(float)
define internal i32 @help.f(i32 %x0) noinline {{
  %t = call i32 @help(i32 %x0)
  ret i32 %t
}}
define internal i32 @help(i32 %x0) noinline {{
  ret i32 {1}
}}
attributes #0 = {{ nounwind }}
"""
    texts = {number: kernel.format(*parts) for number, parts in enumerate([(1, 7), (2, 7), (1, 8), (1, 7)])}
    monkeypatch.setattr("staticnet.runtime.native.export_text.print_kernel", lambda k, *_: texts[k])
    kernels = Kernels(host.machine())
    assert [kernels.symbol(number) for number in texts] == ["kernel_0", "kernel_1", "kernel_2", "kernel_0"]
    text = "".join([*kernels.texts(), kernels.attributes()])
    assert text.count("define internal i32 @help(") == text.count("declare float") == text.count("attributes") == 1
    assert text.count("call i32 @help.f(") == 2 and text.count("call i32 @help.f.kernel_2(i32 1)") == 1
    assert "define internal i32 @help.kernel_2(i32 %x0) noinline {\n  ret i32 8\n}" in text


# -- the command line and the example --------------------------------------------------------------


def test_the_command_line_exports_by_suffix(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "net.py").write_text("from staticnet import nn\n\ndef Net():\n    return nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    command = ["export", "net.py:Net", "--input", "x:float32[batch,3]", "--out"]
    assert main([*command, "net.o", "--size", "batch=4", "--cpu", "generic"]) == 0
    assert capsys.readouterr().out == "net.o\nnet.h\n"
    assert "NET_X_SHAPE {4, 3}" in (tmp_path / "net.h").read_text()
    for options, message in [
        (["net.o"], "batch of Linear is not given"),
        (["net.o", "--size", "batch"], "--size takes a name and a whole number"),
        (["net.onnx", "--size", "batch=4"], "--size is for native code"),
    ]:
        assert main([*command, *options]) == 2
        assert message in capsys.readouterr().err


@needs_compiler
def test_the_example_learns(tmp_path: Path):
    folder = Path(__file__).parents[3] / "examples" / "native"
    exported.run(sys.executable, folder / "export.py", tmp_path)
    objects = [tmp_path / "digits.o", tmp_path / "digits_step.o"]
    program = exported.build(tmp_path, (folder / "main.c").read_text(encoding="utf-8"), *objects)
    first, *_, last = (line.split(" ", 1) for line in exported.run(program, tmp_path).splitlines())
    assert first[1] == last[1] == "% of 297 digits known"
    assert float(first[0]) < 60 and float(last[0]) > 90
