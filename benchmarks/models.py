"""The networks that are measured; the demo's own comes from examples/digits_cnn.py."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np

import staticnet as sn
from staticnet import nn

DEMO = Path(__file__).resolve().parent.parent / "examples" / "digits_cnn.py"


def digits_cnn() -> Any:
    """The network of the demo: two convolution blocks with batch norm on 8x8 images, dropout, a linear layer."""
    spec = importlib.util.spec_from_file_location("digits_cnn", DEMO)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.DigitsCNN()


def mlp() -> Any:
    """Three linear layers on flat 28x28 images."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def mnist_cnn() -> Any:
    """The network of the common MNIST exercise: 1 -> 32 -> 64 channels, two pools, 128, 10; no padding."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1600, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def digits_mlp() -> Any:
    """One hidden layer on flat 28x28 images."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def spiral_mlp() -> Any:
    """The network of the spiral exercise: points in the plane, ten hidden units, three classes."""
    return nn.Sequential(nn.Linear(2, 10), nn.Sigmoid(), nn.Linear(10, 3))


class Forecaster(nn.Module):
    """An LSTM of basic ops, unrolled over (batch, length, inputs), and a linear layer on what it gives last.

    Hochreiter and Schmidhuber 1997, with forget gates; gates in the order input, forget, cell, output, and
    parameters called and initialised as in PyTorch's LSTM.
    """

    def __init__(self, inputs: int = 1, hidden: int = 100, outputs: int = 1):
        super().__init__()
        self.lstm = nn.Module()
        bound = 1 / math.sqrt(hidden)
        for name, shape in {
            "weight_ih_l0": (4 * hidden, inputs),
            "weight_hh_l0": (4 * hidden, hidden),
            "bias_ih_l0": (4 * hidden,),
            "bias_hh_l0": (4 * hidden,),
        }.items():
            parameter = nn.Parameter(np.zeros(shape, np.float32))
            setattr(self.lstm, name, nn.init.uniform_(parameter, -bound, bound))
        self.linear = nn.Linear(hidden, outputs)

    def forward(self, x: Any) -> Any:
        weights = self.lstm
        bias = weights.bias_ih_l0 + weights.bias_hh_l0
        hidden = cell = None
        for time in range(x.shape[1]):
            gates = x[:, time] @ weights.weight_ih_l0.T + bias
            if hidden is not None:
                gates = gates + hidden @ weights.weight_hh_l0.T
            entry, forget, fresh, exit = sn.split(gates, 4, axis=1)
            kept = sn.sigmoid(entry) * sn.tanh(fresh)
            cell = kept if cell is None else sn.sigmoid(forget) * cell + kept
            hidden = sn.sigmoid(exit) * sn.tanh(cell)
        return self.linear(hidden)


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut, which is a 1x1 convolution where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Any) -> Any:
        y = sn.relu(self.norm1(self.conv1(x)))
        return sn.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """The 20-layer residual network for 32x32 colour images: three stages of three blocks, 16, 32 and 64 channels.

    He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", section 4.2, with projections as shortcuts.
    """

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        blocks, channels = [], 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for number in range(3):
                blocks.append(Block(channels, outputs, stride if number == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Any) -> Any:
        y = sn.relu(self.norm(self.conv(x)))
        return self.linear(self.pool(self.blocks(y)))
