"""Modules that hold modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError
from staticnet.nn.module import Module


class _Numbered(Module):
    """Base of containers whose modules are called 0, 1, 2, ... in order."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter([module for module in self._modules.values() if module is not None])

    def __bool__(self) -> bool:
        return True

    def _key(self, index: int) -> str:
        names = list(self._modules)
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise ArgumentError(f"{type(self).__name__} is indexed by integers and slices, not {index!r}")
        if not -len(names) <= index < len(names):
            raise IndexError(f"{type(self).__name__} has {len(names)} modules, there is no number {index}")
        return names[index]

    @boundary
    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), _checked(self, module))

    def append(self, module: Module) -> Any:
        """Add a module at the end."""
        self.add_module(str(len(self._modules)), _checked(self, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_Numbered):
    """Modules called one after the other, each on what the one before gave.

    They are given in order, or as one dict of names; by number or slice they can be taken out again.
    """

    @boundary
    def __init__(self, *modules: Any):
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], Mapping) else enumerate(modules)
        for name, module in named:
            self.add_module(str(name), _checked(self, module))

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    @boundary
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        module = self._modules[self._key(index)]
        assert module is not None
        return module

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules that a model owns; what is called, and when, is up to the model."""

    @boundary
    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...

    @boundary
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return ModuleList(list(self)[index])
        module = self._modules[self._key(index)]
        assert module is not None
        return module


class ModuleDict(Module):
    """Named modules that a model owns."""

    @boundary
    def __init__(self, modules: Mapping[str, Module] | None = None):
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        module = self._modules[name]
        assert module is not None
        return module

    @boundary
    def __setitem__(self, name: str, module: Module) -> None:
        self._modules.pop(name, None)
        self.add_module(name, _checked(self, module))

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __bool__(self) -> bool:
        return True

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return [self[name] for name in self]

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return [(name, self[name]) for name in self]


def _checked(owner: Module, module: Any) -> Module:
    if isinstance(module, Module):
        return module
    hint = ": write the brackets, as in nn.ReLU()" if isinstance(module, type) and issubclass(module, Module) else ""
    raise ArgumentError(f"{type(owner).__name__} holds modules, not {module!r:.60}{hint}")
