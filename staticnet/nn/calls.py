"""What happens when a module is called: its path in the model, and who runs it, the trace or a compiled program."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from staticnet import trees
from staticnet.compiler import origins
from staticnet.compiler.errors import ArgumentError
from staticnet.config import config
from staticnet.tensors import Tensor
from staticnet.tracer import current_tracer

if TYPE_CHECKING:
    from staticnet.nn.module import Module

# The outermost module being called, and the innermost.
_active: ContextVar[tuple[Module, Module] | None] = ContextVar("staticnet_active_modules", default=None)


def call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run `forward` on tensors; NumPy arrays go to the module's compiled program."""
    active = _active.get()
    compiled = module._compiled
    if active is None and compiled is not None and (route := compiled.route) is not None and route.fits(args, kwargs):
        return route.run(args, kwargs)
    tracer = current_tracer()
    if active is None:
        _check_first(module, args)
    if active is None and tracer is None and _asks_for_arrays((args, kwargs)):
        return _call_compiled(module, args, kwargs)
    if active is None and tracer is not None:
        tracer.modules[module] = None
        label_states(module)
    name = "" if active is None else _name_within(active[0], active[1], module)
    token = _active.set((module if active is None else active[0], module))
    try:
        with origins.inside_module(name):
            return module.forward(*args, **kwargs)
    finally:
        _active.reset(token)


def _check_first(module: Module, args: tuple[Any, ...]) -> None:
    """Refuse a first input that is None, text or a list of numbers: no array, and an easy mistake."""
    first = args[0] if args else 0
    if isinstance(first, list):
        is_wrong = all(isinstance(value, (bool, int, float)) for value in trees.leaves(first))
    else:
        is_wrong = first is None or isinstance(first, str)
    if is_wrong:
        raise ArgumentError(
            f"{type(module).__name__} is called on {first!r:.60}: give it an array, as `np.array(..., 'float32')` "
            "makes one of a list, or a tensor"
        )


def label_states(module: Module) -> None:
    """Call every parameter and buffer by its dotted name in this module."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        value.label(name)


def label(module: Module) -> str:
    """`features.0 (Conv2d)`, as messages call a module that is being called."""
    path = origins.module_path()
    return f"{path} ({type(module).__name__})" if path else type(module).__name__


def _asks_for_arrays(arguments: Any) -> bool:
    values = trees.leaves(arguments)
    has_arrays = any(isinstance(value, (np.ndarray, np.generic)) for value in values)
    return has_arrays and not any(isinstance(value, Tensor) for value in values)


def _call_compiled(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from staticnet.compiled import CompiledFunction

    device = module._device or config.device
    compiled = module._compiled
    if compiled is None:
        compiled = module.__dict__.setdefault("_compiled", CompiledFunction(module, device=device))
    if compiled.device != device:
        compiled.to(device)
    return compiled(*args, **kwargs)


def _name_within(root: Module, caller: Module, module: Module) -> str:
    """What the module is called inside the one that calls it."""
    for name, child in caller._modules.items():
        if child is module:
            return name
    for owner in (caller, root):
        for path, part in owner.named_modules():
            if part is module and path:
                return path
    kind = type(module).__name__
    if any(parameter.requires_grad for parameter in module.parameters()):
        raise ArgumentError(
            f"{kind} is called inside {type(caller).__name__} but is no part of {type(root).__name__}, so its "
            "parameters would not be trained or saved: assign it to an attribute, put lists of modules into an "
            "nn.ModuleList, or freeze it"
        )
    return kind
