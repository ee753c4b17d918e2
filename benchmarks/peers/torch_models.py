"""The networks of benchmarks/models.py in PyTorch, with the same names for their parameters."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F


def mnist_cnn() -> Any:
    """Convolutions 1 -> 32 -> 64, two pools, 128, 10."""
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
    """Two inputs, ten hidden units, three classes."""
    return nn.Sequential(nn.Linear(2, 10), nn.Sigmoid(), nn.Linear(10, 3))


class Forecaster(nn.Module):
    """The library's own LSTM, and a linear layer on what it gives last."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 100, batch_first=True)
        self.linear = nn.Linear(100, 1)

    def forward(self, x: Any) -> Any:
        return self.linear(self.lstm(x)[0][:, -1])


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

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
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 channels."""

    def __init__(self) -> None:
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
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        return self.linear(self.pool(self.blocks(F.relu(self.norm(self.conv(x))))))


MODELS = {"cnn": mnist_cnn, "resnet20": ResNet20, "mlp": digits_mlp, "tiny": spiral_mlp, "lstm": Forecaster}
