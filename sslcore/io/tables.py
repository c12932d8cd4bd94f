"""Data files: read without pickle, refused with the place of what is wrong.

A *source* is a file's name, or ``FILE:NAME`` where the file holds several things: an array of an ``.npz``, columns of a
table (``moons.csv:class``, ``moons.csv:x,y``).

* Tables (``.csv``, ``.tsv``, ``.txt``, ``.dat``, ``.csv.gz``, ``.tsv.gz``, ``.parquet``, ``.arrow``, ``.feather``) are
  read by polars, as `sslcore.io.sheets` says.
* Large ``.npy`` files are mapped, not loaded: feature models read them by blocks, and check them as they do.
* What a file promises (its header, its directory) is compared with its size before anything is allocated.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import Array, as_float_dtype, check_boolean
from .encoding import Choices, Encoding, encode, settle, without_absent
from .sheets import MISSING, Sheet, listed, open_sheet
from .sources import TABLES, Source, parse_source, parse_sources, require_file
from .stored import read_array, require_finite
from .writing import write_csv, write_npy

__all__ = [
    "Source",
    "Table",
    "parse_source",
    "parse_sources",
    "read_labels",
    "read_points",
    "write_csv",
    "write_npy",
]


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
    encoding : Encoding or None
        How the columns became coordinates.
    ids : polars.Series or None
        Names of the rows, if a column has them.
    kept : array of int or None
        Rows of the file that are there, from 0, if others were left out.
    n_rows : int or None
        Rows of all files, before any were left out, if that is known.
    file_rows : tuple of int
        The same of each file.

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
    encoding: Encoding | None = None
    ids: Any = None
    kept: np.ndarray | None = None
    n_rows: int | None = None
    file_rows: tuple[int, ...] = ()

    @property
    def runs(self) -> list[int]:
        """Numbers of rows that follow each other: within each file, and between rows that are left out."""
        ends = np.cumsum(self.file_rows)
        if self.kept is not None:
            gaps = np.flatnonzero(np.diff(self.kept) > 1) + 1
            ends = np.union1d(np.searchsorted(self.kept, ends), gaps)
        return [int(length) for length in np.diff(ends, prepend=0) if length]

    def __post_init__(self) -> None:
        check_boolean(self.named, "named")

    def of_rows(self, values: Any) -> Any:
        """Return, of values one for each row of the file, those of the rows that are there."""
        if self.n_rows is not None and len(values) != self.n_rows:
            return values  # whoever compares the lengths will say so
        return values if self.kept is None else values[self.kept]

    def at(self, rows: np.ndarray) -> Table:
        """Return the same with some of its rows alone, which are numbered as those of the files are."""
        kept = np.arange(len(self.values)) if self.kept is None else self.kept
        if np.array_equal(rows, kept):
            return self
        places = np.searchsorted(kept, rows)
        n_rows = len(self.values) if self.n_rows is None else self.n_rows
        ids = None if self.ids is None else self.ids[places]
        return replace(self, values=self.values[places], ids=ids, kept=rows, n_rows=n_rows)

    def without_absent(self) -> Table:
        """Return the same without the coordinates of words that none of its rows has; the notes say so."""
        if self.encoding is None or not self.encoding.categories:
            return self
        values, encoding, absent = without_absent(self.values, self.encoding)
        if not absent:
            return self
        note = f"left out, as words of none of the rows that stay: {listed(absent)}"
        columns = encoding.coordinates
        return replace(self, values=values, encoding=encoding, columns=columns, notes=(*self.notes, note))

    def marks(self) -> dict[str, Any]:
        """Return the columns that tell the rows apart: their names, or their numbers, from 1, if some are left out."""
        if self.ids is not None:
            return {self.ids.name: self.ids}
        return {} if self.kept is None else {"row": self.kept + 1}

    def as_rows(self, shape: tuple[int, ...]) -> Table:
        """Return the same with each sample, an image or a series of this shape, as one row; the notes say so."""
        size = " x ".join(map(str, shape))
        note = f"{self.source} was taken for {len(self.values):,} samples of {size}, which are flattened"
        return replace(self, values=self.values.reshape(len(self.values), -1), notes=(*self.notes, note))


@dataclass(frozen=True)
class Wanted:
    """The columns that data must have, in order, who says so (such as "the model m.npz"), and what becomes of them."""

    names: tuple[str, ...]
    by: str
    encoding: Encoding | None = None


def read_points(
    source: Source,
    drop: Sequence[str] = (),
    *,
    header: str = "auto",
    wanted: Wanted | None = None,
    lenient: bool = False,
    choices: Choices = Choices(),  # noqa: B008  # frozen
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
    choices : Choices
        What becomes of words and missing values, and which column has the rows' names.

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
    for each in source.each:
        require_file(each)
    if source.suffix in TABLES:
        sheets = [open_sheet(each.path, each.suffix, header, choices.decimal) for each in source.each]
        return read_sheets(sheets, source, drop, wanted=wanted, lenient=lenient, choices=choices)
    if choices.id is not None:
        raise ValueError(f"--id names a column of a table, {source.path} is an array")
    if choices.categories not in (None, "refuse"):
        raise ValueError(f"--categories {choices.categories} is for words of a table, {source.path} is an array")
    if drop and not lenient:
        raise ValueError(f"columns can be dropped by name from tables, {source.path} is an array")
    known = None if wanted is None else wanted.encoding
    missing = choices.missing or (known.missing if known else "refuse")
    arrays = [_points(each) for each in source.each]
    array = arrays[0]
    for each, other in zip(source.more, arrays[1:], strict=True):
        if other.shape[1:] != array.shape[1:]:
            raise ValueError(f"{each} has shape {other.shape}, {source.path} has {array.shape}: they must be alike")
    for each, part in zip(source.each, arrays, strict=True):
        if missing == "refuse":
            if len(arrays) > 1 or not isinstance(part, np.memmap):  # which is checked by blocks
                require_finite(part, each)
        elif part.ndim == 2:
            require_finite(np.where(np.isnan(part), 0, part), each)
    if source.more:
        array = np.concatenate(arrays)
    rows = tuple(map(len, arrays))
    table = Table(array, None, source) if missing == "refuse" else _settled(array, source, missing, known)
    return replace(table, file_rows=rows)


def _points(source: Source) -> Array:
    """Read an array of points, views or images, finite or not."""
    array = read_array(source)
    try:
        as_float_dtype(array.dtype, "it")
    except TypeError:
        raise ValueError(f"{source} must hold real numbers, found dtype {array.dtype}") from None
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"{source} must hold points (n, d) or views (n, m, d), found shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{source} is empty: its shape is {array.shape}")
    return array


def _settled(array: Array, source: Source, missing: str, known: Encoding | None) -> Table:
    """Settle what is missing in an array of points."""
    if array.ndim != 2:
        raise ValueError(f"--missing is for tables and arrays (n, d), {source} has the shape {array.shape}")
    array = np.asarray(array, as_float_dtype(array.dtype, "it"))
    names = tuple(str(i + 1) for i in range(array.shape[1]))
    if known is not None and len(known.coordinates) != len(names):
        known = None if missing == "drop" else known  # which columns are which, nobody knows: the width is compared
    if known is not None and known.means is not None and len(known.means) != len(names):
        return Table(array, None, source)
    values, means, kept, notes = settle(array, missing, known, names)
    encoding = Encoding(names, {}, means, missing, named=False)
    return Table(values, None, source, notes=notes, encoding=encoding, kept=kept, n_rows=len(array))


def component_columns(z: Array) -> dict[str, Array]:
    """Name the columns of an embedding (n, k): ``component_1``, ..."""
    return {f"component_{i + 1}": z[:, i] for i in range(z.shape[1])}


def read_sheets(
    sheets: Sequence[Sheet],
    source: Source,
    drop: Sequence[str] = (),
    *,
    wanted: Wanted | None = None,
    lenient: bool = False,
    choices: Choices = Choices(),  # noqa: B008  # frozen
) -> Table:
    """Make coordinates of sheets, one below the other, as `read_points` does of files."""
    import polars as pl

    first, known = sheets[0], None if wanted is None else wanted.encoding
    named, notes = all(sheet.named for sheet in sheets), first.notes
    marked = choices.id
    if marked is None and known is not None and known.id in first.columns:
        marked = known.id
    if marked is not None:
        for sheet in sheets:
            sheet.position(marked)
        drop = [*drop, marked]
    chosen = [first.columns[i] for i in first.choose(source.choice, drop, lenient=lenient)]
    if wanted is not None and named:
        for name in wanted.names:
            if name not in chosen:
                left_out = " (it is left out)" if name in first.columns else ""
                raise ValueError(
                    f"{source} has no column {name!r}{left_out}, which {wanted.by} has; columns: {listed(chosen)}"
                )
        others = [name for name in chosen if name not in wanted.names]
        if others:
            what = "column" if len(others) == 1 else "columns"
            notes += (f"left out: {what} {listed(others)} of {source}, which {wanted.by} does not have",)
        chosen = list(wanted.names)
    elif known is not None and not known.plain:
        if len(chosen) != len(known.columns):
            raise ValueError(
                f"{source} has {len(chosen)} columns, {wanted.by if wanted else 'the model'} was fitted to "
                f"{len(known.columns)}: {listed(known.columns)}"
            )
        known = replace(known, columns=tuple(chosen), categories=_renamed(known, chosen))
    for sheet in sheets[1:]:
        for name in chosen:
            sheet.position(name)
        notes += tuple(note for note in sheet.notes if note not in notes)
    encoded = encode(sheets, chosen, replace(choices, id=marked), known)
    ids = None
    if marked is not None:
        parts = [sheet.cells(sheet.position(marked)) for sheet in sheets]
        ids = pl.concat(parts, how="vertical" if len({part.dtype for part in parts}) == 1 else "vertical_relaxed")
        ids = (ids if encoded.kept is None else ids[encoded.kept]).alias(marked)
    return Table(
        encoded.values,
        encoded.encoding.coordinates,
        source,
        first.named,
        notes=notes + encoded.notes,
        encoding=encoded.encoding,
        ids=ids,
        kept=encoded.kept,
        n_rows=sum(sheet.frame.height for sheet in sheets),
        file_rows=tuple(sheet.frame.height for sheet in sheets),
    )


def _renamed(known: Encoding, names: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the categories of columns without names, which are matched by their place."""
    places = dict(zip(known.columns, names, strict=True))
    return {places[name]: words for name, words in known.categories.items()}


def read_labels(source: Source, *, header: str = "auto", decimal: str = "auto") -> Table:
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
    if source.more:
        return replace(join([_labels(each, header, decimal) for each in source.each]), source=source)
    return _labels(source, header, decimal)


def _labels(source: Source, header: str, decimal: str) -> Table:
    """Read the labels of one file."""
    require_file(source)
    if source.suffix in TABLES:
        sheet = open_sheet(source.path, source.suffix, header, decimal)
        chosen = sheet.choose(source.choice, ())
        if len(chosen) != 1:
            example = shlex.quote(f"{source.path}:{sheet.columns[-1]}")
            raise ValueError(
                f"labels are one column, {source} has {len(chosen)}; choose one, as {example} "
                f"(there are: {listed(sheet.columns)})"
            )
        values, missing = sheet.labels(chosen[0])
        return Table(values, (sheet.columns[chosen[0]],), source, sheet.named, missing, sheet.notes)
    array = np.asarray(read_array(source))
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
        require_finite(np.where(missing, 0, array), source)
    return Table(array, None, source, missing=missing)


def join(tables: Sequence[Table]) -> Table:
    """Join labels of several files, which must be of one kind."""
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables:
        if table.values.dtype.kind != first.values.dtype.kind:
            raise ValueError(
                f"{table.source} has labels of {table.values.dtype}, {first.source} of {first.values.dtype}: they must "
                f"be alike"
            )
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    missing = np.concatenate([table.missing for table in tables if table.missing is not None])
    return replace(first, values=np.concatenate([table.values for table in tables]), missing=missing, notes=notes)
