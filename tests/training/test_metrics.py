"""Metrics: hand values, scikit-learn's values, and accumulation that does not depend on the batches."""

import functools

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, RunError, ShapeError
from staticnet.training import metrics
from staticnet.training.metrics import (
    F1,
    Accuracy,
    BatchMean,
    Collected,
    Metric,
    accuracy,
    as_metric,
    confusion_matrix,
    f1,
    macro_f1,
    micro_f1,
    precision,
    recall,
)

# Class 0: 2 of 3 recognised, predicted 3 times. Class 1: 1 of 2, predicted twice. Class 2: 1 of 1, predicted once.
PREDICTED = np.array([0, 0, 1, 1, 0, 2])
ACTUAL = np.array([0, 0, 0, 1, 1, 2])


def logits_for(predicted, classes, rest=()):
    logits = np.random.default_rng(1).normal(size=(len(predicted), classes, *rest)).astype(np.float32)
    np.put_along_axis(logits, np.expand_dims(predicted, 1), 9, axis=1)
    return logits


def test_hand_values():
    assert accuracy(PREDICTED, ACTUAL) == 4 / 6
    assert confusion_matrix(PREDICTED, ACTUAL).tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert precision(PREDICTED, ACTUAL, average=None).tolist() == [2 / 3, 1 / 2, 1]
    assert recall(PREDICTED, ACTUAL, average=None).tolist() == [2 / 3, 1 / 2, 1]
    assert macro_f1(PREDICTED, ACTUAL) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, rel=1e-15)
    assert micro_f1(PREDICTED, ACTUAL) == accuracy(PREDICTED, ACTUAL)
    assert isinstance(accuracy(PREDICTED, ACTUAL), float) and isinstance(macro_f1(PREDICTED, ACTUAL), float)


def test_rows_are_targets_and_columns_predictions():
    assert confusion_matrix([1], [0]).tolist() == [[0, 1], [0, 0]]


def test_logits_class_numbers_and_dense_outputs_agree():
    for targets in (ACTUAL, ACTUAL.astype(np.uint8), ACTUAL.astype(np.float32), ACTUAL.tolist()):
        assert accuracy(logits_for(PREDICTED, 3), targets) == 4 / 6
    dense = PREDICTED.reshape(2, 3)
    assert accuracy(logits_for(dense, 3, (3,)), ACTUAL.reshape(2, 3)) == 4 / 6
    assert accuracy(dense, ACTUAL.reshape(2, 3)) == 4 / 6


def test_logits_tell_how_many_classes_a_confusion_matrix_has():
    assert confusion_matrix(logits_for(PREDICTED, 5), ACTUAL).shape == (5, 5)
    assert confusion_matrix(PREDICTED, ACTUAL, classes=4).shape == (4, 4)


def test_binary_outputs():
    logits, targets = np.array([-1.0, 2.0, 0.5, -0.1]), np.array([0, 1, 0, 1])
    assert accuracy(logits, targets) == 0.5
    assert accuracy(logits[:, None], targets) == accuracy(logits[:, None], targets[:, None].astype(np.float32)) == 0.5
    probabilities = 1 / (1 + np.exp(-logits))
    assert accuracy(probabilities, targets, threshold=0.5) == 0.5
    assert accuracy(probabilities, targets) == 0.5  # all are predicted 1
    assert confusion_matrix(logits, targets).tolist() == [[1, 1], [1, 1]]
    assert accuracy(logits > 0, targets.astype(bool)) == 0.5
    assert precision([1, 1, 0, 0], [1, 0, 0, 1], average="binary") == 0.5
    assert recall([0, 0], [0, 0], average="binary") == 0
    # A column of one example must not broadcast against a row of four.
    with pytest.raises(ShapeError):
        accuracy(np.zeros((1, 1)), targets)


def test_absent_classes():
    # Class 1 is predicted and never right, class 2 occurs and is never predicted, class 3 is not there.
    outputs, targets = logits_for(np.array([0, 0, 1]), 4), [0, 0, 2]
    assert precision(outputs, targets) == recall(outputs, targets) == f1(outputs, targets) == pytest.approx(1 / 3)
    np.testing.assert_array_equal(f1(outputs, targets, average=None), [1, 0, 0, np.nan])
    assert f1(outputs, targets, classes=4) == 1 / 4
    np.testing.assert_array_equal(f1(outputs, targets, average=None, classes=4), [1, 0, 0, 0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_agrees_with_scikit_learn(seed, average):
    reference = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(seed)
    predicted, actual = generator.integers(0, 7, 12), generator.integers(2, 9, 12)
    for ours, theirs in (
        (precision, reference.precision_score),
        (recall, reference.recall_score),
        (f1, reference.f1_score),
    ):
        arguments = {"average": average, "zero_division": 0.0}
        assert ours(predicted, actual, average=average) == pytest.approx(theirs(actual, predicted, **arguments))
        expected = theirs(actual, predicted, labels=range(9), **arguments)
        assert ours(predicted, actual, average=average, classes=9) == pytest.approx(expected)
    assert accuracy(predicted, actual) == reference.accuracy_score(actual, predicted)
    expected = reference.confusion_matrix(actual, predicted, labels=range(9))
    assert np.array_equal(confusion_matrix(predicted, actual, classes=9), expected)


def test_binary_average_agrees_with_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    predicted, actual = generator.integers(0, 2, 30), generator.integers(0, 2, 30)
    assert f1(predicted, actual, average="binary") == pytest.approx(reference.f1_score(actual, predicted))
    assert precision(predicted, actual, average="binary") == pytest.approx(reference.precision_score(actual, predicted))


ALL = [accuracy, confusion_matrix, precision, recall, f1, macro_f1, micro_f1]


@pytest.mark.parametrize("sizes", [[40], [1] * 40, [32, 8], [3, 0, 30, 7]])
@pytest.mark.parametrize("form", ["logits", "numbers"])
@pytest.mark.parametrize("function", ALL, ids=lambda function: function.__name__)
def test_accumulation_is_exact(function, form, sizes):
    generator = np.random.default_rng(2)
    # Sorted, so that large class numbers turn up late and the counts must grow.
    actual = np.sort(generator.integers(0, 6, 40))
    predicted = np.where(generator.random(40) < 0.6, actual, generator.integers(0, 6, 40))
    outputs = logits_for(predicted, 6) if form == "logits" else predicted
    metric = as_metric(function)
    for _ in range(2):
        for part in np.split(np.arange(40), np.cumsum(sizes)[:-1]):
            metric.update(outputs[part], actual[part])
        assert np.array_equal(metric.result(), function(outputs, actual))
        metric.reset()


def test_macro_f1_of_an_epoch_is_not_the_mean_over_batches():
    batches = [(np.array([0, 0]), np.array([0, 1])), (np.array([1, 1]), np.array([1, 1]))]
    metric = as_metric(macro_f1)
    for outputs, targets in batches:
        metric.update(outputs, targets)
    # Class 0: right 1, predicted 2, actual 1; class 1: right 2, predicted 2, actual 3.
    assert metric.result() == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert np.mean([macro_f1(*batch) for batch in batches]) == pytest.approx((1 / 3 + 1) / 2)


def test_a_result_does_not_change_afterwards():
    metric = as_metric(confusion_matrix)
    metric.update([0], [0])
    before = metric.result()
    metric.update([0], [0])
    assert before.tolist() == [[1]] and metric.result().tolist() == [[2]]


def test_as_metric():
    assert isinstance(as_metric(accuracy), Accuracy)
    assert isinstance(as_metric(Accuracy), Accuracy)
    mine = F1(average="micro")
    assert as_metric(mine) is mine
    partial = as_metric(functools.partial(f1, average="micro", classes=3))
    assert isinstance(partial, F1) and partial.average == "micro" and partial.classes == 3
    assert as_metric(macro_f1).average == "macro" and as_metric(micro_f1).average == "micro"
    assert set(metrics._ACCUMULATORS) == set(ALL)
    with pytest.raises(ArgumentError, match="a function of \\(outputs, targets\\) or a Metric, not 'accuracy'"):
        as_metric("accuracy")


def test_functions_of_ones_own_see_the_whole_epoch():
    calls = []

    def worst(outputs, targets):
        calls.append(len(targets))
        return float(np.abs(outputs - targets).max())

    metric = as_metric(worst)
    assert isinstance(metric, Collected)
    reused = np.zeros(2)
    for value in (1.0, 5.0, 2.0):
        reused[:] = value
        metric.update(reused, np.zeros(2))
    assert metric.result() == 5 and calls == [6]
    metric.reset()
    metric.update(np.ones(1), np.zeros(1))
    assert metric.result() == 1


def test_batch_mean_weighs_by_length():
    metric = BatchMean(lambda outputs, targets: float(((outputs - targets) ** 2).mean()))
    outputs, targets = np.arange(5.0), np.ones(5)
    metric.update(outputs[:3], targets[:3])
    metric.update(outputs[3:], targets[3:])
    assert metric.result() == pytest.approx(((outputs - targets) ** 2).mean())


@pytest.mark.parametrize("function", [*ALL, lambda outputs, targets: 0.0, BatchMean(len)])
def test_no_result_without_examples(function):
    metric = as_metric(function)
    with pytest.raises(RunError, match="no example was given") as caught:
        metric.result()
    assert caught.value.origin.file == __file__


def test_a_metric_must_have_all_three_methods():
    class Half(Metric):
        def update(self, outputs, targets): ...

    with pytest.raises(TypeError, match="abstract"):
        Half()


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (np.zeros((4, 3)), np.zeros(5, int)),
        (np.zeros((4, 3)), np.zeros((4, 1), int)),
        (np.zeros((4, 3)), np.zeros((4, 3), int)),
        (np.zeros((4, 3, 2)), np.zeros((4, 3), int)),
        (np.zeros(4, int), np.zeros(5, int)),
        (np.zeros(4), np.zeros(5, int)),
        (np.zeros((4, 1), int), np.zeros(4, int)),
        (np.zeros(3), np.array(0)),
        (np.array(0), np.array(0)),
        (np.array(0.0), np.array(0)),
    ],
)
def test_shapes_that_do_not_fit(outputs, targets):
    with pytest.raises(ShapeError, match="do not fit targets of") as caught:
        accuracy(outputs, targets)
    assert caught.value.origin.file == __file__


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (np.zeros((2, 3)), [0, 3], "class number 3, and the outputs are for 3 classes"),
        (np.zeros((2, 3)), [0, -100], "targets hold the class number -100"),
        ([0, -1], [0, 0], "outputs hold the class number -1"),
        (np.array([[0, np.nan], [0, 1]]), [0, 1], "hold 1 NaN among 4 values"),
        (np.array([0.0, np.nan]), [0, 1], "hold 1 NaN among 2 values"),
        (np.zeros(2), [0, 2], "class number 2, and the outputs are for 2 classes"),
        (np.zeros((2, 3)), [0.0, 0.5], "targets must be class numbers, and hold 0.5"),
        (np.zeros((2, 3)), [0.0, np.nan], "hold nan"),
        (np.zeros((2, 3)), [0.0, np.inf], "hold inf"),
        (np.zeros((2, 3)), ["a", "b"], "targets must be class numbers, not <U1"),
    ],
)
def test_values_that_are_no_class_numbers(outputs, targets, message):
    with pytest.raises(RunError, match=message):
        accuracy(outputs, targets)


def test_absurd_class_numbers_do_not_fill_the_memory():
    for function in (f1, confusion_matrix):
        with pytest.raises(RunError, match="the largest that occurs being 1000000000000"):
            function([10**12], [0])
        with pytest.raises(RunError, match="the class number 3 occurs, and classes=3"):
            function([3], [0], classes=3)
    assert accuracy([10**12], [10**12]) == 1


def test_a_batch_that_is_refused_leaves_the_counts_alone():
    for function in ALL:
        metric = as_metric(function)
        metric.update(PREDICTED, ACTUAL)
        before = metric.result()
        with pytest.raises(RunError):
            metric.update(PREDICTED, -ACTUAL)
        assert np.array_equal(metric.result(), before)


def test_arguments_out_of_range():
    with pytest.raises(ArgumentError, match="average must be"):
        f1(PREDICTED, ACTUAL, average="mean")
    with pytest.raises(ArgumentError, match="'binary' is for 2 classes, not 3"):
        f1(PREDICTED, ACTUAL, average="binary", classes=3)
    for classes in (0, -1, 2.0, True):
        with pytest.raises(ArgumentError, match="classes must be"):
            confusion_matrix(PREDICTED, ACTUAL, classes=classes)
