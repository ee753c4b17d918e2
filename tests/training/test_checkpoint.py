"""Checkpoints: k steps, a new process and N - k more equal N steps byte for byte; all or nothing on both ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from staticnet import data, nn, random
from staticnet.compiler.errors import StateError
from staticnet.optim import SGD, Adam, AdamW
from staticnet.serialization import load, load_metadata, save
from staticnet.training import Callback, LearningRateSchedule, Trainer, metrics

BATCHES = 4  # in an epoch, the last one short
EPOCHS = 3


def examples(count=50):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 5)).astype(np.float32)
    return data.ArrayDataset(x, x[:, :3].argmax(1).astype(np.int64))


def network(width=8):
    return nn.Sequential(nn.LazyLinear(width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 3))


def trainer_of(kind=Adam, seed=0, model=None, **options):
    random.manual_seed(seed)
    model = model or network()
    return Trainer(
        model,
        nn.CrossEntropyLoss(),
        kind(model.parameters(), lr=0.05, **options),
        metrics={"acc": metrics.accuracy, "f1": metrics.F1(), "table": metrics.confusion_matrix, "all": collected},
    )


def collected(outputs, targets):
    return float(outputs.sum())


def loader_of(**options):
    return data.DataLoader(examples(), 16, shuffle=True, prefetch=2, **options)


class Crash(Callback):
    """Ends the training at a step, or after the last step of an epoch."""

    def __init__(self, step=None, epoch=None):
        self.step, self.epoch = step, epoch

    def on_step_end(self, step, loss):
        if step == self.step:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def schedule():
    return LearningRateSchedule(lambda epoch: 0.05 / (1 + epoch))


def whole_run(path, kind=Adam, **options):
    trainer = trainer_of(kind, **options)
    history = trainer.fit(
        loader_of(), examples(20), epochs=EPOCHS, callbacks=[schedule()], checkpoint=path, checkpoint_every=5
    )
    return trainer, history


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a checkpoint of a training with Adam."""
    path = tmp_path_factory.mktemp("checkpoint") / "file.safetensors"
    whole_run(path)
    return path.read_bytes()


@pytest.fixture
def path(written, tmp_path):
    """A copy of that checkpoint."""
    copy = tmp_path / "file.safetensors"
    copy.write_bytes(written)
    return copy


def settled():
    """The network with all its sizes given."""
    return nn.Sequential(nn.Linear(5, 8), *list(network().children())[1:])


CRASHES = [(Crash(step=3), 1), (Crash(step=7), 3), (Crash(epoch=1), 4), (Crash(epoch=1), None), (Crash(step=9), None)]
OTHERS = [(SGD, {}), (SGD, {"momentum": 0.9, "nesterov": True}), (AdamW, {})]


@pytest.mark.parametrize(
    "kind, options, crash, every",
    [(Adam, {}, *crash) for crash in CRASHES] + [(kind, options, *CRASHES[1]) for kind, options in OTHERS],
)
def test_going_on_equals_never_stopping(kind, options, crash, every, tmp_path):
    straight, history = whole_run(tmp_path / "straight.safetensors", kind, **options)
    with pytest.raises(KeyboardInterrupt):
        trainer_of(kind, **options).fit(
            loader_of(),
            examples(20),
            epochs=EPOCHS,
            callbacks=[schedule(), crash],
            checkpoint=tmp_path / "half.safetensors",
            checkpoint_every=every,
        )
    random.rand(3).numpy()  # the key has moved on since
    again = trainer_of(kind, seed=99, **options)
    resumed = again.fit(
        loader_of(seed=5),
        examples(20),
        epochs=EPOCHS,
        callbacks=[schedule()],
        resume=tmp_path / "half.safetensors",
        checkpoint=tmp_path / "resumed.safetensors",
    )
    assert (tmp_path / "resumed.safetensors").read_bytes() == (tmp_path / "straight.safetensors").read_bytes()
    assert repr(resumed) == repr(history)
    for mine, theirs in zip(straight.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert mine.tobytes() == theirs.tobytes()


SCRIPT = """
import os, sys
import numpy as np
from staticnet import data, nn, random
from staticnet.optim import Adam
from staticnet.training import Callback, Trainer, metrics

mode, path, source = sys.argv[1:]

class Kill(Callback):
    def on_step_end(self, step, loss):
        if step == 11:
            os._exit(9)

random.manual_seed(3 if mode != "resume" else 44)
model = nn.Sequential(
    nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
    nn.Flatten(), nn.Linear(64, 10),
)
trainer = Trainer(model, nn.CrossEntropyLoss(), Adam(model.parameters(), lr=0.01), {"acc": metrics.accuracy})
train, test = data.digits()
trainer.fit(
    data.Subset(train, range(200)), data.Subset(test, range(40)), epochs=3, batch_size=32,
    callbacks=[Kill()] if mode == "kill" else [],
    checkpoint=path, checkpoint_every=3 if mode == "kill" else None,
    resume=source if mode == "resume" else None,
)
"""


def test_going_on_in_a_new_process(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)

    def run(mode, path, hash_seed):
        command = [sys.executable, script, mode, tmp_path / path, tmp_path / "killed.safetensors"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        finished = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        return finished.returncode, finished.stderr

    assert run("straight", "straight.safetensors", "0") == (0, "")
    assert run("kill", "killed.safetensors", "1") == (9, "")
    training = json.loads(load_metadata(tmp_path / "killed.safetensors")["training"])
    assert (training["epoch"], training["step"], training["loader"]["position"]) == (1, 9, 2)
    assert run("resume", "resumed.safetensors", "2") == (0, "")
    assert (tmp_path / "resumed.safetensors").read_bytes() == (tmp_path / "straight.safetensors").read_bytes()


# ---- the file


def test_what_is_in_a_checkpoint(tmp_path):
    path = tmp_path / "file.safetensors"
    whole_run(path, SGD, momentum=0.9)
    arrays, metadata = load(path), load_metadata(path)
    assert {"model.0.weight", "model.1.running_mean", "optimizer.lr", "random.key"} <= set(arrays)
    assert {"optimizer.momentum_buffer.0.weight", "optimizer.momentum_buffer.4.bias"} <= set(arrays)
    assert not any(name.startswith("metrics.") for name in arrays)
    assert metadata["format"] == "staticnet checkpoint 1"
    assert [path] == list(tmp_path.iterdir())


def test_weights_can_be_taken_out_of_a_checkpoint(path):
    model, arrays = network(), load(path)
    model.load_state_dict({k.removeprefix("model."): v for k, v in arrays.items() if k.startswith("model.")})
    assert (model.state_dict()["4.weight"] == arrays["model.4.weight"]).all()


def test_a_training_that_is_over_stays_as_it_is(path):
    trainer = trainer_of(seed=5)
    history = trainer.fit(loader_of(), epochs=EPOCHS, resume=path)
    assert history.epochs == [1, 2, 3] and trainer.train_step is None


def test_an_interrupted_write_leaves_the_old_checkpoint(path, monkeypatch):
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer_of().fit(loader_of(), checkpoint=path)
    assert path.read_bytes() == before and [path] == list(path.parent.iterdir())


# ---- what does not fit


def snapshot(trainer, loader):
    states = {**trainer.model.state_dict(), **trainer.optimizer.state_dict()}
    return {name: array.tobytes() for name, array in states.items()}, loader.state_dict(), random.get_state().tolist()


def test_all_that_differs_is_named_and_nothing_is_loaded(path):
    trainer = trainer_of(SGD, model=nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.Linear(9, 3)))
    loader = data.DataLoader(examples(40), 8, shuffle=True)
    before = snapshot(trainer, loader)
    with pytest.raises(StateError) as caught:
        trainer.fit(loader, resume=path)
    for text in [
        "is not of this training, nothing was loaded",
        "model: 0.weight: the model has shape (9, 5), the state dict (8, 5)",
        "model: missing: 2.weight, 2.bias",
        "model: surplus: 4.bias, 4.weight",
        "optimizer: it is SGD(nesterov=False), and was Adam",
        "loader: length is 40, and was 50",
        "loader: batch_size is 8, and was 16",
    ]:
        assert text in str(caught.value)
    assert snapshot(trainer, loader) == before


def test_optimizers_that_differ(tmp_path):
    whole_run(tmp_path / "file.safetensors", SGD, momentum=0.9)
    for options, message in [
        ({"momentum": 0.9, "nesterov": True}, r"it is SGD\(nesterov=True\), and was SGD\(nesterov=False\)"),
        ({}, r"surplus: momentum_buffer.0.bias, .*4.weight"),
    ]:
        trainer = trainer_of(SGD, model=settled(), **options)
        loader = loader_of()
        before = snapshot(trainer, loader)
        with pytest.raises(StateError, match=message):
            trainer.fit(loader, resume=tmp_path / "file.safetensors")
        assert snapshot(trainer, loader) == before


def test_metrics_that_differ_in_the_middle_of_an_epoch(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trainer_of().fit(loader_of(), checkpoint=path, checkpoint_every=1, callbacks=[Crash(step=3)])
    trainer = trainer_of()
    trainer.metrics = {"acc": metrics.accuracy}
    with pytest.raises(StateError, match=r"the metrics are \['acc'\], and were \['acc', 'all', 'f1', 'table'\]"):
        trainer.fit(loader_of(), resume=path)


def test_a_metric_that_no_file_can_hold(tmp_path):
    class Odd(metrics.Metric):
        def __init__(self):
            self.reset()

        def reset(self):
            self.seen = set()

        def update(self, outputs, targets):
            self.seen |= set(targets.tolist())

        def result(self):
            return len(self.seen)

    class Kept(Odd):
        def state_dict(self):
            return {"seen": np.array(sorted(self.seen))}

        def load_state_dict(self, state):
            self.seen = set(state["seen"].tolist())

    path = tmp_path / "file.safetensors"
    trainer = trainer_of()
    trainer.metrics = {"odd": Odd()}
    trainer.fit(loader_of(), checkpoint=path)
    with pytest.raises(StateError, match=r"the metric 'odd' keeps a set in 'seen'.*state_dict"):
        trainer.fit(loader_of(), checkpoint=path, checkpoint_every=2)
    trainer.metrics = {"odd": Kept()}
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader_of(), checkpoint=path, checkpoint_every=1, callbacks=[Crash(step=3)])
    assert trainer.fit(loader_of(), resume=path)["odd"] == [3]


def spoiled(path: Path, **changes):
    """The checkpoint with some entries replaced."""
    arrays, metadata = load(path), load_metadata(path)
    entries = json.loads(metadata["training"]) | changes
    save(arrays, path, {**metadata, "training": json.dumps(entries)})


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "truncated"),
        (lambda path: path.write_bytes(b"\x80\x04pickle"), "cannot read"),
        (lambda path: save(network(3)[4].state_dict(), path), "no checkpoint of a training"),
        (lambda path: save(load(path), path, {"format": "staticnet checkpoint 1", "training": "{"}), "is damaged"),
        (lambda path: save(load(path), path, {"format": "staticnet checkpoint 1"}), "is damaged"),
        (lambda path: save(load(path), path, {"format": "staticnet checkpoint 1", "training": "[]"}), "is damaged"),
        (lambda path: spoiled(path, more=1), "is damaged"),
        (lambda path: spoiled(path, epoch=-1), "damaged: epoch -1"),
        (lambda path: spoiled(path, history={"epochs": 3}), "damaged: TypeError"),
        (lambda path: spoiled(path, loader={"seed": 1}), "another kind of loader"),
        (lambda path: spoiled(path, optimizer=None), "optimizer: it is Adam, and was None"),
        (lambda path: save({"other": np.ones(2), **load(path)}, path, load_metadata(path)), "is damaged"),
        (
            lambda path: save({k: v for k, v in load(path).items() if k != "random.key"}, path, load_metadata(path)),
            "no random key",
        ),
    ],
)
def test_files_that_are_no_checkpoint(spoil, message, path):
    spoil(path)
    trainer, loader = trainer_of(model=settled()), loader_of()
    before = snapshot(trainer, loader)
    with pytest.raises(StateError, match=message):
        trainer.fit(loader, resume=path)
    assert snapshot(trainer, loader) == before
