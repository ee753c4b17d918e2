"""Where the user's code enters ours: errors leave with the user's own frames and one line of the framework."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from staticnet.compiler.errors import trim

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def boundary(function: AnyFunction) -> AnyFunction:
    """A function whose errors show the user's frames, and of ours only this one."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise trim(error) from error.__cause__

    return cast(AnyFunction, guarded)
