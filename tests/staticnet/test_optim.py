"""Optimizers: torch's formulas against NumPy, hyperparameters without recompiling, slots, state dicts, habits."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet import nn
from staticnet.compiler.errors import ArgumentError, HabitError, StateError, TraceError
from staticnet.optim import SGD, Adam, AdamW
from staticnet.serialization import load, save
from staticnet.step import compile_train_step

STEPS = 7


class Scale(nn.Module):
    """x * w + b, with a loss whose gradients are the numbers that are fed."""

    def __init__(self, dtype="float32"):
        super().__init__()
        rng = np.random.default_rng(3)
        self.w = nn.Parameter(rng.normal(size=(2, 3)).astype(dtype))
        self.b = nn.Parameter(rng.normal(size=(3,)).astype(dtype))

    def forward(self, x):
        return x * self.w + self.b


def weighted(output, target):
    return (output * target).sum()


def step_of(model, optimizer):
    return compile_train_step(model, weighted, optimizer)


def feeds(dtype="float32"):
    """Per step the input, which is ones, and the target, whose gradients are itself and its column sums."""
    rng = np.random.default_rng(5)
    return [(np.ones((2, 3), dtype), rng.normal(size=(2, 3)).astype(dtype)) for _ in range(STEPS)]


def gradients(target):
    return {"w": target.astype(np.float64), "b": target.astype(np.float64).sum(0)}


# ---- torch's formulas, in float64


def sgd(p, g, state, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        buf = g if "buf" not in state else momentum * state["buf"] + (1 - dampening) * g
        state["buf"] = buf
        g = g + momentum * buf if nesterov else buf
    return p - lr * g


def adam(p, g, state, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    t = state["t"] = state.get("t", 0) + 1
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    v = state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * g * g
    denominator = np.sqrt(v) / np.sqrt(1 - betas[1] ** t) + eps
    return p - lr / (1 - betas[0] ** t) * m / denominator


def adamw(p, g, state, weight_decay=1e-2, **rest):
    return adam(p, g, state, weight_decay=weight_decay, decoupled=True, **rest)


CASES = [
    (SGD, sgd, {"lr": 0.1}),
    (SGD, sgd, {"lr": 0.1, "weight_decay": 0.2}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    (Adam, adam, {}),
    (Adam, adam, {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, adamw, {"lr": 0.03}),
    (AdamW, adamw, {"lr": 0.03, "weight_decay": 0.0, "betas": (0.0, 0.9)}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind, formula, options", CASES)
def test_formula(kind, formula, options, dtype):
    model = Scale(dtype)
    expected = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    states = {name: {} for name in expected}
    optimizer = kind(model.parameters(), **options)
    step = step_of(model, optimizer)
    options = {"lr": 1e-3, **options}
    for number, (x, target) in enumerate(feeds(dtype)):
        if number == 4:
            optimizer.lr = options["lr"] = options["lr"] / 3
        step(x, target)
        for name, gradient in gradients(target).items():
            expected[name] = formula(expected[name], gradient, states[name], **options)
        for name, array in model.state_dict().items():
            assert array.dtype == dtype
            tolerance = 2e-6 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(array, expected[name], rtol=tolerance, atol=tolerance)
    assert (step.trace_count, step.program_count) == (1, 1)


def test_the_first_adam_step_is_lr_to_the_last_digit():
    # In float32, 1 - 0.999 is wrong by 1e-5 of itself, and so would this step be.
    model = Scale("float64")
    before = model.state_dict()["w"]
    step_of(model, Adam(model.parameters(), lr=1e-3, eps=1e-30))(np.ones((2, 3)), np.full((2, 3), 5.0))
    np.testing.assert_allclose(before - model.state_dict()["w"], 1e-3, rtol=1e-12)


def test_two_dtypes_in_one_optimizer():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(np.ones(3, np.float32))
            self.b = nn.Parameter(np.ones(3, np.float64))

        def forward(self, x):
            return x * self.w.astype("float64") + self.b

    model = Mixed()
    step_of(model, Adam(model.parameters(), lr=0.5))(np.ones((1, 3)), np.ones((1, 3)))
    state = model.state_dict()
    assert (state["w"].dtype, state["b"].dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(state["w"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(state["b"], 0.5, rtol=1e-7)


# ---- hyperparameters


def test_hyperparameters_read_as_they_were_given():
    optimizer = AdamW(Scale().parameters(), lr=0.1, betas=(0.8, 0.9))
    assert (optimizer.lr, optimizer.betas, optimizer.eps, optimizer.weight_decay) == (0.1, (0.8, 0.9), 1e-8, 0.01)
    optimizer.betas = 0.5, 0.25
    assert (optimizer.beta1, optimizer.beta2) == (0.5, 0.25)
    optimizer.lr = np.float32(0.25)
    assert optimizer.lr == 0.25
    assert repr(optimizer) == "AdamW(2 parameters, lr=0.25, beta1=0.5, beta2=0.25, eps=1e-08, weight_decay=0.01)"


@pytest.mark.parametrize(
    "kind, options, message",
    [
        (SGD, {"lr": -0.1}, "lr is a number of at least 0, got -0.1"),
        (SGD, {"lr": float("nan")}, "lr .* nan"),
        (SGD, {"lr": "fast"}, "lr .* 'fast'"),
        (SGD, {"lr": True}, "lr .* True"),
        (SGD, {"momentum": -1}, "momentum"),
        (SGD, {"weight_decay": float("inf")}, "weight_decay"),
        (SGD, {"nesterov": True}, "nesterov needs a momentum"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
        (Adam, {"betas": (0.9, 1.0)}, "beta2 is a number of at least 0 and less than 1, got 1.0"),
        (Adam, {"betas": (-0.1, 0.9)}, "beta1"),
        (Adam, {"betas": 0.9}, "two numbers"),
        (Adam, {"eps": 0}, "eps .* greater than 0"),
    ],
)
def test_hyperparameters_out_of_range(kind, options, message):
    with pytest.raises(ArgumentError, match=message):
        kind(Scale().parameters(), **options)


def test_a_bad_assignment_changes_nothing():
    optimizer = Adam(Scale().parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match="lr"):
        optimizer.lr = -1
    with pytest.raises(ArgumentError, match="beta2"):
        optimizer.betas = (0.5, 2.0)
    assert (optimizer.lr, optimizer.betas) == (0.1, (0.9, 0.999))


def test_unknown_hyperparameter():
    with pytest.raises(ArgumentError, match="no hyperparameter 'learning_rate'; there are lr, momentum"):
        SGD(Scale().parameters()).learning_rate = 0.1


def test_what_was_left_out_cannot_come_back():
    model = Scale()
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.weight_decay = 0.5  # nothing is compiled yet
    optimizer.weight_decay = 0
    step_of(model, optimizer)(*feeds()[0])
    optimizer.momentum = 0.0
    with pytest.raises(ArgumentError, match="momentum was 0 when the training step was compiled"):
        optimizer.momentum = 0.9


def test_momentum_may_become_zero_and_come_back():
    model = Scale()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = step_of(model, optimizer)
    step(*feeds()[0])
    optimizer.momentum = 0
    before, target = model.state_dict()["w"], feeds()[1][1]
    step(*feeds()[1])
    np.testing.assert_allclose(model.state_dict()["w"], before - 0.1 * target, rtol=1e-6)
    optimizer.momentum = 0.9
    assert set(optimizer.state_dict()) >= {"momentum_buffer.0", "momentum_buffer.1"}


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_learning_rate_may_begin_at_zero(kind):
    model = Scale()
    optimizer = kind(model.parameters(), lr=0.0)
    step = step_of(model, optimizer)
    before = model.state_dict()["w"]
    step(*feeds()[0])
    assert (model.state_dict()["w"] == before).all()
    optimizer.lr = 0.1
    step(*feeds()[1])
    assert (model.state_dict()["w"] != before).all() and step.program_count == 1


# ---- parameters


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda model: [], "no parameters"),
        (lambda model: [model.w, model.b, model.w], "twice, as numbers 0 and 2"),
        (lambda model: [model.w, nn.Buffer([1.0])], "number 1 is a Buffer"),
        (lambda model: [np.ones(3)], "number 0 is a ndarray"),
        (lambda model: model.w, "takes a list of parameters"),
        (lambda model: model, "takes a list of parameters, such as `model.parameters\\(\\)`, not Scale"),
        (lambda model: dict(model.named_parameters()), "number 0 is a str"),
    ],
)
def test_parameters_that_are_none(make, message):
    with pytest.raises(ArgumentError, match=message):
        SGD(make(Scale()))


def test_a_used_up_iterator():
    parameters = Scale().parameters()
    SGD(parameters)
    with pytest.raises(ArgumentError, match="used up"):
        SGD(parameters)


def test_frozen_parameters_stay():
    model = Scale()
    model.freeze("b")
    optimizer = Adam(model.parameters(), lr=0.1)
    before = model.state_dict()
    step_of(model, optimizer)(*feeds()[0])
    after = model.state_dict()
    assert (before["b"] == after["b"]).all() and (before["w"] != after["w"]).all()
    assert set(optimizer.state_dict()) & {"exp_avg.0", "exp_avg.1"} == {"exp_avg.0"}


def test_a_parameter_trained_later_counts_its_own_steps():
    model = Scale("float64")
    model.freeze("b")
    optimizer = Adam(model.parameters(), lr=0.1)
    step = step_of(model, optimizer)
    for x, target in feeds("float64")[:5]:
        step(x, target)
    model.unfreeze()
    before = model.state_dict()["b"]
    step_of(model, optimizer)(*feeds("float64")[5])
    np.testing.assert_allclose(np.abs(model.state_dict()["b"] - before), 0.1, rtol=1e-6)
    state = optimizer.state_dict()
    assert (state["step.0"], state["step.1"]) == (6, 1)


def test_a_tied_parameter_moves_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(np.ones(3, np.float32))
            self.second = self.first

        def forward(self, x):
            return x * self.first + x * self.second

    model = Tied()
    optimizer = SGD(model.parameters(), lr=0.5, momentum=0.9)
    assert len(optimizer.parameters) == 1
    step_of(model, optimizer)(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(model.state_dict()["first"], np.zeros(3))


def test_slots_are_called_by_their_parameters():
    model = nn.Linear(3, 3)
    optimizer = Adam(model.parameters())
    step = step_of(model, optimizer)
    step(*feeds()[0])
    names = {state.name for state in step.graph.states.values()}
    assert names >= {"optimizer.exp_avg.weight", "optimizer.exp_avg_sq.bias", "optimizer.step", "optimizer.lr"}


def test_an_update_needs_a_trace():
    model = Scale()
    with pytest.raises(TraceError, match="compile_train_step"):
        SGD([model.w]).update([model.w], [model.w])


def test_an_update_of_somebody_elses_parameter():
    from staticnet.tracing import trace

    model, other = Scale(), Scale()
    optimizer = SGD([model.w])

    def function():
        optimizer.update([other.w], [other.w * 1])
        return model.w * 1

    with pytest.raises(ArgumentError, match="none of the parameters"):
        trace(function)


# ---- state dicts

KINDS = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    (Adam, {"lr": 0.01}),
    (AdamW, {"lr": 0.01}),
]


@pytest.mark.parametrize("kind, options", KINDS)
@pytest.mark.parametrize("is_compiled", [False, True])
def test_going_on_from_a_file(kind, options, is_compiled, tmp_path):
    model = Scale()
    optimizer = kind(model.parameters(), **options)
    step = step_of(model, optimizer)
    for number, batch in enumerate(feeds()):
        if number == 4:
            optimizer.lr = 0.05
            save({**optimizer.state_dict(), **model.state_dict()}, tmp_path / "half.safetensors")
        step(*batch)

    second = Scale()
    again = kind(second.parameters(), **options)
    step_again = step_of(second, again)
    if is_compiled:
        step_again(*feeds()[-1])
    half = load(tmp_path / "half.safetensors")
    second.load_state_dict({name: half.pop(name) for name in ("w", "b")})
    again.load_state_dict(half)
    assert again.lr == 0.05
    for batch in feeds()[4:]:
        step_again(*batch)
    for mine, theirs in [(model.state_dict(), second.state_dict()), (optimizer.state_dict(), again.state_dict())]:
        assert list(mine) == list(theirs)
        assert all(mine[name].tobytes() == theirs[name].tobytes() for name in mine)
    assert (step_again.trace_count, step_again.program_count) == (1, 1)


def test_a_state_dict_before_the_first_step_is_that_of_zeros():
    model = Scale()
    state = Adam(model.parameters()).state_dict()
    assert state["exp_avg.0"].shape == (2, 3) and not state["exp_avg.0"].any() and state["step.1"] == 0
    Adam(model.parameters()).load_state_dict(state)


def test_names_for_slots():
    model = Scale()
    names = {0: "features.w", 1: "b"}
    optimizer = SGD(model.parameters(), momentum=0.5)
    state = optimizer.state_dict(names)
    assert list(state)[-2:] == ["momentum_buffer.features.w", "momentum_buffer.b"]
    optimizer.load_state_dict(state, names)
    with pytest.raises(StateError, match=r"missing: momentum_buffer.0, .*\n.*surplus: momentum_buffer.features.w"):
        optimizer.load_state_dict(state)


def test_everything_that_does_not_fit_is_named_and_nothing_loaded():
    model = Scale()
    optimizer = Adam(model.parameters(), lr=0.5)
    state = optimizer.state_dict()
    del state["exp_avg.1"]
    state.update(
        {
            "momentum_buffer.0": np.zeros(3),
            "exp_avg.0": np.zeros((3, 2), np.float32),
            "exp_avg_sq.1": np.array(["a"]),
            "lr": np.float64(-1),
            "eps": np.ones(2),
            "step.0": np.float32(1.5),
            "beta1": np.float64(0.5),
        }
    )
    with pytest.raises(StateError) as caught:
        optimizer.load_state_dict(state)
    for text in [
        "nothing was loaded",
        "missing: exp_avg.1",
        "surplus: momentum_buffer.0",
        "exp_avg.0: the parameter has shape (2, 3), the state dict (3, 2)",
        "exp_avg_sq.1: a value of dtype <U1",
        "lr is a number of at least 0, got -1.0",
        "eps: a number is expected",
        "step.0: a number of steps is expected",
    ]:
        assert text in str(caught.value)
    assert (optimizer.lr, optimizer.beta1) == (0.5, 0.9)
    with pytest.raises(StateError, match="maps names to arrays"):
        optimizer.load_state_dict([1])


def test_steps_that_were_counted_apart_do_not_fit_a_compiled_step():
    model = Scale()
    optimizer = Adam(model.parameters())
    state = optimizer.state_dict() | {"step.0": np.int64(6)}
    step_of(model, optimizer)(*feeds()[0])
    with pytest.raises(StateError, match=r"step.0 = 6, step.1 = 0: these are counted together"):
        optimizer.load_state_dict(state)
    fresh = Adam(model.parameters())
    fresh.load_state_dict(state)
    assert (fresh.state_dict()["step.0"], fresh.state_dict()["step.1"]) == (6, 0)


def test_weight_decay_that_was_left_out_does_not_load():
    model = Scale()
    optimizer = SGD(model.parameters(), lr=0.1)
    step_of(model, optimizer)(*feeds()[0])
    with pytest.raises(StateError, match="weight_decay was 0 when"):
        optimizer.load_state_dict(SGD(model.parameters(), lr=0.1, weight_decay=0.5).state_dict())


def test_a_lazy_parameter_has_no_slot_yet():
    model = nn.LazyLinear(2)
    optimizer = Adam(model.parameters())
    state = optimizer.state_dict()
    assert list(state) == ["lr", "beta1", "beta2", "eps", "weight_decay"]
    optimizer.load_state_dict(state)
    with pytest.raises(StateError, match=r"exp_avg\.0: its parameter has no shape yet"):
        optimizer.load_state_dict(state | {"exp_avg.0": np.zeros((2, 3))})
    compile_train_step(model, weighted, optimizer)(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32))
    assert optimizer.state_dict()["exp_avg.0"].shape == (2, 3)


# ---- habits


@pytest.mark.parametrize("name", ["step", "zero_grad", "param_groups", "add_param_group"])
def test_habits(name):
    with pytest.raises(HabitError, match=f"`.{name}`"):
        getattr(SGD(Scale().parameters()), name)()


def test_step_says_what_to_write():
    with pytest.raises(HabitError, match=r"sn\.compile_train_step\(model, loss, optimizer\)"):
        SGD(Scale().parameters()).step()


def test_an_unknown_attribute_is_an_attribute_error():
    optimizer = SGD(Scale().parameters())
    assert not hasattr(optimizer, "nothing")
    with pytest.raises(AttributeError, match="SGD has no attribute 'nothing'"):
        _ = optimizer.nothing
