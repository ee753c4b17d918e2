"""Writing a file whole or not at all: whatever interrupts the writer, the old file stays as it was."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from staticnet.compiler.errors import ArgumentError

_LONGEST_STEM = 40  # characters of the temporary's name: file systems stop at 255 bytes


def atomic_write(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Put `content` into the file at `path`, which afterwards holds all of it or is untouched.

    `content` is bytes, text (written as UTF-8), or a function that writes to the binary
    stream it is given. Raises ArgumentError when no file can be written there; what
    `content` raises, or a full disk, comes through unchanged.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        if callable(content):
            content(stream)
        else:
            stream.write(content.encode() if isinstance(content, str) else content)


class atomic_path:
    """Give the body of a `with` a temporary file to write by name; when it ends well, that becomes `path`.

    The temporary lies beside the target, is empty and has its suffix, for writers that read
    the format off the name. It reaches the disk before it takes the target's place in one
    step, with the permission bits of the file it replaces; symbolic links are followed. If
    the body raises, KeyboardInterrupt included, the temporary is removed. Raises
    ArgumentError when no file can be written there.
    """

    # Not a generator under contextlib.contextmanager: errors would name a line of contextlib as the user's.

    def __init__(self, path: str | os.PathLike[str]):
        self._target = target = Path(os.path.realpath(path))
        self._bits = _writable_target_bits(target)
        self._temporary = target.with_name(f".{target.stem[:_LONGEST_STEM]}.{secrets.token_hex(8)}{target.suffix}")

    def __enter__(self) -> Path:
        _create(self._temporary, self._target)
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._temporary.unlink()

    def _publish(self) -> None:
        _reach_disk(self._temporary)
        if self._bits is not None:
            os.chmod(self._temporary, self._bits)
        os.replace(self._temporary, self._target)
        # Some file systems refuse to sync a folder, and Windows to open one; the file is in place by now.
        with contextlib.suppress(OSError):
            _reach_disk(self._target.parent)


def _writable_target_bits(target: Path) -> int | None:
    """The permission bits of the file to be replaced, None when there is none yet."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArgumentError(f"cannot write '{target}': {_obstacle(target, error)}") from error
    if stat.S_ISDIR(mode):
        raise ArgumentError(f"cannot write '{target}': it is a folder; give the name of a file in it")
    if not stat.S_ISREG(mode):
        raise ArgumentError(f"cannot write '{target}': it is a device or a pipe; give the name of an ordinary file")
    if not os.access(target, os.W_OK):
        raise ArgumentError(f"cannot write '{target}': the file is read-only; make it writable or choose another name")
    return stat.S_IMODE(mode)


def _create(temporary: Path, target: Path) -> None:
    # os.open, unlike tempfile, gives a new file the bits that the user's umask asks for.
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise ArgumentError(f"cannot write '{target}': {_obstacle(target, error)}") from error


def _obstacle(target: Path, error: OSError) -> str:
    folder = target.parent
    if folder.is_dir():
        return f"the folder '{folder}' takes no new file ({error.strerror}); choose another or change its permissions"
    nearest = next((parent for parent in (folder, *folder.parents) if os.path.lexists(parent)), folder)
    if os.path.lexists(nearest) and not nearest.is_dir():
        return f"'{nearest}' is a file, not a folder"
    return f"there is no folder '{folder}'; make it first, or choose another name"


def _reach_disk(path: Path) -> None:
    # Windows flushes only descriptors that may write, POSIX opens folders only for reading.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
