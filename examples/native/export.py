"""Write a small CNN and its training step as native code, and digits for them: what main.c is linked with and reads.

    python examples/native/export.py
    cc -O2 -I runs/native examples/native/main.c runs/native/digits.o runs/native/digits_step.o -lm -o runs/native/main
    runs/native/main runs/native

The program begins with the weights of this script's short training, trains on, and needs no Python for it.
"""

import sys
from pathlib import Path

import numpy as np

import staticnet as sn
from staticnet import data, nn, optim

BATCH = 50
#: one digit as main.c reads it
DIGIT = np.dtype([("image", "<f4", (1, 8, 8)), ("label", "<i8")])


class DigitsCNN(nn.Module):
    """One convolution block and a linear classifier for 8x8 grey images."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))

    def forward(self, images):
        return self.classifier(self.features(images))


def main(folder: Path = Path("runs/native")) -> None:
    sn.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    train, test = data.digits()
    digits = write(train, folder / "train.bin")
    write(test, folder / "test.bin")

    model = DigitsCNN()
    optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    step = sn.compile_train_step(model, nn.CrossEntropyLoss(), optimizer)
    for batch in np.split(digits, len(digits) // BATCH)[:5]:
        step(batch["image"], batch["label"])

    images = sn.TensorSpec(("batch", 1, 8, 8), "float32", name="images")
    inference = sn.export_native(model, folder / "digits.o", images, sizes={"batch": BATCH})
    training = sn.export_native(step, folder / "digits_step.o")
    print("wrote", *inference, *training)


def write(split: data.ArrayDataset, path: Path) -> np.ndarray:
    """Write a data set as main.c reads it."""
    digits = np.array([tuple(example) for example in split], DIGIT)
    digits.tofile(path)
    return digits


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
