"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["check_writable", "replacing", "replacing_all"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that becomes ``path`` at the end, and vanishes if anything, Ctrl-C included, comes before."""
    with replacing_all(path) as (part,):
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # on the disk before it takes the name: neither is lost with the power
        except OSError as error:
            raise _refused(path, error) from error


@contextmanager
def replacing_all(*paths: str | os.PathLike[str]) -> Iterator[list[Path]]:
    """Names of files beside ``paths``, which these become together at the end; if anything comes before, none does."""
    parts = [_part(Path(path)) for path in paths]
    try:
        try:
            yield parts
        except OSError as error:  # it names our parts
            message = str(error)
            for part, path in zip(parts, paths, strict=True):
                message = message.replace(str(part), os.fspath(path))
            raise error if message == str(error) else type(error)(message) from error
        for part, path in zip(parts, paths, strict=True):
            try:
                part.replace(path)
            except OSError as error:
                raise _refused(path, error) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the error that `replacing` would, before the work; ``path`` itself stays as it is."""
    part = _part(Path(path))
    try:
        part.touch()
    except OSError as error:
        raise _refused(path, error) from error
    part.unlink()


def _part(path: Path) -> Path:
    if os.path.isdir(path):  # False for names that are too long, which then fail with their reason
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")


def _refused(path: str | os.PathLike[str], error: OSError) -> OSError:
    """The error, of the same class, with the name of the file."""
    reason = error.strerror or str(error)
    if reason.startswith("cannot write "):
        return error
    return type(error)(f"cannot write {os.fspath(path)}: {reason}")
