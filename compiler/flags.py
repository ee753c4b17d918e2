"""Switches for looking inside, read from the environment at the moment of use."""

from __future__ import annotations

import os


def skipped_passes() -> frozenset[str]:
    """Names in STATICNET_SKIP: passes left out, separated by commas."""
    return frozenset(name.strip() for name in os.environ.get("STATICNET_SKIP", "").split(",") if name.strip())


def verify() -> bool:
    """STATICNET_VERIFY=1: check the graph after each pass, and every memory plan."""
    return os.environ.get("STATICNET_VERIFY", "0") not in {"", "0"}


def dump_folder() -> str | None:
    """STATICNET_DUMP=folder: write the text of every stage there, and the code of every step."""
    return os.environ.get("STATICNET_DUMP") or None


def debug_level() -> int:
    """How much is said on stderr.

    STATICNET_DEBUG: 1 says what is compiled and how long it took, 2 prints programs, 3 each pass's graph,
    4 the code of each step: loops, LLVM IR and assembly.
    """
    text = os.environ.get("STATICNET_DEBUG", "0")
    return int(text) if text.isdigit() else 0


def guard() -> bool:
    """STATICNET_GUARD=1: watch the memory around each array of native programs that are bound from now on."""
    return os.environ.get("STATICNET_GUARD", "0") not in {"", "0"}


def dump(folder: str, name: str, text: str) -> None:
    """Write a text there, under a name made safe; raises ArgumentError where that fails."""
    from staticnet.compiler.errors import ArgumentError

    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    try:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, safe), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ArgumentError(f"STATICNET_DUMP: cannot write into {folder!r} ({error.strerror}); name another") from error
