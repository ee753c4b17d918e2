"""Objects on disk: kept and found, damaged, foreign, full, read-only, and shared by processes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest

from staticnet.compiler.errors import ArgumentError
from staticnet.runtime.native import cache, host
from staticnet.runtime.native.cache import Cache
from tests.runtime.native.native_kernels import ROOT, run_script

DIGEST, OTHER = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(cache, "_has_warned", False)
    monkeypatch.setattr(cache, "_unwritable", set())
    for name in ("", "_DIR", "_SIZE"):
        monkeypatch.delenv(f"STATICNET_CACHE{name}", raising=False)


@pytest.fixture
def store(tmp_path) -> Cache:
    return Cache(tmp_path / "deep" / "native", 1 << 20)


def file_of(store: Cache, digest: str = DIGEST):
    return store.folder / f"{digest}.o"


def test_what_was_written_is_read(store):
    assert store.read([DIGEST]) == {}
    store.write({DIGEST: b"code", OTHER: b""})
    assert store.read([DIGEST, OTHER, "c" * 40]) == {DIGEST: b"code", OTHER: b""}
    assert sorted(path.name for path in store.folder.iterdir()) == [f"{DIGEST}.o", f"{OTHER}.o"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights as on Unix")
def test_only_the_owner_may_read_and_write(store):
    store.write({DIGEST: b"code"})
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert file_of(store).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
        lambda data: b"X" + data[1:],
    ],
)
def test_a_damaged_file_is_removed(store, damage):
    store.write({DIGEST: b"code" * 100})
    file_of(store).write_bytes(damage(file_of(store).read_bytes()))
    assert store.read([DIGEST]) == {}
    assert not file_of(store).exists()
    store.write({DIGEST: b"new"})
    assert store.read([DIGEST]) == {DIGEST: b"new"}


def test_an_object_under_another_name_is_damaged(store):
    store.write({DIGEST: b"code"})
    file_of(store).rename(file_of(store, OTHER))
    assert store.read([OTHER]) == {}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights as on Unix")
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(store, mode):
    store.write({DIGEST: b"code"})
    store.folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match="can be written to by others") as heard:
        assert store.read([DIGEST]) == {}
        store.write({OTHER: b"code"})
        assert store.read([DIGEST]) == {}
    assert len(heard) == 1
    assert not file_of(store, OTHER).exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights as on Unix")
def test_a_file_that_others_may_write_to_is_not_used_but_made_again(store):
    store.write({DIGEST: b"code", OTHER: b"more"})
    file_of(store).chmod(0o666)
    with pytest.warns(RuntimeWarning, match="can be written to by others"):
        assert store.read([DIGEST, OTHER]) == {OTHER: b"more"}
    store.write({DIGEST: b"code"})
    assert store.read([DIGEST]) == {DIGEST: b"code"}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights as on Unix")
def test_what_belongs_to_another_is_not_used(store, monkeypatch):
    store.write({DIGEST: b"code"})
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.warns(RuntimeWarning, match="belongs to user"):
        assert store.read([DIGEST]) == {}


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_a_link_in_place_of_a_file_is_not_followed(store, tmp_path):
    store.write({DIGEST: b"code"})
    file_of(store).rename(tmp_path / "elsewhere")
    file_of(store).symlink_to(tmp_path / "elsewhere")
    assert store.read([DIGEST]) == {}
    store.write({DIGEST: b"new"})
    assert store.read([DIGEST]) == {DIGEST: b"new"}
    assert not file_of(store).is_symlink()


def test_where_nothing_can_be_written_one_warning_is_given(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = Cache(tmp_path / "file" / "native", 1 << 20)
    with pytest.warns(RuntimeWarning, match="compiled code is not kept") as heard:
        store.write({DIGEST: b"code"})
        store.write({DIGEST: b"code"})
        assert store.read([DIGEST]) == {}
    assert len(heard) == 1


def test_a_full_disk_gives_one_warning_and_leaves_no_parts(store, monkeypatch):
    store.write({DIGEST: b"code"})
    real = os.replace

    def full(*places, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left") as heard:
        store.write({OTHER: b"code"})
        store.write({OTHER: b"code"})
    monkeypatch.setattr(os, "replace", real)
    assert len(heard) == 1
    assert [path.name for path in store.folder.iterdir()] == [f"{DIGEST}.o"]
    assert store.read([DIGEST]) == {DIGEST: b"code"}


def test_a_read_only_folder_is_still_read(store, monkeypatch):
    store.write({DIGEST: b"code"})
    opened = os.open

    def read_only(path, flags, *rest, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(30, "Read-only file system")
        return opened(path, flags, *rest, **options)

    def refuse(*places, **options):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "utime", refuse)
    with pytest.warns(RuntimeWarning, match="Read-only") as heard:
        store.write({OTHER: b"code"})
        assert store.read([DIGEST, OTHER]) == {DIGEST: b"code"}
    assert len(heard) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    store = Cache(tmp_path / "native", 5000)
    names = [f"{number:040x}" for number in range(6)]
    store.write({name: bytes(1000) for name in names[:4]})
    for age, name in enumerate(names[:4]):
        os.utime(file_of(store, name), (1000 + age, 1000 + age))
    assert store.read([names[0]])  # now the newest
    store.write({names[4]: bytes(1000)})
    kept = {path.stem for path in store.folder.iterdir()}
    assert kept == {names[0], names[3], names[4]}
    assert sum(path.stat().st_size for path in store.folder.iterdir()) <= 5000


def test_unfinished_files_of_others_are_removed_when_old(store):
    store.write({DIGEST: b"code"})
    old, new = store.folder / ".1-1-x.o", store.folder / ".2-2-x.o"
    for path in (old, new):
        path.write_bytes(b"part")
    os.utime(old, (1000, 1000))
    store.write({OTHER: b"code"})
    assert not old.exists() and new.exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 512 << 20), ("1000", 1000), ("3K", 3 << 10), ("64 MiB", 64 << 20), ("2g", 2 << 30), ("1TB", 1 << 40)],
)
def test_sizes(monkeypatch, tmp_path, text, size):
    monkeypatch.setenv("STATICNET_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("STATICNET_CACHE_SIZE", text)
    found = cache.configured()
    assert found is not None and (found.limit, found.folder) == (size, tmp_path / "native")


@pytest.mark.parametrize("text", ["much", "-1", "1.5G", "12X"])
def test_a_size_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("STATICNET_CACHE_SIZE", text)
    with pytest.raises(ArgumentError, match="STATICNET_CACHE_SIZE"):
        cache.configured()


@pytest.mark.parametrize(("name", "value"), [("STATICNET_CACHE", "0"), ("STATICNET_CACHE_SIZE", "0")])
def test_turned_off(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert cache.configured() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the folders of Linux")
def test_the_folder_is_the_users(monkeypatch, tmp_path):
    def folder():
        found = cache.configured()
        return found and found.folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert folder() == tmp_path / ".cache" / "staticnet" / "native"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert folder() == tmp_path / ".cache" / "staticnet" / "native"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert folder() == tmp_path / "xdg" / "staticnet" / "native"


def test_digests_differ_where_objects_would():
    machine = host.machine()
    variants = [
        cache.digest("text", machine),
        cache.digest("text ", machine),
        cache.digest("text", replace(machine, name="another")),
        cache.digest("text", replace(machine, features="+none")),
        cache.digest("text", replace(machine, triple="other-unknown-linux")),
    ]
    assert len(set(variants)) == len(variants)
    assert cache.digest("text", replace(machine, l1_bytes=1)) == variants[0]


WRITER = """
import sys
from pathlib import Path
from staticnet.runtime.native.cache import Cache
store = Cache(Path(sys.argv[1]), 40_000)
names = [f"{number:040x}" for number in range(20)]
sys.stdin.readline()
for turn in range(40):
    for name, data in store.read(names).items():
        assert data == name.encode() * 50, "half written"
    store.write({name: name.encode() * 50 for name in names[turn % 7 :: 3]})
"""


def test_processes_share_a_folder(tmp_path):
    command = [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path / "native")]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        _, heard = writer.communicate(timeout=120)
        assert writer.returncode == 0, heard
    assert not [path for path in (tmp_path / "native").iterdir() if path.name.startswith(".")]


COMPILES = """
from staticnet.runtime.native import host, jit
from tests.runtime.native import native_kernels as kernels
kernels.address(kernels.add(41), 2)
known = jit.statistics()
print(known.compiled, known.from_disk)
"""


def test_a_second_process_compiles_nothing(tmp_path):
    where = {"STATICNET_CACHE_DIR": str(tmp_path), "STATICNET_CACHE": "1"}
    assert run_script(COMPILES, where).split() == ["1", "0"]
    assert run_script(COMPILES, where).split() == ["0", "1"]
    (kept,) = (tmp_path / "native").iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    assert run_script(COMPILES, where).split() == ["1", "0"]
    assert run_script(COMPILES, where).split() == ["0", "1"]
    assert run_script(COMPILES, {**where, "STATICNET_CACHE": "0"}).split() == ["1", "0"]


def test_no_warning_without_a_cause(store):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.read([DIGEST])
        store.write({DIGEST: b"code"})
        store.read([DIGEST])
