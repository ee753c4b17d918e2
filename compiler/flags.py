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
    """STATICNET_DUMP=folder: write the text of every stage there."""
    return os.environ.get("STATICNET_DUMP") or None


def debug_level() -> int:
    """STATICNET_DEBUG: 1 says what is compiled and how long it took, 2 prints programs, 3 each pass's graph, 4 loops."""
    text = os.environ.get("STATICNET_DEBUG", "0")
    return int(text) if text.isdigit() else 0
