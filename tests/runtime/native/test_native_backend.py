"""Programs as native code: against the reference, refusals, standing work, feeds in place, threads."""

from __future__ import annotations

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.runtime.devices import get_backend
from staticnet.runtime.native import host
from staticnet.runtime.native.backend import NativeBackend
from staticnet.runtime.native.bound import NativeBound

pytestmark = pytest.mark.skipif(not host.available(), reason="no native code on this machine")
RANDOM = np.random.default_rng(3)


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 4)
    )


def images(count: int) -> np.ndarray:
    return RANDOM.standard_normal((count, 1, 8, 8)).astype(np.float32)


def bound_of(function) -> NativeBound:
    bound = function.executor.new_bound()
    assert isinstance(bound, NativeBound)
    return bound


def train(steps: int, threads: int = 1) -> tuple[list[float], dict[str, np.ndarray]]:
    sn.manual_seed(5)
    model = small_cnn()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=1e-2))
    random = np.random.default_rng(0)
    x = random.standard_normal((steps, 12, 1, 8, 8)).astype(np.float32)
    y = random.integers(0, 4, (steps, 12))
    with sn.using_config(num_threads=threads):
        losses = [float(step(each, target)) for each, target in zip(x, y, strict=True)]
    return losses, {name: np.array(value) for name, value in model.state_dict().items()}


def test_a_training_step_is_one_native_call():
    model = small_cnn()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(images(4), np.zeros(4, np.int64))
    bound = bound_of(step)
    assert len(bound.segments) == 1 and bound.is_atomic
    assert all(generated.routine is not None for generated in step.program.code)


def test_training_follows_the_reference(monkeypatch):
    losses, weights = train(20)
    monkeypatch.setenv("STATICNET_NATIVE", "0")
    expected_losses, expected = train(20)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_bits_are_those_of_one_thread(threads):
    losses, weights = train(5, threads)
    expected_losses, expected = train(5, 1)
    assert losses == expected_losses
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


def test_a_label_out_of_range_is_refused_by_name_and_nothing_is_written():
    model = small_cnn()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    x, y = images(4), np.array([0, 1, 2, 3])
    step(x, y)
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    with pytest.raises(sn.errors.RunError, match="label 7 at position"):
        step(x, np.array([0, 7, 2, 3]))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    step(x, y)


def test_packed_weights_follow_what_is_written():
    model = small_cnn().eval()
    x = images(3)
    run = sn.compile(model)
    first = run(x)
    assert bound_of(run).code.standing, "weights of inference are packed apart"
    model[0].weight.assign(np.array(model[0].weight) * 2)
    fresh = sn.compile(model)(x)
    np.testing.assert_array_equal(run(x), fresh)
    assert not np.array_equal(first, fresh)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.5))
    step(x, np.zeros(3, np.int64))
    model.eval()
    np.testing.assert_array_equal(sn.compile(model)(x), run(x))


def test_long_feeds_are_read_where_they_are():
    run = sn.compile(lambda x, w: (x * 2.0).sum(axis=1) + w)
    wide = RANDOM.standard_normal((128, 256)).astype(np.float32)
    w = np.ones(128, np.float32)
    odd = np.frombuffer(b"\0" + wide.tobytes(), np.float32, offset=0, count=0)
    assert odd.size == 0
    misaligned = np.frombuffer(bytearray(b"\0" + wide.tobytes()), np.uint8)[1:].view(np.float32).reshape(wide.shape)
    for given in (wide, wide.copy(), np.asfortranarray(wide), misaligned, wide[::-1], wide):
        np.testing.assert_allclose(run(given, w), (given * 2).sum(axis=1) + 1, rtol=1e-4, atol=1e-4)


def test_without_llvm_the_reference_runs(monkeypatch):
    from staticnet.compiler.errors import CompilerError
    from staticnet.runtime.native import backend

    def refuse(*_):
        raise CompilerError("nothing compiles today")

    monkeypatch.setattr(backend, "load_code", refuse)
    with pytest.warns(RuntimeWarning, match="nothing compiles today"):
        result = sn.compile(lambda x: x + 1.0)(np.ones(3, np.float32))
    np.testing.assert_array_equal(result, [2, 2, 2])


def test_the_native_backend_is_the_cpu():
    assert isinstance(get_backend("cpu"), NativeBackend)
