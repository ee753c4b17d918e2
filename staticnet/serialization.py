"""State dicts on disk: safetensors files, written whole or not at all and read with suspicion."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from staticnet import npz
from staticnet.boundary import boundary
from staticnet.compiler.errors import StateError
from staticnet.files import atomic_write
from staticnet.foreign import describe, read_json

Path = str | os.PathLike[str]

_DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "BF16": "bfloat16",
}
# The safetensors library's own limit.
_LONGEST_HEADER = 100_000_000
_LARGEST = 2**63 - 1
_DEEPEST = 64


@boundary
def save(state: Mapping[str, Any], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays to a safetensors file, or to a compressed `.npz` if `path` ends so.

    Values are NumPy arrays of any shape, strides and byte order, or have a `.numpy()` method; they
    keep shape and dtype (booleans, integers, float16 to float64, bfloat16, complex64). A file that
    stands at `path` is replaced in one stroke once everything is written; if anything fails or
    interrupts, it is left as it was. Equal states give equal bytes. Raises StateError for names,
    values or metadata that cannot be written and for a disk that fails, ArgumentError for a path
    where no file can be.
    """
    arrays = {name: _array(name, value) for name, value in _items(state)}
    texts = _texts(metadata)
    data = npz.dumps(arrays, texts) if _is_npz(path) else _dumps(arrays, texts)
    try:
        atomic_write(path, data)
    except OSError as error:
        raise StateError(f"cannot write {os.fspath(path)}: {_reason(error)}") from error


@boundary
def load(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file written by `save`, or of any safetensors or `.npz` file.

    The arrays are new, contiguous and writable. Nothing in the file is executed, and nothing is
    allocated that the file's own size does not warrant. Raises StateError, with the path and what
    is wrong, for a missing, truncated, damaged or foreign file.
    """
    return _read(path, _load, npz.load)


@boundary
def load_metadata(path: Path) -> dict[str, str]:
    """Read only the metadata of a file written by `save`; raises StateError as `load` does."""
    return _read(path, lambda file, size: _header(file, size)[1], npz.load_metadata)


def _is_npz(path: Path) -> bool:
    return os.fspath(path).lower().endswith(".npz")


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


# ---- writing


def _items(state: object) -> list[tuple[str, Any]]:
    if not isinstance(state, Mapping):
        hint = "; pass its state_dict()" if hasattr(state, "state_dict") else ""
        raise StateError(f"save takes a mapping of names to arrays, not a {type(state).__name__}{hint}")
    for name in state:
        if not isinstance(name, str):
            raise StateError(f"names of arrays are strings, not {name!r}")
        if name == "__metadata__":
            raise StateError("'__metadata__' is the file's own entry and cannot name an array")
        _check_text(name)
    return list(state.items())


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StateError(f"{text!r} is no valid Unicode") from None


def _array(name: str, value: Any) -> np.ndarray:
    """`value` as a C-contiguous little-endian array: the library writes the memory as it lies."""
    if not isinstance(value, (np.ndarray, np.generic)):
        if not callable(getattr(value, "numpy", None)):
            raise StateError(f"{name!r} is a {type(value).__name__}, not an array; the mapping must be flat")
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.name not in _DTYPES.values():
        raise StateError(f"{name!r} has dtype {array.dtype}; a file holds {', '.join(_DTYPES.values())}")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _texts(metadata: Mapping[str, str] | None) -> dict[str, str]:
    texts = dict(metadata or {})
    for key, text in texts.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise StateError(f"metadata maps strings to strings, not {key!r} to {text!r}")
        _check_text(key)
        _check_text(text)
    return texts


def _dumps(arrays: Mapping[str, np.ndarray], texts: dict[str, str]) -> bytes:
    from safetensors.numpy import save as dumps

    data: bytes = dumps(dict(arrays))
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    if texts:
        # The library would write the metadata in an order that changes from call to call.
        entries = {"__metadata__": dict(sorted(texts.items())), **json.loads(header)}
        header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
    if len(header) > _LONGEST_HEADER:
        raise StateError(f"the names and metadata take {len(header)} bytes; a header has at most {_LONGEST_HEADER}")
    return b"".join((len(header).to_bytes(8, "little"), header, memoryview(data)[8 + length :]))


# ---- reading

Reader = Callable[[IO[bytes], int], Any]


def _read(path: Path, read: Reader, read_npz: Reader) -> Any:
    """Open `path` if it is a regular file, and let the reader for its suffix have it."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "device, pipe or socket"
            raise StateError(f"it is a {kind}, not a file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return (read_npz if _is_npz(path) else read)(file, size)
    except StateError as error:
        raise StateError(f"cannot read {os.fspath(path)}: {error.message}", origin=error.origin) from None
    except OSError as error:
        raise StateError(f"cannot read {os.fspath(path)}: {_reason(error)}") from error
    except MemoryError:
        raise StateError(f"cannot read {os.fspath(path)}: there is not enough memory for its arrays") from None


def _load(file: IO[bytes], size: int) -> dict[str, np.ndarray]:
    entries, _, start = _header(file, size)
    arrays = {}
    for name, (dtype, shape, begin, _) in entries.items():
        file.seek(start + begin)
        arrays[name] = _values(file, name, dtype, shape)
    return arrays


def _values(file: IO[bytes], name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(shape, dtype)
    view = array.reshape(-1).view(np.uint8)
    if file.readinto(view) != array.nbytes:  # type: ignore[attr-defined]
        raise StateError(f"it ends inside {name!r}")
    if dtype == np.bool_ and view.size and view.max() > 1:
        raise StateError(f"{name!r} is boolean and holds the byte {view.max()}; only 0 and 1 are booleans")
    return array if np.little_endian else array.byteswap()


Entry = tuple[np.dtype, tuple[int, ...], int, int]


def _header(file: IO[bytes], size: int) -> tuple[dict[str, Entry], dict[str, str], int]:
    """The entries and the metadata, all checked, and where in the file the data begin."""
    beginning = file.read(9)
    length = int.from_bytes(beginning[:8], "little")
    if beginning[8:] != b"{" or (beginning.isascii() and beginning.decode().isprintable()):
        raise StateError(describe(file, size, "a safetensors file"))
    if not 2 <= length <= _LONGEST_HEADER:
        raise StateError(f"its header claims {length} bytes; at most {_LONGEST_HEADER} are read")
    if 8 + length > size:
        raise StateError(f"it is truncated: its header has {length} bytes, and {size - 8} follow")
    file.seek(8)
    header = read_json(file.read(length), "its header")
    if not isinstance(header, dict):
        raise StateError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise StateError("its metadata do not map strings to strings")
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    _check_cover(entries, size - 8 - length)
    return entries, metadata, 8 + length


def _entry(name: str, entry: object) -> Entry:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise StateError(f"its entry {name!r} should have exactly dtype, shape and data_offsets")
    _check_text(name)
    dtype = _dtype(name, entry["dtype"])
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or len(shape) > _DEEPEST:
        raise StateError(f"the shape of {name!r} is {_short(shape)}; it should be up to {_DEEPEST} sizes")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise StateError(f"the data_offsets of {name!r} are {_short(offsets)}; they should be a begin and an end")
    begin, end = offsets
    # NumPy's own limit holds for the product without the zeros.
    if math.prod(filter(None, shape)) * dtype.itemsize > _LARGEST:
        raise StateError(f"the shape of {name!r} is {_short(shape)}, more than can be addressed")
    expected = math.prod(shape) * dtype.itemsize
    if end - begin != expected:
        raise StateError(
            f"{name!r} takes the bytes {begin} to {end}, but {dtype} of shape {_short(shape)} has {expected} bytes"
        )
    return dtype, tuple(shape), begin, end


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= _LARGEST for value in values)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _dtype(name: str, code: object) -> np.dtype:
    known = _DTYPES.get(code) if isinstance(code, str) else None
    if known is None:
        raise StateError(f"{name!r} has the dtype {_short(code)}; we read {', '.join(_DTYPES)}")
    if known != "bfloat16":
        return np.dtype(known)
    try:
        import ml_dtypes
    except ImportError:
        raise StateError(f"{name!r} has the dtype BF16; reading it needs the package ml_dtypes") from None
    return np.dtype(ml_dtypes.bfloat16)


def _check_cover(entries: Mapping[str, Entry], size: int) -> None:
    """The arrays must lie one behind the other and fill the data: no overlap, no gap, no rest."""
    position, before = 0, "the header"
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if end > size:
            raise StateError(f"it is truncated: {name!r} ends at byte {end} of the data, which have {size}")
        if begin < position:
            raise StateError(f"{name!r} begins at byte {begin} of the data, inside {before!r}")
        if begin > position:
            raise StateError(f"{begin - position} unused bytes lie before {name!r}")
        position, before = end, name
    if position != size:
        raise StateError(f"{size - position} bytes follow the last array")
