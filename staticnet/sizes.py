"""Sizes of memory as users write them: a number of bytes, or text such as "64MB"."""

from __future__ import annotations

import re
from typing import Any

from staticnet.compiler.errors import ArgumentError

_UNITS = {"": 1, "B": 1} | {
    prefix + ending: base**power
    for power, prefix in enumerate("KMGT", 1)
    for ending, base in (("", 1000), ("B", 1000), ("IB", 1024))
}


def as_bytes(name: str, value: Any) -> int:
    """Bytes meant by a whole number or by text with a unit: kB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024.

    Raises ArgumentError, naming the argument, for anything else and for less than one byte.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value)
        unit = _UNITS.get(match[2].upper()) if match else None
        count = int(float(match[1]) * unit) if match and unit else 0
    else:
        count = int(value) if hasattr(value, "__index__") and not isinstance(value, bool) else 0
    if count < 1:
        raise ArgumentError(f'{name} is a number of bytes or text such as "64MB" or "1.5GiB", not {value!r}')
    return count
