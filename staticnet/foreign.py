"""Files from elsewhere: what they look like, and JSON that nobody vouches for."""

from __future__ import annotations

import json
import zipfile
from typing import IO, Any

from staticnet.compiler.errors import StateError

_LOOKS = (
    (b"\x93NUMPY", "a NumPy .npy file, one array without a name; read it with numpy.load"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip-compressed file; unpack it first"),
    (b"\x89PNG", "a PNG image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"\x08", "something like an ONNX model"),
)
_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def describe(file: IO[bytes], size: int, wanted: str) -> str:
    """A sentence on what a file that is not `wanted` seems to be, judged by its first bytes."""
    file.seek(0)
    beginning = file.read(512)
    if not beginning:
        return f"this is an empty file, not {wanted}"
    return f"this is {_look(file, beginning)}, not {wanted} ({size} bytes)"


def _look(file: IO[bytes], beginning: bytes) -> str:
    if beginning[8:9] == b"{" and not any(beginning[5:8]):
        return "a safetensors file"
    if beginning.startswith(b"PK"):
        return _look_inside(file)
    if beginning.startswith(_PICKLE):
        return "a pickle, which runs code when it is read"
    for start, look in _LOOKS:
        if beginning.startswith(start):
            return look
    text = beginning.decode("utf-8", errors="replace").rstrip("\ufffd")
    if not all(character.isprintable() or character in "\r\n\t\f" for character in text):
        return "damaged or of an unknown kind"
    if text.lstrip().lower().startswith(("<!doctype", "<html")):
        return "a web page"
    return f"a text file that begins {text.strip().splitlines()[0][:40]!r}" if text.strip() else "blank text"


def _look_inside(file: IO[bytes]) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:
        return "a damaged zip archive"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint, a pickle in a zip archive; save it with safetensors there"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy .npz file; its name must end in .npz"
    return "a zip archive"


def read_json(data: bytes, what: str) -> Any:
    """Parse UTF-8 JSON; StateError, naming `what`, for anything malformed, too deep or ambiguous."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise StateError(f"{what} is nested too deeply") from None
    except ValueError as error:
        reason = error.message if isinstance(error, StateError) else error
        raise StateError(f"{what} is no valid JSON: {reason}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise StateError(f"{name!r} occurs twice")
        found[name] = value
    return found


def _no_constant(text: str) -> None:
    raise StateError(f"{text} is no JSON number")
