"""The processor we run on, as LLVM names it, and whether native execution works here.

`STATICNET_CPU` restricts what is generated, so that code for lesser processors can be tried on a greater one:
'native' (the default), 'generic' (the least of the architecture; on x86-64 also 'sse2', on ARM also 'neon'),
'avx2', 'avx512'. `STATICNET_NATIVE=0` turns native execution off.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.errors import ArgumentError, StaticnetError

_AVX512 = ("avx512f", "avx512dq", "avx512bw", "avx512vl")
_AVX2 = ("avx2", "fma")

#: what STATICNET_CPU may name, by architecture: LLVM's processor and the features it must find here
_LEVELS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "x86_64": {
        "generic": ("x86-64", ()),
        "sse2": ("x86-64", ()),
        "avx2": ("x86-64-v3", (*_AVX2, "f16c", "bmi", "bmi2", "lzcnt", "movbe")),
        "avx512": ("x86-64-v4", (*_AVX2, *_AVX512, "avx512cd")),
    },
    "aarch64": {"generic": ("generic", ()), "neon": ("generic", ())},
}

_L1_BYTES, _L2_BYTES, _LAST_LEVEL_BYTES = 32 << 10, 1 << 20, 32 << 20


def available() -> bool:
    """Whether programs can run as native code: llvmlite is there, may compile here, and is not turned off."""
    return hindrance() is None


def hindrance() -> str | None:
    """Why programs cannot run as native code, None when they can; ArgumentError for settings that are none."""
    return "STATICNET_NATIVE=0 turns it off" if os.environ.get("STATICNET_NATIVE", "1") == "0" else _hindrance()


def machine() -> Machine:
    """This processor, restricted by STATICNET_CPU.

    Raises ArgumentError when that names none, or one that can do more than this one.
    """
    return _machine(os.environ.get("STATICNET_CPU", "").strip().lower() or "native")


def usable_cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def architecture() -> str:
    """'x86_64', 'aarch64', or the name of another one."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


@functools.cache
def _hindrance() -> str | None:
    if architecture() not in _LEVELS:
        return f"no code is generated for processors of the architecture {architecture()}"
    try:
        import llvmlite.binding as llvm

        from staticnet.runtime.native import driver

        llvm.check_jit_execution()
        is_sound = driver.Job(driver.table([]), 0, 0).run() == -1
    except ImportError as error:
        return f"llvmlite cannot be imported ({error})"
    except ArgumentError:
        raise
    except (OSError, AttributeError, StaticnetError) as error:
        return f"code cannot be compiled and run here ({getattr(error, 'message', error)})"
    return None if is_sound else "the native driver does not work here"


@functools.cache
def _machine(level: str) -> Machine:
    import llvmlite.binding as llvm

    present = frozenset(name for name, is_on in llvm.get_host_cpu_features().items() if is_on)
    if level == "native":
        name, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        return describe(name, features, llvm.get_process_triple(), present)
    _, needed = _level(level, "STATICNET_CPU")
    if missing := sorted(set(needed) - present):
        raise ArgumentError(f"STATICNET_CPU = {level!r}: this processor lacks {', '.join(missing)}; name a lesser one")
    return machine_of(level, "STATICNET_CPU")


def machine_of(level: str, setting: str) -> Machine:
    """A processor of one of the levels, whether or not this one can do as much; its system and caches are those here.

    Raises ArgumentError, which names the `setting`, for what is no level.
    """
    import llvmlite.binding as llvm

    name, needed = _level(level, setting)
    return describe(name, "", llvm.get_process_triple(), frozenset(needed))


def _level(level: str, setting: str) -> tuple[str, tuple[str, ...]]:
    levels = _LEVELS.get(architecture(), {"generic": ("generic", ())})
    if level not in levels:
        known = ", ".join(("native", *levels))
        raise ArgumentError(f"{setting} = {level!r}: on {architecture()} it takes {known}")
    return levels[level]


def describe(name: str, features: str, triple: str, present: frozenset[str]) -> Machine:
    """The Machine of a processor that has the features `present`; the caches are those of this one."""
    l1_bytes, l2_bytes = cache_sizes()
    vector_bytes, registers, has_fma = _vectors(triple.partition("-")[0], present)
    return Machine(name, features, triple, vector_bytes, registers, l1_bytes, l2_bytes, has_fma)


def _vectors(processor: str, present: frozenset[str]) -> tuple[int, int, bool]:
    """Bytes of a vector register, how many there are, and whether multiply-add is one instruction."""
    if processor in {"aarch64", "arm64"}:
        return 16, 32, True
    if present.issuperset((*_AVX2, *_AVX512)):
        return 64, 32, True
    if present.issuperset(_AVX2):
        return 32, 16, True
    return 16, 16, False


_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS: Mapping[str, int] = {"K": 10, "M": 20, "G": 30}


def last_level_bytes() -> int:
    """Bytes of the largest cache, as Linux tells; a usual size where it does not."""
    return max(_data_caches(_CACHES).values(), default=0) or _LAST_LEVEL_BYTES


def cache_sizes(folder: Path = _CACHES) -> tuple[int, int]:
    """Bytes of the first-level data cache and of the second level, as Linux tells; usual ones where it does not."""
    found = _data_caches(folder)
    return found.get("1", _L1_BYTES), found.get("2", _L2_BYTES)


def _data_caches(folder: Path) -> dict[str, int]:
    """Bytes of the caches of data by level; none where they cannot be read."""
    sizes = {}
    try:
        for index in folder.glob("index*"):
            level, kind, size = ((index / part).read_text().strip() for part in ("level", "type", "size"))
            if kind in {"Data", "Unified"}:
                sizes[level] = int(size.rstrip("KMG")) << _UNITS.get(size[-1:], 0)
    except (OSError, ValueError):
        return {}
    return sizes
