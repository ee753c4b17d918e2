"""State dicts as compressed NumPy `.npz` archives, a convenience beside safetensors."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from typing import IO

import numpy as np

from staticnet.compiler.errors import StateError
from staticnet.foreign import describe, read_json

_METADATA = "__metadata__"
# Deflate cannot shrink anything further than this.
_DEFLATE_RATIO = 1032
_LONGEST_HEADER = 10_000
_CHUNK = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def dumps(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of an archive that `numpy.load` reads; equal states give equal bytes."""
    everything = dict(arrays)
    if metadata:
        everything[_METADATA] = np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in everything.items():
            if array.dtype.name == "bfloat16":
                raise StateError(f"{name!r} has dtype bfloat16, which an .npz file cannot hold; use .safetensors")
            if "\0" in name:
                raise StateError(f"{name!r} cannot name an array of an .npz file; use .safetensors")
            # The date is fixed, else the bytes would tell when they were written.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def load(file: IO[bytes], size: int) -> dict[str, np.ndarray]:
    """All arrays of an archive of `size` bytes; StateError for anything else."""
    arrays = _read(file, size)
    arrays.pop(_METADATA, None)
    return arrays


def load_metadata(file: IO[bytes], size: int) -> dict[str, str]:
    """The metadata that `dumps` has put into an archive; empty for an archive from elsewhere."""
    array = _read(file, size, only=_METADATA).get(_METADATA)
    if array is None:
        return {}
    metadata = read_json(array.tobytes(), "its metadata")
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise StateError("its metadata do not map strings to strings")
    return metadata


def _read(file: IO[bytes], size: int, only: str | None = None) -> dict[str, np.ndarray]:
    if file.read(2) != b"PK":
        raise StateError(describe(file, size, "an .npz file"))
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, size)
            names = [name for name in members if only is None or name == only]
            return {name: _array(archive, name, members[name]) for name in names}
    except (StateError, OSError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and numpy raise nearly anything on damaged input
        raise StateError(f"it is no valid .npz file: {str(error) or type(error).__name__}") from error


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by array name, after all that can be judged without unpacking."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise StateError(f"this is a zip archive with a member {name!r}; an .npz file has only .npy members")
        if name in members:
            raise StateError(f"{name!r} occurs twice")
        if member.flag_bits & 1 or member.compress_type not in _METHODS:
            raise StateError(f"{name!r} is encrypted or compressed by a method that .npz files do not use")
        if member.file_size > member.compress_size * _DEFLATE_RATIO:
            raise StateError(f"{name!r} claims {member.file_size} bytes out of {member.compress_size} compressed ones")
        members[name] = member
    if sum(member.compress_size for member in members.values()) > size:
        raise StateError("its members overlap")
    return members


def _array(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        shape, fortran, dtype = _array_header(file, name)
        if dtype.kind not in "biufc" or dtype.hasobject:
            raise StateError(f"{name!r} has dtype {dtype}; only numbers are read, never pickled objects")
        expected = file.tell() + math.prod(shape) * dtype.itemsize
        if expected != member.file_size:
            raise StateError(f"{name!r} has {member.file_size} bytes; {dtype} of shape {shape} takes {expected}")
        # Fortran order is the C order of the transpose.
        array = np.empty(shape[::-1] if fortran else shape, dtype)
        view = array.reshape(-1).view(np.uint8)
        done = 0
        while done < view.size:
            chunk = file.read(min(_CHUNK, view.size - done))
            if not chunk:
                raise StateError(f"it ends inside {name!r}")
            view[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
            done += len(chunk)
        # Reading up to the end is what checks the checksum.
        file.read(1)
    if dtype == np.bool_ and view.size and view.max() > 1:
        raise StateError(f"{name!r} is boolean and holds the byte {view.max()}; only 0 and 1 are booleans")
    return np.asarray(array.T if fortran else array, dtype=dtype.newbyteorder("="), order="C")


def _array_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file, max_header_size=_LONGEST_HEADER)
    else:
        raise StateError(f"{name!r} is in version {version[0]}.{version[1]} of the .npy format, unknown to us")
    if any(length < 0 for length in header[0]):
        raise StateError(f"{name!r} has the shape {header[0]}")
    return header
