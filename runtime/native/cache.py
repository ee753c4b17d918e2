"""Files of compiled objects, and of the programs that call them, so that a second start compiles nothing.

One file for each, named by a digest of all that it depends on. A file carries a checksum; what does not fit it is
removed and made again. This is code that we run, and what we unpickle: a folder or a file that is not our own, or
that others may write to, is never read.

`STATICNET_CACHE=0` turns it off. `STATICNET_CACHE_DIR` names the folder (else the user's cache folder),
`STATICNET_CACHE_SIZE` the most it holds, in bytes or with K, M, G (512M when not given); what was not used
for longest goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.errors import ArgumentError

#: goes up when objects are made in another way, or files are laid out in another
FORMAT = 1

_MAGIC = b"SNOBJECT"
_SUM_BYTES = 32
_HEADER_BYTES = len(_MAGIC) + 8 + _SUM_BYTES
_SUFFIX = ".o"
_DEFAULT_SIZE = 512 << 20
#: seconds after which another process's unfinished file is taken for abandoned
_ABANDONED = 3600

_HAS_DIR_FD = os.open in os.supports_dir_fd and os.scandir in os.supports_fd


def digest(text: str, machine: Machine) -> str:
    """What an object is filed under: a digest of its LLVM IR, the processor, our format and all versions."""
    import llvmlite
    import llvmlite.binding as llvm

    versions = (str(FORMAT), llvmlite.__version__, ".".join(map(str, llvm.llvm_version_info)))
    parts = (*versions, machine.name, machine.features, machine.triple, text)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=20).hexdigest()


def configured() -> Cache | None:
    """The cache that the environment asks for, None when it is off.

    Raises ArgumentError for a STATICNET_CACHE_SIZE that is no size.
    """
    if os.environ.get("STATICNET_CACHE", "1") == "0":
        return None
    limit = _size(os.environ.get("STATICNET_CACHE_SIZE", "").strip())
    folder = _root()
    return Cache(folder / "native", limit) if folder and limit else None


class Cache:
    """A folder of objects that holds at most `limit` bytes. Several processes may use it at once.

    Nothing here raises: what cannot be read or written is as if it were not there, said once in a warning.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit

    def read(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The objects that are there, and sound, by digest."""
        found = {}
        with self._entered(create=False) as folder:
            if folder is None:
                return {}
            for name in digests:
                if (data := folder.read(name + _SUFFIX)) is None:
                    continue
                if (payload := _unpacked(name, data)) is None:
                    folder.remove(name + _SUFFIX)
                else:
                    found[name] = payload
        return found

    def contents(self) -> tuple[int, int]:
        """How many files there are, and their bytes."""
        with self._entered(create=False) as folder:
            sizes = [size for _, size, _ in folder.files()] if folder else []
        return len(sizes), sum(sizes)

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Keep objects by digest; then, if the folder has grown too big, drop those not used for longest."""
        if self.folder in _unwritable:
            return
        with self._entered(create=True) as folder:
            if folder is None:
                return
            try:
                for name, payload in objects.items():
                    folder.write(name + _SUFFIX, _packed(name, payload))
                folder.shrink(self.limit)
            except OSError as error:
                _unwritable.add(self.folder)
                _warn(f"compiled code is not kept: cannot write into {self.folder} ({error.strerror})")

    @contextlib.contextmanager
    def _entered(self, *, create: bool) -> Iterator[_Folder | None]:
        """The open folder; None when it is not there or must not be trusted."""
        try:
            folder = _Folder(self.folder, create)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            _unwritable.add(self.folder)
            _warn(f"compiled code is not kept: cannot use the folder {self.folder} ({error.strerror})")
            yield None
            return
        try:
            fault = folder.fault()
            if fault is not None:
                _unwritable.add(self.folder)
                _warn(
                    f"compiled code is neither read from {self.folder} nor kept there: the folder {fault}; "
                    f"take `chmod 700` and own it, or set STATICNET_CACHE_DIR to another or STATICNET_CACHE=0"
                )
            yield None if fault else folder
        finally:
            folder.close()


class _Folder:
    """An open folder: what was checked is what is used, whatever its path leads to later."""

    def __init__(self, path: Path, create: bool):
        self.path = path
        if create and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        self.fd: int | None = os.open(path, os.O_RDONLY | os.O_DIRECTORY) if _HAS_DIR_FD else None
        if self.fd is None and not path.is_dir():
            raise FileNotFoundError(path)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)

    def fault(self) -> str | None:
        return None if self.fd is None else _fault(os.fstat(self.fd))

    def read(self, name: str) -> bytes | None:
        """The bytes of a file of our own, which then counts as just used."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            with open(self._open(name, flags), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return None
                if fault := _fault(status):
                    _warn(f"compiled code in {self.path / name} is not used but made again: the file {fault}")
                    return None
                data = file.read()
                with contextlib.suppress(OSError):
                    os.utime(file.fileno() if os.utime in os.supports_fd else self.path / name)
                return data
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole: nobody ever sees a part of it."""
        unfinished = f".{os.getpid():x}-{time.time_ns():x}-{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            with open(self._open(unfinished, flags), "wb") as file:
                file.write(data)
            if self.fd is None:
                os.replace(self.path / unfinished, self.path / name)
            else:
                os.replace(unfinished, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            self.remove(unfinished)
            raise

    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path / name) if self.fd is None else os.unlink(name, dir_fd=self.fd)

    def files(self) -> list[tuple[int, int, str]]:
        """When each file was used last, in nanoseconds, its bytes and its name."""
        found = []
        with os.scandir(self.path if self.fd is None else self.fd) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, entry.name))
        return found

    def shrink(self, limit: int) -> None:
        """Remove abandoned files, and when there are more than `limit` bytes the oldest, until a fifth is free."""
        files = self.files()
        total = 0
        for modified, size, name in files:
            if name.startswith(".") and time.time() - modified / 1e9 > _ABANDONED:
                self.remove(name)
            total += size
        if total <= limit:
            return
        for _, size, name in sorted(file for file in files if not file[2].startswith(".")):
            if total <= limit * 4 // 5:
                return
            self.remove(name)
            total -= size

    def _open(self, name: str, flags: int) -> int:
        if self.fd is None:
            return os.open(self.path / name, flags, 0o600)
        return os.open(name, flags, 0o600, dir_fd=self.fd)


def _packed(name: str, payload: bytes) -> bytes:
    return _MAGIC + len(payload).to_bytes(8, "little") + _sum(name, payload) + payload


def _unpacked(name: str, data: bytes) -> bytes | None:
    """The object in a file, None when the file is damaged or another's."""
    payload = data[_HEADER_BYTES:]
    return payload if data == _packed(name, payload) else None


def _sum(name: str, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_SUM_BYTES, key=name.encode()).digest()


def _fault(status: os.stat_result) -> str | None:
    """Why something must not be trusted, None when it may be."""
    if not hasattr(os, "geteuid"):
        return None
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not to {os.geteuid()}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written to by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None


def _root() -> Path | None:
    """Our part of the user's cache folder, None when there is no home."""
    if chosen := os.environ.get("STATICNET_CACHE_DIR"):
        return Path(chosen).expanduser()
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "staticnet" / "Cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "staticnet"
        # The standard tells to ignore a relative one.
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (given if given.is_absolute() else Path.home() / ".cache") / "staticnet"
    except RuntimeError:
        return None


def _size(text: str) -> int:
    if not text:
        return _DEFAULT_SIZE
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None:
        raise ArgumentError(f"STATICNET_CACHE_SIZE = {text!r}: it takes bytes, such as 1000000, or 100K, 512M, 2G")
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


_unwritable: set[Path] = set()
_has_warned = False


def _warn(message: str) -> None:
    """Say what is wrong with the cache, the first time only."""
    global _has_warned
    if not _has_warned:
        _has_warned = True
        warnings.warn(message, RuntimeWarning, stacklevel=2)
