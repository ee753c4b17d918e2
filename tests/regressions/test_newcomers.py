"""What newcomers get wrong: each mistake is named at their line, with what to write, and no state has changed."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticnet as sn
from staticnet import data, nn, optim
from staticnet.compiler.errors import (
    ArgumentError,
    DataError,
    FeedError,
    GradientError,
    HabitError,
    StateError,
    StaticnetError,
)
from staticnet.compiler.origins import is_internal

x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)
labels = np.arange(6) % 3


class TwoHeads(nn.Module):
    """A layer that is used, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.spare = nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.used(x)


def noisy() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))


# ---- a compiled function follows the modules it calls


@pytest.mark.parametrize("specs", [(), (sn.TensorSpec(("batch", 4)),)], ids=["no specs", "specs"])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: lambda x: m(x)], ids=["module", "function"])
def test_a_compiled_model_follows_its_mode(wrap: Callable[..., Any], specs: tuple[Any, ...]) -> None:
    model = noisy()
    compiled = sn.compile(wrap(model), *specs)
    compiled(x)
    model.eval()
    before = model.state_dict()
    first, second = compiled(x), compiled(x)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, model(x))
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())
    traces = compiled.trace_count
    model.train()
    compiled(x)
    model.eval()
    compiled(x)
    assert compiled.trace_count == traces  # both modes are kept


def test_a_compiled_model_follows_a_replaced_parameter() -> None:
    model = nn.Linear(4, 3)
    compiled = sn.compile(model)
    compiled(x)
    model.weight = nn.Parameter(np.zeros((3, 4), np.float32))
    np.testing.assert_array_equal(compiled(x), np.broadcast_to(model.bias.numpy(), (6, 3)))


def test_a_step_does_not_train_a_parameter_that_was_replaced() -> None:
    model = nn.Linear(4, 3)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(x, labels)
    model.weight = nn.Parameter(np.zeros((3, 4), np.float32))
    with pytest.raises(GradientError, match=r"trains 1 parameters that Linear does not have, one of shape \(3, 4\)"):
        step(x, labels)


# ---- training steps


def test_every_unused_parameter_is_named() -> None:
    model = TwoHeads()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(GradientError, match=r"does not depend on spare\.weight, spare\.bias: .*model\.freeze"):
        step(x, labels)
    model.freeze("spare.*")
    step(x, labels)


def test_a_batch_without_examples_leaves_the_weights_alone() -> None:
    model = noisy()
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(x, labels)
    before = model.state_dict()
    with pytest.raises(FeedError, match=r"without examples, float32 of shape \(0, 4\)"):
        step(x[:0], labels[:0])
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


def test_a_class_in_place_of_what_is_made_of_it() -> None:
    model = nn.Linear(4, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match=r"the loss is the class CrossEntropyLoss: .*`CrossEntropyLoss\(\)`"):
        sn.compile_train_step(model, nn.CrossEntropyLoss, optimizer)
    with pytest.raises(ArgumentError, match="the model is the class TwoHeads"):
        sn.compile_train_step(TwoHeads, nn.CrossEntropyLoss(), optimizer)
    with pytest.raises(ArgumentError, match="TwoHeads is a class of modules"):
        sn.trace(TwoHeads, sn.TensorSpec((2, 4)))


# ---- feeds


@pytest.mark.parametrize("wrong", [None, "text", [[1.0, 2.0], [3.0, 4.0]]], ids=["None", "text", "list"])
def test_a_model_is_called_on_arrays(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match=r"Linear is called on .*: give it an array"):
        nn.Linear(2, 3)(wrong)


def test_a_list_is_a_tree_of_feeds_and_says_so() -> None:
    double = sn.compile(lambda a: a * 2, sn.TensorSpec(("n",)))
    with pytest.raises(FeedError, match=r"called with 3 arrays, 2 too many.*give np\.array"):
        double([1.0, 2.0, 3.0])


def test_a_number_is_not_cut_to_an_integer() -> None:
    double = sn.compile(lambda a: a * 2, sn.TensorSpec((), "int64", name="count"))
    assert double(3) == 6
    with pytest.raises(FeedError, match=r"count is fed with 3\.7, but takes i64"):
        double(3.7)


# ---- habits


@pytest.mark.parametrize("name", ["no_grad", "from_numpy", "cat", "randn"])
def test_names_of_other_packages_are_explained(name: str) -> None:
    assert not hasattr(sn, name)
    with pytest.raises(HabitError, match=r"leave it out|write `sn"):
        getattr(sn, name)


def test_a_tensor_is_not_made_by_its_class() -> None:
    with pytest.raises(ArgumentError, match=r"sn\.tensor\(values\)"):
        sn.Tensor([1.0, 2.0])  # type: ignore[arg-type]


def test_a_gradient_with_respect_to_a_number() -> None:
    with pytest.raises(GradientError, match=r"with respect to tensors, not of 3\.0"):
        sn.grad(sn.tensor(1.0) ** 2, 3.0)


def test_the_warning_of_lost_updates_stands_at_the_call(tmp_path: Path) -> None:
    model = nn.Linear(4, 3)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(x, labels)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sn.onnx.export(step, (), tmp_path / "step.onnx")
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


# ---- one line of ours


def _user_error() -> Any:
    class Broken(data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            return np.zeros(index + 1)

    return list(data.DataLoader(Broken(), batch_size=2))


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (lambda: sn.save({}, "/nonexistent/m.safetensors"), ArgumentError),
        (lambda: sn.load("/nonexistent/m.safetensors"), StateError),
        (lambda: data.read_idx("/nonexistent/m.idx"), DataError),
        (lambda: data.mnist("/nonexistent", download=False), DataError),
        (lambda: data.digits("validation"), ArgumentError),
        (lambda: data.ArrayDataset(np.ones(2), np.ones(3)), DataError),
        (lambda: data.DataLoader(np.ones((3, 2)), batch_size=0), ArgumentError),
        (lambda: data.random_split(np.ones((3, 2)), [1]), ArgumentError),
        (lambda: setattr(sn.config, "device", "tpu"), ArgumentError),
        (lambda: sn.using_config(colour="red"), ArgumentError),
        (lambda: sn.compile(nn.Linear(2, 3)).memory, ArgumentError),
        (_user_error, DataError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_errors_show_one_line_of_ours(
    mistake: Callable[[], Any], error: type[StaticnetError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ours() -> int:
        with pytest.raises(error) as caught:
            mistake()
        assert caught.value.origin is not None
        assert Path(caught.value.origin.file).name == Path(__file__).name
        return sum(is_internal(entry.frame.f_globals.get("__name__", "")) for entry in caught.traceback)

    assert ours() == 1
    monkeypatch.setenv("STATICNET_TRACEBACK", "full")
    assert ours() > 1


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("STATICNET_SKIP", "cse,fuze", "STATICNET_SKIP names fuze; what can be left out is .*fuse"),
        ("STATICNET_DUMP", __file__, "STATICNET_DUMP: cannot write into"),
    ],
)
def test_switches_are_spelled_right(variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ArgumentError, match=message) as caught:
        sn.compile(lambda x: x * 2)(x)
    # Frames of contextlib between two of ours are no frames of the user.
    assert not [entry for entry in caught.traceback if "contextlib" in str(entry.path)]


def test_a_save_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    script = tmp_path / "save.py"
    script.write_text(
        "import os, sys\n"
        "import numpy as np\n"
        "import staticnet as sn\n"
        "sn.save({'a': np.arange(3)}, 'm.safetensors')\n"
        "os.replace = lambda *_: os._exit(9)\n"  # as if the power failed between the last write and the rename
        "sn.save({'a': np.arange(5)}, 'm.safetensors')\n"
    )
    assert subprocess.run([sys.executable, script], cwd=tmp_path).returncode == 9
    np.testing.assert_array_equal(sn.load(tmp_path / "m.safetensors")["a"], np.arange(3))
