"""Losses: what a model's result is compared with its target by."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticnet.compiler import dims
from staticnet.compiler.dims import Size
from staticnet.compiler.errors import ArgumentError, DTypeError, RunError, ShapeError
from staticnet.compiler.ir import Node, Op, Shape, Type, apply, format_shape
from staticnet.compiler.ops.base import F, as_node, broadcast_shapes, function, is_weak, lift, require_dtype
from staticnet.compiler.ops.reduce import reduced_shape
from staticnet.compiler.ops.softmax import below_maximum

# -- labels -----------------------------------------------------------------------------------


class CheckLabels(Op):
    """The same integers, every one of which must be a class: at least 0 and below `classes`."""

    classes: Size
    onnx = "Identity"
    in_place = (0,)
    may_fail = True

    def infer(self, labels: Type) -> Type:
        if not labels.dtype.is_integer:
            raise DTypeError(f"class labels must be integers, not {labels.dtype}; cast them to int64")
        return labels

    def kernel(self, xp: Any, labels: Any, *, out: Any, scratch: Any) -> None:
        if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= self.classes):
            raise RunError(_describe_label(xp, labels, int(self.classes)))  # type: ignore[arg-type]
        xp.copyto(out, labels)


def _describe_label(xp: Any, labels: Any, classes: int) -> str:
    position = tuple(int(index) for index in xp.argwhere((labels < 0) | (labels >= classes))[0])
    range_text = f"0 to {classes - 1}" if classes else "none"
    return f"label {int(labels[position])} at position {position} is not one of the {classes} classes ({range_text})"


@function("check_labels")
def check_labels(labels: Any, classes: Size) -> Node:
    """The integers `labels`, with a RunError at run time unless all lie in 0 to `classes` - 1."""
    return apply(CheckLabels(classes=classes), as_node(labels))


def _pick(x: Node, labels: Node, axis: int) -> Node:
    """The element of each line of `x` along `axis` that its label names; the labels are checked."""
    checked = F.expand_dims(F.check_labels(labels, x.shape[axis]), axis)
    return F.squeeze(F.take_along_axis(x, checked, axis), axis)


# -- cross-entropy ----------------------------------------------------------------------------


class CrossEntropy(Op):
    """-log(softmax(logits)) of the labelled class, per example; the classes lie on `axis` of the logits."""

    axis: int
    may_fail = True

    def infer(self, logits: Type, labels: Type) -> Type:
        if not logits.dtype.is_float:
            raise DTypeError(f"cross_entropy: logits must be float, not {logits.dtype}; cast them first")
        if not labels.dtype.is_integer:
            raise DTypeError(f"cross_entropy: labels must be integers, not {labels.dtype}; cast them to int64")
        expected = reduced_shape(logits.shape, (self.axis,), False)
        if not dims.same_shape(labels.shape, expected):
            raise ShapeError(_label_shapes("cross_entropy", "logits", logits.shape, labels.shape, self.axis))
        return Type(expected, logits.dtype)

    def expand(self, logits: Node, labels: Node) -> Node:
        # Not through log_softmax: of that array only one element per line would be read.
        shifted = below_maximum(logits, (self.axis,))
        return F.log(F.sum(F.exp(shifted), axis=self.axis)) - _pick(shifted, labels, self.axis)

    def grad(self, g: Node, y: Node, logits: Node, labels: Node) -> tuple:
        classes = F.arange(logits.shape[self.axis])
        lines = F.reshape(classes, [size if axis == self.axis else 1 for axis, size in enumerate(logits.shape)])
        checked = F.expand_dims(F.check_labels(labels, logits.shape[self.axis]), self.axis)
        one_hot = F.cast(F.equal(checked, lines), logits.dtype)
        return F.expand_dims(g, self.axis) * (F.softmax(logits, self.axis) - one_hot), None


def _label_shapes(op: str, name: str, shape: Shape, labels: Shape, axis: int) -> str:
    return (
        f"{op}: {name} of shape {format_shape(shape)} have their classes on axis {axis} and take "
        f"integer labels of shape {format_shape(reduced_shape(shape, (axis,), False))}, not {format_shape(labels)}"
    )


def _class_axis(op: str, name: str, x: Node) -> int:
    require_dtype(op, name, x, "float")
    if x.ndim == 0:
        raise ShapeError(f"{op}: {name} need an axis of classes, but they are a scalar")
    return 1 if x.ndim > 1 else 0


@function("cross_entropy")
def cross_entropy(logits: Any, target: Any, reduction: str = "mean") -> Node:
    """How unlikely the target classes are under `softmax(logits)`, in nats.

    `logits` are float of shape (N, C), (N, C, d1, ...) or (C,), the classes on axis 1 (of (C,) axis 0).
    `target` holds integer labels of that shape without the class axis, or class probabilities as floats
    of the same shape. `reduction` is "mean" (over examples), "sum" or "none" (one loss per example).
    A label outside 0 to C - 1 is a RunError when it is met.
    """
    logits, target = as_node(logits), as_node(target)
    axis = _class_axis("cross_entropy", "logits", logits)
    if not target.dtype.is_float:
        require_dtype("cross_entropy", "the target", target, "float", "integer")
        return _reduce("cross_entropy", apply(CrossEntropy(axis=axis), logits, target), reduction)
    if not dims.same_shape(target.shape, logits.shape):
        if target.ndim == logits.ndim - 1:
            raise DTypeError(
                f"cross_entropy: labels of shape {format_shape(target.shape)} must be integers, not {target.dtype}; "
                f"cast them to int64, or give class probabilities of shape {format_shape(logits.shape)}"
            )
        raise ShapeError(
            f"cross_entropy: class probabilities of shape {format_shape(target.shape)} must have the shape "
            f"of the logits, {format_shape(logits.shape)}"
        )
    losses = -F.sum(target * F.log_softmax(logits, axis), axis=axis)
    return _reduce("cross_entropy", losses, reduction)


@function("nll_loss")
def nll_loss(log_probabilities: Any, target: Any, reduction: str = "mean") -> Node:
    """Minus the log-probability of each integer label: `cross_entropy` of what `log_softmax` gave.

    Shapes, reductions and errors are those of `cross_entropy` with labels.
    """
    x, target = as_node(log_probabilities), as_node(target)
    axis = _class_axis("nll_loss", "log-probabilities", x)
    require_dtype("nll_loss", "the target", target, "integer")
    if not dims.same_shape(target.shape, reduced_shape(x.shape, (axis,), False)):
        raise ShapeError(_label_shapes("nll_loss", "log-probabilities", x.shape, target.shape, axis))
    return _reduce("nll_loss", -_pick(x, target, axis), reduction)


# -- element by element -----------------------------------------------------------------------


class _Pairwise(Op, abstract=True):
    """Base of losses of each element and its target alone."""

    def infer(self, x: Type, target: Type) -> Type:
        if x.dtype != target.dtype or not x.dtype.is_float:
            raise DTypeError(f"{self.name}: {x.dtype} and {target.dtype} must be one float type; cast one of them")
        return x.with_shape(broadcast_shapes(self.name, x.shape, target.shape))


class BinaryCrossEntropyWithLogits(_Pairwise):
    """-t log(s) - (1 - t) log(1 - s) with s = sigmoid(x), per element, for a logit x and a probability t."""

    def expand(self, x: Node, target: Node) -> Node:
        return F.relu(x) - x * target + F.log1p(F.exp(-F.absolute(x)))

    def grad(self, g: Node, y: Node, x: Node, target: Node) -> tuple:
        # The expansion's own has the slope of |x| in it, which is wrong at 0.
        return g * (F.sigmoid(x) - target), -g * x


class BinaryCrossEntropy(_Pairwise):
    """-t log(p) - (1 - t) log(1 - p) per element, each logarithm kept above -100 (PyTorch's convention)."""

    def expand(self, p: Node, target: Node) -> Node:
        return (target - 1) * _bounded(F.log1p(-p)) - target * _bounded(F.log(p))

    def grad(self, g: Node, y: Node, p: Node, target: Node) -> tuple:
        smallest = max(1e-12, float(np.finfo(p.dtype.numpy).smallest_normal))
        slope = (p - target) / F.maximum(p * (1 - p), smallest)
        return g * slope, g * (_bounded(F.log1p(-p)) - _bounded(F.log(p)))


def _bounded(logarithm: Node) -> Node:
    return F.clip(logarithm, -100.0)


@function("mse_loss")
def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Node:
    """`(x - target) ** 2` of two float values of one shape; `reduction` is "mean", "sum" or "none"."""
    x, target = _pair("mse_loss", x, target)
    return _reduce("mse_loss", F.square(x - target), reduction)


@function("l1_loss")
def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Node:
    """`|x - target|` of two float values of one shape; `reduction` is "mean", "sum" or "none"."""
    x, target = _pair("l1_loss", x, target)
    return _reduce("l1_loss", F.absolute(x - target), reduction)


@function("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean") -> Node:
    """How unlikely the targets, 0 to 1, are under `sigmoid(x)`, in nats, without overflow.

    Both have one shape; integer and boolean targets are cast. `reduction` is "mean", "sum" or "none".
    """
    x, target = _pair("binary_cross_entropy_with_logits", x, target)
    losses = apply(BinaryCrossEntropyWithLogits(), x, target)
    return _reduce("binary_cross_entropy_with_logits", losses, reduction)


@function("binary_cross_entropy")
def binary_cross_entropy(p: Any, target: Any, reduction: str = "mean") -> Node:
    """How unlikely the targets, 0 to 1, are under the probabilities `p`, in nats, no element's above 100.

    Both have one shape; integer and boolean targets are cast. `reduction` is "mean", "sum" or "none".
    """
    p, target = _pair("binary_cross_entropy", p, target)
    return _reduce("binary_cross_entropy", apply(BinaryCrossEntropy(), p, target), reduction)


def _pair(op: str, x: Any, target: Any) -> tuple[Node, Node]:
    """Both as floats of one dtype; shapes must agree, for (N, 1) against (N,) would silently give N times N."""
    x, target = (as_node(x), target) if is_weak(target) else (as_node(x), as_node(target))
    require_dtype(op, "the first operand", x, "float")
    if not is_weak(target) and not target.dtype.is_float:
        target = F.cast(target, x.dtype)
    x, target = lift(x, target)
    if x.ndim and target.ndim and not dims.same_shape(x.shape, target.shape):
        raise ShapeError(
            f"{op}: the value has shape {format_shape(x.shape)} and its target {format_shape(target.shape)}; "
            "they must agree: reshape or broadcast one of them"
        )
    return x, target


def _reduce(op: str, losses: Node, reduction: str) -> Node:
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise ArgumentError(f"{op}: reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    return F.mean(losses) if reduction == "mean" else F.sum(losses)
