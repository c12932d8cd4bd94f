"""Data files: read without pickle, refused with the place of what is wrong.

A *source* is a file's name, or ``FILE:NAME`` where the file holds several things: an array of an ``.npz``, columns of a
table (``moons.csv:class``, ``moons.csv:x,y``).

* Tables (``.csv``, ``.tsv``, ``.txt``, ``.dat``, ``.csv.gz``, ``.tsv.gz``, ``.parquet``, ``.arrow``, ``.feather``) are
  read by polars, as `sslcore.io.sheets` says.
* Large ``.npy`` files are mapped, not loaded: feature models read them by blocks, and check them as they do.
* What a file promises (its header, its directory) is compared with its size before anything is allocated.
"""

from __future__ import annotations

import io
import math
import os
import shlex
import stat
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from .. import tunables
from ..arrays import Array, as_float_dtype, check_finite
from ..backends.machine import free_memory
from ..errors import MemoryBudgetError
from .atomic import open_regular, open_zip
from .sheets import COLUMNAR, MISSING, TEXT, listed, open_sheet
from .writing import write_csv, write_npy

__all__ = ["Source", "Table", "parse_source", "read_labels", "read_points", "write_csv", "write_npy"]

SUFFIXES = (".npy", ".npz", *TEXT, *COLUMNAR)
MOST_HEADER = 10_000
"""Bytes of the longest header of an array that NumPy takes."""
MOST_UNPACKED, MOST_RATIO = 64 << 20, 100
"""Bytes that a compressed array may always have, and, beyond, how many for each of its compressed ones."""
_BEGINNINGS = {
    b"\x93NUMPY": "a .npy file",
    b"PK\x03\x04": "a .npz (zip) archive",
    b"PK\x05\x06": "a .npz (zip) archive",
    b"\x89PNG": "a PNG picture",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"FEA1": "a Feather file of version 1, which is read no more",
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
        The array of an ``.npz``, or the columns of a table, separated by commas.

    Examples
    --------
    >>> from sslcore.io.tables import parse_source
    >>> str(parse_source("moons.csv:class")), parse_source("moons.npy").choice
    ('moons.csv:class', None)
    """

    path: Path
    choice: str | None = None

    @property
    def suffix(self) -> str:
        """Ending of the name, in small letters, if it is one that can be read."""
        return max((suffix for suffix in SUFFIXES if self.path.name.lower().endswith(suffix)), key=len, default="")

    @property
    def stem(self) -> str:
        """Name of the file without that ending."""
        return self.path.name[: len(self.path.name) - len(self.suffix)]

    def size(self) -> int:
        """Return the bytes of the file; 0 if it is not there, which reading will tell."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def __str__(self) -> str:
        return str(self.path) if self.choice is None else f"{self.path}:{self.choice}"


@dataclass(frozen=True, eq=False)
class Table:
    """Data that were read from a source, with what is to be said of them.

    Attributes
    ----------
    values : array
        Points (n, d), views (n, m, d), images or labels (n,).
    columns : tuple of str or None
        Names of the columns that were taken, of files that have columns.
    source : Source
    named : bool
        Whether the file says these names; else they are numbers, from 1.
    missing : (n,) array of bool, or None
        Which labels are missing; their values mean nothing.
    notes : tuple of str
        What was decided in reading that a user should know.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.io.tables import Table, parse_source
    >>> Table(np.zeros((3, 2)), ("x", "y"), parse_source("a.csv")).columns
    ('x', 'y')
    """

    values: Array
    columns: tuple[str, ...] | None
    source: Source
    named: bool = False
    missing: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def as_images(self, shape: tuple[int, ...]) -> Table:
        """Return the same with each sample, an image of this shape, as one row; the notes say so."""
        size = " x ".join(map(str, shape))
        note = f"{self.source} was taken for {len(self.values):,} images of {size}, each a sample"
        return replace(self, values=self.values.reshape(len(self.values), -1), notes=(*self.notes, note))


def parse_source(text: str) -> Source:
    """Make a source from ``FILE`` or ``FILE:NAME``.

    Both may have colons: a file that exists comes first, and then the longest beginning that is one.

    Raises
    ------
    ValueError
        If the name ends in none of the suffixes that can be read.

    Examples
    --------
    >>> from sslcore.io.tables import parse_source
    >>> parse_source("features.npz:train").choice
    'train'
    """
    splits = [Source(Path(text))]
    splits += [Source(Path(text[:i]), text[i + 1 :]) for i in reversed(range(len(text))) if text[i] == ":"]
    known = [source for source in splits if source.suffix]
    if not known:
        raise ValueError(f"data are read from {', '.join(SUFFIXES)} files, found {text}")
    source = next((source for source in known if os.path.lexists(source.path)), known[-1])
    if source.choice is not None and not source.choice:
        raise ValueError(f"nothing follows the colon of {text!r}; name an array or a column, or leave out the colon")
    if source.choice is not None and source.suffix == ".npy":
        raise ValueError(f"{source.path} is a single array; leave out :{source.choice}")
    return source


@dataclass(frozen=True)
class Wanted:
    """The columns that data must have, in this order, and who says so (such as "the model m.npz")."""

    names: tuple[str, ...]
    by: str


def read_points(
    source: Source,
    drop: Sequence[str] = (),
    *,
    header: str = "auto",
    wanted: Wanted | None = None,
    lenient: bool = False,
) -> Table:
    r"""Read points (n, d), views (n, m, d) or images (n, height, width, channels), as numbers.

    Parameters
    ----------
    source : Source
    drop : sequence of str
        Columns of a table to leave out, by name, or by number if it has no header.
    header : {"auto", "yes", "no"}
        Whether a text file begins with a row of names.
    wanted : Wanted, optional
        Of a table with names, take these columns, in this order; others are left out, and said.
    lenient : bool
        Columns to drop need not be there.

    Returns
    -------
    Table
        A text file gives float64, a large ``.npy`` an ``np.memmap``.

    Raises
    ------
    OSError, ValueError
        With the file, and the row and column where there is one.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sslcore.io.tables import parse_source, read_points
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "moons.csv")
    ...     _ = path.write_text("x,y,class\n0.5,1,top\n-2,3,bottom\n")
    ...     read_points(parse_source(str(path)), drop=["class"]).values
    array([[ 0.5,  1. ],
           [-2. ,  3. ]])
    """
    _require_file(source)
    if source.suffix in (*TEXT, *COLUMNAR):
        sheet = open_sheet(source.path, source.suffix, header)
        chosen = sheet.choose(source.choice, drop, lenient=lenient)
        notes = sheet.notes
        if wanted is not None and sheet.named:
            names = [sheet.columns[i] for i in chosen]
            for name in wanted.names:
                if name not in names:
                    left_out = " (it is left out)" if name in sheet.columns else ""
                    raise ValueError(
                        f"{source} has no column {name!r}{left_out}, which {wanted.by} has; columns: {listed(names)}"
                    )
            others = [name for name in names if name not in wanted.names]
            if others:
                what = "column" if len(others) == 1 else "columns"
                notes += (f"left out: {what} {listed(others)} of {source}, which {wanted.by} does not have",)
            chosen = [sheet.columns.index(name) for name in wanted.names]
        values = sheet.numbers(chosen)
        columns = tuple(sheet.columns[i] for i in chosen)
        return Table(values, columns, source, sheet.named, notes=notes + _counters(values, columns))
    if drop and not lenient:
        raise ValueError(f"columns can be dropped by name from tables, {source.path} is an array")
    array = _read_array(source)
    try:
        as_float_dtype(array.dtype, "it")
    except TypeError:
        raise ValueError(f"{source} must hold real numbers, found dtype {array.dtype}") from None
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"{source} must hold points (n, d) or views (n, m, d), found shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{source} is empty: its shape is {array.shape}")
    if not isinstance(array, np.memmap):  # which is checked by blocks
        _require_finite(array, source)
    return Table(array, None, source)


def _counters(values: Array, columns: Sequence[str]) -> tuple[str, ...]:
    """Say what is to be said of columns that count the rows, as an index does."""
    n = len(values)
    found = [
        i for i in range(len(columns)) if n > 2 and values[0, i] in (0, 1) and values[-1, i] == values[0, i] + n - 1
    ]
    return tuple(
        f"column {columns[i]} counts the rows: if it is an index and no coordinate, --drop {shlex.quote(columns[i])}"
        for i in found
        if len(columns) > 1 and (np.diff(values[:, i]) == 1).all()
    )


def read_labels(source: Source, *, header: str = "auto") -> Table:
    r"""Read labels (n,), integers, real numbers or words, and which of them are missing.

    A column of a table holds integers if all its cells are, as they would be written; real numbers if all are; else
    words (such as 007).  Empty cells, NA, NaN, None and their kin are missing; so is NaN in an array.

    Raises
    ------
    OSError, ValueError
        With the file, and the row where there is one; infinite labels are refused.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sslcore.io.tables import parse_source, read_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "moons.csv")
    ...     _ = path.write_text("x,class\n0.5,top\n-2,bottom\n")
    ...     read_labels(parse_source(f"{path}:class")).values.tolist()
    ['top', 'bottom']
    """
    _require_file(source)
    if source.suffix in (*TEXT, *COLUMNAR):
        sheet = open_sheet(source.path, source.suffix, header)
        chosen = sheet.choose(source.choice, ())
        if len(chosen) != 1:
            example = shlex.quote(f"{source.path}:{sheet.columns[-1]}")
            raise ValueError(
                f"labels are one column, {source} has {len(chosen)}; choose one, as {example} "
                f"(there are: {listed(sheet.columns)})"
            )
        values, missing = sheet.labels(chosen[0])
        return Table(values, (sheet.columns[chosen[0]],), source, sheet.named, missing, sheet.notes)
    array = np.asarray(_read_array(source))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"labels must be one for each sample (n,), {source} has shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{source} is empty: its shape is {array.shape}")
    if array.dtype.kind not in "iubfUS":
        raise ValueError(f"{source} must hold integers, real numbers or strings, found dtype {array.dtype}")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "latin-1")
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    if array.dtype.kind == "U":
        missing = np.array([word in MISSING for word in array.tolist()])
    if array.dtype.kind == "f":
        _require_finite(np.where(missing, 0, array), source)
    return Table(array, None, source, missing=missing)


# ---------------------------------------------------------------- any file


def _require_file(source: Source) -> None:
    """Refuse what is missing, a folder, a pipe, empty, or not what its name says."""
    path = source.path
    with suppress(OSError):  # which `open_regular` says
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            what = "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
            raise ValueError(f"{path} is {what}, no regular file that can be read twice; save what it gives to a file")
    with open_regular(path) as file:
        beginning = file.read(8)
    if not beginning:
        raise ValueError(f"{path} is empty")
    found = next((what for magic, what in _BEGINNINGS.items() if beginning.startswith(magic)), None)
    wanted = {
        ".npy": "a .npy file",
        ".npz": "a .npz (zip) archive",
        ".parquet": "a Parquet file",
        ".arrow": "an Arrow file",
        ".feather": "an Arrow file",
        ".csv.gz": "a gzip archive",
        ".tsv.gz": "a gzip archive",
    }.get(source.suffix)
    if found != wanted:
        raise ValueError(f"{path} is not what its name says: it begins as {found or 'text, or something unknown'}")


def _require_finite(array: Array, source: Source) -> None:
    if not check_finite(array):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{source} has {array[place]} at row {place[0]} (index {list(place)}, counted from 0); remove or impute it"
        )


# ---------------------------------------------------------------- arrays


def _read_array(source: Source) -> Array:
    with open_regular(source.path) as file:
        size = os.fstat(file.fileno()).st_size
        if source.suffix == ".npy":
            shape, dtype = _promise(file, source, size)
            if 0 not in shape and math.prod(shape) * dtype.itemsize >= tunables.TABLE_MAPPED_BYTES:
                out: Array = np.load(source.path, mmap_mode="r", allow_pickle=False)
                return out
            file.seek(0)
            return _values(file, source)
        try:
            with open_zip(file) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                info = _member(source, archive, members)
                _check_compression(source, info, size)
                with archive.open(info) as member:
                    shape, dtype = _promise(member, source, info.file_size)
                needed, free = math.prod(shape) * dtype.itemsize, free_memory()
                if needed > free:
                    raise MemoryBudgetError(
                        f"{source} takes {needed / 1e9:.3g} GB of memory, of which {free / 1e9:.3g} GB are free; "
                        f"save it as .npy, which need not be in memory"
                    )
                with archive.open(info) as member:
                    return _values(member, source)
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # of zipfile and the decompressors, many kinds
            raise ValueError(f"{source.path} is damaged or cut short: {error}") from None


def _values(file: IO[bytes], source: Source) -> Array:
    """Read the array of a .npy whose promise was checked."""
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{source} is damaged or cut short: {' '.join(str(error).split())[:200]}") from None


def _check_compression(source: Source, info: zipfile.ZipInfo, size: int) -> None:
    """Refuse a member that promises more than its bytes are likely to hold, before any is made of them."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{source} is compressed in another way than NumPy does; save it with np.savez_compressed")
    if info.compress_size > size or (info.compress_type == zipfile.ZIP_STORED and info.file_size > info.compress_size):
        raise ValueError(f"{source.path} is damaged or cut short: {info.filename} is larger than the file")
    if info.file_size > max(MOST_UNPACKED, MOST_RATIO * info.compress_size):
        raise ValueError(
            f"{source} promises {info.file_size} bytes in {info.compress_size} compressed ones, more than "
            f"{MOST_RATIO} times as many; if that is meant, save it as .npy"
        )


def _member(source: Source, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """Read the chosen array of an archive, or its only one."""
    by_name = {info.filename[:-4]: info for info in members}
    if source.choice is not None:
        if source.choice not in by_name:
            raise ValueError(f"{source.path} has no array {source.choice!r}; it has: {listed(by_name)}")
        return by_name[source.choice]
    if len(members) == 1:
        return members[0]
    if not members:
        raise ValueError(f"{source.path} holds no arrays")
    raise ValueError(
        f"{source.path} holds {len(members)} arrays: {listed(by_name)}; choose one, as {source.path}:{min(by_name)}"
    )


def array_promise(source: Source) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Return shape, dtype, whether it is in Fortran order, and the offset of an ``.npy`` file that is long enough."""
    _require_file(source)
    with open_regular(source.path) as file:
        shape, dtype, fortran = _header(file, source, os.fstat(file.fileno()).st_size)
        return shape, dtype, fortran, file.tell()


def _promise(file: IO[bytes], source: Source, size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype that an array's header promises, if ``size`` bytes can hold it."""
    return _header(file, source, size)[:2]


def _header(file: IO[bytes], source: Source, size: int) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Read the header of an array, up to its first entry."""
    try:
        beginning = file.read(8)
        version = np.lib.format.read_magic(io.BytesIO(beginning))
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version} of the format is not known")
        length = file.read(2 if version == (1, 0) else 4)
        count = int.from_bytes(length, "little")
        if count > MOST_HEADER:  # which NumPy would read, and refuse then
            raise ValueError(f"it promises {count} bytes, more than {MOST_HEADER}")
        whole = io.BytesIO(length + file.read(count))
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings(action="ignore"):
            shape, fortran, dtype = read(whole)
    except Exception as error:  # NumPy reads a literal of Python: errors of its tokenizer, parser and more
        raise ValueError(f"the header of {source} is damaged: {' '.join(str(error).split())[:200]}") from None
    if dtype.hasobject:
        raise ValueError(
            f"{source} holds Python objects, which are never read, since reading them can run code; save numbers, for "
            f"example with array.astype(float)"
        )
    if dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{source} holds records ({dtype}); save its numbers as a plain array (n, d)")
    if any(isinstance(side, bool) or side < 0 for side in shape) or not dtype.itemsize:
        raise ValueError(f"the header of {source} is damaged: shape {shape} of {dtype}")
    needed, there = math.prod(shape) * dtype.itemsize, size - (8 + len(length) + count)
    if needed > there:
        raise ValueError(
            f"{source} is cut short: shape {shape} of {dtype} takes {needed} bytes, it has {max(there, 0)}"
        )
    return shape, dtype, fortran
