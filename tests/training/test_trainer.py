"""The Trainer: figures that are exact, one trace for all batch sizes, callbacks, history, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from staticnet import data, nn
from staticnet.compiler.errors import ArgumentError, DataError, RunError
from staticnet.config import using_config
from staticnet.optim import SGD, Adam
from staticnet.random import manual_seed
from staticnet.serialization import load
from staticnet.training import (
    Callback,
    EarlyStopping,
    History,
    LearningRateSchedule,
    SaveBest,
    TerminateOnNaN,
    Trainer,
    metrics,
)

COUNT, FEATURES, CLASSES = 50, 5, 3


def examples(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, FEATURES)).astype(np.float32)
    return data.ArrayDataset(x, (x[:, :CLASSES].argmax(1)).astype(np.int64))


def linear():
    manual_seed(0)
    return nn.Linear(FEATURES, CLASSES)


def trainer_of(model, lr=0.5, **options):
    return Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=lr), **options)


def cross_entropy(logits, labels):
    logits = logits.astype(np.float64)
    logits = logits - logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]))


def apply(state, x):
    return x @ state["weight"].T + state["bias"]


# ---- figures


def test_figures_are_exact_means_over_the_examples():
    model, train, val = linear(), examples(), examples(23, seed=1)
    trainer = trainer_of(model, metrics={"acc": metrics.accuracy, "f1": metrics.F1()})
    states, batches = [model.state_dict()], []

    class Spy(Callback):
        def on_step_end(self, step, loss):
            states.append(model.state_dict())
            batches.append(loss)

    loader = data.DataLoader(train, 16, shuffle=True, seed=3)
    history = trainer.fit(loader, val, epochs=1, callbacks=[Spy()])
    given = list(data.DataLoader(train, 16, shuffle=True, seed=3))
    assert [len(y) for _, y in given] == [16, 16, 16, 2]
    outputs = [apply(state, x) for state, (x, _) in zip(states, given, strict=False)]
    labels = np.concatenate([y for _, y in given])
    losses = [cross_entropy(out, y) for out, (_, y) in zip(outputs, given, strict=True)]
    np.testing.assert_allclose(batches, losses, rtol=1e-5)
    assert history["loss"] == [pytest.approx(sum(a * len(y) for a, (_, y) in zip(losses, given, strict=True)) / COUNT)]
    together = np.concatenate(outputs)
    assert history["acc"] == [metrics.accuracy(together, labels)]
    assert history["f1"] == [metrics.macro_f1(together, labels)]
    after = apply(model.state_dict(), val.arrays[0])
    assert history["val_loss"] == [pytest.approx(cross_entropy(after, val.arrays[1]))]
    assert history["val_acc"] == [metrics.accuracy(after, val.arrays[1])]
    assert history.epochs == [1]


def test_one_trace_and_a_program_for_each_batch_size():
    trainer = trainer_of(linear(), metrics={"acc": metrics.accuracy})
    trainer.fit(examples(), examples(23), epochs=3, batch_size=16)
    assert (trainer.train_step.trace_count, trainer.train_step.program_count) == (1, 2)
    assert (trainer.evaluation.trace_count, trainer.evaluation.program_count) == (1, 2)
    step = trainer.train_step
    trainer.fit(examples(), epochs=1, batch_size=16)
    assert trainer.train_step is step and step.program_count == 2
    trainer.predict(examples(), batch_size=16)
    assert (trainer.prediction.trace_count, trainer.prediction.program_count) == (1, 2)


def test_lazy_layers_are_traced_once_too():
    manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(CLASSES))
    trainer = trainer_of(model)
    trainer.fit(examples(), examples(), epochs=2)
    assert trainer.train_step.trace_count == trainer.evaluation.trace_count == 1


def test_a_model_that_changed_is_traced_again():
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), nn.Linear(4, CLASSES))
    trainer = trainer_of(model)
    trainer.fit(examples())
    frozen = model.state_dict()["0.weight"]
    model.freeze("0.*")
    trainer.fit(examples())
    assert (model.state_dict()["0.weight"] == frozen).all()
    model[1] = nn.Tanh()
    x = examples().arrays[0]
    state = model.state_dict()
    hidden = np.tanh(x @ state["0.weight"].T + state["0.bias"])
    np.testing.assert_allclose(trainer.predict(x), hidden @ state["2.weight"].T + state["2.bias"], atol=1e-5)


def test_training_learns_and_repeats():
    def run():
        manual_seed(7)
        model = nn.Sequential(nn.Linear(FEATURES, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))
        trainer = Trainer(model, nn.CrossEntropyLoss(), Adam(model.parameters(), lr=0.02), [metrics.accuracy])
        return trainer.fit(examples(300), examples(60, seed=9), epochs=8), model.state_dict()

    (first, weights), (second, again) = run(), run()
    assert first["val_accuracy"][-1] > 0.9 and first["loss"][-1] < first["loss"][0] / 2
    assert first.history == second.history
    assert all(weights[name].tobytes() == again[name].tobytes() for name in weights)


def test_evaluation_is_in_inference_mode_and_leaves_no_trace():
    manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Dropout(0.9), nn.Linear(FEATURES, CLASSES))
    trainer = trainer_of(model, metrics={"acc": metrics.accuracy})
    before = model.state_dict()
    first, second = trainer.evaluate(examples()), trainer.evaluate(examples(), batch_size=7)
    assert first["acc"] == second["acc"] and first["loss"] == pytest.approx(second["loss"])
    assert model.training and all((before[name] == model.state_dict()[name]).all() for name in before)


def test_evaluation_takes_every_example_and_leaves_the_loader_where_it_was():
    trainer = trainer_of(linear(), metrics={"acc": metrics.accuracy})
    loader = data.DataLoader(examples(), 16, shuffle=True, drop_last=True)
    next(iter(loader))
    before = loader.state_dict()
    assert trainer.evaluate(loader)["acc"] == trainer.evaluate(examples())["acc"]
    assert loader.state_dict() == before


def test_metrics_without_a_loss():
    assert list(Trainer(linear(), metrics=[metrics.accuracy]).evaluate(examples())) == ["accuracy"]


def test_a_second_fit_goes_on_with_another_order():
    orders = []

    class Noting(data.ArrayDataset):
        def batch(self, indexes):
            orders.append(indexes.tolist())
            return super().batch(indexes)

    trainer = trainer_of(linear())
    dataset = Noting(*examples().arrays)
    trainer.fit(dataset, batch_size=50)
    history = trainer.fit(dataset, batch_size=50, epochs=2)
    assert len(orders) == 3 and len({tuple(order) for order in orders}) == 3
    assert history.epochs == [1, 2]


# ---- prediction


def test_predictions_of_all_kinds_of_data():
    model = linear()
    trainer = Trainer(model)
    x, y = examples().arrays
    expected = apply(model.state_dict(), x)
    loader = data.DataLoader(examples(), 16, drop_last=True, shuffle=True)
    for source in (x, (x,), data.ArrayDataset(x), data.ArrayDataset(x, y), loader):
        predicted = trainer.predict(source, batch_size=16)
        assert predicted.shape == (COUNT, CLASSES)
        np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-6)


def test_predictions_of_several_inputs_and_outputs():
    class Two(nn.Module):
        def forward(self, a, b):
            return {"sum": a + b, "parts": (a, b * 2)}

    a, b = np.arange(6, dtype=np.float32), np.ones(6, np.float32)
    found = Trainer(Two()).predict((a, b), batch_size=4)
    np.testing.assert_array_equal(found["sum"], a + b)
    np.testing.assert_array_equal(found["parts"][1], b * 2)


def test_nothing_to_predict():
    trainer = Trainer(linear())
    with pytest.raises(DataError, match="empty"):
        trainer.predict(np.zeros((0, FEATURES), np.float32))
    with pytest.raises(DataError, match="a single number per batch"):
        Trainer(lambda x: x.sum()).predict(np.ones((4, 2), np.float32))


# ---- what goes wrong


def test_what_a_trainer_refuses():
    model = linear()
    optimizer = SGD(model.parameters())
    for make, message in [
        (lambda: Trainer("model"), "the model of a Trainer"),
        (lambda: Trainer(model, "loss", optimizer), "the loss of a Trainer"),
        (lambda: Trainer(model, nn.CrossEntropyLoss(), 0.1), "the optimizer of a Trainer"),
        (lambda: Trainer(model, metrics={"loss": metrics.accuracy}), "no name for a metric"),
        (lambda: Trainer(model, metrics={"val_a": metrics.accuracy}), "no name for a metric"),
        (lambda: Trainer(model, metrics={"a": 3}), "a metric is a function"),
        (lambda: Trainer(model, metrics=[metrics.accuracy, metrics.accuracy]), "the same name"),
        (lambda: Trainer(model).fit(examples()), "needs a loss and an optimizer"),
        (lambda: trainer_of(model).fit(examples(), epochs=0), "epochs must be"),
        (lambda: trainer_of(model).fit(examples(), batch_size=0), "batch_size must be"),
        (lambda: trainer_of(model).fit(examples(), callbacks=[print]), "a callback is"),
        (lambda: trainer_of(model).fit(examples(), checkpoint_every=3), "needs a file"),
        (lambda: trainer_of(model).fit(examples(), checkpoint="nowhere/at/all.safetensors"), "there is no folder"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            make()


@pytest.mark.parametrize(
    "train, message",
    [
        (data.ArrayDataset(np.zeros((0, 5), np.float32), np.zeros(0, np.int64)), "empty"),
        (np.zeros((4, 5), np.float32), "one array without targets"),
        (data.ArrayDataset(np.zeros((4, 5), np.float32)), "a tuple of inputs and a target, not a ndarray"),
    ],
)
def test_data_that_cannot_be_trained_on(train, message):
    with pytest.raises(DataError, match=message):
        trainer_of(linear()).fit(train)


def poisoned(position):
    dataset = examples(64)
    dataset.arrays[0][position] = np.nan
    return dataset


def test_a_model_that_diverged_is_told_by_its_metrics():
    trainer = trainer_of(linear(), lr=0.25, metrics={"acc": metrics.accuracy})
    loader = data.DataLoader(poisoned(40), 16)
    with pytest.raises(RunError, match=r"diverged: .* NaN.* at epoch 1, batch 3 \(lr = 0.25\); lower"):
        trainer.fit(loader)
    with pytest.raises(RunError, match="evaluation: its outputs hold"):
        trainer.evaluate(examples())


def test_a_loss_of_nan_is_recorded_unless_asked_not_to():
    assert math.isnan(trainer_of(linear()).fit(data.DataLoader(poisoned(40), 16))["loss"][0])
    trainer = trainer_of(linear())
    with pytest.raises(RunError, match="the loss is nan at epoch 1, batch 3"):
        trainer.fit(data.DataLoader(poisoned(40), 16), callbacks=[TerminateOnNaN()])


def test_check_finite_holds_for_the_loss():
    model = linear()
    trainer = Trainer(model, lambda output, target: output.sum() / 0.0, SGD(model.parameters()))
    with using_config(check_finite=True), pytest.raises(RunError, match="the loss is"):
        trainer.fit(examples())


def test_an_interrupt_keeps_the_history():
    class Impatient(Callback):
        def on_step_end(self, step, loss):
            if step == 6:
                raise KeyboardInterrupt

    trainer = trainer_of(linear())
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(examples(), epochs=9, batch_size=25, callbacks=[Impatient()])
    assert trainer.history.epochs == [1, 2]


# ---- callbacks


def test_callbacks_are_called_in_order():
    calls = []

    class Noting(Callback):
        def on_train_begin(self):
            calls.append("train")

        def on_epoch_begin(self, epoch):
            calls.append(f"epoch {epoch}")

        def on_step_end(self, step, loss):
            calls.append(f"step {step}")

        def on_epoch_end(self, epoch, logs):
            logs["mine"] = epoch * 10
            calls.append(f"end {epoch}")

        def on_train_end(self):
            calls.append("over")

    history = trainer_of(linear()).fit(examples(), epochs=2, batch_size=25, callbacks=Noting())
    assert " ".join(calls) == "train epoch 0 step 1 step 2 end 0 epoch 1 step 3 step 4 end 1 over"
    assert history["mine"] == [0, 10]


def test_a_learning_rate_schedule_does_not_compile_anew():
    trainer = trainer_of(linear())
    history = trainer.fit(examples(), epochs=3, callbacks=[LearningRateSchedule(lambda epoch: 0.1 / (1 + epoch))])
    assert history["lr"] == [0.1, 0.05, 0.1 / 3]
    assert (trainer.train_step.trace_count, trainer.train_step.program_count) == (1, 2)


def test_a_learning_rate_of_zero_moves_nothing():
    model = linear()
    before = model.state_dict()
    trainer_of(model).fit(examples(), callbacks=[LearningRateSchedule(lambda epoch: 0.0)])
    assert all((before[name] == model.state_dict()[name]).all() for name in before)


class Pretend(Callback):
    """Puts made-up figures into the logs."""

    def __init__(self, **figures):
        self.figures = figures

    def on_epoch_end(self, epoch, logs):
        logs.update({name: values[epoch] for name, values in self.figures.items()})


@pytest.mark.parametrize(
    "stopping, epochs",
    [
        (EarlyStopping("val_loss", patience=2), 5),
        (EarlyStopping("val_loss", patience=2, min_delta=0.5), 4),
        (EarlyStopping("score", patience=1), 2),
        (EarlyStopping("score", patience=1, mode="min"), 6),
        (EarlyStopping("val_loss", patience=9), 6),
    ],
)
def test_early_stopping(stopping, epochs):
    figures = Pretend(val_loss=[5, 4, 3.8, 3.9, 3.8, 1], score=[3, 2.5, 2, 1.5, 1, 0])
    history = trainer_of(linear()).fit(examples(), epochs=6, callbacks=[figures, stopping])
    assert len(history.epochs) == epochs


def test_early_stopping_names_what_there_is():
    with pytest.raises(ArgumentError, match="no 'val_loss' to go by; each epoch gives loss"):
        trainer_of(linear()).fit(examples(), callbacks=[EarlyStopping()])


def test_the_best_weights_are_saved(tmp_path):
    model, path, kept = linear(), tmp_path / "best.safetensors", []

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs):
            kept.append(model.state_dict()["weight"])

    pretend = Pretend(val_loss=[5, 2, 3, float("nan")])
    trainer_of(model).fit(examples(), epochs=4, callbacks=[Keep(), pretend, SaveBest(path)])
    assert (load(path)["weight"] == kept[1]).all()


def test_stopping_in_the_middle_of_an_epoch():
    class Stop(Callback):
        def on_step_end(self, step, loss):
            self.trainer.stop_training = step == 3

    history = trainer_of(linear()).fit(examples(), epochs=5, batch_size=25, callbacks=[Stop()])
    assert history.epochs == [1]


# ---- history and progress


def test_a_history_is_a_mapping_and_a_table():
    history = History()
    assert repr(history) == "History(no epoch)"
    history.append(1, {"loss": 0.5})
    history.append(2, {"loss": 0.25, "confusion": np.eye(2, dtype=int)})
    assert list(history) == ["loss", "confusion"] and history["loss"] == [0.5, 0.25] and len(history) == 2
    assert math.isnan(history["confusion"][0]) and "acc" not in history
    assert repr(history).splitlines() == ["epoch  loss  confusion", "    1   0.5        nan", "    2  0.25  array 2x2"]
    with pytest.raises(KeyError, match="no 'acc'; it has loss, confusion"):
        history["acc"]


def test_a_long_history_is_shown_in_part():
    history = History()
    for epoch in range(1, 101):
        history.append(epoch, {"loss": 1 / epoch})
    lines = repr(history).splitlines()
    assert len(lines) == 22 and lines[4] == "... 80 more ..." and lines[-1].split() == ["100", "0.01"]


@pytest.mark.parametrize("name", ["curves.png", "curves.svg"])
def test_a_history_is_drawn(name, tmp_path):
    pytest.importorskip("matplotlib")
    history = trainer_of(linear(), metrics={"acc": metrics.accuracy, "table": metrics.confusion_matrix}).fit(
        examples(), examples(), epochs=2
    )
    path = history.plot(tmp_path / name)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml") and len(content) > 2000
    titles = [axes.get_title() for axes in history.plot().axes]
    assert titles == ["loss", "acc"]


def test_what_cannot_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ArgumentError, match="nothing to plot"):
        History().plot()
    history = History()
    history.append(1, {"loss": 1.0})
    with pytest.raises(ArgumentError, match="its suffix"):
        history.plot(tmp_path / "curves.txt")


def test_progress_is_shown_on_stderr_when_asked(capsys):
    trainer = trainer_of(linear(), metrics={"acc": metrics.accuracy})
    trainer.fit(examples(), examples(), epochs=2)
    quiet = capsys.readouterr()
    assert quiet.out == quiet.err == ""
    trainer.fit(examples(), examples(), epochs=2, progress=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "epoch 2/2" in shown.err and "val_acc" in shown.err
    with using_config(progress=True):
        trainer.fit(examples())
    assert "epoch 1/1" in capsys.readouterr().err
