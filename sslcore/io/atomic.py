"""Files: written whole or not at all, and read only if they are regular ones.

A new file has no name while it is written (``O_TMPFILE``), where the system can do that: whatever ends the process,
nothing stays. Elsewhere it has a random one, which no other program can have planted, and SIGTERM and SIGHUP remove it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import stat
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, BinaryIO, cast

from ..backends.signals import handled, signals_held

__all__ = ["as_path", "check_writable", "open_regular", "open_zip", "replacing", "replacing_all"]

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}
_EXCLUSIVE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_DESCRIPTORS = "/proc/self/fd"
_MOST_DIRECTORY = 4 << 20


def as_path(path: Any) -> str:
    """Return the path as a string; ``TypeError`` for a number, say, which the system would take for a descriptor."""
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise TypeError(f"a path was expected (str or os.PathLike), found {path!r:.60} of {type(path).__name__}")
    try:
        if not name or b"\0" in os.fsencode(name):
            raise ValueError
    except ValueError:  # of the encoding too
        raise ValueError(f"a path was expected, found {name!r:.60}, which can be the name of no file") from None
    return name


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading.

    Raises
    ------
    OSError
        It cannot be opened, or is something else: a pipe would be waited for, and a device need not end. The message
        names the file and the reason.
    """
    name = as_path(path)
    with _reworded("read", name):
        _require_regular(os.stat(name))  # before it is opened: that alone may rewind a tape, or wait
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(name, flags), "rb")
        try:
            _require_regular(os.fstat(file.fileno()))  # it may have become another in between
        except OSError:
            file.close()
            raise
    return file


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive whose directory, which `zipfile` reads whole and keeps tenfold, takes at most 4 MiB."""
    bounded = _Bounded(file)
    archive = zipfile.ZipFile(bounded)
    bounded.most = sys.maxsize
    return archive


class _Bounded:
    """A file that gives at most so many bytes at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.most = file, _MOST_DIRECTORY
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise ValueError(f"its directory takes {size} bytes, more than the {self.most} of any that is meant")
        place = self.tell()  # no buffer for more than is left
        left = self.seek(0, os.SEEK_END) - place
        self.seek(place)
        size = min(left, self.most if size < 0 else size)
        return self._file.read(size)


def check_writable(*paths: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Raise the error that `replacing_all` would, before the work; what is there stays as it is."""
    parts: list[_Part] = []
    try:
        _begin(parts, paths, overwrite)
    finally:
        _discard(parts)


@contextmanager
def replacing(target: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """Open a file that becomes ``target`` at the end, and vanishes if anything, Ctrl-C included, comes before.

    A file that is open already is handed on as it is, so that writers can be given one of `replacing_all`.
    """
    if hasattr(target, "write"):
        with _reworded("write", str(getattr(target, "name", "the file")), of_others=True):
            yield cast(BinaryIO, target)
        return
    path = as_path(target)
    with replacing_all(path) as (file,), _reworded("write", path, of_others=True):
        yield file


@contextmanager
def replacing_all(*paths: str | os.PathLike[str], overwrite: bool = True) -> Iterator[list[BinaryIO]]:
    """Open files that become ``paths`` together at the end; if anything comes before, none does.

    A symbolic link stays and its file is replaced. Permissions, owner and extended attributes of a file that is
    replaced are kept as far as the system lets us; a new one has those that the umask gives. Other hard links keep the
    old content. If a file cannot take its name, those that have are taken back; a message says so where even that
    fails. Only the death of the process (SIGKILL) within the instant of renaming can leave a part of several.

    Parameters
    ----------
    *paths : str or path
    overwrite : bool
        False: refuse files that are there with a ``FileExistsError``.

    Yields
    ------
    list of binary files
        In the order of ``paths``; their ``name`` is the path.

    Raises
    ------
    OSError, ValueError
        Something cannot be written: a folder, a device or a pipe, a file without permission to write; two paths are one
        file. The message names the path and the reason.
    """
    parts: list[_Part] = []
    with _removed_at_the_end(parts):
        try:
            with signals_held(_heard):  # between the making of a file and the note of its name
                _begin(parts, paths, overwrite)
            yield [part.file for part in parts]
            for part in parts:
                part.complete()
            with signals_held(_heard):
                _commit(parts, overwrite)
        finally:
            with signals_held(_heard):
                _discard(parts)


class _Part:
    """A file that is being written, and the one that it will be.

    Attributes
    ----------
    path : str
        As it was given, for messages.
    target : str
        The same without symbolic links.
    old : os.stat_result or None
        The file that is there.
    name : str or None
        The name of the new file until it has its own; None if it has none yet.
    backup : str or None
        Another name of the old file, for a return.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self.path = as_path(path)
        self.name: str | None = None
        self.backup: str | None = None
        with _reworded("write", self.path):
            self.target, self.old = _look_up(self.path, overwrite)
            mode = 0o666 if self.old is None else 0o600  # that of the old comes when its content does
            descriptor, self.name = _create(os.path.dirname(self.target), mode)
            self.file = os.fdopen(descriptor, "w+b")
            self.file.raw.name = self.path  # type: ignore[attr-defined]

    def complete(self) -> None:
        """Bring all to the disk, before it takes the name: else neither may survive a loss of power."""
        with _reworded("write", self.path):
            self.file.flush()
            if self.old is not None:
                _keep_attributes(self.file.fileno(), self.target, self.old)
            os.fsync(self.file.fileno())

    def look_again(self, overwrite: bool) -> None:
        """Refuse what has become of the target since the beginning."""
        with _reworded("write", self.path):
            target, self.old = _look_up(self.path, overwrite)
            if target != self.target:
                raise OSError(errno.ESTALE, f"its links have changed, from {self.target} to {target}")

    def give_name(self) -> None:
        """Make the file one of the folder, under a name of ours."""
        with _reworded("write", self.path):
            if self.name is None:
                self.name = _link(self.file, os.path.dirname(self.target))
            self.file.close()

    def keep_old(self) -> None:
        """Give the old file another name, where the file system has hard links."""
        if self.old is not None:
            backup = _random_name(os.path.dirname(self.target))
            with suppress(OSError):
                os.link(self.target, backup)
                self.backup = backup

    def replace(self) -> None:
        """Take the name."""
        assert self.name is not None
        with _reworded("write", self.path):
            os.replace(self.name, self.target)
        self.name = None

    def roll_back(self) -> str | None:
        """Put back what was there, the old file or none; return in words what is left if that fails."""
        backup, self.backup = self.backup, None
        try:
            if self.old is None:
                os.unlink(self.target)
            elif backup is not None:
                os.replace(backup, self.target)
            else:
                return self.path
        except OSError:
            return f"{self.path}{f' (before: {backup})' if backup else ''}"
        return None

    def remove(self) -> None:
        """Remove the names that are ours."""
        for name in (self.name, self.backup):
            if name is not None:
                with suppress(OSError):
                    os.unlink(name)
        self.name = self.backup = None


def _begin(parts: list[_Part], paths: Sequence[str | os.PathLike[str]], overwrite: bool) -> None:
    """Append a part for each path; after an error those that were made are in the list."""
    for path in paths:
        part = _Part(path, overwrite)
        parts.append(part)
        twin = next((p for p in parts[:-1] if p.target == part.target or _same(p.old, part.old)), None)
        if twin is not None:
            raise ValueError(f"cannot write {part.path}: it is the same file as {twin.path}")


def _same(first: os.stat_result | None, second: os.stat_result | None) -> bool:
    return first is not None and second is not None and os.path.samestat(first, second)


def _commit(parts: list[_Part], overwrite: bool) -> None:
    """Let all files take their names, or none."""
    done: list[_Part] = []
    try:
        for part in parts:
            part.look_again(overwrite)
        for part in parts:
            part.give_name()
            if len(parts) > 1:
                part.keep_old()
        for part in parts:
            part.replace()
            done.append(part)
    except BaseException as error:
        left = [words for part in reversed(done) if (words := part.roll_back()) is not None]
        if left and isinstance(error, OSError):
            raise _same_error(error, f"{error}; not put back, and new: {', '.join(left)}") from error
        raise
    finally:
        for part in parts:
            part.remove()
    for folder in {os.path.dirname(part.target) for part in parts}:
        _sync_folder(folder)


def _discard(parts: list[_Part]) -> None:
    for part in parts:
        with suppress(OSError):  # of bytes that were not written yet
            part.file.close()
        part.remove()


# ---------------------------------------------------------------- places


def _look_up(path: str, overwrite: bool) -> tuple[str, os.stat_result | None]:
    """Return the path without links, and the regular file that is there, if one is."""
    try:
        found = os.stat(path)  # through the links, as the system follows them: loops and links of others are refused
    except FileNotFoundError:
        found = None
    target = os.path.realpath(path)
    if found is None and os.path.lexists(target):  # such as missing/..
        found = os.stat(target)
    if found is None:
        if not os.path.basename(path):
            raise IsADirectoryError(errno.EISDIR, "it is the name of a folder")
        return target, None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    _require_regular(found)
    if not os.path.samestat(found, os.stat(target)):
        raise OSError(errno.ESTALE, "its name leads to another file")
    if not overwrite:
        raise FileExistsError(errno.EEXIST, "it is there already")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return target, found


def _require_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is not a regular file but {kind}")


def _random_name(folder: str) -> str:
    # short, and without the name of the target, which may be as long as a name can be
    return os.path.join(folder, f".sslcore-{secrets.token_hex(8)}.part")


def _create(folder: str, mode: int) -> tuple[int, str | None]:
    """Create a fresh file in the folder; return its descriptor and its name, None if it has none."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir(_DESCRIPTORS):
        with suppress(OSError):  # not every file system can; other reasons come again
            return os.open(folder, os.O_RDWR | os.O_TMPFILE, mode), None
    name = _random_name(folder)
    return os.open(name, _EXCLUSIVE, mode), name


def _link(file: BinaryIO, folder: str) -> str:
    """Give a file without a name one in the folder."""
    name = _random_name(folder)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:  # with a folder's descriptor, or Python would link the symbolic link itself
        os.link(f"{_DESCRIPTORS}/{file.fileno()}", name, src_dir_fd=directory, follow_symlinks=True)
    except OSError:  # a file system that makes such files and cannot link them
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        with os.fdopen(os.open(name, _EXCLUSIVE, 0o600), "wb") as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fchmod(copy.fileno(), mode)
            os.fsync(copy.fileno())
    finally:
        os.close(directory)
    return name


def _keep_attributes(descriptor: int, target: str, old: os.stat_result) -> None:
    """Give a new file owner, permissions and extended attributes of the old; what fails gives nobody more."""
    if not hasattr(os, "fchmod"):
        return
    for uid, gid in ((old.st_uid, -1), (-1, old.st_gid)):
        with suppress(OSError):
            os.fchown(descriptor, uid, gid)
    if hasattr(os, "listxattr"):
        with suppress(OSError):
            for name in os.listxattr(target):  # access control lists are among them
                with suppress(OSError):
                    os.setxattr(descriptor, name, os.getxattr(target, name))
    mode, new = stat.S_IMODE(old.st_mode), os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        mode &= 0o777
    if new.st_gid != old.st_gid:  # the group of another: what all may
        mode &= ~0o070 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)


def _sync_folder(folder: str) -> None:
    """Bring the names in a folder to the disk; some systems cannot, and the files are whole either way."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---------------------------------------------------------------- errors


@contextmanager
def _reworded(verb: str, path: str, *, of_others: bool = False) -> Iterator[None]:
    """Name this file in errors of the system that the body raises; ``of_others``: unless they name one."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if reason.startswith("cannot ") or (of_others and error.filename is not None):
            raise
        raise _same_error(error, f"cannot {verb} {path}: {reason}") from None


def _same_error(error: OSError, message: str) -> OSError:
    """Return an error of the same class and number with another message."""
    new = type(error)(message)
    new.errno = error.errno
    return new


# ---------------------------------------------------------------- signals


def _removed_at_the_end(parts: list[_Part]) -> AbstractContextManager[None]:
    """Remove the names of unfinished files first if a signal ends the process in the body."""
    process = os.getpid()

    def end(number: int, frame: Any) -> None:
        if os.getpid() == process:  # not in a child, which inherits this
            for part in parts:
                part.remove()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    return handled(end, lambda handler: handler is signal.SIG_DFL)


def _heard(handler: Any) -> bool:
    """Tell whether a signal with this handler does anything."""
    return handler is not signal.SIG_IGN
