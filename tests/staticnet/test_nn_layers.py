"""Layers and losses against plain NumPy, their initial values, and the inputs they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn
from staticnet.compiler.errors import ArgumentError, DTypeError, RunError, ShapeError, TraceError

LAZY_AND_GIVEN = pytest.mark.parametrize("given", [True, False], ids=["given", "lazy"])


def draw(rng, *shape) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def convolved(x, w, b, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """The convolution by its definition, in float64."""
    x, w = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *padding)), w.astype(np.float64)
    (n, c, h, wd), (o, _, kh, kw) = x.shape, w.shape
    oh = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (wd - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow))
    for i in range(o):
        channels = slice(i // (o // groups) * (c // groups), (i // (o // groups) + 1) * (c // groups))
        for u in range(oh):
            for v in range(ow):
                rows = slice(u * stride[0], u * stride[0] + dilation[0] * (kh - 1) + 1, dilation[0])
                columns = slice(v * stride[1], v * stride[1] + dilation[1] * (kw - 1) + 1, dilation[1])
                y[:, i, u, v] = (x[:, channels, rows, columns] * w[i]).sum(axis=(1, 2, 3))
    return y + (0 if b is None else b.astype(np.float64).reshape(1, o, 1, 1))


# ---- sums over features and windows


@LAZY_AND_GIVEN
@pytest.mark.parametrize("bias", [True, False])
def test_linear(rng, given, bias):
    layer = nn.Linear(4 if given else None, 3, bias=bias)
    x = draw(rng, 2, 5, 4)
    y = layer(x)
    weight = layer.weight.numpy()
    assert weight.shape == (3, 4)
    expected = x @ weight.T + (layer.bias.numpy() if bias else 0)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert (layer.bias is None) == (not bias)
    assert layer.in_features == 4


@LAZY_AND_GIVEN
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"stride": 2, "padding": 1}, {"stride": (2, 2), "padding": ((1, 1), (1, 1))}),
        ({"padding": (0, 2), "bias": False}, {"padding": ((0, 0), (2, 2))}),
        ({"padding": ((1, 0), (0, 2)), "dilation": (1, 2)}, {"padding": ((1, 0), (0, 2)), "dilation": (1, 2)}),
        ({"padding": "same"}, {"padding": ((1, 1), (1, 1))}),
        ({"padding": "valid", "groups": 2}, {"groups": 2}),
        ({"groups": 4}, {"groups": 4}),
    ],
    ids=str,
)
def test_conv2d(rng, given, options, expected):
    layer = nn.Conv2d(4 if given else None, 8, 3, **options)
    x = draw(rng, 2, 4, 7, 6)
    y = layer(x)
    bias = None if layer.bias is None else layer.bias.numpy()
    np.testing.assert_allclose(y, convolved(x, layer.weight.numpy(), bias, **expected), rtol=1e-4, atol=1e-5)
    assert layer.in_channels == 4


def test_lazy_layers_settle_once():
    sn.manual_seed(1)
    net = nn.Sequential(nn.LazyConv2d(2, 3), nn.Flatten(), nn.LazyLinear(5))
    net(np.zeros((2, 3, 6, 6), np.float32))
    weight = net[2].weight.numpy()
    assert (net[0].in_channels, net[2].in_features) == (3, 32)
    net(np.zeros((4, 3, 6, 6), np.float32))
    np.testing.assert_array_equal(net[2].weight.numpy(), weight)
    with pytest.raises(ShapeError, match=r"2 \(LazyLinear\): expects 32 input features .* got \(4, 50\)"):
        net(np.zeros((4, 3, 7, 7), np.float32))


def test_lazy_layers_in_a_graph():
    net = nn.Sequential(nn.LazyLinear(5), nn.BatchNorm1d())
    graph = sn.trace(net, sn.TensorSpec(("batch", 3)))
    labels = {node.op.label: node.shape for node in graph.inputs}
    assert labels["0.weight"] == (5, 3)
    assert labels["1.running_mean"] == (5,)
    assert {state.name for state in graph.states.values()} == set(labels) - {"x"}


def test_lazy_layers_need_a_number():
    with pytest.raises(TraceError, match=r"in_features is settled by the first input.*\(batch, features\)"):
        sn.trace(nn.LazyLinear(2), sn.TensorSpec(("batch", "features")))


# ---- normalisation


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm1d, (6, 3, 5)), (nn.BatchNorm2d, (6, 3, 4, 5))]
)
@LAZY_AND_GIVEN
def test_batch_norm(rng, layer, shape, given):
    norm = layer(3 if given else None, momentum=0.25)
    axes = (0, *range(2, len(shape)))
    column = (1, 3, *[1] * (len(shape) - 2))
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(2):
        x = draw(rng, *shape) * 3 + 1
        y = norm(x)
        batch_mean, batch_var = x.mean(axes, np.float64), x.var(axes, np.float64)
        expected = (x - batch_mean.reshape(column)) / np.sqrt(batch_var.reshape(column) + 1e-5)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        count = x.size // 3
        mean = 0.75 * mean + 0.25 * batch_mean
        var = 0.75 * var + 0.25 * batch_var * count / (count - 1)
        np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-4)
        np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-4)
    assert norm.num_batches_tracked.item() == 2
    norm.weight.set([1, 2, 3])
    norm.bias.set([0, 1, 0])
    y = norm.eval()(x)
    expected = (x - mean.reshape(column)) / np.sqrt(var.reshape(column) + 1e-5)
    expected = expected * np.array([1, 2, 3]).reshape(column) + np.array([0, 1, 0]).reshape(column)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked.item() == 2


def test_batch_norm_counts_all_batches_the_same(rng):
    norm = nn.BatchNorm1d(2, momentum=None)
    batches = [draw(rng, 8, 2) for _ in range(3)]
    for x in batches:
        norm(x)
    mean, var = np.mean([x.mean(0) for x in batches], 0), np.mean([x.var(0, ddof=1) for x in batches], 0)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-4)


def test_batch_norm_without_running_statistics(rng):
    norm = nn.BatchNorm1d(2, track_running_stats=False, affine=False).eval()
    x = draw(rng, 8, 2)
    np.testing.assert_allclose(norm(x), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-4, atol=1e-5)
    assert norm.state_dict() == {}


def test_batch_norm_on_lazy_tensors(rng):
    x = draw(rng, 8, 2)
    one, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    np.testing.assert_allclose(one(x), other(sn.tensor(x)).numpy(), rtol=1e-6)
    np.testing.assert_allclose(one.running_var.numpy(), other.running_var.numpy(), rtol=1e-6)


# ---- pooling, arranging, activations


def windows(x, reduce, kernel, stride):
    """`reduce` of every window, as (N, C, OH, OW)."""
    views = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return reduce(views[:, :, :: stride[0], :: stride[1]], axis=(4, 5))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_pooling(rng):
    x = draw(rng, 2, 3, 6, 8)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x), windows(x, np.max, (2, 2), (2, 2)))
    np.testing.assert_array_equal(nn.MaxPool2d((3, 2), stride=1)(x), windows(x, np.max, (3, 2), (1, 1)))
    close(nn.AvgPool2d(2, stride=(1, 2))(x), windows(x, np.mean, (2, 2), (1, 2)))
    close(nn.AdaptiveAvgPool2d(1)(x), x.mean((2, 3), keepdims=True))
    close(nn.AdaptiveAvgPool2d((3, 2))(x), windows(x, np.mean, (2, 4), (2, 4)))
    ones = np.ones((1, 1, 2, 2), np.float32)
    padded = nn.AvgPool2d(2, stride=2, padding=1)(ones)
    np.testing.assert_allclose(padded, np.full((1, 1, 2, 2), 0.25))
    np.testing.assert_allclose(nn.AvgPool2d(2, stride=2, padding=1, count_include_pad=False)(ones), ones)


def test_flatten(rng):
    x = draw(rng, 2, 3, 4)
    np.testing.assert_array_equal(nn.Flatten()(x), x.reshape(2, 12))
    np.testing.assert_array_equal(nn.Flatten(0)(x), x.ravel())
    np.testing.assert_array_equal(nn.Unflatten(-1, (2, -1))(x), x.reshape(2, 3, 2, 2))
    assert nn.Identity(3, key=1)(x) is not None
    graph = sn.trace(nn.Flatten(), sn.TensorSpec(("batch", 3, 4)))
    assert repr(graph.outputs[0].type) == "f32[batch, 12]"


POINTS = np.array([[-3.0, -0.5, 0.0], [0.25, 1.0, 4.0]], np.float32)
_erf = np.vectorize(math.erf)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.ReLU(inplace=True), lambda x: np.maximum(x, 0)),
        (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x)),
        (nn.LeakyReLU(0.5), lambda x: np.where(x > 0, x, 0.5 * x)),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Tanh(), np.tanh),
        (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
        (nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * (np.exp(x) - 1))),
        (nn.GELU(), lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))),
        (nn.GELU("tanh"), lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
        (nn.Softplus(beta=2.0), lambda x: np.log1p(np.exp(2 * x)) / 2),
        (nn.Softmax(dim=0), lambda x: np.exp(x) / np.exp(x).sum(0)),
        (nn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (nn.LogSoftmax(dim=1), lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
        (nn.Identity(), lambda x: x),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_activations(layer, expected):
    np.testing.assert_allclose(layer(POINTS), expected(POINTS.astype(np.float64)), rtol=2e-6, atol=1e-7)


# ---- dropout


def test_dropout():
    x = np.ones((100, 100), np.float32)
    layer = nn.Dropout(0.3)
    y = layer(x)
    kept = y != 0
    assert 0.68 < kept.mean() < 0.72
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    assert not np.array_equal(layer(x) != 0, kept)
    np.testing.assert_array_equal(layer.eval()(x), x)
    np.testing.assert_array_equal(nn.Dropout(0.0)(x), x)
    np.testing.assert_array_equal(nn.Dropout(1.0)(x), 0 * x)
    assert sn.dropout(sn.tensor(x), 0.5, training=False).numpy().all()


def test_two_dropouts_draw_apart_and_repeat_with_the_seed():
    net = nn.ModuleList([nn.Dropout(), nn.Dropout()])
    step = sn.compile(lambda x: (net[0](x), net[1](x)))
    x = np.ones(64, np.float32)
    sn.manual_seed(11)
    a, b = step(x)
    assert not np.array_equal(a, b)
    sn.manual_seed(11)
    again = step(x)
    np.testing.assert_array_equal(a, again[0])
    np.testing.assert_array_equal(b, again[1])


def test_an_evaluated_graph_has_no_random_key():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout()).eval()
    graph = sn.trace(net, sn.TensorSpec((2, 3)))
    assert not graph.updates
    assert "random.key" not in [state.name for state in graph.states.values()]


# ---- losses

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], np.float32)
P = np.exp(LOGITS.astype(np.float64)) / np.exp(LOGITS.astype(np.float64)).sum(1, keepdims=True)
TARGET = np.array([[1.0, 0.0, 0.25], [0.5, 1.0, 0.0]], np.float32)
S = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
LOSSES = [
    (nn.CrossEntropyLoss, LOGITS, np.array([0, 2]), -np.log(P[[0, 1], [0, 2]])),
    (nn.CrossEntropyLoss, LOGITS, P[::-1].astype(np.float32), -(P[::-1] * np.log(P)).sum(1)),
    (nn.NLLLoss, np.log(P).astype(np.float32), np.array([0, 2]), -np.log(P[[0, 1], [0, 2]])),
    (nn.MSELoss, LOGITS, TARGET, (LOGITS - TARGET) ** 2),
    (nn.L1Loss, LOGITS, TARGET, abs(LOGITS - TARGET)),
    (nn.BCEWithLogitsLoss, LOGITS, TARGET, -(TARGET * np.log(S) + (1 - TARGET) * np.log(1 - S))),
    (nn.BCELoss, S.astype(np.float32), TARGET, -(TARGET * np.log(S) + (1 - TARGET) * np.log(1 - S))),
]


@pytest.mark.parametrize(("loss", "given", "target", "expected"), LOSSES, ids=lambda v: getattr(v, "__name__", ""))
def test_losses(loss, given, target, expected):
    for reduction, reduce in (("mean", np.mean), ("sum", np.sum), ("none", np.asarray)):
        np.testing.assert_allclose(loss(reduction=reduction)(given, target), reduce(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss()(given, target), np.mean(expected), rtol=1e-5)


def test_losses_of_wrong_arguments():
    with pytest.raises(ArgumentError, match="'average'"):
        nn.MSELoss(reduction="average")
    with pytest.raises(RunError, match="7"):
        nn.CrossEntropyLoss()(LOGITS, np.array([0, 7]))
    with pytest.raises(ShapeError):
        nn.MSELoss()(LOGITS, TARGET[:, :2])
    with pytest.raises(DTypeError, match="int64"):
        nn.CrossEntropyLoss()(LOGITS, np.array([0.0, 1.0], np.float32))


# ---- initial values


def test_initial_values_are_within_bounds_and_repeat():
    def weights():
        sn.manual_seed(7)
        net = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Linear(50, 30))
        return [parameter.numpy() for parameter in net.parameters()]

    first, again = weights(), weights()
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for values, fan_in in zip(first, (72, 72, 50, 50), strict=True):
        bound = 1 / math.sqrt(fan_in)
        assert abs(values).max() <= bound
        assert abs(values).max() > 0.8 * bound
        assert len(np.unique(values)) > values.size * 0.99
    assert first[0].std() == pytest.approx(1 / math.sqrt(3 * 72), rel=0.05)
    sn.manual_seed(8)
    assert not np.array_equal(nn.Conv2d(8, 16, 3).weight.numpy(), first[0])


def test_init_functions():
    sn.manual_seed(0)
    p = nn.Parameter(np.full((200, 100), 9, np.float32))
    init = nn.init
    assert init.zeros_(p) is p
    assert not p.numpy().any()
    np.testing.assert_array_equal(init.ones_(p).numpy(), np.ones((200, 100)))
    np.testing.assert_array_equal(init.constant_(p, 0.25).numpy(), np.full((200, 100), 0.25))
    values = init.uniform_(p, -2, 3).numpy()
    assert -2 <= values.min() < -1.99
    assert 2.99 < values.max() < 3
    values = init.normal_(p, 1.0, 0.5).numpy()
    assert values.mean() == pytest.approx(1, abs=0.02)
    assert values.std() == pytest.approx(0.5, rel=0.02)
    values = init.trunc_normal_(p, 0.0, 1.0, -1.0, 0.5).numpy()
    assert -1 <= values.min() < -0.99
    assert 0.49 < values.max() <= 0.5
    bound = math.sqrt(6 / 300)
    assert abs(init.xavier_uniform_(p).numpy()).max() == pytest.approx(bound, rel=1e-2)
    assert init.xavier_normal_(p, gain=2.0).numpy().std() == pytest.approx(2 * math.sqrt(2 / 300), rel=0.02)
    values = init.kaiming_uniform_(p, nonlinearity="relu").numpy()
    assert abs(values).max() == pytest.approx(math.sqrt(6 / 100), rel=1e-2)
    values = init.kaiming_normal_(p, mode="fan_out", nonlinearity="relu").numpy()
    assert values.std() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    assert init.fans((8, 4, 3, 5)) == (60, 120)
    assert init.calculate_gain("tanh") == pytest.approx(5 / 3)
    assert init.calculate_gain("leaky_relu", 1.0) == pytest.approx(1)


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        (lambda p: nn.init.kaiming_uniform_(p, mode="in"), ArgumentError, "fan_in"),
        (lambda p: nn.init.kaiming_uniform_(p, nonlinearity="swish"), ArgumentError, "swish"),
        (lambda p: nn.init.xavier_uniform_(nn.Parameter([1.0])), ShapeError, r"\(1,\)"),
        (lambda p: nn.init.uniform_(p, 2, 1), ArgumentError, "from 2 up to 1"),
        (lambda p: nn.init.trunc_normal_(p, a=3, b=2), ArgumentError, "interval"),
        (lambda p: nn.init.trunc_normal_(p, a=100, b=200), ArgumentError, "within reach"),
        (lambda p: nn.init.zeros_(np.zeros(3)), ArgumentError, "ndarray"),
    ],
)
def test_init_of_wrong_arguments(use, error, words):
    with pytest.raises(error, match=words):
        use(nn.Parameter(np.ones((2, 2), np.float32)))


# ---- arguments and inputs that make no sense


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(2.5, 3), "in_features"),
        (lambda: nn.Linear(2, -3), "out_features"),
        (lambda: nn.Linear(True, 3), "in_features"),
        (lambda: nn.Conv2d(3, 4, 0), "kernel_size"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel_size"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), "stride"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), "padding"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), "'full'"),
        (lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2), "stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "in_channels=3"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), "out_channels=3"),
        (lambda: nn.BatchNorm2d(0), "num_features"),
        (lambda: nn.BatchNorm2d(3, momentum=1.5), "momentum"),
        (lambda: nn.BatchNorm2d(3, eps="small"), "eps"),
        (lambda: nn.Dropout(1.5), "probability"),
        (lambda: nn.MaxPool2d("two"), "kernel_size"),
    ],
)
def test_arguments_that_make_no_sense(make, words):
    with pytest.raises(ArgumentError, match=words) as caught:
        make()
    assert "test_nn_layers.py" in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.Linear(4, 2), (3, 5), r"Linear: expects 4 input features \(last axis of its input\), got \(3, 5\)"),
        (nn.Linear(4, 2), (), "without axes"),
        (nn.Conv2d(3, 2, 3), (2, 4, 8, 8), r"Conv2d: expects 3 input channels \(axis 1 .*, got \(2, 4, 8, 8\)"),
        (nn.Conv2d(3, 2, 3), (3, 8, 8), r"\(N, C, H, W\), got \(3, 8, 8\)"),
        (nn.BatchNorm1d(3), (2, 4), "expects 3 features"),
        (nn.BatchNorm1d(3), (2, 3, 4, 4), r"\(N, C\) or \(N, C, L\)"),
        (nn.BatchNorm2d(3), (2, 3), r"\(N, C, H, W\)"),
        (nn.MaxPool2d(2), (2, 8, 8), r"MaxPool2d: expects"),
        (nn.AdaptiveAvgPool2d(2), (2, 8), r"AdaptiveAvgPool2d: expects"),
    ],
)
def test_inputs_that_do_not_fit(layer, shape, words):
    with pytest.raises(ShapeError, match=words) as caught:
        layer(sn.tensor(np.zeros(shape, np.float32)))
    assert "test_nn_layers.py" in str(caught.value)
