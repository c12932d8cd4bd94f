"""Files appear whole or not at all, where their names lead; what is no regular file is neither written nor read."""

import contextlib
import errno
import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from sslcore.io import atomic as files
from sslcore.io.atomic import as_path, check_writable, open_regular, replacing, replacing_all

from .children import started

FULL = OSError(errno.ENOSPC, "No space left on device")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and permissions of POSIX")


@pytest.fixture(autouse=True, params=["without a name", "with a name"])
def unfinished(request, monkeypatch):
    """Unfinished files have no name where the system can do that, and elsewhere a random one."""
    if request.param == "with a name":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("files without a name are a thing of Linux")
    return request.param


def write(path, content=b"new"):
    with replacing(path) as file:
        file.write(content)


def write_all(*paths, meanwhile=lambda: None, **options):
    with replacing_all(*paths, **options) as opened:
        for file in opened:
            file.write(b"new")
        meanwhile()


def read(path):
    with open_regular(path) as file:
        return file.read()


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


# ---------------------------------------------------------------- whole or not at all


def test_a_file_appears_at_the_end(tmp_path, unfinished):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert len(names_in(tmp_path)) == (1 if unfinished == "without a name" else 2)
        assert file.name == str(path)
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.bin"]


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
        assert caught.value.errno == errno.ENOSPC


def test_errors_about_other_files_are_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file or directory: 'elsewhere'"), replacing(tmp_path / "a"):
        os.stat("elsewhere")


def test_many_files_appear_together(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    with replacing_all(*paths) as opened:
        for file, path in zip(opened, paths, strict=True):
            file.write(path.name.encode())
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["a", "b", "c"]
    assert sorted(tmp_path.iterdir()) == paths


def test_many_files_or_none(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"

    def write():
        with replacing_all(a, b) as opened:
            opened[0].write(b"whole")
            with replacing(opened[1]) as file:  # as the writers do that are given an open file
                file.write(b"half")
                raise FULL

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert str(caught.value) == f"cannot write {b}: No space left on device"
    assert names_in(tmp_path) == []


class Failing:
    """A function of the system that fails at its n-th call."""

    def __init__(self, function, at, error):
        self.function, self.left, self.error = function, at, error

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.function(*args, **kwargs)


@pytest.mark.parametrize("existed", list(itertools.product([False, True], repeat=3)), ids=str)
@pytest.mark.parametrize("at", range(3))
def test_a_name_that_cannot_be_taken_takes_the_others_back(tmp_path, monkeypatch, existed, at):
    paths = [tmp_path / name for name in "abc"]
    for path, there in zip(paths, existed, strict=True):
        if there:
            path.write_text(f"old {path.name}")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == at + 1:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(source))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(PermissionError) as caught:
            write_all(*paths)
    assert str(caught.value) == f"cannot write {paths[at]}: Operation not permitted"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_what_cannot_be_taken_back_is_said(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text("old")
    real = os.replace
    monkeypatch.setattr(os, "replace", Failing(real, 2, OSError(errno.EIO, "Input/output error")))
    with pytest.raises(
        OSError, match=f"cannot write {paths[2]}: Input/output error; not put back, and new: "
    ) as caught:
        write_all(*paths)
    assert [path.read_text() for path in paths] == ["new", "new", "old"]
    backups = [path for path in tmp_path.iterdir() if path not in paths]
    assert [path.read_text() for path in backups] == ["old", "old"]
    assert all(f"(before: {path})" in str(caught.value) for path in backups)


def test_file_systems_without_hard_links(tmp_path, monkeypatch):
    """Nothing can be kept for a return; and a file without a name is copied to one that has it."""
    paths = [tmp_path / name for name in "abc"]
    paths[0].write_text("old")
    paths[0].chmod(0o640)
    monkeypatch.setattr(os, "link", Failing(os.link, 0, OSError(errno.EPERM, "Operation not permitted")))
    with replacing_all(*paths) as opened:
        for i, file in enumerate(opened):
            file.write(b"%d" % i * 10**6)
    assert [path.read_bytes() for path in paths] == [b"%d" % i * 10**6 for i in range(3)]
    assert mode_of(paths[0]) == 0o640
    assert names_in(tmp_path) == ["a", "b", "c"]
    monkeypatch.setattr(os, "replace", Failing(os.replace, 1, OSError(errno.EIO, "Input/output error")))
    with pytest.raises(
        OSError, match=f"cannot write {paths[1]}: Input/output error; not put back, and new: {paths[0]}$"
    ):
        write_all(*paths)


@pytest.mark.parametrize("what", ["folder", "pipe", "link", "gone"])
def test_what_becomes_of_a_target_meanwhile(tmp_path, what):
    folder = tmp_path / "folder"
    folder.mkdir()
    first, second = tmp_path / "a", folder / "b"
    first.write_text("old")

    def become():
        if what == "folder":
            second.mkdir()
        elif what == "pipe":
            os.mkfifo(second)
        elif what == "link":
            second.symlink_to(tmp_path / "c")
        else:
            for name in folder.iterdir():
                name.unlink()
            folder.rmdir()

    with pytest.raises(OSError, match=f"cannot write {second}: "):
        write_all(first, second, meanwhile=become)
    assert first.read_text() == "old"
    assert names_in(tmp_path) == (["a"] if what == "gone" else ["a", "folder"])


def test_two_names_of_one_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    os.link("a", "hard")
    for *others, first, second in (("a", "a"), ("b", "./b"), ("a", "link"), ("a", "hard"), ("z", "x", tmp_path / "x")):
        with pytest.raises(ValueError, match=f"cannot write {second}: it is the same file as {first}$"):
            write_all(*others, first, second)
    assert names_in(tmp_path) == ["a", "hard", "link"]


def test_files_that_are_there_can_be_refused(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    with replacing_all(a, b, overwrite=False):
        pass
    b.unlink()
    for refuse in (
        lambda: replacing_all(a, b, overwrite=False).__enter__(),
        lambda: check_writable(b, a, overwrite=False),
    ):
        with pytest.raises(FileExistsError, match=f"cannot write {a}: it is there already"):
            refuse()
    with pytest.raises(FileExistsError, match="it is there already"):
        write_all(b, overwrite=False, meanwhile=lambda: b.write_text("of another"))
    assert b.read_text() == "of another"


def test_it_is_on_the_disk_before_it_has_the_name(tmp_path, monkeypatch):
    done = []

    def noted(name, real):
        return lambda *args: (done.append(name), real(*args))

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    write(tmp_path / "a")
    assert done == ["fsync", "replace", "fsync"]  # the second is of the folder
    monkeypatch.setattr(os, "fsync", Failing(os.fsync, 0, OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match=r"cannot write .*b: Input/output error"):
        write(tmp_path / "b")
    assert names_in(tmp_path) == ["a"]


def test_a_file_that_the_system_refuses_to_let_grow(tmp_path, unfinished):
    """As on a full disk: the system itself refuses, in the middle of an archive."""
    code = f"""
import os, resource, signal
import numpy as np
from sslcore.io.atomic import replacing
if {unfinished == "with a name"}:
    del os.O_TMPFILE
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
    assert names_in(tmp_path) == []


def test_no_descriptor_is_lost(tmp_path):
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        write(tmp_path / "a")
        with pytest.raises(ValueError, match="stop"), replacing_all(tmp_path / "a", tmp_path / "b"):
            raise ValueError("stop")
        with pytest.raises(OSError, match="folder"):
            check_writable(tmp_path / "c", tmp_path)
        open_regular(tmp_path / "a").close()
        with pytest.raises(IsADirectoryError):
            open_regular(tmp_path)
    assert len(os.listdir("/dev/fd")) == before


# ---------------------------------------------------------------- permissions


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o604, 0o755, 0o200])
def test_permissions_stay(tmp_path, mode):
    a, b = tmp_path / "a", tmp_path / "b"
    for path in (a, b):
        path.write_text("old")
        path.chmod(mode)
    write(a)
    with replacing_all(b, tmp_path / "c") as opened:
        assert stat.S_IMODE(os.fstat(opened[0].fileno()).st_mode) & 0o077 == 0  # no more than the old while it is made
    assert mode_of(a) == mode_of(b) == mode


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_new_files_have_the_permissions_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "a")
        with open(tmp_path / "plain", "wb"):
            pass
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "plain") == 0o666 & ~mask


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only the superuser gives files away")
def test_the_owner_stays(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode_of(path)) == (1234, 4321, 0o640)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only the superuser gives files away")
def test_where_the_group_cannot_be_kept_nobody_gets_more(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    path.chmod(0o6664)
    monkeypatch.setattr(os, "fchown", Failing(os.fchown, 0, PermissionError(errno.EPERM, "Operation not permitted")))
    write(path)
    assert (path.stat().st_uid, mode_of(path)) == (os.getuid(), 0o644)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="extended attributes of Linux")
def test_extended_attributes_stay(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    try:
        os.setxattr(path, "user.origin", b"here")
    except OSError:
        pytest.skip("this file system has none")
    write(path)
    assert os.getxattr(path, "user.origin") == b"here"


def test_a_file_without_permission_to_write_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o444)
    if os.access(path, os.W_OK):  # the superuser may do all: let the system refuse him too
        monkeypatch.setattr(os, "access", lambda *args: False)
    for refuse in (write, check_writable):
        with pytest.raises(PermissionError) as caught:
            refuse(path)
        assert str(caught.value) == f"cannot write {path}: Permission denied"
    assert (path.read_text(), names_in(tmp_path)) == ("old", ["a"])


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_through_a_link(tmp_path, hops, relative, exists):
    """The file behind it is written, where it lies; a link to what is not there yet makes it, as `open` would."""
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    target = tmp_path / "real" / "a"
    if exists:
        target.write_text("old")
        target.chmod(0o640)
    link = target
    for i in range(hops):
        before, link = link, tmp_path / "links" / f"{i}"
        link.symlink_to(os.path.relpath(before, link.parent) if relative else before)
    where = os.readlink(link)
    check_writable(link)
    assert target.exists() == exists
    write(link)
    assert target.read_text() == link.read_text() == "new"
    assert os.readlink(link) == where
    assert not exists or mode_of(target) == 0o640
    assert names_in(tmp_path / "real") == ["a"]
    assert len(names_in(tmp_path / "links")) == hops


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to("other")
    (tmp_path / "other").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("no folder/a")
    (tmp_path / "folder").symlink_to(tmp_path)
    before = names_in(tmp_path)
    for name, error, reason in (
        ("loop", OSError, "symbolic links"),
        ("dangling", FileNotFoundError, "No such file or directory"),
        ("folder", IsADirectoryError, "it is a folder"),
    ):
        for refuse in (write, check_writable):
            with pytest.raises(error, match=f"cannot write {tmp_path / name}: .*{reason}"):
                refuse(tmp_path / name)
    with pytest.raises(OSError, match=r"cannot read .*loop: .*symbolic links"):
        open_regular(tmp_path / "loop")
    assert names_in(tmp_path) == before


def test_another_hard_link_keeps_the_old_content(tmp_path):
    (tmp_path / "a").write_text("old")
    os.link(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "a")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("new", "old")


def test_a_planted_name_is_not_followed(tmp_path, monkeypatch):
    """Whoever could guess the name of an unfinished file could let us write through a link of his."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda length: "0" * 2 * length)
    planted = tmp_path / f".sslcore-{16 * '0'}.part"
    for plant in (lambda: planted.symlink_to(precious), lambda: planted.symlink_to("new"), planted.touch):
        plant()
        with pytest.raises(FileExistsError, match=r"cannot write .*a: File exists"):
            write(tmp_path / "a")
        assert (precious.read_text(), names_in(tmp_path)) == ("precious", [planted.name, "precious"])
        planted.unlink()


def test_unfinished_names_cannot_be_guessed(tmp_path):
    found = {files._random_name(str(tmp_path)) for _ in range(1000)}
    assert len(found) == 1000


def test_any_name_that_a_file_can_have(tmp_path):
    for name in ("x" * 255, "é" * 127, "a\nb", "-", "a b", ".hidden", b"\xff.npz".decode("utf-8", "surrogateescape")):
        write(tmp_path / name)
        assert read(tmp_path / name) == b"new"
    assert len(names_in(tmp_path)) == 7


@pytest.mark.parametrize("use", [write, check_writable, open_regular])
@pytest.mark.parametrize("path", [0, 12345, -1, True, 1.0, None, b"a", ["a"], "", "a\0b", "\ud800"], ids=repr)
def test_what_is_no_path(use, path, tmp_path, monkeypatch):
    """Above all no numbers: they would be descriptors, and closed."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match="a path was expected"):
        use(path)
    os.fstat(0)
    assert names_in(tmp_path) == []


def test_paths(tmp_path):
    class Own:
        def __fspath__(self):
            return str(tmp_path / "a")

    class Bytes:
        def __fspath__(self):
            return b"a"

    assert as_path(Own()) == as_path(tmp_path / "a") == str(tmp_path / "a")
    write(Own())
    assert read(Own()) == b"new"
    with pytest.raises(TypeError, match="a path was expected"):
        as_path(Bytes())


def make_socket(path):
    server = socket.socket(socket.AF_UNIX)
    before = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        server.bind(path.name)
    finally:
        os.chdir(before)
        server.close()


SPECIAL = {
    "pipe": (os.mkfifo, "a named pipe"),
    "socket": (make_socket, "a socket"),
    "device": (lambda path: path.symlink_to("/dev/null"), "a character device"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "a character device"),
    "link to a pipe": (lambda path: (os.mkfifo(path.with_name("p")), path.symlink_to("p")), "a named pipe"),
}


def lasting(path):
    """What the system says of a name, but for the time at which it was followed last."""
    found = os.lstat(path)
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@pytest.mark.parametrize("what", SPECIAL)
def test_what_is_no_regular_file(tmp_path, what):
    """It is neither waited for, nor read, nor replaced."""
    make, kind = SPECIAL[what]
    path = tmp_path / "a"
    make(path)
    before = lasting(path), os.stat(path).st_mode, names_in(tmp_path)
    for use, verb in ((write, "write"), (check_writable, "write"), (open_regular, "read")):
        with pytest.raises(OSError, match="regular file") as caught:
            use(path)
        assert str(caught.value) == f"cannot {verb} {path}: it is not a regular file but {kind}"
    with pytest.raises(OSError, match="regular file"), replacing_all(tmp_path / "b", path):
        pass
    assert (lasting(path), os.stat(path).st_mode, names_in(tmp_path)) == before


def test_a_name_that_becomes_a_pipe_while_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("x")
    real = os.open

    def exchange(name, flags, *args, **kwargs):
        path.unlink()
        os.mkfifo(path)
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(OSError, match="it is not a regular file but a named pipe"):
        open_regular(path)


def test_check_writable_leaves_nothing(tmp_path):
    path = tmp_path / "a.npy"
    check_writable(path)
    assert names_in(tmp_path) == []
    np.save(path, np.arange(3))
    before = path.stat()
    check_writable(path)
    assert np.load(path).tolist() == [0, 1, 2]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, error, reason in (
        (tmp_path / "missing" / "a", FileNotFoundError, "No such file or directory"),
        (tmp_path / "folder", IsADirectoryError, "it is a folder"),
        (f"{tmp_path / 'folder'}/", IsADirectoryError, "it is a folder"),
        (f"{tmp_path / 'new'}/", IsADirectoryError, "it is the name of a folder"),
        (f"{tmp_path / 'missing'}/..", IsADirectoryError, "it is a folder"),
        (tmp_path / "file" / "a", NotADirectoryError, "Not a directory"),
        (f"{tmp_path / 'file'}/", NotADirectoryError, "Not a directory"),
        (tmp_path / ("x" * 300), OSError, "File name too long"),
    ):
        for refuse in (write, check_writable):
            with pytest.raises(error) as caught:
                refuse(path)
            assert str(caught.value) == f"cannot write {path}: {reason}"
    assert names_in(tmp_path) == ["file", "folder"]


def test_a_folder_that_may_only_be_read(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # the superuser may do all: let the system refuse him too

        def refuse(path, *args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        check_writable(folder / "a")
    assert str(caught.value) == f"cannot write {folder / 'a'}: Permission denied"


# ---------------------------------------------------------------- signals and kills

WRITER = """
import os, signal, sys
if sys.argv[2] == "with a name":
    del os.O_TMPFILE
from sslcore.io.atomic import replacing_all
folder = sys.argv[1]
paths = [os.path.join(folder, name) for name in "abcd"]
print("ready", flush=True)
content = 0
while True:
    content += 1
    with replacing_all(*paths) as opened:
        for file in opened:
            for _ in range(20):
                file.write(b"%020d" % content * 1000)
"""


@contextlib.contextmanager
def run_writer(folder, unfinished):
    with started("-c", WRITER, folder, unfinished, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        yield writer


def contents(folder):
    """The content of each file, of which all parts must be one."""
    found = {}
    for name in "abcd":
        data = (folder / name).read_bytes()
        assert len(data) == 20 * 1000 * 20
        assert data == data[:20] * 20_000
        found[name] = int(data[:20])
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_part_and_no_mixture(tmp_path, unfinished, number):
    rng = np.random.default_rng(int(number))
    for _ in range(6):
        with run_writer(tmp_path, unfinished) as writer:
            while not (tmp_path / "d").exists():
                assert writer.poll() is None
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.05))
            writer.send_signal(number)
            _, words = writer.communicate(timeout=30)
        assert writer.returncode == -number, words
        assert names_in(tmp_path) == ["a", "b", "c", "d"]
        assert len(set(contents(tmp_path).values())) == 1


def test_a_kill_leaves_whole_files(tmp_path, unfinished):
    rng = np.random.default_rng(0)
    for _ in range(10):
        with run_writer(tmp_path, unfinished) as writer:
            while not (tmp_path / "d").exists():
                assert writer.poll() is None
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.05))
        assert writer.returncode == -signal.SIGKILL
        assert len(set(contents(tmp_path).values())) <= 2  # of each the old or the new
        for path in tmp_path.glob(".sslcore-*.part"):
            path.unlink()
        assert names_in(tmp_path) == ["a", "b", "c", "d"]


def test_handlers_come_back(tmp_path):
    def own(number, frame):
        pass

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, own)
    try:
        with replacing(tmp_path / "a"):
            assert signal.getsignal(signal.SIGHUP) is own  # what a program hears itself is left to it
        assert signal.getsignal(signal.SIGHUP) is own
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert {number: signal.getsignal(number) for number in before} == before


def test_an_interrupt_while_names_are_taken_waits(tmp_path, monkeypatch):
    real = os.replace

    def replace(source, target):
        if target.endswith("a"):
            signal.raise_signal(signal.SIGINT)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_all(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"new", b"new"]
    assert names_in(tmp_path) == ["a", "b"]


def test_where_long_values_differ():
    """What both have in common is not all that is shown."""
    from sslcore.io.records import difference

    first = {"reg": "AutoReg(" + ", ".join(f"parameter_{i}=None" for i in range(9)) + ")", "beta": 1.0}
    second = first | {"reg": first["reg"][:-1] + ", standard_errors=1.0)"}
    told = difference(first, second)
    assert told.startswith("reg ...")
    assert "standard_errors=1.0)' here" in told
    assert "standard_errors" not in told.split(" there")[0]
    assert difference({"k": 2}, {"k": 3, "new": "x"}) == "k 2 there, 3 here; new None there, 'x' here"
    assert len(difference({"a": "y" * 500}, {"a": "z" * 500})) < 200
