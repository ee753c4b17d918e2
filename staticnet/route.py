"""The way a call took to its program, remembered: the next call of the same kind goes there without looking around."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from staticnet import trees
from staticnet.config import overriding
from staticnet.feeds import kinds_of
from staticnet.runtime import changes
from staticnet.runtime.executor import Executor
from staticnet.tracer import current_tracer

Pack = Callable[[Sequence[np.ndarray]], Any]
_ndarray = np.ndarray
_settings = overriding.get


class Route:
    """The program for plain arrays of certain shapes and dtypes, while nothing else changes.

    `kinds` are those of the arguments, `keywords` the names of the last of them that were given by name,
    in the order of the function's own. `since` is the latest change before the program was looked for;
    `pack` makes of the outputs what the caller gets.
    """

    __slots__ = ("executor", "keywords", "kinds", "pack", "settings", "since", "threads")

    def __init__(
        self, kinds: tuple, keywords: tuple[str, ...], since: object, threads: int, executor: Executor, pack: Pack
    ):
        self.kinds, self.keywords, self.since = kinds[1:], keywords, since
        self.settings, self.threads = _settings(None), threads
        self.executor, self.pack = executor, pack

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call goes this way."""
        if self.since is not changes.latest or _settings(None) is not self.settings or current_tracer() is not None:
            return False
        if kwargs or self.keywords:
            if tuple(kwargs) != self.keywords:
                return False
            args = (*args, *kwargs.values())
        if len(args) != len(self.kinds):
            return False
        for value, (shape, dtype) in zip(args, self.kinds):  # noqa: B905 - of one length; saying so takes long
            if type(value) is not _ndarray or value.shape != shape:
                return False
            if value.dtype is not dtype and value.dtype != dtype:
                return False
        return True

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What a call gives that fits."""
        backend = self.executor.backend
        if backend.threads != self.threads:  # others may have set it meanwhile
            backend.limit_threads(self.threads)
        return self.pack(self.executor((*args, *kwargs.values()) if kwargs else args))


class TreeRoute(Route):
    """The same for arguments of which some are tuples, lists or dicts of arrays."""

    __slots__ = ("tree",)

    def __init__(self, kinds: tuple, *rest: Any):
        super().__init__(kinds, *rest)
        self.tree = kinds

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        if self.since is not changes.latest or _settings(None) is not self.settings or current_tracer() is not None:
            return False
        return tuple(kwargs) == self.keywords and kinds_of((*args, *kwargs.values())) == self.tree

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        self.executor.backend.limit_threads(self.threads)
        return self.pack(self.executor(trees.leaves((*args, *kwargs.values()))))
