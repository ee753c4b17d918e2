"""Names in C for what a program calls by dotted paths: valid, telling, and each only once."""

from __future__ import annotations

import re
import unicodedata

#: words of C and C++, types that headers name, and what headers of the C library, or compilers, define as macros
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
        int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t
        """,
    )
)
#: names that are taken, in the C library or POSIX, once `_t` stands behind them
_TYPES = frozenset(
    re.findall(
        r"\w+",
        """
        blkcnt blksize char16 char32 clock clockid dev div fpos fsblkcnt fsfilcnt gid id imaxdiv ino int16 int32 int64
        int8 intmax intptr key ldiv lldiv max_align mbstate mode nlink nullptr off pid ptrdiff rsize size ssize
        suseconds time timer uid uint16 uint32 uint64 uint8 uintmax uintptr wchar wctrans wctype wint
        """,
    )
)


def identifier(text: str) -> str:
    """`features.0.weight` as `features_0_weight`: letters, digits and single underscores, a letter first."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_") or "value"
    name = f"n{name}" if name[0].isdigit() else name
    return f"{name}_" if name.lower() in _TAKEN else name


def prefix(text: str) -> str:
    """An identifier that the names of a program's type, functions and macros can begin with."""
    name = identifier(text)
    return f"{name.rstrip('_')}_model" if name.endswith("_") or name.lower() in _TYPES else name


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
