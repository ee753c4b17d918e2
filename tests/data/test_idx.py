"""IDX files: every type there and back, and every way of being malformed."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, DataError
from staticnet.data import read_idx, write_idx


def header(code, *sizes):
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.fixture
def idx(tmp_path):
    """A function that writes bytes into a file, and gives its path."""

    def write(content, name="data.idx"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 28, 28)])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_there_and_back(tmp_path, dtype, shape, compress):
    array = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    write_idx(tmp_path / "data", array, compress=compress)
    got = read_idx(tmp_path / "data")
    assert got.dtype == array.dtype and got.dtype.isnative and got.flags.c_contiguous and got.flags.writeable
    assert got.shape == shape and np.array_equal(got, array)


def test_bytes_by_hand(idx):
    assert read_idx(idx(header(0x0B, 2, 1) + b"\x01\x02\xff\xfe")).tolist() == [[258], [-2]]
    assert read_idx(idx(header(0x0D, 1) + b"\x3f\x80\x00\x00")).tolist() == [1.0]


def test_written_bytes_by_hand(tmp_path):
    write_idx(tmp_path / "data", np.array([[258], [-2]], ">i2"))
    assert (tmp_path / "data").read_bytes() == header(0x0B, 2, 1) + b"\x01\x02\xff\xfe"
    write_idx(tmp_path / "data", np.asfortranarray([[1, 2], [3, 4]], np.uint8))
    assert (tmp_path / "data").read_bytes() == header(0x08, 2, 2) + b"\x01\x02\x03\x04"
    write_idx(tmp_path / "one", np.arange(9.0), compress=True)
    write_idx(tmp_path / "two", np.arange(9.0), compress=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_compression_is_told_by_content_not_by_name(idx):
    content = header(0x08, 3) + b"abc"
    assert read_idx(idx(gzip.compress(content), "plain-name")).tobytes() == b"abc"
    assert read_idx(idx(content, "name.gz")).tobytes() == b"abc"


def test_several_gzip_members_are_one_stream(idx):
    content = header(0x08, 6) + b"abcdef"
    assert read_idx(idx(gzip.compress(content[:9]) + gzip.compress(content[9:]))).tobytes() == b"abcdef"


BAD = {
    "empty file": (b"", "begins with nothing"),
    "half a magic number": (b"\0\0\x08", "begins with 00 00 08"),
    "another format": (b"\x89PNG\r\n", "begins with 89 50 4e 47"),
    "unknown type": (header(0x0A, 1) + b"a", "begins with 00 00 0a 01"),
    "no axes": (header(0x08) + b"a", "claims 0 axes"),
    "too many axes": (header(0x08, *[1] * 65) + b"a", "claims 65 axes"),
    "header cut short": (header(0x08, 3, 2)[:-2], "cut short: its header ends before the sizes of its 2 axes"),
    "elements cut short": (header(0x08, 2, 3) + b"abcde", r"the shape \(2, 3\) of uint8, 18 bytes in all"),
    "one byte too many": (header(0x08, 2, 3) + b"abcdefg", r"the shape \(2, 3\) of uint8, 18 bytes in all"),
    "product overflow": (header(0x0E, *[2**32 - 1] * 3), r"more than max_bytes=2147483648"),
    "an empty array of impossible sizes": (header(0x0E, 0, *[2**32 - 1] * 3), "more than max_bytes"),
    "more than the file": (header(0x08, 2**30), "1073741832 bytes in all"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_malformed_plain_files(idx, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_idx(idx(content))
    assert "data.idx" in str(caught.value) and caught.value.origin.file == __file__


BAD_INSIDE = {
    **{name: BAD[name] for name in ("half a magic number", "unknown type", "no axes", "header cut short")},
    **{name: BAD[name] for name in ("product overflow", "more than the file")},
    "elements cut short": (header(0x08, 2, 3) + b"abcde", "6 bytes of elements are promised, 5 are there"),
    "one byte too many": (header(0x08, 2, 3) + b"abcdefg", "goes on after the 6 bytes of elements"),
}


@pytest.mark.parametrize(("content", "message"), BAD_INSIDE.values(), ids=BAD_INSIDE)
def test_malformed_compressed_files(idx, content, message):
    with pytest.raises(DataError, match=message):
        read_idx(idx(gzip.compress(content)))


def test_damaged_gzip(idx):
    whole = gzip.compress(header(0x08, 100) + bytes(range(100)))
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # in the checksum
    for content in (
        whole[:-20],
        whole[:-3],
        whole[:12],
        whole + b"trailing",
        bytes(flipped),
        whole[:10] + b"\xff" * 50,
    ):
        with pytest.raises(DataError, match="is a damaged gzip file"):
            read_idx(idx(content))


def test_a_gzip_bomb_is_not_inflated(idx):
    bomb = gzip.compress(header(0x08, 10) + bytes(200_000_000))
    path = idx(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="goes on after the 10 bytes"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_promise_that_no_gzip_file_of_the_size_can_keep(idx):
    path = idx(gzip.compress(header(0x08, 2**30)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="can hold no more than"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_the_best_compression_that_exists_is_accepted(idx):
    zeros = np.zeros(20_000_000, np.uint8)
    assert read_idx(idx(gzip.compress(header(0x08, len(zeros)) + zeros.tobytes(), 9))).shape == zeros.shape


def test_max_bytes(tmp_path):
    write_idx(tmp_path / "data", np.zeros((10, 10), np.float64))
    assert read_idx(tmp_path / "data", max_bytes=800).shape == (10, 10)
    with pytest.raises(DataError, match=r"\(10, 10\) of float64, more than max_bytes=799; raise max_bytes"):
        read_idx(tmp_path / "data", max_bytes=799)


def test_no_file_and_a_folder(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(DataError, match=f"there is no file '{path}'"):
            read_idx(path)


def test_what_idx_cannot_hold(tmp_path):
    with pytest.raises(ArgumentError, match="IDX has no int64 elements; convert the array to one of uint8"):
        write_idx(tmp_path / "data", np.arange(3))
    with pytest.raises(ArgumentError, match="at least one axis"):
        write_idx(tmp_path / "data", np.array(3.0))
