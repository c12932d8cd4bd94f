"""Files appear whole or not at all; what cannot be written is said with its name and the reason."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sslcore.files import check_writable, replacing, replacing_all

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), FULL, SystemExit(1)])
@pytest.mark.parametrize("existed", [False, True])
def test_no_half_file(tmp_path, error, existed):
    path = tmp_path / "a.bin"
    if existed:
        path.write_bytes(b"old")
    before = list(tmp_path.iterdir())

    def write():
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert list(tmp_path.iterdir()) == before
    assert not existed or path.read_bytes() == b"old"
    if error is FULL:
        assert str(caught.value) == f"cannot write {path}: No space left on device"


def test_many_files_appear_together(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    with replacing_all(*paths) as parts:
        for part, path in zip(parts, paths, strict=True):
            part.write_text(path.name)
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["a", "b", "c"]
    assert sorted(tmp_path.iterdir()) == paths


def test_many_files_or_none(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"

    def write():
        with replacing_all(a, b) as parts:
            parts[0].write_text("whole")
            with replacing(parts[1]) as file:
                file.write(b"half")
                raise FULL

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert str(caught.value) == f"cannot write {b}: No space left on device"  # not the name of its part
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_file_that_the_system_refuses_to_let_grow(tmp_path):
    """As on a full disk: the system itself refuses, in the middle of an archive."""
    code = f"""
import resource, signal
import numpy as np
from sslcore.files import replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with replacing({str(tmp_path / "a.npz")!r}) as file:
        np.savez(file, x=np.arange(50_000.0))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == f"cannot write {tmp_path / 'a.npz'}: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_check_writable_leaves_nothing(tmp_path):
    path = tmp_path / "a.npy"
    check_writable(path)
    assert list(tmp_path.iterdir()) == []
    np.save(path, np.arange(3))
    check_writable(path)
    assert np.load(path).tolist() == [0, 1, 2]


def test_check_writable_refuses(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, error, reason in (
        (tmp_path / "missing" / "a", FileNotFoundError, "No such file or directory"),
        (tmp_path / "folder", IsADirectoryError, "it is a folder"),
        (tmp_path / "file" / "a", NotADirectoryError, "Not a directory"),
        (tmp_path / ("x" * 300), OSError, "File name too long"),
    ):
        with pytest.raises(error) as caught:
            check_writable(path)
        assert str(caught.value) == f"cannot write {path}: {reason}"


def test_a_folder_that_may_only_be_read(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # the superuser may do all: let the system refuse him too

        def refuse(self, *args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(PermissionError) as caught:
        check_writable(folder / "a")
    assert str(caught.value) == f"cannot write {folder / 'a'}: Permission denied"
