"""Programs exported as objects and libraries: the bits of Python, several instances, errors, headers, symbols."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim, trees
from staticnet.compiler.codegen.loops.describe import DESCRIBERS
from staticnet.compiler.errors import ArgumentError, ExportError, MissingDependencyError
from staticnet.compiler.ops.slice import Concat
from staticnet.runtime.native import host
from tests.runtime.native import exported
from tests.runtime.native.exported import library, needs_compiler, needs_native

pytestmark = needs_native

BATCH, CLASSES = 6, 5
IMAGES = sn.TensorSpec(("batch", 2, 8, 8), "float32", name="images")
FEATURES = sn.TensorSpec((BATCH, 7), "float32")
LABELS = sn.TensorSpec((BATCH,), "int64")


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, CLASSES))


def mlp_step(seed: int = 3, make=mlp, specs=(FEATURES, LABELS)) -> tuple[nn.Module, sn.step.TrainStep]:
    sn.manual_seed(seed)
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, sn.compile_train_step(model, nn.CrossEntropyLoss(), optimizer, *specs)


def batches(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((BATCH, 7), np.float32), rng.integers(0, CLASSES, BATCH)) for _ in range(count)
    ]


def weights(model: nn.Module) -> list[np.ndarray]:
    return [parameter.numpy() for parameter in model.parameters()]


# -- inside C programs --------------------------------------------------------------------------

INFERENCE = """
#include "cnn.h"
#include <stdio.h>
static cnn_t model;
static float images[CNN_IMAGES_SIZE], output[CNN_OUTPUT_SIZE];
int main(int count, char **names) {
    FILE *in = fopen(names[count - 2], "rb"), *out = fopen(names[count - 1], "wb");
    cnn_init(&model);
    while (fread(images, sizeof images, 1, in) == 1) {
        int code = cnn_run(&model, images, output);
        if (code) { fprintf(stderr, "%s\\n", cnn_error(code)); return code; }
        fwrite(output, sizeof output, 1, out);
    }
    fclose(in);
    return fclose(out);
}
"""


@needs_compiler
def test_inference_in_c_gives_the_same_bits(tmp_path: Path):
    sn.manual_seed(1)
    model = Cnn()
    model.features[1].running_mean.assign(np.linspace(-1, 1, 6, dtype=np.float32))
    files = sn.export_native(model, tmp_path / "cnn.o", IMAGES, sizes={"batch": BATCH})
    assert files == (tmp_path / "cnn.o", tmp_path / "cnn.h")
    program = exported.build(tmp_path, INFERENCE, files.code)
    images = np.random.default_rng(0).standard_normal((3, BATCH, 2, 8, 8), np.float32)
    images.tofile(tmp_path / "in")
    exported.run(program, tmp_path / "in", tmp_path / "out")
    found = np.fromfile(tmp_path / "out", np.float32).reshape(3, BATCH, CLASSES)
    model.eval()
    for batch, result in zip(images, found, strict=True):
        np.testing.assert_array_equal(result.view(np.uint32), model(batch).view(np.uint32))


TRAINING = """
#include "mlp.h"
#include <stdio.h>
#include <string.h>
static mlp_t both[2];
static float input[MLP_X_SIZE];
static int64_t target[MLP_TARGET_SIZE];
int main(int count, char **names) {
    FILE *in = fopen(names[count - 2], "rb"), *out = fopen(names[count - 1], "wb");
    int turn = 0;
    memset(both, 0x5a, sizeof both);
    mlp_init(&both[0]);
    mlp_init(&both[1]);
    while (fread(input, sizeof input, 1, in) == 1 && fread(target, sizeof target, 1, in) == 1) {
        float loss;
        mlp_t *model = &both[turn];
        int code = mlp_run(model, input, target, &loss);
        if (code) { fprintf(stderr, "%s\\n", mlp_error(code)); return code; }
        fwrite(&loss, sizeof loss, 1, out);
        fwrite(model->n0_weight, sizeof model->n0_weight, 1, out);
        fwrite(model->n0_bias, sizeof model->n0_bias, 1, out);
        fwrite(model->n3_weight, sizeof model->n3_weight, 1, out);
        fwrite(model->n3_bias, sizeof model->n3_bias, 1, out);
        turn = !turn;
    }
    fclose(in);
    return fclose(out);
}
"""


@needs_compiler
def test_training_in_c_gives_the_same_bits_in_two_instances(tmp_path: Path):
    """Losses and weights over several steps; the second instance learns from other batches."""
    _, step = mlp_step()
    program = exported.build(tmp_path, TRAINING, sn.export_native(step, tmp_path / "mlp.o").code)
    given = [batches(5, seed=1), batches(5, seed=2)]
    expected: dict[tuple[int, int], list[np.ndarray]] = {}
    for turn in (0, 1):
        model, step = mlp_step()
        for number, batch in enumerate(given[turn]):
            expected[number, turn] = [np.asarray(step(*batch)), *weights(model)]
    with (tmp_path / "in").open("wb") as stream:
        for pair in zip(*given, strict=True):
            for x, target in pair:
                stream.write(x.tobytes() + target.tobytes())
    exported.run(program, tmp_path / "in", tmp_path / "out")
    in_order = b"".join(array.tobytes() for place in sorted(expected) for array in expected[place])
    assert (tmp_path / "out").read_bytes() == in_order


@needs_compiler
@pytest.mark.parametrize("standard", ["c99", "c11", "c++98", "c++17"])
def test_headers_are_clean(tmp_path: Path, standard: str):
    """Two programs in one file, in C and in C++, without a warning; an instance can be copied."""
    compiler = exported.CPP_COMPILER if "++" in standard else exported.COMPILER
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    _, step = mlp_step()
    objects = [
        sn.export_native(step, tmp_path / "mlp.o").code,
        sn.export_native(Cnn(), tmp_path / "cnn.o", IMAGES, sizes={"batch": 1}).code,
    ]
    source = """
    #include "mlp.h"
    #include "cnn.h"
    #include "mlp.h"
    static mlp_t model, other;
    static cnn_t cnn;
    int main(void) {
        static const int shape[] = CNN_IMAGES_SHAPE;
        mlp_init(&model);
        cnn_init(&cnn);
        other = model;
        return sizeof model != mlp_bytes() || sizeof cnn != cnn_bytes() || shape[1] != 2 || ((size_t)&model) % 64
            || other.optimizer_lr != 0.1 || other.n0_weight[3] != model.n0_weight[3];
    }
    """
    exported.run(exported.build(tmp_path, source, *objects, compiler=compiler, standard=standard))


# -- errors at run time ----------------------------------------------------------------------------


@needs_compiler
def test_a_label_out_of_range_is_told_and_changes_nothing(tmp_path: Path):
    _, step = mlp_step()
    instance = library(tmp_path, step).instance()
    ((x, target), (later, good)) = batches(2)
    bad = target.copy()
    bad[4] = CLASSES
    loss, before = np.full((), -1, np.float32), instance.bytes.copy()
    code = instance.run([x, bad], [loss])
    assert code > 0 and loss == -1
    states = slice(0, exported.offset_of(instance.library.header, "workspace"))
    np.testing.assert_array_equal(instance.bytes[states], before[states])
    message = instance.error(code)
    assert message.startswith(f"step {code}, check_labels(target, classes={CLASSES}) at {Path(__file__).name}:")
    assert instance.error(0) == "no error" and instance.error(9999) == instance.error(-1) == "no such error"
    assert instance.run([later, good], [loss]) == 0
    np.testing.assert_array_equal(loss, step(later, good))


# -- what programs may look like -------------------------------------------------------------------


def both(tmp_path: Path, function, *arrays: np.ndarray, runs: int = 1, **options) -> None:
    """A function gives the same bits exported and called, run after run."""
    compiled = sn.compile(function, *map(sn.TensorSpec.of, arrays))
    made = library(tmp_path, compiled, **options)
    instances = [made.instance(), made.instance(alignment=8)]
    for _ in range(runs):
        expected = trees.leaves(compiled(*arrays))
        for instance in instances:
            found = [np.full(each.shape, 77, each.dtype) for each in expected]
            assert instance.run(arrays, found) == 0
            for result, wanted in zip(found, expected, strict=True):
                np.testing.assert_array_equal(result, wanted, strict=True)


X = np.arange(-12, 12, dtype=np.float32).reshape(4, 6)


@needs_compiler
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: (x, x),
        lambda x: x.T,
        lambda x: (x * 2).T,
        lambda x: (x * 2)[::-1, 1::2],
        lambda x: x.T.reshape(3, 8),
        lambda x: (x[1], x.reshape(24)[5], x[:, :0]),
        lambda x: np.float32([[1, 0], [0, 2]]) * 1,
        lambda x: (x > 0, x.astype("int8"), x.astype("float16") * 3, x.astype("float64") / 3),
        lambda x: (sn.exp(x), sn.sin(x * 1e6), sn.softmax(x), sn.matmul(x, x.T), x.sum(axis=0)),
    ],
    ids=[
        *("a feed", "twice", "a view of a feed", "a view", "strides", "reshaped", "pieces", "a constant"),
        *("types", "functions"),
    ],
)
def test_outputs_of_all_kinds(tmp_path: Path, function):
    both(tmp_path, function, X)


@needs_compiler
def test_feeds_of_all_types(tmp_path: Path):
    arrays = [(np.arange(5) % 2).astype(name) for name in ("bool", "int8", "uint16", "int32", "uint64", "float16")]
    both(tmp_path, lambda *given: tuple(array + 1 for array in given), *arrays)


class Juggler(nn.Module):
    """States that take each other's values, turned over or as they are."""

    def __init__(self):
        super().__init__()
        self.first = nn.Buffer(np.arange(6, dtype=np.float32).reshape(2, 3))
        self.second = nn.Buffer(10 + np.arange(6, dtype=np.float32).reshape(2, 3))
        self.square = nn.Buffer(np.arange(9, dtype=np.float32).reshape(3, 3))
        self.count = nn.Buffer(np.zeros((), np.int64))

    def forward(self, x):
        first, second, square = self.first + 0, self.second.reshape(3, 2), self.square.T
        before = self.first * x
        self.first.assign(self.second)
        self.second.assign(first)
        self.square.assign(square)
        self.count.assign(self.count + 1)
        return before, second, square, self.first, self.count


@needs_compiler
def test_states_that_change_places(tmp_path: Path):
    compiled = sn.compile(Juggler(), sn.TensorSpec((2, 3)))
    made = library(tmp_path, compiled)
    assert compiled.program.copies and compiled.program.written
    instances = [made.instance(), made.instance(alignment=8)]
    x = np.ones((2, 3), np.float32)
    for _ in range(3):
        expected = compiled(x)
        for instance in instances:
            found = [np.empty(each.shape, each.dtype) for each in expected]
            assert instance.run([x], found) == 0
            for result, wanted in zip(found, expected, strict=True):
                np.testing.assert_array_equal(result, wanted)


@needs_compiler
def test_outputs_may_be_left_out(tmp_path: Path):
    made = library(tmp_path, sn.compile(lambda x: (x + 1, x * 2), sn.TensorSpec.of(X)))
    result = np.zeros_like(X)
    assert made.instance().run([X], [None, result]) == 0
    np.testing.assert_array_equal(result, X * 2)


@needs_compiler
def test_weights_can_be_read_elsewhere(tmp_path: Path):
    """Pointers of a model set to other weights; what was made ready of the first ones is made anew."""
    sn.manual_seed(5)
    model, other = Cnn().eval(), Cnn().eval()
    instance = library(tmp_path, model, IMAGES, sizes={"batch": BATCH}).instance()
    images = np.random.default_rng(4).standard_normal((BATCH, 2, 8, 8), np.float32)
    found = np.empty((BATCH, CLASSES), np.float32)
    assert instance.run([images], [found]) == 0
    np.testing.assert_array_equal(found, model(images))
    kept = {name: value.numpy() for name, value in [*other.named_parameters(), *other.named_buffers()]}
    for name, array in kept.items():
        if array.ndim:
            place = instance[name.replace(".", "_")][:8].view(np.int64)
            place[0] = array.ctypes.data
    instance.library.function("prepare")(instance.address)
    assert instance.run([images], [found]) == 0
    np.testing.assert_array_equal(found, other(images))


@needs_compiler
def test_a_frozen_layer_is_read_where_it_lies(tmp_path: Path):
    """A step that trains one layer: frozen weights are behind pointers, trained ones in the instance."""

    def make() -> nn.Module:
        model = nn.Sequential(nn.Linear(7, 40), nn.ReLU(), nn.Linear(40, CLASSES))
        model[0].freeze("*")
        return model

    sn.manual_seed(2)
    model = make()
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optimizer, FEATURES, LABELS)
    made = library(tmp_path, step)
    assert "const float *n0_weight;" in made.header and "float n2_weight[200];" in made.header
    instance, loss = made.instance(), np.empty((), np.float32)
    for batch in batches(4):
        assert instance.run(batch, [loss]) == 0
        np.testing.assert_array_equal(loss, step(*batch))


# -- what is exported ------------------------------------------------------------------------------


@needs_compiler
def test_a_step_is_exported_as_it_ran_last_and_goes_on_from_there(tmp_path: Path):
    sn.manual_seed(3)
    model = mlp()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    first, second = batches(2)
    step(*first)
    made = library(tmp_path, step)
    assert f"MODEL_X_SHAPE {{{BATCH}, 7}}" in made.header
    loss = np.empty((), np.float32)
    assert made.instance().run(second, [loss]) == 0
    np.testing.assert_array_equal(loss, step(*second))
    assert "MODEL_X_SHAPE {2, 7}" in library(tmp_path, step, sizes={"batch": 2}).header


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
    with pytest.raises(ExportError, match=r"1 steps without native code: concat at test_native_export.py:\d+"):
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
