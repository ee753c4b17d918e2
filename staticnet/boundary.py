"""Where the user's code enters ours: errors leave with the user's own frames and one line of the framework."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from staticnet.compiler.errors import StaticnetError, is_full_traceback, trim

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def cause_to_show(error: Exception) -> BaseException | None:
    """What Python prints above an error: nothing for ours, whose message says it all."""
    is_ours = isinstance(error, StaticnetError) and not is_full_traceback()
    return None if is_ours else error.__cause__


def boundary(function: AnyFunction) -> AnyFunction:
    """A function or generator whose errors show the user's frames, and of ours only this one."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise trim(error) from cause_to_show(error)

    @functools.wraps(function)
    def guarded_generator(*args: Any, **kwargs: Any) -> Any:
        try:
            yield from function(*args, **kwargs)
        except Exception as error:
            raise trim(error) from cause_to_show(error)

    return cast(AnyFunction, guarded_generator if inspect.isgeneratorfunction(function) else guarded)
