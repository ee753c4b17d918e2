"""Names in the file: unique, never empty, and the user's own wherever ONNX can carry them."""

from __future__ import annotations

from collections.abc import Iterable

from staticnet.compiler.origins import Origin


def escape(name: str) -> str:
    """`name`, with what would break a file or its readers written as a Python escape.

    Those are control characters (onnxruntime takes C strings, text forms take lines) and lone
    surrogates, which UTF-8 cannot hold. Quotes, slashes, spaces and any script are fine.
    """
    return "".join(c if c.isprintable() or c == " " else _escaped(c) for c in name)


def _escaped(character: str) -> str:
    return ascii(character)[1:-1]


class Names:
    """Hands out each name once; a second wish for it gets `_1`, `_2`, ... added."""

    def __init__(self, taken: Iterable[str] = ()):
        self._next = dict.fromkeys(taken, 1)

    def unique(self, wish: str, fallback: str = "value") -> str:
        """`wish` escaped, or `fallback` where it is empty, with a number where it is taken."""
        base = name = escape(wish) or fallback
        while name in self._next:
            name = f"{base}_{self._next[base]}"
            self._next[base] += 1
        self._next[name] = 1
        return name


def node_name(origin: Origin | None, operator: str) -> str:
    """`/features/0/Conv`: the path of the module that made the node, then the operator."""
    path = origin.module.replace(".", "/") if origin is not None else ""
    return f"/{path}/{operator}" if path else f"/{operator}"
