"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["check_writable", "replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that becomes ``path`` at the end, and vanishes if anything, Ctrl-C included, comes before."""
    part = _part(Path(path))
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # on the disk before it takes the name: neither is lost with the power
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the error that `replacing` would, before the work; ``path`` itself stays as it is."""
    part = _part(Path(path))
    try:
        part.touch()
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error
    part.unlink()


def _part(path: Path) -> Path:
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
