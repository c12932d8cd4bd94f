"""Data files, ``.npy``, ``.npz``, ``.csv`` and ``.tsv``: read without pickle, refused with the place of what is wrong.

A *source* is a file's name, or ``FILE:NAME`` where the file holds several things: an array of an ``.npz``, columns of a
``.csv`` (``moons.csv:class``, ``moons.csv:x,y``).

* The first row of a ``.csv`` is a header if none of its cells is a number; without one, columns are named by their
  number, from 1.  Commas, semicolons or tabs separate, whichever the first row has most of.
* Large ``.npy`` files are mapped, not loaded: feature models read them by blocks, and check them as they do.
* What a file promises (its header, its directory) is compared with its size before anything is allocated.
"""

from __future__ import annotations

import csv
import itertools
import math
import os
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from .arrays import Array, as_float_dtype, check_finite
from .files import replacing

__all__ = ["Source", "Table", "parse_source", "read_labels", "read_points", "write_csv", "write_npy"]

SUFFIXES = (".npy", ".npz", ".csv", ".tsv")
MAPPED_FROM = 64 << 20
"""Bytes from which an ``.npy`` file is mapped."""
_BEGINNINGS = {
    b"\x93NUMPY": "a .npy file",
    b"PK\x03\x04": "a .npz (zip) archive",
    b"PK\x05\x06": "a .npz (zip) archive",
    b"\x89PNG": "a PNG picture",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
    b"\x80\x04\x95": "a pickle",
    b"\x80\x05\x95": "a pickle",
}


@dataclass(frozen=True)
class Source:
    """A file, and what to take of it.

    Attributes
    ----------
    path : Path
    choice : str or None
        The array of an ``.npz``, or the columns of a ``.csv``, separated by commas.

    Examples
    --------
    >>> from sslcore.tables import parse_source
    >>> str(parse_source("moons.csv:class")), parse_source("moons.npy").choice
    ('moons.csv:class', None)
    """

    path: Path
    choice: str | None = None

    def size(self) -> int:
        """Bytes of the file; 0 if it is not there, which reading will tell."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def __str__(self) -> str:
        return str(self.path) if self.choice is None else f"{self.path}:{self.choice}"


@dataclass(frozen=True, eq=False)
class Table:
    """What was read.

    Attributes
    ----------
    values : array
        Points (n, d), views (n, m, d) or labels (n,).
    columns : tuple of str or None
        Names of the columns that were taken, of files that have names.
    source : Source

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.tables import Table, parse_source
    >>> Table(np.zeros((3, 2)), ("x", "y"), parse_source("a.csv")).columns
    ('x', 'y')
    """

    values: Array
    columns: tuple[str, ...] | None
    source: Source


def parse_source(text: str) -> Source:
    """A source from ``FILE`` or ``FILE:NAME``; a file whose name has a colon comes first.

    Raises
    ------
    ValueError
        If the name ends in none of the suffixes that can be read.

    Examples
    --------
    >>> from sslcore.tables import parse_source
    >>> parse_source("features.npz:train").choice
    'train'
    """
    head, colon, choice = text.rpartition(":")
    if colon and Path(head).suffix.lower() in SUFFIXES and not os.path.exists(text):
        source = Source(Path(head), choice)
    else:
        source = Source(Path(text))
    if source.path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"data are read from {', '.join(SUFFIXES)} files, found {text}")
    if source.choice is not None and not source.choice:
        raise ValueError(f"nothing follows the colon of {text!r}; name an array or a column, or leave out the colon")
    if source.choice is not None and source.path.suffix.lower() == ".npy":
        raise ValueError(f"{source.path} is a single array; leave out :{source.choice}")
    return source


def read_points(source: Source, drop: Sequence[str] = (), like: Table | None = None) -> Table:
    r"""Points (n, d), or views (n, m, d), as numbers.

    Parameters
    ----------
    source : Source
    drop : sequence of str
        Columns of a ``.csv`` to leave out, by name, or by number if it has no header.
    like : Table, optional
        Take the columns of that one, in its order, if both have names; of ``drop`` only what is there otherwise.

    Returns
    -------
    Table
        A ``.csv`` gives float64, a large ``.npy`` an ``np.memmap``.

    Raises
    ------
    OSError, ValueError
        With the file, and the row and column where there is one.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sslcore.tables import parse_source, read_points
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "moons.csv")
    ...     _ = path.write_text("x,y,class\n0.5,1,top\n-2,3,bottom\n")
    ...     read_points(parse_source(str(path)), drop=["class"]).values
    array([[ 0.5,  1. ],
           [-2. ,  3. ]])
    """
    _require_file(source.path)
    if source.path.suffix.lower() in (".csv", ".tsv"):
        sheet = _Sheet.open(source.path)
        if like is None or source.choice is not None:
            chosen = sheet.choose(source.choice, drop)
        elif sheet.has_header and like.columns is not None and not like.columns[0].isdigit():
            chosen = sheet.find(like)
        else:
            chosen = sheet.choose(None, [name for name in drop if name in sheet.columns])
        return Table(sheet.numbers(chosen), tuple(sheet.columns[i] for i in chosen), source)
    if drop and like is None:
        raise ValueError(f"columns can be dropped by name from .csv files, {source.path} is an array")
    array = _read_array(source)
    try:
        as_float_dtype(array.dtype, "it")
    except TypeError:
        raise ValueError(f"{source} must hold real numbers, found dtype {array.dtype}") from None
    if array.ndim not in (2, 3):
        raise ValueError(f"{source} must hold points (n, d) or views (n, m, d), found shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{source} is empty: its shape is {array.shape}")
    if not isinstance(array, np.memmap):  # which is checked by blocks
        _require_finite(array, source)
    return Table(array, None, source)


def read_labels(source: Source) -> Table:
    r"""Labels (n,): integers, real numbers or strings.

    A column of a ``.csv`` holds integers if all its cells are, as they would be written; real numbers if all are; else
    strings (such as 007).

    Raises
    ------
    OSError, ValueError
        With the file, and the row where there is one; missing and infinite labels are refused.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sslcore.tables import parse_source, read_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "moons.csv")
    ...     _ = path.write_text("x,class\n0.5,top\n-2,bottom\n")
    ...     read_labels(parse_source(f"{path}:class")).values.tolist()
    ['top', 'bottom']
    """
    _require_file(source.path)
    if source.path.suffix.lower() in (".csv", ".tsv"):
        sheet = _Sheet.open(source.path)
        chosen = sheet.choose(source.choice, ())
        if len(chosen) != 1:
            raise ValueError(
                f"labels are one column, {source} has {len(chosen)}; choose one, as {source.path}:{sheet.columns[-1]} "
                f"(there are: {_names(sheet.columns)})"
            )
        return Table(sheet.labels(chosen[0]), (sheet.columns[chosen[0]],), source)
    array = np.asarray(_read_array(source))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"labels must be one for each sample (n,), {source} has shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{source} is empty: its shape is {array.shape}")
    if array.dtype.kind not in "iubfUS":
        raise ValueError(f"{source} must hold integers, real numbers or strings, found dtype {array.dtype}")
    if array.dtype.kind == "f":
        _require_finite(array, source)
    return Table(array, None, source)


def write_npy(path: str | os.PathLike[str], array: Array) -> None:
    """Write an array to an ``.npy`` file; it appears whole or not at all.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np
    >>> from sslcore.tables import write_npy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_npy(pathlib.Path(folder, "z.npy"), np.arange(3))
    ...     np.load(pathlib.Path(folder, "z.npy"))
    array([0, 1, 2])
    """
    with replacing(path) as file:
        # not the file itself: NumPy would write it behind Python's back, and lose the reason of a failure
        np.lib.format.write_array(_Plain(file), np.ascontiguousarray(array), allow_pickle=False)


def write_csv(file: IO[bytes], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    r"""Write a header and rows, UTF-8, with commas.

    Examples
    --------
    >>> import io
    >>> from sslcore.tables import write_csv
    >>> file = io.BytesIO()
    >>> write_csv(file, ["name", "value"], [("a, b", 0.5)])
    >>> file.getvalue()
    b'name,value\n"a, b",0.5\n'
    """
    text = _Encoded(file)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


class _Plain:
    """A binary file that can only be written to."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


class _Encoded:
    """A binary file for text; unlike `io.TextIOWrapper` it neither buffers nor closes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


# ---------------------------------------------------------------- any file


def _require_file(path: Path) -> None:
    """Refuse what is missing, a folder, empty, or not what its name says."""
    try:
        with path.open("rb") as file:
            beginning = file.read(8)
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from None
    if not beginning:
        raise ValueError(f"{path} is empty")
    found = next((what for magic, what in _BEGINNINGS.items() if beginning.startswith(magic)), None)
    suffix = path.suffix.lower()
    wanted = {".npy": "a .npy file", ".npz": "a .npz (zip) archive"}.get(suffix)
    if found != wanted:
        raise ValueError(f"{path} is not what its name says: it begins as {found or 'text, or something unknown'}")


def _require_finite(array: Array, source: Source) -> None:
    if not check_finite(array):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{source} has {array[place]} at row {place[0]} (index {list(place)}, counted from 0); remove or impute it"
        )


def _names(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")


# ---------------------------------------------------------------- arrays


def _read_array(source: Source) -> Array:
    path = source.path
    size = path.stat().st_size
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, source, size)
            offset = file.tell()
            if 0 in shape or math.prod(shape) * dtype.itemsize < MAPPED_FROM:
                return _values(file, source, shape, fortran, dtype)
        return np.memmap(path, dtype, "r", offset, shape, order="F" if fortran else "C")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            info = _member(source, archive, members)
            with archive.open(info) as file:
                shape, fortran, dtype = _header(file, source, info.file_size)
                return _values(file, source, shape, fortran, dtype)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # of zipfile and the decompressors, many kinds
        raise ValueError(f"{path} is damaged or cut short: {error}") from None


def _values(file: IO[bytes], source: Source, shape: tuple[int, ...], fortran: bool, dtype: np.dtype) -> Array:
    values = np.empty(math.prod(shape), dtype)
    into, done = memoryview(values.view(np.uint8).data), 0
    while done < len(into) and (part := file.read(min(len(into) - done, 16 << 20))):
        into[done : done + len(part)] = part
        done += len(part)
    if done < len(into):
        raise ValueError(f"{source} is cut short: {done} of {len(into)} bytes")
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _member(source: Source, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """The chosen array of an archive, or its only one."""
    by_name = {info.filename[:-4]: info for info in members}
    if source.choice is not None:
        if source.choice not in by_name:
            raise ValueError(f"{source.path} has no array {source.choice!r}; it has: {_names(by_name)}")
        return by_name[source.choice]
    if len(members) == 1:
        return members[0]
    if not members:
        raise ValueError(f"{source.path} holds no arrays")
    raise ValueError(
        f"{source.path} holds {len(members)} arrays: {_names(by_name)}; choose one, as {source.path}:{min(by_name)}"
    )


def _header(file: IO[bytes], source: Source, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype that an array's header promises, if ``size`` bytes can hold it."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version} of the format is not known")
        with warnings.catch_warnings(action="ignore"):
            shape, fortran, dtype = read(file)
    except Exception as error:  # NumPy reads a literal of Python: errors of its tokenizer, parser and more
        raise ValueError(f"the header of {source} is damaged: {' '.join(str(error).split())[:200]}") from None
    if dtype.hasobject:
        raise ValueError(
            f"{source} holds Python objects, which are never read, since reading them can run code; save numbers, for "
            f"example with array.astype(float)"
        )
    if dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{source} holds records ({dtype}); save its numbers as a plain array (n, d)")
    if any(length < 0 for length in shape) or not dtype.itemsize:
        raise ValueError(f"the header of {source} is damaged: shape {shape} of {dtype}")
    needed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed > there:
        raise ValueError(
            f"{source} is cut short: shape {shape} of {dtype} takes {needed} bytes, it has {max(there, 0)}"
        )
    return shape, fortran, dtype


# ---------------------------------------------------------------- text


class _Quoted(Exception):
    """The file has quoted cells: only a reader of csv can tell its rows."""


@dataclass(frozen=True)
class _Sheet:
    """A text table: how it is written, not its contents."""

    path: Path
    delimiter: str
    has_header: bool
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> _Sheet:
        first = next(_lines(path), None)
        if first is None:
            raise ValueError(f"{path} holds only blank lines")
        unquoted = re.sub('"[^"]*"', "", first)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=unquoted.count)
        probe = cls(path, delimiter, False, ())
        _, cells = next(probe._rows())
        cells = [cell.strip() for cell in cells]
        has_header = not any(_is_number(cell) for cell in cells)
        if not has_header:
            return cls(path, delimiter, False, tuple(str(i + 1) for i in range(len(cells))))
        names = tuple(cell or f"column {i + 1}" for i, cell in enumerate(cells))
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{path} has two columns named {twice[0]!r} in its header; rename one")
        return cls(path, delimiter, True, names)

    def choose(self, choice: str | None, drop: Sequence[str]) -> list[int]:
        """Positions of the chosen columns, without the dropped ones."""
        wanted = [choice] if choice in self.columns else choice.split(",") if choice else list(self.columns)
        for name in (*wanted, *drop):
            if name not in self.columns:
                header = "" if self.has_header else ", which has no header"
                raise ValueError(f"there is no column {name!r} in {self.path}{header}; columns: {_names(self.columns)}")
        left = [name for name in wanted if name not in drop]
        if not left:
            raise ValueError(f"no columns of {self.path} are left after dropping {', '.join(drop)}")
        return [self.columns.index(name) for name in left]

    def find(self, like: Table) -> list[int]:
        """Positions of the columns of another table."""
        assert like.columns is not None
        for name in like.columns:
            if name not in self.columns:
                raise ValueError(
                    f"{self.path} has no column {name!r}, which {like.source} has; columns: {_names(self.columns)}"
                )
        return [self.columns.index(name) for name in like.columns]

    def numbers(self, chosen: list[int]) -> Array:
        """The chosen columns (n, d), finite."""
        try:
            lines = self._plain_lines()
            first = next(lines, None)
            if first is None:
                raise ValueError(f"{self.path} has a header and no rows")
            values = np.loadtxt(
                itertools.chain([first], lines),
                delimiter=self.delimiter,
                usecols=chosen,
                comments=None,
                ndmin=2,
                encoding=None,
            )
        except (_Quoted, ValueError):
            values = self._slow_numbers(chosen)  # which knows what is wrong
        if not np.isfinite(values).all():
            row, place = np.argwhere(~np.isfinite(values))[0]
            self._refuse(int(row), chosen[place], f"is {values[row, place]}; remove or impute it")
        return values

    def labels(self, column: int) -> Array:
        """One column (n,)."""
        cells = []
        for row, line in enumerate(self._data()):
            cells.append(line[column].strip())
            if not cells[-1]:
                self._refuse(row, column, "is empty; every sample needs a label")
        if not cells:
            raise ValueError(f"{self.path} has a header and no rows")
        if all(_is_integer(cell) for cell in cells):
            return np.array([int(cell) for cell in cells])
        if all(_is_number(cell) for cell in cells) and not all(cell.isdigit() for cell in cells):
            values = np.array([_number(cell) for cell in cells])
            if not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values)))
                self._refuse(row, column, f"is {values[row]}; every sample needs a label")
            return values
        return np.array(cells)

    def _plain_lines(self) -> Iterator[str]:
        """Lines of data without quotes, as many cells in each."""
        width, skip = len(self.columns) - 1, self.has_header
        for line in _lines(self.path):
            if '"' in line or line.count(self.delimiter) != width:
                raise _Quoted
            if skip:
                skip = False
            else:
                yield line

    def _slow_numbers(self, chosen: list[int]) -> Array:
        rows = []
        for row, cells in enumerate(self._data()):
            try:
                rows.append([_number(cells[i]) for i in chosen])
            except ValueError:
                bad = next(i for i in chosen if not _is_number(cells[i]))
                found = f"is {cells[bad].strip()!r}, not a number" if cells[bad].strip() else "is empty"
                self._refuse(row, bad, f"{found}; correct it, or leave the column out with --drop {self.columns[bad]}")
        if not rows:
            raise ValueError(f"{self.path} has a header and no rows")
        return np.array(rows)

    def _data(self) -> Iterator[list[str]]:
        """Rows of data, each as long as the first."""
        for row, (line, cells) in enumerate(self._rows()):
            if len(cells) != len(self.columns):
                raise ValueError(
                    f"{self.path}: row {row + 1 - self.has_header} (line {line}) has {len(cells)} cells, the "
                    f"{'header' if self.has_header else 'first row'} has {len(self.columns)}"
                )
            if row or not self.has_header:
                yield cells

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """All rows that are not blank, the header too, with the line on which each ends."""
        reader = csv.reader(_lines(self.path, blank=True), delimiter=self.delimiter)
        try:
            for cells in reader:
                if len(cells) > 1 or (cells and cells[0].strip()):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise ValueError(f"{self.path}: line {reader.line_num}: {error}") from None

    def _refuse(self, row: int, column: int, reason: str) -> NoReturn:
        line = next(line for i, (line, _) in enumerate(self._rows()) if i == row + self.has_header)
        raise ValueError(f"{self.path}: row {row + 1} (line {line}), column {self.columns[column]!r} {reason}")


def _lines(path: Path, *, blank: bool = False) -> Iterator[str]:
    """Lines of a text file, without the blank ones unless asked for; a byte order mark is taken off."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise ValueError(f"{path} is not text: line {number} has a zero byte")
                if blank or not line.isspace():
                    yield line
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8: after line {number}, {error.reason}; save it in UTF-8"
        ) from None


def _number(cell: str) -> float:
    if "_" in cell:  # Python's digits may be grouped, a file's may not
        raise ValueError(cell)
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _is_integer(cell: str) -> bool:
    """Whether ``cell`` is an int64 that would be written back as it is ("007" is not)."""
    try:
        return str(int(cell)) == cell and -(2**63) <= int(cell) < 2**63
    except ValueError:
        return False
