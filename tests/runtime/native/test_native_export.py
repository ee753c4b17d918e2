"""Exported programs as they run: the bits of Python, several instances, errors, states, views, pointers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim, trees
from staticnet.runtime.native import host
from tests.runtime.native import exported
from tests.runtime.native.exported import (
    BATCH,
    CLASSES,
    FEATURES,
    IMAGES,
    LABELS,
    Cnn,
    batches,
    library,
    mlp,
    mlp_step,
    needs_compiler,
    needs_native,
    weights,
)

pytestmark = needs_native

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


ARITHMETIC = """
#include "scale.h"
#include <xmmintrin.h>
static scale_t model;
int main(void) {
    const float tiny[SCALE_X_SIZE] = {1e-39f, 1.0f};
    float output[SCALE_OUTPUT_SIZE];
    const unsigned odd = 0xffc0; /* to zero, denormals flushed */
    scale_init(&model);
    _mm_setcsr(odd);
    if (scale_run(&model, tiny, output))
        return 1;
    if ((_mm_getcsr() & odd) != odd)
        return 2;
    _mm_setcsr(0x1f80);
    return output[0] == 0 || output[1] != 1.0f / 3 ? 3 : 0;
}
"""


@needs_compiler
@pytest.mark.skipif(host.architecture() != "x86_64", reason="sets the mode of x86-64")
def test_the_callers_mode_of_arithmetic_is_neither_used_nor_lost(tmp_path: Path):
    files = sn.export_native(lambda x: x / 3, tmp_path / "scale.o", sn.TensorSpec((2,)))
    exported.run(exported.build(tmp_path, ARITHMETIC, files.code))


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
    assert message.startswith(f"step {code}, check_labels(target, classes={CLASSES}) at exported.py:")
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
