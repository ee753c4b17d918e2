"""The IDX file format of MNIST, read strictly: a file that is not exactly what its header says is refused.

Format: http://yann.lecun.com/exdb/mnist/ -- two zero bytes, a type code, the number of axes, one
big-endian unsigned 32-bit size per axis, then the big-endian elements in C order.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, DataError
from staticnet.files import atomic_write

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES: dict[np.dtype[Any], int] = {dtype.newbyteorder("="): code for code, dtype in _DTYPES.items()}
_MOST_AXES = 64  # of a NumPy array
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_INFLATION = 1032  # bytes that DEFLATE can make of one


@boundary
def read_idx(path: str | os.PathLike[str], *, max_bytes: int = 2**31) -> np.ndarray:
    """The array in an IDX file, plain or compressed by gzip (told by its content, not its name).

    Gives a new array of the file's shape and dtype (uint8, int8, int16, int32, float32 or
    float64) in native byte order. Never reads or decompresses more than the header promises, nor
    more than `max_bytes` of elements. Raises DataError when the file is missing, no IDX file,
    larger than that, or shorter or longer than its header says.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file '{path}'")
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
            stream.seek(0)
            size = os.fstat(stream.fileno()).st_size
            if not compressed:
                return _read(stream, path, max_bytes, most=size, exact=True)
            with gzip.GzipFile(fileobj=stream) as inflated:
                return _read(cast(BinaryIO, inflated), path, max_bytes, most=size * _MOST_INFLATION, exact=False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"'{path}' is a damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error}") from error


@boundary
def write_idx(path: str | os.PathLike[str], array: np.ndarray, *, compress: bool = False) -> None:
    """Write an array of a dtype that IDX knows, compressed by gzip if asked; equal arrays give equal bytes.

    Raises ArgumentError for another dtype, an array without axes or a path that cannot be written.
    """
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        known = ", ".join(str(dtype) for dtype in _CODES)
        raise ArgumentError(f"IDX has no {array.dtype} elements; convert the array to one of {known}")
    if not 1 <= array.ndim <= _MOST_AXES or max(array.shape) >= 2**32:
        raise ArgumentError(f"IDX needs at least one axis and sizes below 2**32, not the shape {array.shape}")
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(_DTYPES[code]).tobytes()
    atomic_write(path, gzip.compress(content, mtime=0) if compress else content)


def _read(stream: BinaryIO, path: Path, max_bytes: int, *, most: int, exact: bool) -> np.ndarray:
    """Parse `stream`, which holds at most `most` bytes, or just that many if `exact`."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataError(
            f"'{path}' is no IDX file: it begins with {magic.hex(' ') or 'nothing'}, where two zero bytes, "
            "a type code (08, 09, 0b, 0c, 0d or 0e) and the number of axes belong"
        )
    dtype, axes = _DTYPES[magic[2]], magic[3]
    if not 1 <= axes <= _MOST_AXES:
        raise DataError(f"'{path}' is no usable IDX file: it claims {axes} axes, and 1 to {_MOST_AXES} are possible")
    sizes = stream.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise DataError(f"'{path}' is cut short: its header ends before the sizes of its {axes} axes")
    shape = struct.unpack(f">{axes}I", sizes)
    promised = math.prod(shape) * dtype.itemsize
    # A size of 0 beside huge ones makes an empty array that NumPy cannot index either.
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > max_bytes:
        raise DataError(
            f"'{path}' claims the shape {shape} of {dtype.name}, more than max_bytes={max_bytes}; "
            "raise max_bytes if the file is to be trusted"
        )
    total = len(magic) + len(sizes) + promised
    if total > most or (exact and total != most):
        held = f"holds {most}" if exact else f"can hold no more than {most}"
        raise DataError(f"'{path}' claims the shape {shape} of {dtype.name}, {total} bytes in all, but {held}")
    elements = np.empty(promised, np.uint8)
    got = _fill(stream, elements.data)
    if got < promised:
        raise DataError(f"'{path}' is cut short: {promised} bytes of elements are promised, {got} are there")
    # Asking for one byte more also makes gzip compare its checksum.
    if stream.read(1):
        raise DataError(f"'{path}' goes on after the {promised} bytes of elements that its header promises")
    return elements.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _fill(stream: BinaryIO, room: memoryview) -> int:
    filled = 0
    while filled < len(room):
        count = cast(int, stream.readinto(room[filled:]))  # type: ignore[attr-defined]
        if count == 0:
            break
        filled += count
    return filled
