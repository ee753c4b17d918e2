"""Names in C for what a program calls by dotted paths: valid, telling, and each only once."""

from __future__ import annotations

import re
import unicodedata

#: words of C and C++, and names that headers of the C library, or compilers, define as macros
_TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
        alignas alignof and and_eq asm assert atomic auto bitand bitor bool break case catch char class compl complex
        concept const consteval constexpr constinit continue decltype default delete do double else enum explicit
        export extern false final float for friend goto if imaginary import inline int long module mutable namespace
        new noexcept noreturn not not_eq nullptr operator or or_eq override private protected public register
        reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch
        template this thread_local throw true try typedef typeid typename typeof union unsigned using virtual void
        volatile wchar_t while xor xor_eq eof errno i linux far near null stderr stdin stdout unix
        """,
    )
)


def identifier(text: str) -> str:
    """`features.0.weight` as `features_0_weight`: letters, digits and single underscores, a letter first."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_") or "value"
    name = f"n{name}" if name[0].isdigit() else name
    return f"{name}_" if name.lower() in _TAKEN else name


class Names:
    """Hands out identifiers no two of which are alike, upper and lower case apart or not: macros are made of them."""

    def __init__(self, *taken: str):
        self._taken = {name.lower() for name in taken}

    def new(self, text: str) -> str:
        """An identifier for a name, numbered from 2 on where it is taken."""
        base = name = identifier(text)
        number = 2
        while name.lower() in self._taken:
            name = f"{base.rstrip('_')}_{number}"
            number += 1
        self._taken.add(name.lower())
        return name
