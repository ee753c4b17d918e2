"""Backends: NumPy's, and CuPy's over a stand-in for CuPy where there is no GPU, over CuPy itself where there is one."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn, optim
from staticnet.compiler.errors import DeviceError
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.base import F
from staticnet.runtime import cupy_backend, devices
from staticnet.runtime.array_backend import ArrayBackend
from staticnet.runtime.cupy_backend import CUDA, CupyBackend
from staticnet.runtime.executor import Executor
from staticnet.runtime.native import host
from staticnet.runtime.native.backend import native_backend
from staticnet.runtime.numpy_backend import NUMPY
from staticnet.runtime.poison import run_poisoned
from staticnet.runtime.state import State
from tests import standin
from tests.compiler.graphs import make_graph, plain_program


class _Device:
    """The stand-in's device: it counts how often it is made the current one."""

    entered = 0

    def __init__(self, index: int):
        self.index = index

    def __enter__(self) -> None:
        _Device.entered += 1

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


class _CuPy(types.ModuleType):
    """CuPy as far as the stand-in knows it, with one device."""

    cuda = types.SimpleNamespace(Device=_Device, runtime=types.SimpleNamespace(getDeviceCount=lambda: 1))

    def __getattr__(self, name: str) -> Any:
        return getattr(standin, name)


def _forget_devices() -> None:
    cupy_backend.cuda_devices.cache_clear()
    cupy_backend._backend.cache_clear()


@pytest.fixture
def standin_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[CupyBackend]:
    """The CUDA backend over the stand-in, offered as 'cuda:0'."""
    monkeypatch.setitem(sys.modules, "cupy", _CuPy("cupy"))
    _forget_devices()
    yield cupy_backend.cuda_backend("cuda:0")
    _forget_devices()


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "cupy", None)
    _forget_devices()
    yield
    _forget_devices()


@pytest.fixture(params=["0", "1"], ids=["reference", "native"])
def close(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Any], None]:
    """How to compare results of the CPU and of the stand-in: to the bit where both run the cards' kernels."""
    monkeypatch.setenv("STATICNET_NATIVE", request.param)
    tolerance = 0 if request.param == "0" else 1e-5
    return lambda one, other: np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance / 10)


# -- devices by name ------------------------------------------------------------------------------


def test_cpu_and_auto_without_a_gpu(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for native in ("1", "0"):
        monkeypatch.setenv("STATICNET_NATIVE", native)
        is_native = native == "1" and host.available()
        assert devices.get_backend("cpu") is (native_backend() if is_native else NUMPY)
        assert devices.get_backend("auto") is devices.get_backend("cpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_without_cupy_is_one_clear_sentence(no_gpu: None, device: str) -> None:
    with pytest.raises(DeviceError) as caught:
        sn.compile(lambda x: x * 2, device=device)
    assert caught.value.message.startswith(f"device '{device}' needs CuPy, which is not installed: pip install")
    assert "\n" not in caught.value.message


def test_a_gpu_that_is_not_there_is_one_clear_sentence(
    standin_gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError, match=r"^device 'cuda:1' is not there: 1 CUDA device found"):
        devices.get_backend("cuda:1")
    monkeypatch.setattr(_CuPy.cuda.runtime, "getDeviceCount", lambda: 0)
    _forget_devices()
    with pytest.raises(DeviceError, match=r"^device 'cuda' is not there: no CUDA devices found"):
        devices.get_backend("cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "CPU", "", "cuda:-1"])
def test_a_device_that_is_none(device: str) -> None:
    with pytest.raises(DeviceError, match=f"there is no device '{device}'"):
        devices.get_backend(device)


def test_auto_takes_the_gpu_that_is_there(standin_gpu: CupyBackend) -> None:
    assert devices.get_backend("auto") is devices.get_backend("cuda") is standin_gpu
    assert standin_gpu.name == "cuda:0" and standin_gpu.target is CUDA


# -- memory ---------------------------------------------------------------------------------------


@pytest.fixture(params=["numpy", "stand-in"])
def backend(request: pytest.FixtureRequest) -> ArrayBackend:
    return NUMPY if request.param == "numpy" else request.getfixturevalue("standin_gpu")


@pytest.mark.parametrize("nbytes", [0, 1, 100, 4096])
def test_memory_is_aligned_and_of_the_size_asked_for(backend: ArrayBackend, nbytes: int) -> None:
    memory = backend.empty(nbytes)
    assert memory.nbytes == nbytes
    assert not nbytes or backend.address(memory) % backend.target.alignment == 0


@pytest.mark.parametrize(
    ("layout", "view"),
    [
        (Layout((2, 3), (3, 1)), lambda a: a[:6].reshape(2, 3)),
        (Layout((3, 2), (1, 3), 1), lambda a: a[1:7].reshape(2, 3).T),
        (Layout((4,), (-2,), 7), lambda a: a[7::-2]),
        (Layout((2, 2), (-4, 1), 4), lambda a: a[:8].reshape(2, 4)[::-1, :2]),
        (Layout((3, 2), (0, 1), 2), lambda a: np.broadcast_to(a[2:4], (3, 2))),
        (Layout((), (), 5), lambda a: a[5]),
        (Layout((0, 3), (3, 1)), lambda a: a[:0].reshape(0, 3)),
    ],
)
def test_views_of_every_layout(backend: ArrayBackend, layout: Layout, view: Callable[[np.ndarray], Any]) -> None:
    values = np.arange(12, dtype=np.float32)
    memory = backend.empty(64)
    backend.write(backend.view(memory, 16, Layout.dense((12,)), values.dtype), values)
    seen = backend.view(memory, 16, layout, values.dtype)
    np.testing.assert_array_equal(backend.to_host(seen), view(values), strict=True)


@pytest.mark.parametrize(
    "value", [np.float32(3), np.zeros((0, 2)), np.arange(6).reshape(2, 3).T, np.array([True, False])]
)
def test_arrays_go_there_and_come_back_as_they_were(backend: ArrayBackend, value: Any) -> None:
    value = np.asarray(value)
    there = backend.to_device(value)
    back = backend.to_host(there)
    np.testing.assert_array_equal(back, value, strict=True)
    assert back.flags.c_contiguous and back.flags.writeable
    assert not np.may_share_memory(back, value)
    backend.write(there, np.asarray(np.zeros_like(value), order="F"))
    assert not backend.to_host(there).any()


def test_a_number_stays_without_axes_on_the_device(standin_gpu: CupyBackend) -> None:
    state = State(np.float32(3))
    state.move(standin_gpu.to_device(state.array), "cuda:0")
    state.set(4.0)
    assert state.numpy().shape == () and state.numpy() == 4 and state.type.shape == ()


# -- programs -------------------------------------------------------------------------------------


def test_a_program_with_views_poison_and_scratch(backend: ArrayBackend) -> None:
    def build(x: Any, k: Any, s: Any) -> Any:
        y = F.erf(F.transpose(F.tanh(x))[::-1])
        return (F.matmul(y, y), F.sum(F.softmax(y), 0), F.cast(k, "float32") * 2.0), {"s": s + F.mean(y)}

    program = plain_program(make_graph(build, {"s": ()}, x=(4, 4), k=(3, "int64")), target=backend.target)
    feeds = [np.linspace(-1, 1, 16, dtype=">f4").reshape(4, 4).T, np.array([1, 2, 3])]
    results = []
    for each in (NUMPY, backend):
        for poisoned in (False, True):
            state = State(np.float32(1))
            state.move(each.to_device(state.array), each.name)
            bound = Executor(program, each, [state]).new_bound()
            outputs = run_poisoned(bound, feeds) if poisoned else bound.run(feeds)
            results.append([*outputs, state.numpy()])
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def small_cnn() -> nn.Module:
    sn.manual_seed(3)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(4 * 3 * 3, 5)),
    )


def batches(count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(6, 1, 6, 6)).astype("float32"), rng.integers(0, 5, 6)) for _ in range(count)]


def trained(device: str, make: Callable[..., Any]) -> tuple[list[np.ndarray], dict[str, np.ndarray], Any]:
    model = small_cnn().to(device)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), make(model.parameters()), device=device)
    losses = [step(x, labels) for x, labels in batches()]
    return losses, model.state_dict(), step


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
    "Adam": lambda parameters: optim.Adam(parameters, lr=0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_over_the_stand_in_gives_the_bits_of_numpy(
    standin_gpu: CupyBackend, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICNET_NATIVE", "0")
    host_losses, host_weights, _ = trained("cpu", OPTIMIZERS[optimizer])
    before = _Device.entered
    losses, weights, step = trained("cuda:0", OPTIMIZERS[optimizer])
    np.testing.assert_array_equal(losses, host_losses)
    assert weights.keys() == host_weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, host_weights[name], strict=True, err_msg=name)
    assert step.executor.backend is standin_gpu and _Device.entered > before
    assert all(isinstance(state.array, standin.ndarray) for state in step.executor.states)
    assert all(isinstance(loss, np.ndarray) for loss in losses)


def test_to_moves_states_and_traces_nothing_again(standin_gpu: CupyBackend, close: Callable[[Any, Any], None]) -> None:
    host = trained("cpu", OPTIMIZERS["SGD"])[0]
    model = small_cnn()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), OPTIMIZERS["SGD"](model.parameters()))
    losses = []
    for (x, labels), device in zip(batches(), ("cpu", "cuda:0", "cpu"), strict=True):
        step.to(device)
        losses.append(step(x, labels))
        assert {state.device for state in step.executor.states} == {device}
    close(losses, host)
    assert step.trace_count == 1 and step.program_count == 2
    assert step.to_gpu().device == "cuda" and step.to_cpu().device == "cpu"


def test_a_model_moves_and_its_programs_follow(standin_gpu: CupyBackend, close: Callable[[Any, Any], None]) -> None:
    model, (x, _) = small_cnn().eval(), batches()[0]
    here = model(x)
    assert model.to("cuda") is model
    there = model(x)
    assert isinstance(there, np.ndarray)
    close(there, here)
    assert all(isinstance(p.state.array, standin.ndarray) for p in model.parameters())
    np.testing.assert_array_equal(model.to("cpu")(x), here)
    assert all(isinstance(p.state.array, np.ndarray) for p in model.parameters())


@pytest.mark.parametrize("kind", ["function", "module"])
def test_calls_that_came_before_follow_too(standin_gpu: CupyBackend, kind: str) -> None:
    run: Any = sn.compile(lambda x: abs(x)) if kind == "function" else nn.ReLU()
    x = np.ones((2, 3), np.float32)
    for device, backend in (("cpu", devices.get_backend("cpu")), ("cuda", standin_gpu)) * 2:
        run.to(device)
        for _ in range(3):
            np.testing.assert_array_equal(run(x), x)
            compiled = run if kind == "function" else run._compiled
            assert compiled.executor.backend is backend
    assert compiled.trace_count == 1


def test_a_module_without_a_device_of_its_own_runs_where_the_settings_say(standin_gpu: CupyBackend) -> None:
    model, x = nn.Linear(3, 2), np.ones((2, 3), np.float32)
    here = model(x)
    for _ in range(2):
        with sn.using_config(device="cuda"):
            for _ in range(2):
                np.testing.assert_array_equal(model(x), here)
                assert model.weight.state.device == "cuda:0"
        for _ in range(2):
            np.testing.assert_array_equal(model(x), here)
            assert model.weight.state.device == "cpu"
    assert model._compiled is not None and model._compiled.trace_count == 1


def test_functions_on_two_devices_take_turns_with_a_state(standin_gpu: CupyBackend) -> None:
    total = nn.Buffer(np.zeros(3, np.float32))

    def add(x: Any) -> Any:
        total.assign(total + x)
        return total * 1

    runs = {"cpu": sn.compile(add), "cuda:0": sn.compile(add, device="cuda")}
    for number, device in enumerate(["cpu", "cpu", "cpu", "cuda:0", "cuda:0", "cuda:0", "cpu", "cuda:0"]):
        np.testing.assert_array_equal(runs[device](np.ones(3, np.float32)), number + 1)
        assert total.state.device == device


def test_weights_load_on_either_side(standin_gpu: CupyBackend, close: Callable[[Any, Any], None]) -> None:
    source, (x, _) = small_cnn().eval(), batches()[0]
    weights, expected = source.state_dict(), source(x)
    sn.manual_seed(9)
    target = nn.Sequential(*small_cnn()._modules.values()).eval().to("cuda:0")
    target.load_state_dict(weights)
    close(target(x), expected)
    back = target.state_dict()
    assert all(type(value) is np.ndarray for value in back.values())
    for name, value in back.items():
        np.testing.assert_array_equal(value, weights[name], strict=True)
    assert all(isinstance(p.state.array, standin.ndarray) for p in target.parameters())


def test_a_model_that_cannot_move_stays_as_it_is(no_gpu: None) -> None:
    model, (x, _) = small_cnn().eval(), batches()[0]
    before = model(x)
    with pytest.raises(DeviceError, match="needs CuPy"):
        model.to("cuda")
    assert {p.state.device for p in model.parameters()} == {"cpu"}
    np.testing.assert_array_equal(model(x), before)


def test_lazy_tensors_read_parameters_wherever_they_are(standin_gpu: CupyBackend) -> None:
    weight = nn.Parameter(np.arange(3, dtype=np.float32))
    weight.state.move(standin_gpu.to_device(weight.state.array), "cuda:0")
    np.testing.assert_array_equal((weight * 2).numpy(), [0, 2, 4])


# -- a real GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_on_a_gpu(optimizer: str) -> None:
    host_losses, host_weights, _ = trained("cpu", OPTIMIZERS[optimizer])
    losses, weights, step = trained("cuda", OPTIMIZERS[optimizer])
    np.testing.assert_allclose(losses, host_losses, rtol=1e-4)
    for name, value in weights.items():
        np.testing.assert_allclose(value, host_weights[name], rtol=1e-2, atol=1e-3, err_msg=name)
    assert step.executor.backend.name == "cuda:0"
    step.to_cpu()
    step(*batches()[0])
    assert step.trace_count == 1 and step.program_count == 2


@pytest.mark.gpu
def test_a_model_on_a_gpu_and_back() -> None:
    model, (x, _) = small_cnn().eval(), batches()[0]
    here = model(x)
    np.testing.assert_allclose(model.to("cuda")(x), here, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.to("cpu")(x), here)


@pytest.mark.gpu
def test_a_program_on_a_gpu_with_views_and_poison() -> None:
    graph = make_graph(lambda x: F.matmul(F.transpose(F.tanh(x))[::-1], F.exp(x)), x=(8, 8))
    backend = devices.get_backend("cuda")
    program = plain_program(graph, target=backend.target)
    feed = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    executor = Executor(program, backend, ())
    (plain,) = executor([feed])
    (poisoned,) = run_poisoned(executor.new_bound(), [feed])
    np.testing.assert_array_equal(plain, poisoned)
    np.testing.assert_allclose(plain, np.tanh(feed).T[::-1] @ np.exp(feed), rtol=1e-4, atol=1e-5)
