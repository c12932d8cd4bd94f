"""The folder of a run: its settings, and a file for each finished cell, of which none is ever half written."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import warnings
from contextlib import suppress
from typing import Any

import numpy as np

from ..io.archive import read_archive, write_archive
from ..io.atomic import as_path, open_regular, replacing
from ..io.records import difference, versions

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Folder", "plain"]

_SETTINGS = "settings.json"
_UNFINISHED = re.compile(r"\.sslcore-[0-9a-f]{16}\.part")  # what `io.atomic` names new files, for an instant
_MOST_SETTINGS = 1 << 24


def plain(value: Any, name: str) -> Any:
    """Return what JSON keeps of a plain value, which is all of it; ``TypeError`` or ``ValueError`` if it is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}; settings and cells are finite numbers, strings, lists and dicts")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(part, f"{name}[{i}]") for i, part in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(part, f"{name}[{key!r}]") for key, part in value.items()}
    raise TypeError(
        f"{name} is {value!r:.60} of {type(value).__name__}; settings and cells are plain values (numbers, strings, "
        f"lists, dicts with strings as keys), which files are compared by"
    )


class Folder:
    """A folder of finished cells of one function, with one group of settings; one process at a time works in it.

    Parameters
    ----------
    path : path
        Made if it is not there.
    function : str
        The name of what computes the cells.
    settings : dict
        Plain values.

    Raises
    ------
    ValueError
        It holds cells of another function or version, of other settings, or such that cannot be told.
    OSError
        It cannot be made, or another process works in it.
    """

    def __init__(self, path: str | os.PathLike[str], function: str, settings: dict[str, Any]) -> None:
        self.path = as_path(path)
        self._run = {"library": "sslcore", "kind": "cells", "function": function, "settings": settings}
        self._run["versions"] = versions()
        self._digest = hashlib.sha256(json.dumps(self._run, sort_keys=True).encode()).hexdigest()

    def __enter__(self) -> Folder:
        try:
            os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise type(error)(error.errno, f"cannot make the folder: {error.strerror}", self.path) from None
        self._lock = self._locked()
        try:
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def read(self, index: int, cell: Any) -> dict[str, np.ndarray] | None:
        """Return the arrays of a cell; None if it is not finished, or its file is damaged, which is put aside."""
        path = self._file(index)
        if not os.path.lexists(path):
            return None
        try:
            content = read_archive(path, ("cell",), lambda content, arrays: {"of": content, "arrays": arrays})[1]
        except ValueError as error:
            os.replace(path, f"{path}.damaged")
            warnings.warn(
                f"{error}; it is kept aside as {path}.damaged, and the cell is done again", RuntimeWarning, stacklevel=3
            )
            return None
        if content["of"] != {"run": self._digest, "cell": cell}:
            raise ValueError(
                f"{path} holds the cell {content['of'].get('cell')!r:.100} of its run, not {cell!r:.100} of this one; "
                f"choose another folder, or remove that one"
            )
        arrays: dict[str, np.ndarray] = content["arrays"]
        return arrays

    def write(self, index: int, cell: Any, arrays: dict[str, np.ndarray]) -> None:
        """Keep a finished cell; its file is there as a whole or not at all."""
        try:
            write_archive(self._file(index), "cell", {"run": self._digest, "cell": cell}, arrays)
        except OSError as error:
            more = f"{error}; the cells finished before stay in {self.path}, where the same call goes on"
            raise _same(error, more) from None

    def _file(self, index: int) -> str:
        return os.path.join(self.path, f"cell-{index:05d}.npz")

    def _locked(self) -> int | None:
        """Take the folder for this process, until it ends; where the system can."""
        if fcntl is None:
            return None
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BlockingIOError(errno.EWOULDBLOCK, "another process works in this folder", self.path) from None
        except OSError:  # a file system without locks
            pass
        return descriptor

    def _prepare(self) -> None:
        names = os.listdir(self.path)
        for name in filter(_UNFINISHED.fullmatch, names):  # of a process that was killed
            with suppress(OSError):
                os.unlink(os.path.join(self.path, name))
        path = os.path.join(self.path, _SETTINGS)
        if _SETTINGS in names:
            self._compare(path)
        elif any(re.fullmatch(r"cell-\d+\.npz", name) for name in names):
            raise ValueError(
                f"{self.path} holds cells without {_SETTINGS}, so that nobody can tell of which run; choose another "
                f"folder, or remove them"
            )
        else:
            with replacing(path) as file:
                file.write(json.dumps(self._run, indent=1, sort_keys=True).encode() + b"\n")

    def _compare(self, path: str) -> None:
        """Refuse a folder of another run, in words that tell how it differs."""
        try:
            with open_regular(path) as file:
                there = json.loads(file.read(_MOST_SETTINGS))
            if not isinstance(there, dict) or there.get("library") != "sslcore" or there.get("kind") != "cells":
                raise ValueError("it was not written by a run of cells")
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path} cannot be read ({error}), so that nobody can tell what {self.path} holds; choose another "
                f"folder, or remove that one"
            ) from None
        if there == self._run:
            return
        if there.get("function") != self._run["function"]:
            differs = f"the results of {there.get('function')}, not of {self._run['function']}"
        elif there.get("settings") != self._run["settings"]:
            differs = f"results of other settings: {difference(there.get('settings'), self._run['settings'])}"
        else:
            differs = f"results of other versions: {difference(there.get('versions'), self._run['versions'])}"
        way_out = "choose another folder, or remove that one to begin again"
        if there.get("versions") != self._run["versions"] and "versions" in differs:
            way_out = f"install those versions to go on, or {way_out}"
        raise ValueError(f"{self.path} holds {differs}; {way_out}")


def _same(error: OSError, message: str) -> OSError:
    """Return an error of the same class and number with another message."""
    new = type(error)(message)
    new.errno = error.errno
    return new
