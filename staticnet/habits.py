"""Habits of define-by-run frameworks, and what to write here instead."""

from __future__ import annotations

from typing import NoReturn

from staticnet.compiler.errors import HabitError

_GRADIENT = (
    "gradients are asked for, not left on tensors: write `g, = sn.grad(loss, [w])`, "
    "or let `step = sn.compile_train_step(model, loss, optimizer)` do forward, backward and update in one call"
)
_DEVICE = "a model moves as a whole: write `model.to(device)`, or `sn.compile(model, device=device)`"

#: attribute of a tensor -> what to write
OF_TENSORS = {
    "backward": _GRADIENT,
    "grad": _GRADIENT,
    "grad_fn": _GRADIENT,
    "retain_grad": _GRADIENT,
    "zero_grad": f"they never pile up, so there is nothing to set to zero; {_GRADIENT}",
    "requires_grad": (
        "every float tensor can be differentiated: name those you want in `sn.grad(loss, [w])`, "
        "and stop a gradient with `x.detach()`"
    ),
    "data": "write `x.detach()` for the value without its gradient, `x.numpy()` for an array",
    "cuda": _DEVICE,
    "cpu": _DEVICE,
    "to": f"write `x.astype(dtype)` for another dtype; {_DEVICE}",
    "device": _DEVICE,
    "float": "write `x.astype('float32')`",
    "double": "write `x.astype('float64')`",
    "long": "write `x.astype('int64')`",
    "view": "write `x.reshape(shape)`; whether it is a view or a copy is the compiler's business",
    "permute": "write `x.transpose(axes)`",
    "dim": "write `x.ndim`",
    "numel": "write `x.size`",
    "copy_": "write `buffer.assign(value)` for state; a tensor never changes",
    "fill_": "a tensor never changes: write `sn.full_like(x, value)`; for parameters see `nn.init`",
    "add_": "a tensor never changes: write `x = x + y`, or `buffer.assign(x + y)` for state",
    "mul_": "a tensor never changes: write `x = x * y`, or `buffer.assign(x * y)` for state",
}
OF_TENSORS["requires_grad_"] = OF_TENSORS["detach_"] = OF_TENSORS["requires_grad"]

#: attribute of a module -> what to write
OF_MODULES = {
    "zero_grad": OF_TENSORS["zero_grad"],
    "cuda": 'write `model.to("cuda")`',
    "cpu": 'write `model.to("cpu")`',
    "requires_grad_": "write `model.freeze()` and `model.unfreeze()`, with a pattern such as 'features.*' for a part",
    "backward": _GRADIENT,
}

#: name in the package -> what to write
OF_THE_PACKAGE = {
    "no_grad": "nothing is recorded unless a gradient is asked for: leave it out; `model.eval()` sets the mode",
    "inference_mode": "nothing is recorded unless a gradient is asked for: leave it out; `model.eval()` sets the mode",
    "from_numpy": "write `sn.tensor(array)`; compiled functions, steps and modules take arrays as they are",
    "as_tensor": "write `sn.tensor(data)`",
    "cat": "write `sn.concatenate([a, b], axis=0)`",
    "randn": "write `sn.random.randn(2, 3)`",
    "rand": "write `sn.random.rand(2, 3)`",
}


def explain(owner: str, name: str, table: dict[str, str]) -> NoReturn:
    """Raise the error of a missing attribute; a known habit is explained."""
    if name not in table:
        raise AttributeError(f"{owner} has no attribute {name!r}")
    raise HabitError(f"`.{name}` is not how it is done here: {table[name]}")
