"""Text buffers of nested blocks, with value numbering: an instruction is printed once, as far out as it can stand.

Code is structured, so it nests: the function, a loop body in it, a branch in that. Each such scope has a
buffer that stays open while those inside it are printed; what is added to it then stands before them. A
value's level is the number of the scope it was made in, and the scopes inside that one see it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAMES = re.compile(r"%[a-z]+\d+")


@dataclass
class Scope:
    """One buffer: `label` is the basic block that its end is in."""

    label: str
    loop: bool
    lines: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    #: by the level of its operands, the scope an instruction is printed in
    homes: list[int] = field(default_factory=list)


class Text:
    """The buffers, innermost last, and the names of values with their levels."""

    def __init__(self) -> None:
        self.scopes = [Scope("entry", False, homes=[0])]
        self.levels: dict[str, int] = {}
        self._count = 0

    @property
    def level(self) -> int:
        """The number of the innermost scope."""
        return len(self.scopes) - 1

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def fresh(self, prefix: str) -> str:
        """A name not used before."""
        self._count += 1
        return f"{prefix}{self._count}"

    def define(self, prefix: str = "%v") -> str:
        """The name of a value of the innermost scope, which the caller prints."""
        name = self.fresh(prefix)
        self.levels[name] = self.level
        return name

    def level_of(self, text: str) -> int:
        """The innermost level among the names in a text."""
        levels = self.levels
        return max([levels[name] for name in _NAMES.findall(text)], default=0)

    def do(self, instruction: str, inside: int = 0, note: str = "") -> str:
        """The name of what an instruction without effects gives; printed only if it is not known yet.

        It is not moved out of scope number `inside`; equal instructions with another `note` differ.
        """
        key = instruction + note
        level = max(inside, self.level_of(instruction))
        for scope in self.scopes[level:]:
            if key in scope.names:
                return scope.names[key]
        home = self.scope.homes[level]
        name = self.fresh("%v")
        self.levels[name] = home
        self.scopes[home].names[key] = name
        self.scopes[home].lines.append(f"  {name} = {instruction}")
        return name

    def put(self, line: str) -> None:
        """Print an instruction with effects at the end of the innermost scope."""
        self.scope.lines.append(f"  {line}")

    def start(self, label: str) -> None:
        """Begin a new basic block in the innermost scope; the caller has printed the jump."""
        self.scope.lines.append(f"{label}:")
        self.scope.label = label

    def open(self, label: str, loop: bool = False) -> None:
        """Begin a scope. What depends on nothing made in a loop's scope is moved before the loop."""
        inner = len(self.scopes)
        outer = [home if home < inner - 1 or loop else inner for home in self.scope.homes]
        self.scopes.append(Scope(label, loop, homes=[*outer, inner]))

    def close(self) -> Scope:
        """End the innermost scope, whose lines the caller puts into the one around it."""
        return self.scopes.pop()

    def surface(self, name: str) -> None:
        """Let a value of a scope that has ended, and that ran for certain, be used from now on."""
        if name in self.levels:
            self.levels[name] = min(self.levels[name], self.level)
