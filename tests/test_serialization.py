"""Weights files: every kind of array comes back, and no damaged or hostile file gets through."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from staticnet import files
from staticnet.compiler.errors import ArgumentError, StateError
from staticnet.serialization import load, load_metadata, save

FORMATS = ("weights.safetensors", "weights.npz", "weights.of.no.known.kind", "weights")
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)


def same(left, right):
    """Equal bits, whatever the memory order; NaN payloads and negative zeros count."""
    assert left.dtype == right.dtype and left.shape == right.shape
    assert np.array_equal(np.atleast_1d(left.copy("C")).view(np.uint8), np.atleast_1d(right.copy("C")).view(np.uint8))


def arrays():
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return {
        "plain": base,
        "transposed": base.T,
        "axes.swapped": base.transpose(1, 0, 2),
        "fortran": np.asfortranarray(base),
        "reversed": base[::-1, :, ::-1],
        "strided": base[:, ::2, 1::2],
        "broadcast": np.broadcast_to(np.float32(3), (4, 5)),
        "read only column": base.reshape(6, 4)[:, 1],
        "zero-d": np.array(7, np.int64),
        "scalar": np.float64(0.1),
        "no elements": np.zeros((0, 3), np.float32),
        "no elements, transposed": np.zeros((3, 0, 2)).T,
        "special": np.array([np.nan, np.inf, -np.inf, -0.0, np.finfo(np.float32).smallest_subnormal], np.float32),
        "ключ/\"'\\ \n 重": np.ones(1, np.int8),
        "": np.ones(2, np.uint16),
        **{f"dtype.{name}": np.array([[0, 1, 1], [1, 0, 1]]).astype(name).T for name in DTYPES},
    }


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(tmp_path, name):
    state = arrays()
    path = tmp_path / name
    save(state, path, {"epoch": "3", "note": "длинная \n"})
    loaded = load(path)
    assert loaded.keys() == state.keys()
    for key, array in state.items():
        same(loaded[key], np.asarray(array))
        assert loaded[key].flags.c_contiguous and loaded[key].flags.writeable and loaded[key].flags.aligned
        assert loaded[key].base is None or loaded[key].base.nbytes == loaded[key].nbytes
    assert load_metadata(path) == {"epoch": "3", "note": "длинная \n"}
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [">f4", ">i8", ">u2", ">c8", ">f2"])
def test_big_endian_values_survive(tmp_path, name, dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3).T
    save({"x": array}, tmp_path / name)
    loaded = load(tmp_path / name)["x"]
    assert loaded.dtype == array.dtype.newbyteorder("=") and loaded.dtype.isnative
    assert np.array_equal(loaded, array)


@pytest.mark.parametrize("name", FORMATS)
def test_empty_state(tmp_path, name):
    save({}, tmp_path / name)
    assert load(tmp_path / name) == {} and load_metadata(tmp_path / name) == {}


def test_bfloat16(tmp_path):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    array = np.arange(6).astype(bfloat16).reshape(2, 3).T
    save({"x": array}, tmp_path / "x.safetensors")
    same(load(tmp_path / "x.safetensors")["x"], array)
    with pytest.raises(StateError, match=r"bfloat16.*\.npz.*safetensors"):
        save({"x": array}, tmp_path / "x.npz")


def test_the_library_reads_what_we_write(tmp_path):
    state = {name: np.asarray(array) for name, array in arrays().items()}
    save(state, tmp_path / "a", {"b": "1", "a": "2"})
    loaded = safetensors.numpy.load_file(tmp_path / "a")
    assert loaded.keys() == state.keys()
    for name, array in state.items():
        same(loaded[name], array)
    with safetensors.safe_open(tmp_path / "a", "np") as file:
        assert file.metadata() == {"a": "2", "b": "1"}


def test_we_read_what_the_library_writes(tmp_path):
    state = {name: np.asarray(array).copy("C") for name, array in arrays().items()}
    (tmp_path / "a").write_bytes(safetensors.numpy.save(state, {"k": "v"}))
    loaded = load(tmp_path / "a")
    for name, array in state.items():
        same(loaded[name], array)
    assert load_metadata(tmp_path / "a") == {"k": "v"}


def test_numpy_reads_our_npz_and_we_read_numpys(tmp_path):
    state = {name: np.asarray(array) for name, array in arrays().items() if name}
    save({**state, "file": np.ones(2)}, tmp_path / "a.npz", {"k": "v"})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {*state, "file", "__metadata__"}
        for name, array in state.items():
            same(archive[name], array)
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "b.npz", **state)
        for name, array in state.items():
            same(load(tmp_path / "b.npz")[name], array)
    assert load_metadata(tmp_path / "b.npz") == {}


@pytest.mark.parametrize("name", FORMATS)
def test_equal_states_give_equal_bytes(tmp_path, name):
    metadata = {f"key{number}": str(number) for number in range(20)}
    path = tmp_path / name
    written = set()
    for order in (1, -1, 1):
        save({"x": np.ones(3), "y": np.zeros(2)}, path, dict([*metadata.items()][::order]))
        written.add(path.read_bytes())
    assert len(written) == 1


def test_values_with_a_numpy_method(tmp_path):
    class Lazy:
        def numpy(self):
            return np.arange(6.0).reshape(2, 3).T

    save({"x": Lazy()}, tmp_path / "x")
    same(load(tmp_path / "x")["x"], Lazy().numpy().copy("C"))


# ---- refused on the way out

REFUSED = {
    "a list": ({"x": [1, 2]}, "'x' is a list"),
    "a number": ({"x": 3.0}, "'x' is a float"),
    "a nested mapping": ({"x": {"y": np.ones(1)}}, "'x' is a dict.*flat"),
    "objects": ({"x": np.array([None])}, "'x' has dtype object"),
    "text": ({"x": np.array(["a"])}, "'x' has dtype <U1"),
    "dates": ({"x": np.array(["2020-01-01"], "M8[D]")}, "'x' has dtype datetime64"),
    "records": ({"x": np.zeros(2, [("a", "f4")])}, "'x' has dtype"),
    "complex128": ({"x": np.zeros(2, complex)}, "'x' has dtype complex128"),
    "a name that is no string": ({3: np.ones(1)}, "strings, not 3"),
    "the reserved name": ({"__metadata__": np.ones(1)}, "__metadata__"),
    "a lone surrogate": ({"a\ud800": np.ones(1)}, "no valid Unicode"),
    "no mapping": ([np.ones(1)], "not a list"),
}


@pytest.mark.parametrize("name", FORMATS[:2])
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused_before_the_file_is_touched(tmp_path, name, case):
    state, message = REFUSED[case]
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(StateError, match=message):
        save(state, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [name]


def test_a_module_is_told_to_pass_its_state_dict(tmp_path):
    class Module:
        def state_dict(self):
            return {}

    with pytest.raises(StateError, match=r"state_dict\(\)"):
        save(Module(), tmp_path / "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": "\ud800"}])
def test_wrong_metadata_are_refused(tmp_path, metadata):
    with pytest.raises(StateError):
        save({}, tmp_path / "x", metadata)
    assert not os.listdir(tmp_path)


# ---- the old file stays whole


@pytest.mark.parametrize("name", FORMATS[:2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError])
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch, name, error, moment):
    path = tmp_path / name
    save({"x": np.ones(1000)}, path)
    before = path.read_bytes()

    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(files.os, moment, fail)
    expected = StateError if isinstance(error, OSError) else error
    with pytest.raises(expected) as caught:
        save({"x": np.zeros(1000)}, path)
    monkeypatch.undo()
    if expected is StateError:
        assert str(path) in str(caught.value) and "No space left" in str(caught.value)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [name]


def test_unwritable_paths(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "absent" / "x", tmp_path, tmp_path / "file" / "x"):
        with pytest.raises(ArgumentError, match="cannot write") as caught:
            save({"x": np.ones(1)}, path)
        assert str(tmp_path) in str(caught.value)


# ---- refused on the way in


def safetensors_bytes(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def archive(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array, **keywords):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), **keywords)
    return buffer.getvalue()


def npy_header(descr="<f4", shape="(2,)", fortran="False"):
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


ONE = {"x": entry()}
EIGHT = b"\0" * 8
HOSTILE = {
    "empty file": (b"", "empty file"),
    "one byte": (b"\x10", "damaged or of an unknown kind"),
    "header longer than the file": (safetensors_bytes(ONE, length=10**6), "truncated.*1000000"),
    "header of exabytes": (safetensors_bytes(ONE, length=2**63), "claims 9223372036854775808 bytes"),
    "header above the limit": (safetensors_bytes(ONE, length=100_000_001), "claims 100000001 bytes"),
    "header of one byte": (safetensors_bytes(b"{", length=1), "claims 1 bytes"),
    "no JSON": (safetensors_bytes(b"{nonsense"), "no valid JSON"),
    "JSON cut off": (safetensors_bytes(json.dumps(ONE).encode()[:-1], EIGHT), "no valid JSON"),
    "JSON and more": (safetensors_bytes(b"{} {}"), "no valid JSON"),
    "invalid UTF-8": (safetensors_bytes(b'{"\xff": 1}'), "no valid JSON"),
    "nested too deeply": (safetensors_bytes(b'{"a":' + b"[" * 200_000), "nested too deeply"),
    "a number of 5000 digits": (
        safetensors_bytes(b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', EIGHT),
        "no valid JSON|should be",
    ),
    "infinity": (safetensors_bytes(b'{"x":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}'), "no valid JSON"),
    "name twice": (safetensors_bytes(b'{"x":{},"x":{}}'), "'x' occurs twice"),
    "field twice": (
        safetensors_bytes(b'{"x":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', EIGHT),
        "'dtype' occurs twice",
    ),
    "name with a lone surrogate": (
        safetensors_bytes(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', EIGHT),
        "no valid Unicode",
    ),
    "entry is no object": (safetensors_bytes({"x": [1]}), "'x' should have exactly"),
    "field missing": (safetensors_bytes({"x": {"dtype": "F32", "shape": []}}), "'x' should have exactly"),
    "field surplus": (safetensors_bytes({"x": entry(y=1)}, EIGHT), "'x' should have exactly"),
    "unknown dtype": (safetensors_bytes({"x": entry("F99")}, EIGHT), "'F99'"),
    "dtype is no string": (safetensors_bytes({"x": entry(["F32"])}, EIGHT), "'x' has the dtype"),
    "negative size": (safetensors_bytes({"x": entry(shape=(-2,))}, EIGHT), r"\[-2\]"),
    "two negative sizes": (safetensors_bytes({"x": entry(shape=(-2, -1))}, EIGHT), r"\[-2, -1\]"),
    "fractional size": (safetensors_bytes({"x": entry(shape=(2.0,))}, EIGHT), r"\[2.0\]"),
    "boolean size": (safetensors_bytes({"x": entry(shape=(True, 2))}, EIGHT), "True"),
    "shape is no list": (safetensors_bytes({"x": {**entry(), "shape": 2}}, EIGHT), "shape of 'x' is 2"),
    "more axes than NumPy has": (safetensors_bytes({"x": entry(shape=(1,) * 65)}, EIGHT), "up to 64 sizes"),
    "size above 64 bits": (safetensors_bytes({"x": entry(shape=(2**64,))}, EIGHT), "18446744073709551616"),
    "product that wraps to 8 bytes": (safetensors_bytes({"x": entry(shape=(2**62, 4, 2))}, EIGHT), "addressed"),
    "no elements, but endless": (safetensors_bytes({"x": entry(shape=(0, 2**62, 2), offsets=(0, 0))}), "addressed"),
    "terabytes": (safetensors_bytes({"x": entry(shape=(2**40,), offsets=(0, 2**42))}, EIGHT), "truncated"),
    "shape against offsets": (safetensors_bytes({"x": entry(shape=(3,))}, EIGHT), "has 12 bytes"),
    "offsets backwards": (safetensors_bytes({"x": entry(offsets=(8, 0))}, EIGHT), "8 to 0"),
    "offset negative": (safetensors_bytes({"x": entry(offsets=(-8, 0))}, EIGHT), "data_offsets of 'x'"),
    "three offsets": (safetensors_bytes({"x": entry(offsets=(0, 8, 8))}, EIGHT), "data_offsets of 'x'"),
    "data missing": (safetensors_bytes(ONE, EIGHT[:7]), "truncated.*'x' ends at byte 8.*have 7"),
    "data surplus": (safetensors_bytes(ONE, EIGHT + b"!"), "1 bytes follow"),
    "data without arrays": (safetensors_bytes({}, b"payload"), "7 bytes follow"),
    "overlap": (safetensors_bytes({"x": entry(), "y": entry(offsets=(4, 12))}, EIGHT + EIGHT), "'y'.*inside 'x'"),
    "the same bytes twice": (safetensors_bytes({"x": entry(), "y": entry()}, EIGHT), "inside 'x'"),
    "gap": (safetensors_bytes({"x": entry(), "y": entry(offsets=(9, 17))}, EIGHT + EIGHT + b"!"), "1 unused bytes"),
    "gap at the start": (safetensors_bytes({"x": entry(offsets=(8, 16))}, EIGHT + EIGHT), "8 unused bytes"),
    "metadata is a list": (safetensors_bytes({"__metadata__": []}), "metadata"),
    "metadata are numbers": (safetensors_bytes({"__metadata__": {"a": 1}}), "metadata"),
    "boolean that is 2": (safetensors_bytes({"x": entry("BOOL", (2,), (0, 2))}, b"\1\2"), "the byte 2"),
    # foreign files, named by their look
    "npz": (archive([("x.npy", npy(np.ones(2)))]), r"NumPy \.npz file.*end in \.npz"),
    "npy": (npy(np.ones(2)), r"NumPy \.npy file"),
    "pickle": (pickle.dumps({"x": np.ones(2)}), "a pickle"),
    "old pickle": (pickle.dumps({"x": 1}, protocol=0), "not a safetensors file"),
    "PyTorch checkpoint": (archive([("archive/data.pkl", b"\x80\x02"), ("archive/data/0", b"")]), "PyTorch checkpoint"),
    "zip": (archive([("readme.txt", b"hello")]), "a zip archive"),
    "damaged zip": (b"PK\3\4" + b"\0" * 30, "damaged zip"),
    "text": (b"weights are elsewhere\n", "text file that begins 'weights are elsewhere'"),
    "JSON": (b'{"abcde":{"dtype": 1}}', "a text file"),
    "web page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 20, "gzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 20, "HDF5"),
    "ONNX": (b"\x08\x0a\x12\x07pytorch\x1a\x05" + b"\0" * 20, "ONNX"),
    "zeros": (b"\0" * 100, "damaged or of an unknown kind"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("read", [load, load_metadata])
def test_hostile_files_are_refused(tmp_path, case, read):
    content, message = HOSTILE[case]
    path = tmp_path / "weights"
    path.write_bytes(content)
    if read is load_metadata and case == "boolean that is 2":
        return
    with pytest.raises(StateError, match=message) as caught:
        read(path)
    assert f"cannot read {path}: " in str(caught.value)
    assert caught.value.origin is not None and caught.value.origin.file == __file__


class Bomb:
    """Its pickle touches a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


HOSTILE_NPZ = {
    "safetensors": (safetensors_bytes(ONE, EIGHT), "this is a safetensors file, not an .npz"),
    "text": (b"hello", "text file"),
    "empty file": (b"", "empty file"),
    "cut off": (archive([("x.npy", npy(np.arange(1000)))])[:-100], "no valid .npz"),
    "other members": (archive([("x.npy", npy(np.ones(2))), ("readme.txt", b"")]), "readme.txt"),
    "member is no array": (archive([("x.npy", b"hello")]), "no valid .npz"),
    "member is empty": (archive([("x.npy", b"")]), "no valid .npz"),
    "array cut off": (archive([("x.npy", npy(np.ones(9))[:-1])]), "'x' has"),
    "array and more": (archive([("x.npy", npy(np.ones(9)) + b"!")]), "'x' has"),
    "terabytes": (archive([("x.npy", npy_header(shape="(1099511627776,)") + EIGHT)]), "takes 4398046511"),
    "size that wraps": (archive([("x.npy", npy_header(shape=f"({2**62}, 4, 2)") + EIGHT)]), "'x' has"),
    "no elements, but endless": (archive([("x.npy", npy_header(shape=f"(0, {2**62}, 2)"))]), "cannot read"),
    "negative size": (archive([("x.npy", npy_header(shape="(-2, -1)") + EIGHT)]), r"\(-2, -1\)"),
    "text dtype": (archive([("x.npy", npy(np.array(["ab"])))]), "dtype <U2"),
    "record dtype": (archive([("x.npy", npy(np.zeros(2, [("a", "f4")])))]), "dtype"),
    "header above the limit": (archive([("x.npy", npy_header(shape=" " * 60_000 + "(2,)"))]), "no valid .npz"),
    "version from the future": (archive([("x.npy", b"\x93NUMPY\x09\x00" + EIGHT)]), "9.0"),
    "boolean that is 2": (archive([("x.npy", npy_header("|b1") + b"\1\2")]), "the byte 2"),
    "code in the header": (archive([("x.npy", npy_header(shape="__import__('os').abort()"))]), "no valid .npz"),
}


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_hostile_npz_files_are_refused(tmp_path, case):
    content, message = HOSTILE_NPZ[case]
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(StateError, match=message) as caught:
        load(path)
    assert f"cannot read {path}: " in str(caught.value)


def test_a_pickle_inside_is_never_run(tmp_path):
    trap = tmp_path / "trap"
    np.savez(tmp_path / "x.npz", x=np.array([Bomb(str(trap))], dtype=object))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Bomb(str(trap))))
    for name in ("x.npz", "x.pkl"):
        with pytest.raises(StateError, match="pickle"):
            load(tmp_path / name)
    assert not trap.exists()


def test_npz_member_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        content = archive([("x.npy", npy(np.ones(2))), ("x.npy", npy(np.zeros(2)))])
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(StateError, match="'x' occurs twice"):
        load(tmp_path / "x.npz")


def test_npz_sizes_that_the_file_cannot_hold(tmp_path):
    content = bytearray(archive([("x.npy", npy(np.zeros(1000)))]))
    place = content.rindex(b"PK\1\2") + 24
    content[place : place + 4] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(StateError, match="claims 4294967294 bytes"):
        load(tmp_path / "x.npz")


def test_npz_checksum(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.arange(1000.0))
    content = bytearray(buffer.getvalue())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(StateError, match="CRC"):
        load(tmp_path / "x.npz")


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "x"
    for name in ("x.safetensors", "x.npz"):
        save({"a": np.arange(5, dtype=np.int16), "b": np.ones((2, 2), np.float32)}, tmp_path / name, {"k": "v"})
        whole = (tmp_path / name).read_bytes()
        path = tmp_path / f"cut.{name}"
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(StateError):
                load(path)


def test_random_damage_is_an_error_or_other_numbers_but_never_a_crash(tmp_path):
    random = np.random.default_rng(0)
    for name in ("x.safetensors", "x.npz"):
        path = tmp_path / name
        save({"a": np.arange(5, dtype=np.int16), "b": np.ones((2, 2), bool)}, path, {"k": "v"})
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(500):
            damaged = whole.copy()
            damaged[random.integers(len(whole), size=random.integers(1, 4))] = random.integers(256)
            path.write_bytes(damaged.tobytes())
            try:
                loaded = load(path)
            except StateError:
                continue
            assert all(isinstance(array, np.ndarray) for array in loaded.values())


def test_what_is_no_file(tmp_path):
    with pytest.raises(StateError, match="No such file"):
        load(tmp_path / "absent")
    with pytest.raises(StateError, match="it is a folder"):
        load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(StateError, match="it is a device, pipe or socket"):
            load(tmp_path / "pipe")
