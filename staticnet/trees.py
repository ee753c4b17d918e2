"""Nested tuples, lists and dicts of values: what functions take and return, laid out flat and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def flatten(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a tree, in order, with its dotted path: `("0.mask", value)`."""
    if isinstance(tree, dict):
        items: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, (tuple, list)):
        items = enumerate(tree)
    else:
        yield path, tree
        return
    for key, branch in items:
        yield from flatten(branch, _below(path, key))


def leaves(tree: Any) -> list[Any]:
    """Every value in a tree, in order."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(tree: Any, found: list[Any]) -> None:
    if not isinstance(tree, (tuple, list, dict)):
        found.append(tree)
        return
    for branch in tree.values() if isinstance(tree, dict) else tree:
        _collect(branch, found)


def map_leaves(function: Callable[[str, Any], Any], tree: Any, path: str = "") -> Any:
    """The same tree with each value replaced by `function(path, value)`."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, branch, _below(path, key)) for key, branch in tree.items()}
    if not isinstance(tree, (tuple, list)):
        return function(path, tree)
    branches = [map_leaves(function, branch, _below(path, index)) for index, branch in enumerate(tree)]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*branches)  # a named tuple
    return tuple(branches) if isinstance(tree, tuple) else branches


def unflatten(tree: Any, values: Iterable[Any]) -> Any:
    """The tree with its values replaced, in order, by `values`."""
    rest = iter(values)
    return map_leaves(lambda path, leaf: next(rest), tree)


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
