"""Train a small CNN on real handwritten digits, save it, export it to ONNX, verify the file, draw the graphs.

Run it with `make demo`, or `python examples/digits_cnn.py`; everything it writes lands in runs/digits.
"""

from pathlib import Path

import staticnet as sn
from staticnet import data, nn, optim


class DigitsCNN(nn.Module):
    """Two convolution blocks and a linear classifier for 8x8 grey images."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.25), nn.Linear(128, classes))

    def forward(self, x):
        return self.classifier(self.features(x))


def main(folder: Path = Path("runs/digits"), epochs: int = 25) -> float:
    sn.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    train, test = data.digits()
    model = DigitsCNN()

    # The graph is known before anything runs: shapes, parameters, arithmetic.
    images = sn.TensorSpec(("batch", 1, 8, 8), "float32", name="images")
    graph = sn.trace(model, images)
    print(graph)
    print(graph.summary())

    # Training: forward, loss, backward and update are one compiled call per batch.
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    trainer = sn.Trainer(model, nn.CrossEntropyLoss(), optimizer, metrics={"accuracy": sn.metrics.accuracy})
    loader = data.DataLoader(train, batch_size=50, shuffle=True, seed=0)
    trainer.fit(loader, test, epochs=epochs)
    scores = trainer.evaluate(test)
    print(f"held-out accuracy {scores['accuracy']:.2%} on {len(test)} digits")
    print(trainer.train_step.memory)

    # Weights, and the model as ONNX with a batch of any size, checked against onnxruntime.
    sn.save(model.state_dict(), folder / "cnn.safetensors")
    sn.onnx.export(model, (images,), folder / "cnn.onnx")
    report = sn.onnx.verify(folder / "cnn.onnx", model, batch=(1, 2, 7))
    print(report)
    report.raise_for_status()

    # The model, the training step with its backward part, and the step as it runs after all passes; a box per module.
    sn.draw(graph, folder / "cnn.png")
    sn.draw(graph, folder / "cnn.dot")
    sn.draw(trainer.train_step, folder / "backward.png", stage="backward", depth=1)
    sn.draw(trainer.train_step, folder / "optimised.png", stage="optimised", depth=1)
    print("wrote", *sorted(str(path) for path in folder.iterdir()))
    return scores["accuracy"]


if __name__ == "__main__":
    accuracy = main()
    assert accuracy >= 0.98, f"accuracy {accuracy:.2%} is below 98 %"
