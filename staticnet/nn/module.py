"""Module: a piece of a model, with its parameters, buffers and smaller modules found by attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from staticnet import habits
from staticnet.boundary import boundary, cause_to_show
from staticnet.compiler.errors import ArgumentError, HabitError, StaticnetError, trim
from staticnet.nn import calls, loading
from staticnet.nn.parameter import Buffer, Parameter, StateTensor
from staticnet.runtime import changes

if TYPE_CHECKING:
    from staticnet.compiled import CompiledFunction

AnyModule = TypeVar("AnyModule", bound="Module")
_OWN = ("_parameters", "_buffers", "_modules")


class Module:
    """Base of all models and layers.

    A subclass calls `super().__init__()`, assigns its Parameters, Buffers and Modules to attributes,
    and gives `forward(...)`. Called with tensors, in a trace or lazily, a module runs `forward`;
    called with NumPy arrays it is compiled, once per kind of input, and gives NumPy arrays.
    `training` says in which mode layers such as dropout are traced.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Buffer | None]
    _modules: dict[str, Module | None]
    #: runs calls with arrays, once there was one
    _compiled: CompiledFunction | None = None

    def __init__(self) -> None:
        for name in _OWN:
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_revision", 0)
        object.__setattr__(self, "_device", None)
        object.__setattr__(self, "training", True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass gives it."""
        raise HabitError(f"{type(self).__name__} has no `forward`: define `def forward(self, x): ...` in the class")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return calls.call(self, args, kwargs)
        except Exception as error:  # a boundary without a call more
            raise trim(error) from cause_to_show(error)

    # -- attributes ---------------------------------------------------------------------------

    @boundary
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training":
            object.__setattr__(self, name, bool(value))
            changes.note()
            return
        home = "_parameters" if isinstance(value, Parameter) else "_buffers" if isinstance(value, Buffer) else None
        home = "_modules" if isinstance(value, Module) else home
        self._check_ready(name, home)
        self._check_replaced(name, home, value)
        if home is None and value is None:
            home = next((own for own in _OWN if name in getattr(self, own)), None)
        for own in _OWN:
            if own != home:
                getattr(self, own).pop(name, None)
        if home is None:
            object.__setattr__(self, name, value)
        else:
            self.__dict__.pop(name, None)
            getattr(self, home)[name] = value
        self._note_change()

    def _note_change(self) -> None:
        """Let traces of this module, and ways to their programs, be looked for anew: after the change."""
        object.__setattr__(self, "_revision", self._revision + 1)
        changes.note()

    def _check_ready(self, name: str, home: str | None) -> None:
        if "_modules" not in self.__dict__:
            raise _not_ready(self, name)
        if home is not None and (not name or "." in name):
            raise ArgumentError(f"{type(self).__name__}: {name!r} is no name for a part: it has a dot, or is empty")

    def _check_replaced(self, name: str, home: str | None, value: Any) -> None:
        """Keep states from being lost by assigning a value over them, and from being hidden by the class."""
        owner = type(self).__name__
        if home is None and value is not None and (name in self._parameters or name in self._buffers):
            raise HabitError(
                f"{owner}.{name} is a state and stays one: write `self.{name}.assign(value)` in `forward`, "
                f"`.{name}.set(value)` outside, or assign a new Parameter or Buffer"
            )
        if home is not None and name not in getattr(self, home) and hasattr(type(self), name):
            raise ArgumentError(f"{owner} has a class attribute {name!r} that would hide this: choose another name")

    @boundary
    def __getattr__(self, name: str) -> Any:
        for own in _OWN:
            if own not in self.__dict__:
                raise _not_ready(self, name)
            if name in self.__dict__[own]:
                return self.__dict__[own][name]
        habits.explain(type(self).__name__, name, habits.OF_MODULES)

    def __delattr__(self, name: str) -> None:
        home = next((own for own in _OWN if name in getattr(self, own)), None)
        if home is None:
            object.__delattr__(self, name)
        else:
            del getattr(self, home)[name]
        self._note_change()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    @boundary
    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set a parameter, or None for one that is left out."""
        self._register("_parameters", Parameter, name, parameter)

    @boundary
    def register_buffer(self, name: str, buffer: Any) -> None:
        """Set a buffer; an array or lazy tensor becomes a Buffer, None is one that is left out."""
        buffer = buffer if buffer is None or isinstance(buffer, Buffer) else Buffer(buffer)
        self._register("_buffers", Buffer, name, buffer)

    @boundary
    def add_module(self, name: str, module: Module | None) -> None:
        """Set a smaller module under a name that need not be an identifier."""
        self._register("_modules", Module, name, module)

    def _register(self, home: str, kind: type, name: str, value: Any) -> None:
        self._check_ready(name, home)
        if value is not None and not isinstance(value, kind):
            raise ArgumentError(f"{type(self).__name__}.{name} must be a {kind.__name__}, got {type(value).__name__}")
        if hasattr(type(self), name) or (name in self.__dict__ and name not in getattr(self, home)):
            raise ArgumentError(f"{type(self).__name__} has an attribute {name!r} already: choose another name")
        getattr(self, home)[name] = value
        self._note_change()

    # -- walking ------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted paths, each once, under its first path."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            children = [(_join(path, name), child) for name, child in module._modules.items() if child is not None]
            stack.extend(reversed(children))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one."""
        return (module for _, module in self.named_children())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names, frozen ones too; one with two names comes once, under the first."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        """All buffers with their dotted names, each once."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named(self, home: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners: Iterable[tuple[str, Module]] = self.named_modules(prefix) if recurse else [(prefix, self)]
        for path, module in owners:
            for name, value in getattr(module, home).items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), value

    @boundary
    def get_submodule(self, path: str) -> Module:
        """The module at a dotted path; the module itself for an empty one."""
        module: Module = self
        for name in path.split(".") if path else []:
            found = module._modules.get(name)
            if found is None:
                has = ", ".join(module._modules) or "no modules"
                raise ArgumentError(f"there is no module {path!r}: {type(module).__name__} has {has}")
            module = found
        return module

    # -- modes --------------------------------------------------------------------------------

    def train(self: AnyModule, mode: bool = True) -> AnyModule:
        """Set the training mode of this module and all below it."""
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        changes.note()
        return self

    def eval(self: AnyModule) -> AnyModule:
        """Leave the training mode."""
        return self.train(False)

    @boundary
    def freeze(self: AnyModule, pattern: str = "*") -> AnyModule:
        """Take the parameters whose dotted names match a pattern, as 'features.*', out of training."""
        return self._set_trainable(pattern, False)

    @boundary
    def unfreeze(self: AnyModule, pattern: str = "*") -> AnyModule:
        """Take the parameters whose dotted names match a pattern into training again."""
        return self._set_trainable(pattern, True)

    def _set_trainable(self: AnyModule, pattern: str, trainable: bool) -> AnyModule:
        names = dict(self.named_parameters())
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            raise ArgumentError(f"no parameter matches {pattern!r}; there are {', '.join(names) or 'none'}")
        for name in matching:
            names[name].requires_grad = trainable
        return self

    def apply(self: AnyModule, function: Callable[[Module], Any]) -> AnyModule:
        """Call a function on every module, the smaller ones first, this one last."""
        seen: set[int] = set()
        stack: list[tuple[Module, bool]] = [(self, False)]
        while stack:
            module, is_ready = stack.pop()
            if is_ready:
                function(module)
            elif id(module) not in seen:
                seen.add(id(module))
                stack.append((module, True))
                stack.extend((child, False) for child in reversed(list(module.children())))
        return self

    @boundary
    def to(self: AnyModule, device: str) -> AnyModule:
        """Move all parameters and buffers to a device, "cpu" or "cuda"; nothing is traced again."""
        from staticnet.devices import move

        move(self, device)
        return self

    def to_gpu(self: AnyModule) -> AnyModule:
        """`to("cuda")`."""
        return self.to("cuda")

    def to_cpu(self: AnyModule) -> AnyModule:
        """`to("cpu")`."""
        return self.to("cpu")

    # -- state dicts --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name; a tensor with two names stands under both."""
        return {name: value.state.numpy() for name, value in self._all_states()}

    def _all_states(self) -> list[tuple[str, StateTensor]]:
        """Every parameter and buffer under every name it has, module by module."""
        found: list[tuple[str, StateTensor]] = []
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            own = [*module._parameters.items(), *module._buffers.items()]
            found += [(_join(path, name), value) for name, value in own if value is not None]
            children = [(_join(path, name), child) for name, child in module._modules.items() if child is not None]
            stack.extend(reversed(children))
        return found

    @boundary
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy values in by name, all or none.

        StateError names every missing, surplus and misfitting key at once; with `strict=False` missing and
        surplus ones are passed over. A lazy parameter takes the shape of what is loaded.
        """
        loading.load(dict(self._all_states()), state_dict, strict, type(self).__name__)

    # -- text and copies ----------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands in the parentheses of this module's own line."""
        return ""

    def __repr__(self) -> str:
        lines: list[str] = []
        stack: list[tuple[int, str, Module | None]] = [(0, "", self)]
        while stack:
            depth, label, module = stack.pop()
            if module is None:
                lines.append("  " * depth + ")")
                continue
            head = f"{'  ' * depth}{label}{type(module).__name__}("
            children = [(name, child) for name, child in module._modules.items() if child is not None]
            if not children:
                lines.append(f"{head}{module.extra_repr()})")
                continue
            lines.append(head + module.extra_repr())
            stack.append((depth, "", None))
            stack.extend((depth + 1, f"({name}): ", child) for name, child in reversed(children))
        return "\n".join(lines)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}

    def _reject(self, error: type[StaticnetError], message: str) -> NoReturn:
        """Raise an error about this module, by its path in the model."""
        raise error(f"{calls.label(self)}: {message}")


def _not_ready(module: Module, name: str) -> HabitError:
    return HabitError(
        f"{type(module).__name__}: call `super().__init__()` at the start of `__init__`, before `self.{name}`"
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
