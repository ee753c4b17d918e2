"""The command line: each command from end to end, where output goes, exit statuses, and one line for each error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import staticnet
from staticnet.cli import main
from staticnet.compiler.errors import ArgumentError
from staticnet.serialization import load, load_metadata, save

MODEL = """
import staticnet as sn
from staticnet import nn


class Net(nn.Module):
    specs = sn.TensorSpec(("batch", 6), "float32", name="features")

    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(x))


class Product(nn.Module):
    def forward(self, x):
        return x @ x


class Odd(nn.Module):
    def forward(self, x):
        return [1][3]


class Parts(nn.Module):
    def forward(self, x):
        return {"twice": x * 2, "half": x / 2}


def wide():
    return Net(16)


def regression():
    return nn.Linear(6, 1)


def needs(width):
    return Net(width)


def number():
    return 3


model = Net()
three = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a model and data, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "net.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 6))
    y = x[:, :3].argmax(1)
    np.savez(tmp_path / "data.npz", x_train=x[:70], y_train=y[:70], x_test=x[70:], y_test=y[70:])
    np.savez(tmp_path / "whole.npz", x=x, y=x[:, :1] * 2)
    np.save(tmp_path / "inputs.npy", x[:5])
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("net", "target_net", "user_package") or name.startswith("user_package."):
            del sys.modules[name]


@pytest.fixture
def run(capsys):
    """Run a command line, and get its exit status, standard output and standard error."""

    def call(text, *more):
        status = main([*text.split(), *more])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def fine(result):
    status, out, _ = result
    assert status == 0, result
    return out


def error(result):
    """The one line of an error."""
    status, out, err = result
    assert status == 2 and out == "", result
    assert err.startswith("staticnet: error: ") and err.count("\n") == 1 and "Traceback" not in err, err
    return err.removeprefix("staticnet: error: ").strip()


# ---- from training to a verified file


def test_from_training_to_a_verified_file(run):
    status, out, err = run(
        "train net.py:Net --data data.npz --epochs 12 --lr 0.05 --batch-size 16 --out net.safetensors --json"
    )
    assert status == 0
    history = json.loads(out)
    assert history["epoch"] == list(range(1, 13)) and history["val_accuracy"][-1] > 0.6
    assert len([line for line in err.splitlines() if line.startswith("epoch ")]) == 12
    assert "wrote the weights to net.safetensors" in err

    figures = json.loads(fine(run("eval net.py:Net --data data.npz --weights net.safetensors --batch-size 16 --json")))
    assert figures == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}
    lines = fine(run("eval net.py:Net --data data.npz --weights net.safetensors --split train")).splitlines()
    assert [line.split()[0] for line in lines] == ["loss", "accuracy"]

    classes = fine(run("predict net.py:Net --data data.npz --weights net.safetensors")).split()
    fine(run("predict net.py:Net --data data.npz --weights net.safetensors --out p.npy"))
    outputs = np.load("p.npy")
    assert outputs.shape == (20, 3) and outputs.argmax(1).astype(str).tolist() == classes
    right = (outputs.argmax(1) == load("data.npz")["y_test"]).mean()
    assert right == pytest.approx(figures["accuracy"])

    assert fine(run("export net.py:Net --weights net.safetensors --out net.onnx --opset 17")) == "net.onnx\n"
    pytest.importorskip("onnxruntime")
    assert "verified" in fine(run("verify net.onnx net.py:Net --weights net.safetensors --batch 1,5"))
    status, out, err = run("verify net.onnx net.py:Net")
    assert (status, err) == (1, "") and "NOT VERIFIED" in out


def test_a_training_goes_on_where_it_stopped(run):
    options = "train net.py:Net --data data.npz --batch-size 16"
    fine(run(f"{options} --epochs 4 --out straight.safetensors --checkpoint whole.safetensors"))
    fine(run(f"{options} --epochs 2 --checkpoint half.safetensors --checkpoint-every 3"))
    resumed = fine(run(f"{options} --epochs 4 --resume half.safetensors --out resumed.safetensors"))
    assert [line.split()[0] for line in resumed.splitlines()] == ["epoch", "1", "2", "3", "4"]
    with open("straight.safetensors", "rb") as straight, open("resumed.safetensors", "rb") as again:
        assert straight.read() == again.read()
    assert fine(run("eval net.py:Net --data data.npz --weights whole.safetensors")) == fine(
        run("eval net.py:Net --data data.npz --weights straight.safetensors")
    )
    assert "is not of this training" in error(run(f"{options} --resume half.safetensors --optimizer sgd"))


def test_optimizers_losses_and_curves(run):
    pytest.importorskip("matplotlib")
    out = fine(
        run(
            "train net.py:regression --data whole.npz --loss mse --optimizer sgd --lr 0.1 --weight-decay 0.001 "
            "--epochs 20 --plot curves.png --checkpoint c.safetensors"
        )
    )
    assert out.splitlines()[0].split() == ["epoch", "loss"] and float(out.split()[-1]) < 0.01
    with open("curves.png", "rb") as picture:
        assert picture.read(4) == b"\x89PNG"
    description = json.loads(load_metadata("c.safetensors")["training"])["optimizer"]
    assert description == {"kind": "SGD", "nesterov": False} and load("c.safetensors")["optimizer.momentum"] == 0.9
    assert list(json.loads(fine(run("eval net.py:regression --data whole.npz --loss mse --json")))) == ["loss"]


def test_the_bundled_digits_in_a_process_of_its_own(folder):
    command = [sys.executable, "-m", "staticnet", "predict", "net.py:digits", "--data", "digits"]
    with open("net.py", "a") as file:
        file.write("\n\ndef digits():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n")
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(finished.stdout.split()) == 297 and set(finished.stdout.split()) <= set("0123456789")


def test_a_seed_repeats_a_training(run):
    first = fine(run("train net.py:Net --data data.npz --epochs 2 --seed 3"))
    assert first == fine(run("train net.py:Net --data data.npz --epochs 2 --seed 3"))
    assert first != fine(run("train net.py:Net --data data.npz --epochs 2 --seed 4"))


# ---- prediction


def test_predictions_of_a_file_of_inputs(run):
    assert len(fine(run("predict net.py:Net --data inputs.npy")).split()) == 5
    status, out, err = run("predict net.py:Parts --data inputs.npy --out parts.npz")
    assert (status, out, err) == (0, "", "wrote the predictions to parts.npz\n")
    parts = np.load("parts.npz")
    np.testing.assert_allclose(parts["twice"], 4 * parts["half"])


def test_predictions_that_cannot_be_written_so(run):
    assert "several arrays" in error(run("predict net.py:Parts --data inputs.npy"))
    assert "write them as .npz" in error(run("predict net.py:Parts --data inputs.npy --out p.npy"))
    assert "written as .npy or .npz" in error(run("predict net.py:Net --data inputs.npy --out p.txt"))
    assert "there is no folder" in error(run("predict net.py:Net --data inputs.npy --out no/p.npy"))
    assert not [name for name in os.listdir() if name.startswith("p.")]


# ---- the graph


def test_summary(run):
    out = fine(run("summary net.py:Net"))
    assert "body.0" in out and "parameters        99" in out
    table = json.loads(fine(run("summary net.py:Net --json")))
    assert table["total_parameters"] == 99 and table["rows"][0]["output_shape"] == ["batch", 8]
    assert fine(run("summary net.py:Net --graph")).startswith("graph Net(")
    assert "parameters        195" in fine(run("summary net.py:wide"))
    assert "parameters        99" in fine(run("summary net.py:model"))


def test_inputs_on_the_command_line(run):
    out = fine(run("summary net.py:Net --graph", "--input", "pixels: float32[n, 6]"))
    assert "%pixels: f32[n, 6]" in out
    assert "%x: f32[4, 6]" in fine(run("summary net.py:Net --graph --input [4,6]"))


@pytest.mark.parametrize("stage", ["forward", "backward", "optimised"])
def test_pictures(run, stage):
    assert fine(run(f"draw net.py:Net --out {stage}.dot --stage {stage} --depth 1")) == f"{stage}.dot\n"
    with open(f"{stage}.dot") as file:
        text = file.read()
    assert text.startswith("digraph") and ("target" in text) == (stage == "backward")


def test_a_picture_of_another_loss(run):
    fine(run("draw net.py:regression --input [batch,6] --out net.dot --stage backward --loss mse"))


# ---- targets


def test_targets_in_packages(run, folder):
    (folder / "user_package").mkdir()
    (folder / "user_package" / "__init__.py").touch()
    (folder / "user_package" / "models.py").write_text(MODEL)
    fine(run("summary user_package.models:Net"))
    assert "no module 'user_package.other'" in error(run("summary user_package.other:Net"))


@pytest.mark.parametrize(
    "target, message",
    [
        ("net.py", r"names no model: write file.py:Name.*; net.py has Net, Product, Odd, Parts, model"),
        ("net.py:", "names no model"),
        ("Net", "names no model"),
        ("net.py:Nut", "net.py has no 'Nut'; it has Net, Product"),
        ("none.py:Net", "there is no file 'none.py'"),
        ("no_such_package.models:Net", "there is no module 'no_such_package.models'"),
        ("folder/net:Net", "neither a .py file nor"),
        ("net.onnx", "net.onnx is an ONNX file; this version reads models from Python only"),
        ("net.py:needs", "cannot be called without arguments .*'width'"),
        ("net.py:number", "gives a int, not a Module"),
        ("net.py:three", "is a int, not a Module"),
    ],
)
def test_targets_that_are_none(run, target, message):
    assert re.search(message, error(run(f"summary {target}")))


@pytest.mark.parametrize(
    "source, message",
    [
        ("def f(:\n", r"broken\.py:1: "),
        ("\nimport no_such_thing\n", r"ModuleNotFoundError: No module named 'no_such_thing' \(at .*broken\.py:2\)"),
        ("x = 1\n\nx / 0\n", r"ZeroDivisionError: division by zero \(at .*broken\.py:3\); STATICNET_TRACEBACK=full"),
        ("raise ValueError('two\\nlines')", r"ValueError: two lines \(at .*broken\.py:1\)"),
    ],
)
def test_files_that_cannot_be_imported(run, folder, source, message):
    (folder / "broken.py").write_text(source)
    assert re.search(message, error(run("summary broken.py:Net")))
    assert "broken" not in sys.modules


# ---- errors


def test_errors_say_where_in_the_model(run):
    line = MODEL.splitlines().index("        return x @ x") + 1
    assert f"net.py:{line})" in error(run("summary net.py:Product --input [batch,3]"))
    line = MODEL.splitlines().index("        return [1][3]") + 1
    message = error(run("summary net.py:Odd --input [batch,3]"))
    assert message.startswith("IndexError: list index out of range (at ") and f"net.py:{line})" in message


@pytest.mark.parametrize(
    "command, message",
    [
        ("summary net.py:Parts", 'give --input "name:float32'),
        ("summary net.py:Net --input batch,3", "write [NAME:][DTYPE][SIZES]"),
        ("summary net.py:Net --input [batch,,3]", "a size is missing"),
        ("summary net.py:Net --input x:float99[3]", "float99"),
        ("summary net.py:Net --weights none.safetensors", "cannot read none.safetensors: No such file"),
        ("eval net.py:wide --data data.npz --weights small.safetensors", "the state dict does not fit Net"),
        ("eval net.py:Net --data other", "--data is digits, mnist, fashion-mnist or a .npz file, not 'other'"),
        ("eval net.py:Net --data none.npz", "cannot read none.npz: No such file"),
        ("eval net.py:Net --data odd.npz", "has no array x and y; it has a"),
        ("predict net.py:Net --data odd.npz", "has no array x or x_test; it has a"),
        ("predict net.py:Net --data none.npy", "cannot read 'none.npy': No such file"),
        ("eval net.py:Net --data train.npz", "has no arrays for --split test"),
        ("eval net.py:Net --data mnist --data-folder . --no-download", "t10k-images-idx3-ubyte.gz"),
        ("eval net.py:Net --data data.npz --batch-size 0", "batch_size must be"),
        ("eval net.py:Net --data data.npz --device cuda:99", "cuda"),
        ("eval net.py:Net --data data.npz --seed -1", "a seed is an integer from 0"),
        ("train net.py:Net --data data.npz --lr -1", "lr is a number of at least 0"),
        ("train net.py:Net --data data.npz --epochs 0", "epochs must be"),
        ("train net.py:Net --data data.npz --out no/where.safetensors", "there is no folder"),
        ("train net.py:Net --data data.npz --resume none.safetensors", "cannot read none.safetensors"),
        ("train net.py:Net --data data.npz --resume small.safetensors", "no checkpoint of a training"),
        ("export net.py:Net --out net.onnx --opset 99", "opset 99"),
        ("verify none.onnx net.py:Net", "none.onnx"),
        ("verify none.onnx net.py:Net --batch 1,x", "--batch takes whole numbers"),
        ("draw net.py:Net --out net.txt", "net.txt"),
        ("draw net.py:Net --out no/net.dot", "no folder"),
    ],
)
def test_input_that_cannot_be_used(run, command, message):
    np.savez("odd.npz", a=np.ones(2))
    np.savez("train.npz", x_train=np.ones((2, 6)), y_train=np.zeros(2, int))
    save({"head.weight": np.ones((3, 8), np.float32)}, "small.safetensors")
    assert message in error(run(command))


@pytest.mark.parametrize(
    "arguments", ["", "paint", "train net.py:Net", "draw net.py:Net --out a.png --stage no", "eval net.py:Net --data"]
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.out == "" and captured.err.startswith("usage: staticnet")


def test_the_whole_traceback_when_asked(run, monkeypatch):
    monkeypatch.setenv("STATICNET_TRACEBACK", "full")
    status, _, err = run("summary net.py:Odd --input [batch,3]")
    assert status == 2 and "Traceback (most recent call last)" in err and "return [1][3]" in err


def test_an_interrupt(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("staticnet.training.Trainer.fit", interrupted)
    assert run("train net.py:Net --data data.npz") == (130, "", "staticnet: interrupted\n")


def test_a_reader_that_has_seen_enough(folder):
    command = f'"{sys.executable}" -m staticnet predict net.py:Net --data data.npz | true'
    finished = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, cwd=folder)
    assert finished.stderr == ""


# ---- help and info


def test_help_is_complete_and_cheap(folder):
    script = (
        "import sys\nfrom staticnet.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit as end:\n"
        "    print(end.code, sorted({'numpy', 'onnx', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=folder)
    assert finished.stderr == "0 []\n"
    for command in ["train", "eval", "predict", "summary", "export", "verify", "draw", "info", "TARGET", "DATA"]:
        assert command in finished.stdout


@pytest.mark.parametrize("command", ["train", "eval", "predict", "summary", "export", "verify", "draw", "info"])
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0 and f"usage: staticnet {command}" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"staticnet {staticnet.__version__}\n"


def test_info(run):
    out = fine(run("info"))
    assert f"staticnet {staticnet.__version__}, Python" in out and "devices: cpu" in out and "check_finite" in out
    found = json.loads(fine(run("info --json")))
    assert found["packages"]["numpy"] == np.__version__ and found["devices"][0] == "cpu"
    assert found["config"]["check_finite"] is False


@pytest.mark.parametrize(
    "text, shape, dtype, name",
    [
        ("image:float32[batch,1,8,8]", ("batch", 1, 8, 8), "float32", "image"),
        ("int64[n]", ("n",), "int64", None),
        ("[2*n, 3]", ("2*n", 3), "float32", None),
        ("a b:bool[]", (), "bool", "a b"),
    ],
)
def test_specs_of_inputs(text, shape, dtype, name):
    from staticnet.commands.target import parse_spec

    assert parse_spec(text) == staticnet.TensorSpec(shape, dtype, name)


@pytest.mark.parametrize("text", ["", "x", "x:float32", "[a", "a:b:c[3]", "[[3]]", "float32[-1]", "[3] [4]"])
def test_what_is_no_spec(text):
    from staticnet.commands.target import parse_spec

    with pytest.raises(ArgumentError):
        parse_spec(text)
