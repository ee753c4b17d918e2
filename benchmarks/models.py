"""The networks that are measured; the demo's own comes from examples/digits_cnn.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

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
