"""Metrics of classifiers, each a plain function and an exact accumulator over batches; NumPy only.

Everywhere, `outputs` are what a model gave and `targets` the class numbers that were right:

- outputs of shape (n, classes, ...) are logits or probabilities, and the largest along axis 1 is
  the prediction; targets have the shape (n, ...);
- integers or booleans of the targets' shape are predicted class numbers;
- floats of shape (n,) or (n, 1) are of a binary classifier, which predicts class 1 where they
  exceed `threshold`: 0 for logits, to be set to 0.5 for probabilities; targets are 0 or 1.

Targets are integers or booleans, or floats with whole values. Shapes that do not fit raise
ShapeError; a NaN, a negative class number or one beyond the number of classes raises RunError.

A ratio whose denominator is 0 is 0, as in scikit-learn: the precision of a class never predicted,
the recall of a class that never was right. Averages run over the classes that occur in the
predictions or the targets of the whole epoch, or over all of `classes` where that is given.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, RunError, ShapeError

Average = Literal["macro", "micro", "binary"] | None

_MOST_CLASSES = 2**24  # that per-class counts are kept for when `classes` is not given
_MOST_CONFUSED = 2**12  # the same for a square of counts


@boundary
def accuracy(outputs: Any, targets: Any, *, threshold: float = 0.0) -> float:
    """The share of predictions that are right, in [0, 1]."""
    return _whole(Accuracy(threshold=threshold), outputs, targets)


@boundary
def confusion_matrix(outputs: Any, targets: Any, *, classes: int | None = None, threshold: float = 0.0) -> np.ndarray:
    """How often class i (row) was taken for class j (column): int64 of shape (classes, classes).

    Without `classes` there are as many as the logits have columns, else one more than the
    largest class number that occurs.
    """
    return _whole(ConfusionMatrix(classes=classes, threshold=threshold), outputs, targets)


@boundary
def precision(
    outputs: Any, targets: Any, *, average: Average = "macro", classes: int | None = None, threshold: float = 0.0
) -> Any:
    """Of the predictions of a class, the share that is right; see F1 for `average`."""
    return _whole(Precision(average=average, classes=classes, threshold=threshold), outputs, targets)


@boundary
def recall(
    outputs: Any, targets: Any, *, average: Average = "macro", classes: int | None = None, threshold: float = 0.0
) -> Any:
    """Of the examples of a class, the share that was recognised; see F1 for `average`."""
    return _whole(Recall(average=average, classes=classes, threshold=threshold), outputs, targets)


@boundary
def f1(
    outputs: Any, targets: Any, *, average: Average = "macro", classes: int | None = None, threshold: float = 0.0
) -> Any:
    """The harmonic mean of precision and recall; see F1 for `average`."""
    return _whole(F1(average=average, classes=classes, threshold=threshold), outputs, targets)


@boundary
def macro_f1(outputs: Any, targets: Any) -> float:
    """The mean of the F1 of the classes that occur, each counting the same."""
    return f1(outputs, targets, average="macro")


@boundary
def micro_f1(outputs: Any, targets: Any) -> float:
    """F1 of all decisions thrown together; with one class per example it equals the accuracy."""
    return f1(outputs, targets, average="micro")


class Metric(ABC):
    """A figure about many batches that comes out as if they had been one."""

    @abstractmethod
    def update(self, outputs: Any, targets: Any) -> None:
        """Take one batch into account."""

    @abstractmethod
    def result(self) -> Any:
        """The figure for all batches since the last reset; raises RunError when there was none."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all batches."""


class Accuracy(Metric):
    """Streaming `accuracy`: two counters."""

    def __init__(self, *, threshold: float = 0.0) -> None:
        self.threshold = threshold
        self.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        predicted, actual, _ = _class_numbers(outputs, targets, self.threshold)
        self._right += int(np.count_nonzero(predicted == actual))
        self._seen += len(actual)

    def result(self) -> float:
        _require_examples(self._seen)
        return self._right / self._seen

    def reset(self) -> None:
        self._right = self._seen = 0


class ConfusionMatrix(Metric):
    """Streaming `confusion_matrix`: the matrix grows as classes turn up."""

    _counts: np.ndarray

    def __init__(self, *, classes: int | None = None, threshold: float = 0.0):
        self.classes = _checked_classes(classes)
        self.threshold = threshold
        self.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        predicted, actual, columns = _class_numbers(outputs, targets, self.threshold)
        size = _size_needed(predicted, actual, columns, self.classes, _MOST_CONFUSED)
        grown = max(size, len(self._counts))
        self._counts = np.pad(self._counts, (0, grown - len(self._counts)))
        pairs = np.bincount(actual * size + predicted, minlength=size * size)
        self._counts[:size, :size] += pairs.reshape(size, size)

    def result(self) -> np.ndarray:
        _require_examples(self._counts.sum())
        return self._counts.copy()

    def reset(self) -> None:
        self._counts = np.zeros((0, 0), np.int64)


class _ClassCounts(Metric):
    """What precision, recall and F1 share: per class how often it was right, predicted and actual.

    `average` is "macro" (the mean over the classes), "micro" (all decisions thrown together),
    "binary" (the figure of class 1 where there are only 0 and 1), or None: a float64 array of one
    figure per class number, with NaN for those left out of averages.
    """

    _counts: np.ndarray  # three rows: right, predicted, actual

    def __init__(self, *, average: Average = "macro", classes: int | None = None, threshold: float = 0.0):
        if average not in ("macro", "micro", "binary", None):
            raise ArgumentError(f"average must be 'macro', 'micro', 'binary' or None, not {average!r}")
        self.average = average
        self.classes = _checked_classes(2 if average == "binary" and classes is None else classes)
        if average == "binary" and self.classes != 2:
            raise ArgumentError(f"average='binary' is for 2 classes, not {classes}; use 'macro' or 'micro'")
        self.threshold = threshold
        self.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        predicted, actual, columns = _class_numbers(outputs, targets, self.threshold)
        size = _size_needed(predicted, actual, columns, self.classes, _MOST_CLASSES)
        counts = [np.bincount(numbers, minlength=size) for numbers in (actual[predicted == actual], predicted, actual)]
        grown = max(size, self._counts.shape[1])
        self._counts = np.pad(self._counts, ((0, 0), (0, grown - self._counts.shape[1])))
        self._counts[:, :size] += counts

    def result(self) -> Any:
        right, predicted, actual = self._counts
        _require_examples(actual.sum())
        if self.average == "micro":
            return float(self._figure(right.sum(), predicted.sum(), actual.sum()))
        figures = self._figure(right, predicted, actual)
        if self.average == "binary":
            return float(figures[1])
        occurring = np.ones(len(actual), bool) if self.classes else (predicted + actual) > 0
        return float(figures[occurring].mean()) if self.average else np.where(occurring, figures, np.nan)

    def reset(self) -> None:
        self._counts = np.zeros((3, 0), np.int64)

    @staticmethod
    @abstractmethod
    def _figure(right: Any, predicted: Any, actual: Any) -> Any: ...


class Precision(_ClassCounts):
    """Streaming `precision`."""

    @staticmethod
    def _figure(right: Any, predicted: Any, actual: Any) -> Any:
        return right / np.maximum(predicted, 1)


class Recall(_ClassCounts):
    """Streaming `recall`."""

    @staticmethod
    def _figure(right: Any, predicted: Any, actual: Any) -> Any:
        return right / np.maximum(actual, 1)


class F1(_ClassCounts):
    """Streaming `f1`: 2 right / (predicted + actual), which is the harmonic mean."""

    @staticmethod
    def _figure(right: Any, predicted: Any, actual: Any) -> Any:
        return 2 * right / np.maximum(predicted + actual, 1)


class Collected(Metric):
    """Any function of (outputs, targets), called once with all batches joined; it keeps them until the reset."""

    def __init__(self, function: Callable[[Any, Any], Any]):
        self.function = function
        self.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        # Copies: a caller may use the same array for the next batch.
        self._outputs.append(np.array(outputs))
        self._targets.append(np.array(targets))

    def result(self) -> Any:
        _require_examples(len(self._outputs))
        return self.function(np.concatenate(self._outputs), np.concatenate(self._targets))

    def reset(self) -> None:
        self._outputs: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []


class BatchMean(Metric):
    """The mean of a function over batches, weighted by their lengths: right for means over examples, and cheap."""

    def __init__(self, function: Callable[[Any, Any], Any]):
        self.function = function
        self.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        self._sum += float(self.function(outputs, targets)) * len(targets)
        self._seen += len(targets)

    def result(self) -> float:
        _require_examples(self._seen)
        return self._sum / self._seen

    def reset(self) -> None:
        self._sum, self._seen = 0.0, 0


@boundary
def as_metric(metric: Any) -> Metric:
    """An accumulator for what a user gives as a metric.

    A Metric is returned as it is and a class of them instantiated; the functions of this module,
    also as a functools.partial with keywords, become their counters; any other function of
    (outputs, targets) is Collected. Raises ArgumentError for anything else.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()
    bare, keywords = metric, {}
    if isinstance(metric, functools.partial) and not metric.args:
        bare, keywords = metric.func, metric.keywords
    if callable(bare) and bare in _ACCUMULATORS:
        return _ACCUMULATORS[bare](**keywords)
    if not callable(metric):
        raise ArgumentError(f"a metric is a function of (outputs, targets) or a Metric, not {metric!r}")
    return Collected(metric)


_ACCUMULATORS: dict[Callable[..., Any], Callable[..., Metric]] = {
    accuracy: Accuracy,
    confusion_matrix: ConfusionMatrix,
    precision: Precision,
    recall: Recall,
    f1: F1,
    macro_f1: functools.partial(F1, average="macro"),
    micro_f1: functools.partial(F1, average="micro"),
}


def _whole(metric: Metric, outputs: Any, targets: Any) -> Any:
    metric.update(outputs, targets)
    return metric.result()


def _class_numbers(outputs: Any, targets: Any, threshold: float) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Predicted and actual class numbers, int64 of shape (n,), and the number of classes if the logits tell."""
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    columns: int | None = None
    if outputs.ndim == targets.ndim + 1 >= 2 and outputs.shape[1] > 1:
        columns = outputs.shape[1]
        _require_shape((outputs.shape[0], *outputs.shape[2:]) == targets.shape, outputs, targets)
        predicted = _refuse_nan(outputs).argmax(axis=1)
    elif outputs.dtype.kind == "f":
        columns = 2
        single = all(size == 1 for size in outputs.shape[1:]) and all(size == 1 for size in targets.shape[1:])
        _require_shape(outputs.ndim >= 1 and single and outputs.size == targets.size, outputs, targets)
        predicted = _refuse_nan(outputs) > threshold
    else:
        _require_shape(outputs.shape == targets.shape and outputs.ndim >= 1, outputs, targets)
        predicted = outputs
    actual = _whole_numbers("targets", targets)
    if columns is not None and actual.size and actual.max() >= columns:
        raise RunError(f"targets hold the class number {actual.max()}, and the outputs are for {columns} classes")
    return _whole_numbers("outputs", predicted), actual, columns


def _require_shape(fits: bool, outputs: np.ndarray, targets: np.ndarray) -> None:
    if not fits:
        raise ShapeError(
            f"outputs of {outputs.dtype}{list(outputs.shape)} do not fit targets of {targets.dtype}"
            f"{list(targets.shape)}: give logits of shape (n, classes), class numbers of shape (n,), or one "
            "float per example of a binary classifier, and targets as class numbers of shape (n,)"
        )


def _refuse_nan(outputs: np.ndarray) -> np.ndarray:
    if outputs.dtype.kind == "f" and np.isnan(outputs).any():
        raise RunError(
            f"outputs hold {np.count_nonzero(np.isnan(outputs))} NaN among {outputs.size} values, so there is "
            "nothing to predict from; if the model diverged, lower the learning rate"
        )
    return outputs


def _whole_numbers(name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iubf":
        raise RunError(f"{name} must be class numbers, not {values.dtype}")
    if values.dtype.kind == "f":
        wrong = values[(values != np.trunc(values)) | np.isinf(values)]
        if wrong.size:
            raise RunError(f"{name} must be class numbers, and hold {wrong[0]}")
    numbers = values.ravel().astype(np.int64)
    if numbers.size and numbers.min() < 0:
        raise RunError(f"{name} hold the class number {numbers.min()}; class numbers begin at 0")
    return numbers


def _size_needed(predicted: np.ndarray, actual: np.ndarray, columns: int | None, classes: int | None, most: int) -> int:
    largest = int(max(predicted.max(), actual.max())) if actual.size else -1
    if classes is not None:
        if largest >= classes:
            raise RunError(f"the class number {largest} occurs, and classes={classes}")
        return classes
    size = largest + 1 if columns is None else columns
    if size > most:
        raise RunError(
            f"counts would be kept for {size} classes, the largest that occurs being {largest}; "
            f"if there are that many, give classes={size}"
        )
    return size


def _checked_classes(classes: int | None) -> int | None:
    if classes is not None and (isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 1):
        raise ArgumentError(f"classes must be a whole number of at least 1, not {classes!r}")
    return classes


def _require_examples(count: int) -> None:
    if not count:
        raise RunError("there is no result: no example was given since the start or the last reset")
