"""The command line: what the commands are called and take; each runs in a module of `staticnet.commands`.

Results go to standard output, progress and logs to standard error. The exit status is 0 when all is
well, 1 when a check failed, 2 for input that cannot be used, 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import staticnet

TARGET = """\
TARGET is `file.py:Name` or `package.module:Name`, where Name is a Module, a class of them, or a function
without arguments that gives one. Its inputs are the TensorSpecs in its attribute `specs`, or those of
--input, such as --input "image:float32[batch,1,8,8]"."""
DATA = """\
DATA is `digits` (ships with the package), `mnist`, `fashion-mnist`, or a .npz file with the arrays x and y,
or x_train, y_train, x_test and y_test."""
EXAMPLES = """\
examples:
  staticnet train net.py:Net --data digits --epochs 20 --out net.safetensors
  staticnet eval net.py:Net --data digits --weights net.safetensors
  staticnet export net.py:Net --weights net.safetensors --out net.onnx
  staticnet export net.py:Net --weights net.safetensors --out net.o --size batch=1
  staticnet verify net.onnx net.py:Net --weights net.safetensors"""

BROKEN_PIPE, INTERRUPTED, UNUSABLE = 141, 130, 2
_ROOMS = ("staticnet", "staticnet.compiler", "staticnet.runtime", "staticnet.exporters")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; SystemExit for wrong usage and `--help`."""
    given = _parser().parse_args(arguments)
    try:
        status: int = given.run(given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("staticnet: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("STATICNET_TRACEBACK") == "full":
            traceback.print_exc()
        print(f"staticnet: error: {_line(error, sys._getframe(1).f_code.co_filename)}", file=sys.stderr)
        return UNUSABLE


def _line(error: Exception, caller: str) -> str:
    """An error in one line, with the place in the user's model where it comes from there."""
    from staticnet.compiler.errors import StaticnetError

    if isinstance(error, StaticnetError):
        first, *rest = [line.strip() for line in error.message.splitlines() if line.strip()] or [""]
        text = f"{first} {'; '.join(rest)}" if rest else first
        is_own = error.origin is not None and _is_own(error.origin.file, caller)
        return f"{text} (at {error.origin})" if is_own else text
    frames = traceback.extract_tb(error.__traceback__)
    own = [f" (at {frame.filename}:{frame.lineno})" for frame in frames if _is_own(frame.filename, caller)]
    hint = "STATICNET_TRACEBACK=full shows where it comes from"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{own[-1] if own else ''}; {hint}"


def _is_own(file: str, caller: str) -> bool:
    """Whether a file is the user's: neither ours nor installed, and not the one that called `main`."""
    rooms = [os.path.dirname(os.path.abspath(importlib.import_module(name).__file__ or "")) for name in _ROOMS]
    folders = (*rooms, sys.prefix, sys.base_prefix)
    return file != caller and not any(file.startswith(folder + os.sep) for folder in folders)


# -- what the commands take -------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="staticnet",
        description="Train, judge, export, verify, draw and profile models.",
        epilog=f"{TARGET}\n\n{DATA}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"staticnet {staticnet.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_train, _eval, _predict, _summary, _export, _verify, _draw, _profile, _info):
        add(commands)
    return parser


def _command(commands: Any, name: str, function: str, text: str, *epilog: str) -> argparse.ArgumentParser:
    """A command that is run by a function of `staticnet.commands`, imported then."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog="\n\n".join(epilog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_later(function))
    return parser


def _later(function: str) -> Callable[[argparse.Namespace], int]:
    module, _, name = function.partition(":")
    return lambda given: getattr(importlib.import_module(f"staticnet.commands.{module}"), name)(given)


def _train(commands: Any) -> None:
    text = "Train a model and print the history of its loss and accuracy."
    parser = _command(commands, "train", "training:train", text, TARGET, DATA)
    _add_target(parser, weights="weights to start from")
    _add_data(parser)
    _add_loss(parser)
    parser.add_argument("--epochs", type=int, default=10, help="times over the data, resumed ones included (10)")
    parser.add_argument("--optimizer", choices=["sgd", "adam", "adamw"], default="adam", help="(adam)")
    parser.add_argument("--lr", type=float, help="learning rate (0.05 for sgd, 0.001 for the others)")
    parser.add_argument("--momentum", type=float, default=0.9, help="of sgd (0.9)")
    parser.add_argument("--weight-decay", type=float, help="(0.01 for adamw, 0 for the others)")
    parser.add_argument("--out", metavar="FILE", help="where to write the weights, as .safetensors")
    parser.add_argument("--checkpoint", metavar="FILE", help="kept up to date after each epoch, to resume from")
    parser.add_argument("--checkpoint-every", metavar="STEPS", type=int, help="also within epochs")
    parser.add_argument("--resume", metavar="FILE", help="checkpoint to go on from, bit by bit")
    parser.add_argument("--plot", metavar="FILE", help="where to draw the curves, as .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print the history as JSON")


def _eval(commands: Any) -> None:
    text = "Print loss and accuracy of a model on a data set."
    parser = _command(commands, "eval", "training:evaluate", text, TARGET, DATA)
    _add_target(parser)
    _add_data(parser)
    _add_loss(parser)
    _add_split(parser)
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def _predict(commands: Any) -> None:
    text = "Print the number of the class that a model gives each example, or write all it gives to a file."
    parser = _command(
        commands, "predict", "training:predict", text, TARGET, DATA + " A .npy file has the inputs alone."
    )
    _add_target(parser)
    _add_data(parser)
    _add_split(parser)
    parser.add_argument("--out", metavar="FILE", help="where to write the model's outputs, as .npy or .npz")


def _summary(commands: Any) -> None:
    text = "Print the layers of a model: ops, output shapes, parameters, multiply-adds, bytes."
    parser = _command(commands, "summary", "graphs:summary", text, TARGET)
    _add_target(parser)
    _add_inputs(parser)
    parser.add_argument("--graph", action="store_true", help="print the graph itself, op by op")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def _export(commands: Any) -> None:
    text = "Write a model for inference: as an ONNX file, or as native code with a C header."
    parser = _command(commands, "export", "graphs:export", text, TARGET)
    _add_target(parser)
    _add_inputs(parser)
    parser.add_argument("--out", metavar="FILE", required=True, help="where to write it, as .onnx, .o, .so or .dylib")
    parser.add_argument("--opset", type=int, default=18, help="version of ONNX's operators (18)")
    parser.add_argument(
        "--size", metavar="NAME=N", action="append", default=[], help="a size that native code is made for: batch=1"
    )
    parser.add_argument(
        "--cpu", default="native", help="that native code is for: native (this one), generic, sse2, avx2, avx512, neon"
    )


def _verify(commands: Any) -> None:
    text = "Run an ONNX file in onnxruntime and hold it against a model; exit status 1 when they differ."
    parser = _command(commands, "verify", "graphs:verify", text, TARGET)
    parser.add_argument("file", metavar="FILE", help="the ONNX file")
    _add_target(parser)
    parser.add_argument("--batch", default="1,2,7", help="sizes of batches to run (1,2,7)")
    parser.add_argument("--rtol", type=float, help="relative tolerance (1e-4 for float32)")
    parser.add_argument("--atol", type=float, help="absolute tolerance (1e-5 for float32)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (0)")


def _draw(commands: Any) -> None:
    text = "Draw the graph of a model as .png, .svg, .pdf or .dot."
    parser = _command(commands, "draw", "graphs:draw", text, TARGET)
    _add_target(parser)
    _add_inputs(parser)
    _add_loss(parser)
    parser.add_argument("--out", metavar="FILE", required=True, help="the picture; its suffix says the format")
    parser.add_argument(
        "--stage",
        choices=["forward", "backward", "optimised"],
        default="forward",
        help="as written, with the gradients of the training step, or as it runs (forward)",
    )
    parser.add_argument("--depth", type=int, help="draw modules that lie this deep as one box each")


def _profile(commands: Any) -> None:
    text = "Run a model on random inputs and print where the time goes, step by step."
    parser = _command(commands, "profile", "profile:profile", text, TARGET)
    _add_target(parser)
    _add_inputs(parser)
    parser.add_argument("--train", action="store_true", help="a training step instead of inference")
    _add_loss(parser)
    parser.add_argument("--size", metavar="NAME=N", action="append", default=[], help="an open size: batch=64 (32)")
    parser.add_argument("--repeats", type=int, default=5, help="calls whose median is shown (5)")
    parser.add_argument("--by", choices=["module", "op", "line"], help="group the steps")
    parser.add_argument("--rows", type=int, default=20, help="the most rows of the table (20)")
    parser.add_argument("--chrome", metavar="FILE", help="write a trace of one call for Chrome or Perfetto, as .json")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (0)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or auto (as configured, else cpu)")


def _info(commands: Any) -> None:
    parser = _command(commands, "info", "info:info", "Print versions, devices and settings.")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


# -- options that several commands share ------------------------------------------------------


def _add_target(
    parser: argparse.ArgumentParser, weights: str = "weights or checkpoint to load, as .safetensors"
) -> None:
    parser.add_argument("target", metavar="TARGET", help="the model, as file.py:Name or package.module:Name")
    parser.add_argument("--weights", metavar="FILE", help=weights)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", metavar="SPEC", action="append", default=[], help="an input, as [NAME:][DTYPE][SIZES]; in order"
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DATA", required=True, help="digits, mnist, fashion-mnist or a file")
    parser.add_argument("--data-folder", metavar="FOLDER", help="where mnist and fashion-mnist are kept")
    parser.add_argument("--no-download", action="store_true", help="take only what is there")
    parser.add_argument("--batch-size", type=int, default=32, help="(32)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, order and dropout (0)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or auto (as configured, else cpu)")


def _add_loss(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--loss",
        choices=["cross-entropy", "mse", "bce"],
        default="cross-entropy",
        help="cross-entropy of class numbers, mean squared error, or binary cross-entropy of logits (cross-entropy)",
    )


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=["train", "test"], default="test", help="which part of the data (test)")
