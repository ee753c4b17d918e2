"""Modules: how parts are found, named, moved between modes, saved, loaded, called, and what goes wrong."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import staticnet as sn
from staticnet import nn
from staticnet.compiler.errors import ArgumentError, HabitError, ShapeError, StateError


class Block(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.first = nn.Linear(3, size)
        self.norm = nn.BatchNorm1d(size)
        self.scale = nn.Parameter(np.ones(size, np.float32))
        self.register_buffer("offset", np.zeros(size, np.float32))

    def forward(self, x):
        return self.norm(self.first(x)) * self.scale + self.offset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.act = nn.ReLU()
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x):
        return self.head(self.act(self.block(x)))


NAMES = ["block.scale", "block.first.weight", "block.first.bias", "block.norm.weight", "block.norm.bias", "head.weight"]
BUFFERS = ["block.offset", "block.norm.running_mean", "block.norm.running_var", "block.norm.num_batches_tracked"]
X = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)


# ---- finding parts


def test_parts_by_name():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    assert [name for name, _ in net.named_modules()] == ["", "block", "block.first", "block.norm", "act", "head"]
    assert [name for name, _ in net.named_children()] == ["block", "act", "head"]
    kinds = [type(module).__name__ for module in net.modules()]
    assert kinds == ["Net", "Block", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert list(net.children()) == [net.block, net.act, net.head]
    assert dict(net.named_parameters())["head.weight"] is net.head.weight
    assert next(iter(dict(net.named_parameters("model")))) == "model.block.scale"
    assert [name for name, _ in net.block.named_parameters(recurse=False)] == ["scale"]
    assert len(list(net.buffers())) == 4
    assert net.get_submodule("block.norm") is net.block.norm
    with pytest.raises(ArgumentError, match="block, act, head"):
        net.get_submodule("tail")


def test_replacing_and_deleting_parts():
    net = Net()
    net.head = nn.Linear(4, 7)
    assert net.head.out_features == 7
    net.act = None
    assert [name for name, _ in net.named_modules()] == ["", "block", "block.first", "block.norm", "head"]
    del net.head
    assert not hasattr(net, "head")
    net.block.scale = None
    assert "block.scale" not in dict(net.named_parameters())
    assert net.block.scale is None
    net.block.scale = nn.Parameter([1.0])
    assert "block.scale" in dict(net.named_parameters())
    net.extra = nn.Parameter([1.0])
    net.extra = nn.Linear(1, 1)
    assert "extra" not in net._parameters
    assert "extra.weight" in dict(net.named_parameters())


def test_a_part_with_two_names_comes_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(3, 3, bias=False)
            self.decoder = nn.Linear(3, 3, bias=False)
            self.decoder.weight = self.encoder.weight
            self.again = self.encoder

        def forward(self, x):
            return self.again(self.decoder(self.encoder(x)))

    tied = Tied()
    assert [name for name, _ in tied.named_parameters()] == ["encoder.weight"]
    assert [name for name, _ in tied.named_modules()] == ["", "encoder", "decoder"]
    assert list(tied.state_dict()) == ["encoder.weight", "decoder.weight", "again.weight"]
    graph = sn.trace(tied, sn.TensorSpec(("batch", 3)))
    assert [node.op.label for node in graph.inputs] == ["x", "encoder.weight"]
    modules = [graph.origins[node][0].module for node in graph.nodes if node.op.name == "matmul"]
    assert modules == ["encoder", "decoder", "encoder"]
    tied.load_state_dict({"encoder.weight": np.eye(3, dtype=np.float32)})
    np.testing.assert_array_equal(tied.decoder.weight.numpy(), np.eye(3))
    with pytest.raises(StateError, match="one tensor of the model"):
        tied.load_state_dict({"encoder.weight": np.eye(3), "decoder.weight": np.zeros((3, 3))})
    np.testing.assert_array_equal(tied.decoder.weight.numpy(), np.eye(3))


def test_containers():
    stack = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert len(stack) == 3
    assert stack[-1] is stack[2]
    assert [type(m).__name__ for m in stack] == ["Linear", "ReLU", "Linear"]
    assert [name for name, _ in stack[1:].named_children()] == ["1", "2"]
    assert stack[1:][1] is stack[2]
    stack[1] = nn.Tanh()
    stack.append(nn.Identity()).extend([nn.Sigmoid()])
    assert [type(m).__name__ for m in stack] == ["Linear", "Tanh", "Linear", "Identity", "Sigmoid"]
    with pytest.raises(IndexError, match="5 modules"):
        stack[5]
    with pytest.raises(ArgumentError, match="integers and slices"):
        stack["0"]
    named = nn.Sequential({"inner": nn.Linear(3, 4), "outer": nn.Linear(4, 1)})
    assert next(iter(dict(named.named_parameters()))) == "inner.weight"
    assert named.outer is named[1]
    listed = nn.ModuleList([nn.Linear(1, 1)])
    assert len(listed[0:1]) == 1
    assert bool(nn.ModuleList())
    mapped = nn.ModuleDict({"a": nn.ReLU()})
    mapped["b"] = nn.Tanh()
    assert (list(mapped), "b" in mapped, len(mapped)) == (["a", "b"], True, 2)
    assert [name for name, _ in mapped.items()] == list(mapped.keys())


@pytest.mark.parametrize("wrong", [nn.ReLU, 3, None, lambda x: x])
def test_containers_hold_modules_only(wrong):
    for make in (lambda: nn.Sequential(wrong), lambda: nn.ModuleList([wrong]), lambda: nn.ModuleDict({"a": wrong})):
        with pytest.raises(ArgumentError, match="holds modules"):
            make()


def test_repr():
    assert repr(Net()) == (
        "Net(\n"
        "  (block): Block(\n"
        "    (first): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (norm): BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)\n"
        "  )\n"
        "  (act): ReLU()\n"
        "  (head): Linear(in_features=4, out_features=2, bias=False)\n"
        ")"
    )


# ---- modes


def test_train_and_eval():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.block.train()
    assert [module.training for module in net.modules()] == [False, True, True, True, False, False]


def test_freeze():
    net = Net()
    net.freeze("block.*")
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["head.weight"]
    net.unfreeze("*.bias")
    assert sum(p.requires_grad for p in net.parameters()) == 3
    net.freeze()
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(ArgumentError, match=r"'features\.\*'.*block\.scale"):
        net.freeze("features.*")


def test_apply_goes_inside_out():
    seen = []
    net = Net()
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["Linear", "BatchNorm1d", "Block", "ReLU", "Linear", "Net"]


def test_devices():
    net = Net()
    assert net.to("cpu") is net
    assert net(X).shape == (5, 2)


# ---- state dicts


def test_state_dicts_are_copies():
    net = Net()
    state = net.state_dict()
    assert set(state) == {*NAMES, *BUFFERS}
    before = net.head.weight.numpy()
    state["head.weight"][:] = 9
    np.testing.assert_array_equal(net.head.weight.numpy(), before)
    net.load_state_dict(state)
    state["head.weight"][:] = 0
    np.testing.assert_array_equal(net.head.weight.numpy(), np.full((2, 4), 9))


def test_loading_reaches_compiled_calls():
    one, other = Net().eval(), Net().eval()
    before = one(X)
    one.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(one(X), other(X))
    assert not np.array_equal(before, one(X))
    assert one._compiled.trace_count == 1


def test_all_faults_are_named_at_once_and_nothing_is_loaded():
    net = Net()
    before = net.state_dict()
    state = {name: value + 1 for name, value in net.state_dict().items()}
    del state["block.scale"], state["head.weight"]
    state["tail.weight"] = np.zeros(3)
    state["block.first.weight"] = np.zeros((4, 5), np.float32)
    state["block.norm.num_batches_tracked"] = np.float64(1.5)
    state["block.offset"] = np.array(["a"] * 4)
    with pytest.raises(StateError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    for words in (
        "Net",
        "missing: block.scale, head.weight",
        "surplus: tail.weight",
        "block.first.weight: the model has shape (4, 3), the state dict (4, 5)",
        "block.norm.num_batches_tracked: the model has int64, the state dict float64",
        "block.offset",
    ):
        assert words in text
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(StateError, match="4, 5"):
        net.load_state_dict(state, strict=False)


def test_loading_in_part():
    net = Net()
    net.load_state_dict({"block.scale": [1, 2, 3, 4], "elsewhere": 1.0}, strict=False)
    np.testing.assert_array_equal(net.block.scale.numpy(), [1, 2, 3, 4])
    with pytest.raises(StateError, match="maps names"):
        net.load_state_dict([1, 2])


def test_lazy_parameters_take_the_shape_of_what_is_loaded():
    net = nn.Sequential(nn.LazyLinear(2), nn.ReLU())
    full = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    net.load_state_dict(full.state_dict())
    np.testing.assert_array_equal(net(X), full(X))


def test_states_without_a_shape_are_explained():
    net = nn.LazyLinear(2)
    for use in (net.state_dict, lambda: net.weight.numpy(), lambda: net.weight.shape, lambda: net.weight + 1):
        with pytest.raises(StateError, match="no shape yet"):
            use()
    assert repr(net.weight) == "Parameter(no shape yet)"
    assert repr(net) == "LazyLinear(in_features=None, out_features=2, bias=True)"


def test_copies_are_independent():
    net = Net()
    net(X)
    twin = copy.deepcopy(net)
    unpickled = pickle.loads(pickle.dumps(net.block.first))
    np.testing.assert_array_equal(unpickled.weight.numpy(), net.block.first.weight.numpy())
    assert twin._compiled is None
    twin.head.weight.set(np.zeros((2, 4)))
    assert net.head.weight.numpy().any()
    np.testing.assert_array_equal(twin.block.scale.numpy(), net.block.scale.numpy())
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    tied[0].weight.requires_grad = False
    twin = copy.deepcopy(tied)
    assert twin[1].weight is twin[0].weight
    assert not twin[0].weight.requires_grad


# ---- calls


def test_arrays_in_arrays_out_tensors_in_tensors_out():
    net = Net().eval()
    arrays = net(X)
    lazily = net(sn.tensor(X))
    assert type(arrays) is np.ndarray
    assert isinstance(lazily, sn.Tensor)
    np.testing.assert_allclose(arrays, lazily.numpy(), rtol=1e-6)
    state = net.state_dict()
    hidden = X @ state["block.first.weight"].T + state["block.first.bias"]
    expected = np.maximum(hidden / np.sqrt(1 + 1e-5), 0) @ state["head.weight"].T
    np.testing.assert_allclose(arrays, expected, rtol=1e-5, atol=1e-6)


def test_a_call_with_arrays_is_traced_once():
    calls = []

    class Counting(nn.Module):
        def forward(self, x, y=None):
            calls.append(1)
            self.seen = len(calls)
            return x * 2 if y is None else x * y

    module = Counting()
    for batch in (4, 4, 7, 1):
        np.testing.assert_array_equal(module(np.ones((batch, 2), np.float32)), np.full((batch, 2), 2))
    assert len(calls) == 1
    np.testing.assert_array_equal(module(np.ones(2), y=np.full(2, 3.0)), [3, 3])


def test_a_changed_module_is_traced_anew():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    net.eval()
    assert not np.array_equal(net(X), np.zeros((5, 3)))
    net[1] = nn.Softmax(dim=1)
    np.testing.assert_allclose(net(X).sum(axis=1), np.ones(5), rtol=1e-6)
    net.train()
    net[1] = nn.Dropout(1.0)
    np.testing.assert_array_equal(net(X), np.zeros((5, 3)))
    net[1].p = 0.0
    assert net(X).any()


def test_modes_keep_their_programs():
    net = Net()
    for _ in range(3):
        net.train()
        net(X)
        net.eval()
        net(X)
    assert net._compiled.trace_count == net._compiled.program_count == 2


def test_programs_do_not_keep_the_model_alive():
    net = Net()
    net(X)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_shared_modules_are_called_by_the_name_of_the_caller():
    class Inner(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.act = act

        def forward(self, x):
            return self.act(x)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            act = nn.Tanh()
            self.one, self.two = Inner(act), Inner(act)

        def forward(self, x):
            return self.two(self.one(x)) + self.one.act(x)

    graph = sn.trace(Outer(), sn.TensorSpec((2,)))
    modules = [graph.origins[node][0].module for node in graph.nodes if node.op.name == "tanh"]
    assert modules == ["one.act", "two.act", "one.act"]


# ---- what goes wrong


def test_modules_that_belong_to_nobody():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(3, 3)]

        def forward(self, x):
            return self.layers[0](x)

    net = Hidden()
    with pytest.raises(ArgumentError, match=r"Linear is called inside Hidden .*ModuleList"):
        sn.trace(net, sn.TensorSpec((2, 3)))
    net.layers[0].freeze()
    sn.trace(net, sn.TensorSpec((2, 3)))


def test_super_init_comes_first():
    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    class Never(nn.Module):
        def __init__(self):
            pass

    with pytest.raises(HabitError, match=r"super\(\).__init__\(\).* `self.layer`"):
        Early()
    with pytest.raises(HabitError, match=r"super\(\).__init__\(\)"):
        _ = Never().layer


def test_forward_is_missing():
    class Empty(nn.Module):
        pass

    with pytest.raises(HabitError, match="Empty has no `forward`"):
        Empty()(sn.tensor(1.0))


def test_names_that_make_no_sense():
    net = Net()
    for name, words in (("", "empty"), ("a.b", "dot"), ("forward", "already")):
        with pytest.raises(ArgumentError, match=words):
            net.add_module(name, nn.ReLU())
    with pytest.raises(ArgumentError, match="class attribute 'forward'"):
        net.forward = nn.ReLU()
    with pytest.raises(ArgumentError, match="must be a Module"):
        net.add_module("layer", 3)
    with pytest.raises(ArgumentError, match="must be a Parameter"):
        net.register_parameter("weight", np.zeros(3))


def test_a_state_is_not_lost_by_assigning_a_value():
    net = Net()
    for name, value in (("scale", np.zeros(4)), ("offset", sn.tensor([1.0]))):
        with pytest.raises(HabitError, match=r"\.assign\(value\)"):
            setattr(net.block, name, value)
    assert "block.scale" in net.state_dict()


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda net: net.zero_grad(), "nothing to set to zero"),
        (lambda net: net.cuda(), r"to\(\"cuda\"\)"),
        (lambda net: net.requires_grad_(False), "freeze"),
        (lambda net: net.nonsense, "nonsense"),
    ],
)
def test_habits(use, words):
    with pytest.raises(AttributeError, match=words):
        use(Net())


def test_shapes_that_do_not_fit_name_the_layer():
    net = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), nn.Linear(400, 10)))
    with pytest.raises(ShapeError) as caught:
        sn.trace(net, sn.TensorSpec(("batch", 16, 4, 4)))
    assert "1.1 (Linear): expects 400 input features (last axis of its input), got (batch, 256)" in str(caught.value)
    assert "test_nn_module.py" in str(caught.value)
