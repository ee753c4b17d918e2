"""atomic_write and atomic_path: all of the new file or all of the old one."""

import os
import stat
import subprocess
import sys
import textwrap

import pytest

from staticnet import files
from staticnet.compiler.errors import ArgumentError
from staticnet.files import atomic_path, atomic_write


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("content", [b"\x00new", "näw", lambda stream: stream.write(b"by function")])
def test_writes_bytes_text_and_functions(tmp_path, content):
    target = tmp_path / "m.bin"
    atomic_write(target, content)
    expected = {bytes: lambda: content, str: lambda: content.encode()}.get(type(content), lambda: b"by function")()
    assert target.read_bytes() == expected
    assert names(tmp_path) == ["m.bin"]


def test_replaces_and_keeps_permission_bits(tmp_path):
    target = tmp_path / "m.bin"
    target.write_bytes(b"old")
    target.chmod(0o640)
    atomic_write(target, b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_new_file_gets_the_bits_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "m.bin", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m.bin").stat().st_mode) == 0o640


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_writer_leaves_the_old_file_and_no_temporary(tmp_path, interruption):
    target = tmp_path / "m.bin"
    target.write_bytes(b"old")

    def write(stream):
        stream.write(b"half of the new")
        stream.flush()
        assert len(names(tmp_path)) == 2
        raise interruption("in the middle")

    with pytest.raises(interruption, match="in the middle"):
        atomic_write(target, write)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["m.bin"]


def test_a_full_disk_at_the_flush_comes_through_and_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "m.bin"
    target.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["m.bin"]


def test_content_is_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor):
        events.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def spy_replace(source, target):
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    atomic_write(tmp_path / "m.bin", b"new")
    assert events == ["sync file", "replace", "sync folder"]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    target = tmp_path / "m.bin"
    target.write_bytes(b"old")
    script = textwrap.dedent(f"""
        import os, signal
        from staticnet.files import atomic_write
        def write(stream):
            stream.write(b"half")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        atomic_write({str(target)!r}, write)
    """)
    assert subprocess.run([sys.executable, "-c", script]).returncode != 0
    assert target.read_bytes() == b"old"


def test_atomic_path_gives_a_name_with_the_same_suffix_beside_the_target(tmp_path):
    with atomic_path(tmp_path / "m.png") as temporary:
        assert temporary.suffix == ".png" and temporary.parent == tmp_path
        temporary.unlink()  # some writers remove and make anew
        temporary.write_bytes(b"picture")
        assert not (tmp_path / "m.png").exists()
    assert (tmp_path / "m.png").read_bytes() == b"picture"


def test_a_long_name_fits(tmp_path):
    target = tmp_path / ("n" * 250 + ".bin")
    atomic_write(target, b"new")
    assert target.read_bytes() == b"new"


def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "real.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to("real.bin")
    atomic_write(tmp_path / "link.bin", b"new")
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"new"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArgumentError, match=f"there is no folder '{tmp_path}/a/b'") as caught:
        atomic_write(tmp_path / "a" / "b" / "m.bin", b"new")
    assert caught.value.origin.file == __file__
    assert names(tmp_path) == []


def test_a_file_where_a_folder_belongs_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    for inside in ("a/m.bin", "a/b/m.bin"):
        with pytest.raises(ArgumentError, match=f"'{tmp_path}/a' is a file, not a folder"):
            atomic_write(tmp_path / inside, b"new")


def test_a_folder_and_a_device_are_no_targets(tmp_path):
    with pytest.raises(ArgumentError, match="it is a folder"):
        atomic_write(tmp_path, b"new")
    with pytest.raises(ArgumentError, match="device or a pipe"):
        atomic_write("/dev/null", b"new")


def test_a_folder_without_write_permission_is_named(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", refuse)  # permissions do not bind root
    with pytest.raises(ArgumentError, match=rf"the folder '{tmp_path}' takes no new file \(Permission denied\)"):
        atomic_write(tmp_path / "m.bin", b"new")


def test_a_read_only_file_is_respected(tmp_path, monkeypatch):
    target = tmp_path / "m.bin"
    target.write_bytes(b"old")
    target.chmod(0o444)
    monkeypatch.setattr(files.os, "access", lambda path, mode: not mode & os.W_OK)  # permissions do not bind root
    with pytest.raises(ArgumentError, match="the file is read-only"):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
