"""Tables with columns: text (``.csv`` and its kin), Parquet and Arrow, read by polars.

What a cell means is decided here and not by guesses of a reader: every cell of a text file comes as the text it is, and
is then cast.  Where that fails, or where a row is too short, a second pass in plain Python finds the row, the line and
the column that are to blame; it costs time only then.

* Commas, semicolons or tabs separate, whichever the first row has most of; where it has none, spaces do, if the first
  two rows have as many words.  Cells may be quoted; a byte order mark and blank lines do not count.
* The first row is a header if none of its cells is a number, or if it is what pandas makes of a table without names
  (0, 1, ...); ``header`` says otherwise.  Without one, columns are named by their number, from 1.
* A decimal comma is taken for one if that is told, or if no other meaning is possible, and then it is said.
* A first column without a name (or "Unnamed: 0") is the index that `DataFrame.to_csv` has written: left out, and said.
"""

from __future__ import annotations

import csv
import itertools
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..arrays import Array
from ..backends.machine import free_memory
from .texts import (
    COMMA_NUMBER,
    COMMA_OR_INTEGER,
    POINT_NUMBER,
    TEXT,
    THOUSANDS,
    Text,
    content_of,
    has_header,
    is_integer,
    is_number,
)

__all__ = ["COLUMNAR", "MISSING", "OF_TIME", "TEXT", "Sheet", "are_times", "open_sheet"]

COLUMNAR = (".parquet", ".arrow", ".feather")

MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaN", "nan", "-NaN", "-nan", "NaT", "None", "NULL", "null")
)
"""Words for "no value", as pandas, polars, R, spreadsheets and databases write them."""

_M, _D = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12][0-9]|3[01])"
_DAY = (
    rf"(?:[0-9]{{4}}[-/.]{_M}(?:[-/.]{_D})?|(?:{_M}[-/.]{_D}|{_D}[-/.]{_M})[-/.][0-9]{{4}}"
    rf"|(?:{_M}/{_D}|{_D}/{_M})/[0-9]{{2}})"
)
_HOUR = (
    r"(?:[01]?[0-9]|2[0-4]):[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]+)?)?(?: ?[AaPp][Mm])?"
    r"(?:Z| ?[+-][0-9]{2}:?[0-9]{2})?"
)
DATE = rf"^(?:{_DAY}(?:[T ]{_HOUR})?|{_HOUR})$"
"""Dates, times of the day, or both, as text has them."""

OF_TIME = "; make what matters of it a column of numbers (days since the first one, the hour of the day)"
"""What to do about a column of dates or times, which as categories would have a coordinate for each moment."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table whose columns can be taken as numbers or as labels.

    Attributes
    ----------
    path : Path or str
        The file, or what else messages call it.
    columns : tuple of str
        All columns, in the order of the file.
    named : bool
        Whether the file says their names; else they are numbers, from 1.
    index : tuple of str
        Columns that are an index of the rows, not data.
    notes : tuple of str
        What was decided in reading it that a user should know.
    frame : polars.DataFrame
        Cells, a column for each of ``columns``.
    text : Text or None
        How a text file is written.
    commas : bool
        Whether its decimal signs are commas.
    """

    path: Path | str
    columns: tuple[str, ...]
    named: bool
    index: tuple[str, ...]
    notes: tuple[str, ...]
    frame: Any = field(repr=False)
    text: Text | None = field(default=None, repr=False)
    commas: bool = False

    def choose(self, choice: str | None, drop: Sequence[str], *, lenient: bool = False) -> list[int]:
        """Return the positions of the chosen columns (all but the index), without the dropped ones.

        ``lenient``: columns to drop need not be there.
        """
        every = [name for name in self.columns if name not in self.index]
        wanted = self.resolve(choice) if choice else every
        dropped = [name for text in drop for name in self.resolve(text, lenient=lenient)]
        left = [name for name in wanted if name not in dropped]
        if not left:
            raise ValueError(f"no columns of {self.path} are left after dropping {listed(dropped)}")
        return [self.columns.index(name) for name in left]

    def resolve(self, text: str, *, lenient: bool = False) -> list[str]:
        """Return the positions of the columns in a list with commas.

        A name may have commas itself: the longest that fits is taken, and one in double quotes is taken whole.
        """
        if text in self.columns:
            return [text]
        parts, most = text.split(","), 1 + max(name.count(",") for name in self.columns)
        found: list[str] = []
        place = 0
        while place < len(parts):
            joined = (",".join(parts[place:end]).strip() for end in range(min(len(parts), place + most), place, -1))
            name = next((name for name in joined if name in self.columns), None)
            if name is None and '"' in text:
                names = [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True))]
                found, place = [self._known(name) for name in names if name in self.columns or not lenient], len(parts)
                continue
            if name is not None or not lenient:
                found.append(self._known(parts[place].strip() if name is None else name))
            place += 1 if name is None else 1 + name.count(",")
        return found

    def position(self, name: str) -> int:
        """Return the place of a column."""
        return self.columns.index(self._known(name))

    def _known(self, name: str) -> str:
        if name not in self.columns:
            header = "" if self.named else ", which has no header"
            raise ValueError(f"there is no column {name!r} in {self.path}{header}; columns: {listed(self.columns)}")
        return name

    # ---------------------------------------------------------------- numbers and words

    def numbers(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a column as numbers, NaN where there is none, and the rows of cells that are words and no numbers.

        float32 if the file says so, else float64.
        """
        import polars as pl

        cells = self.cells(position)
        kind = pl.Float32 if cells.dtype == pl.Float32 else pl.Float64
        numerals = self._numerals(cells)
        cast = numerals.cast(kind, strict=False)
        values = cast.fill_null(np.nan).to_numpy()
        if cells.dtype != pl.String or not cast.null_count():
            return values, np.empty(0, int)
        values = values.copy()
        rows = (cast.is_null() & ~_missing(cells)).arg_true()
        odd = numerals.gather(rows)
        read = {cell: float(cell) for cell in odd.unique().to_list() if is_number(cell)}  # by Python, not by polars
        words = [row for row, cell in zip(rows.to_list(), odd.to_list(), strict=True) if cell not in read]
        for row, cell in zip(rows.to_list(), odd.to_list(), strict=True) if read else ():
            values[row] = read.get(cell, np.nan)
        return values, np.array(words, int)

    def words(self, position: int, known: Sequence[str] = ()) -> Any:
        """Return a column as a series of words, null where there is none; booleans as ``known`` words spell them."""
        import polars as pl

        cells = self.cells(position)
        if cells.dtype == pl.Boolean:  # what readers make of a text's True, TRUE or true
            spelt = {word.lower(): word for word in known if word.lower() in ("true", "false")}
            cells = cells.cast(pl.String).replace(spelt)
        cells = cells.cast(pl.String)
        return pl.select(pl.when(~_missing(cells)).then(cells)).to_series()

    def cells(self, position: int) -> Any:
        """Return a column as numbers or as text without spaces around it."""
        import polars as pl

        cells = self.frame.to_series(position)
        if cells.dtype.is_numeric() or cells.dtype == pl.Boolean:
            return cells
        if cells.dtype in (pl.Categorical, pl.Enum, pl.Null):
            cells = cells.cast(pl.String)
        if cells.dtype != pl.String:
            name = self.columns[position]
            raise ValueError(
                f"column {name!r} of {self.path} holds {cells.dtype}, neither numbers nor words"
                f"{OF_TIME if cells.dtype.is_temporal() else ''}; leave it out with --drop {shlex.quote(name)}"
            )
        return cells.str.strip_chars()

    def _numerals(self, cells: Any) -> Any:
        """Return cells as Python writes numbers: where the decimal sign is a comma, a point makes no number."""
        import polars as pl

        if not self.commas or cells.dtype != pl.String:
            return cells
        pointed = "?" + cells
        swapped = cells.str.replace(",", ".", literal=True)
        return pl.select(pl.when(cells.str.contains(".", literal=True)).then(pointed).otherwise(swapped)).to_series()

    def refuse_cell(self, row: int, position: int, more: str = "") -> NoReturn:
        """Refuse a cell that is no number, with the place and what to do; ``more`` is added to the advice."""
        cell = self.cells(position)[row]
        if isinstance(cell, float):
            self.refuse(row, position, f"is {cell}; remove or impute it{more}")
        if cell and is_number(cell) and not self.commas:  # such as "nan" and "inf" of a text file
            self.refuse(row, position, f"is {float(cell)}; remove or impute it{more}")
        found = f"is {cell!r:.60}, not a number" if cell else "is empty"
        advice = f"correct it, or leave the column out with --drop {shlex.quote(self.columns[position])}"
        if row == 0 and cell and not self.named:
            advice += ", or say --header yes if this row has the names of the columns"
        if cell and self.commas and re.fullmatch(POINT_NUMBER, cell):
            advice += ", or say --decimal . if points are its decimal signs, and not commas"
        elif cell and not self.commas and re.fullmatch(COMMA_NUMBER, cell):
            advice += ", or say --decimal , if its comma is a decimal sign"
        self.refuse(row, position, f"{found}; {advice}{more}")

    def refuse(self, row: int, position: int, reason: str) -> NoReturn:
        """Refuse a cell, whose place is said."""
        line = "" if self.text is None else f" (line {self.text.line(row + self.named)})"
        raise ValueError(f"{self.path}: row {row + 1}{line}, column {self.columns[position]!r} {reason}")

    # ---------------------------------------------------------------- labels

    def labels(self, position: int) -> tuple[Array, np.ndarray]:
        """Return one column (n,), and which of its labels are missing (whose values mean nothing).

        Integers if all that are there are, as they would be written; real numbers if all are; else words.  Where labels
        are missing, 1.0 and the like are integers: pandas writes them so, since its integers have no missing value.
        """
        import polars as pl

        cells = self.cells(position)
        if cells.dtype.is_integer() or cells.dtype == pl.Boolean:
            return cells.fill_null(0 if cells.dtype.is_integer() else False).to_numpy(), cells.is_null().to_numpy()
        if cells.dtype.is_numeric():
            values = cells.cast(pl.Float64).fill_null(np.nan).to_numpy()
            return self._numeric_labels(values, np.isnan(values), position)
        words = [cell or "" for cell in cells.to_list()]
        missing = np.array([word in MISSING for word in words])
        if self.commas and all(COMMA_OR_INTEGER.fullmatch(word) for word in words if word not in MISSING):
            words = [word.replace(",", ".") for word in words]
        there = [word for word in words if word not in MISSING]
        if all(map(is_integer, there)):
            return np.array([0 if gone else int(word) for word, gone in zip(words, missing, strict=True)]), missing
        if all(map(is_number, there)) and not all(word.isdigit() for word in there):
            values = np.array([np.nan if gone else float(word) for word, gone in zip(words, missing, strict=True)])
            return self._numeric_labels(values, missing, position)
        return np.array(words), missing

    def _numeric_labels(self, values: np.ndarray, missing: np.ndarray, position: int) -> tuple[Array, np.ndarray]:
        there = values[~missing]
        if not np.isfinite(there).all():
            row = int(np.flatnonzero(~missing & ~np.isfinite(values))[0])
            self.refuse(row, position, f"is {values[row]}; every label must be finite, or missing")
        if missing.any() and (there == np.rint(there)).all() and (np.abs(there) < 2**53).all():
            return np.where(missing, 0, values).astype(np.int64), missing
        return values, missing


def open_sheet(path: Path, suffix: str, header: str = "auto", decimal: str = "auto") -> Sheet:
    """Read a table.

    ``header``: whether a text file begins with names, "yes", "no" or "auto"; ``decimal``: its decimal sign, ".", ","
    or "auto".

    Raises
    ------
    ImportError
        polars is not installed.
    OSError, ValueError
        With the file, and the row and line where there is one.
    """
    try:
        import polars  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{suffix} files need polars: pip install '.[cli]' in sslcore's folder") from error
    return _open_columnar(path, suffix) if suffix in COLUMNAR else _open_text(path, suffix, header, decimal)


def _missing(cells: Any) -> Any:
    """Tell which cells have no value."""
    import polars as pl

    return cells.is_null() | (cells.is_in(sorted(MISSING)) if cells.dtype == pl.String else False)


def are_times(words: Any) -> bool:
    """Tell whether all words of a series that are there are dates or times of the day."""
    there = words.drop_nulls()
    return len(there) > 0 and bool(there.str.contains(DATE).all())


def listed(names: Iterable[str]) -> str:
    """List names with commas between, the first twelve; those that have commas themselves in quotes."""
    shown = [f'"{name}"' if "," in name else name for name in names]
    return ", ".join(shown[:12]) + (f", ... ({len(shown)} in all)" if len(shown) > 12 else "")


def _index_of(columns: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that are pandas' index, and what to say of them; ``names`` are as written."""
    first = itertools.takewhile(lambda i: re.fullmatch(r"(Unnamed: \d+[._\w]*)?", names[i]), range(len(names)))
    found = [*first, *(i for i, name in enumerate(names) if re.fullmatch(r"__index_level_\d+__", name))]
    if not found or len(found) == len(names):
        return (), ()
    shown = ", ".join(repr(names[i]) if names[i] else "the first column, which has no name" for i in found)
    return tuple(columns[i] for i in found), (f"left out, as pandas' index of the rows: {shown}",)


# ---------------------------------------------------------------- Parquet and Arrow


def _open_columnar(path: Path, suffix: str) -> Sheet:
    import polars as pl

    try:
        with path.open("rb") as file:  # polars would take a name for a pattern, or for an address
            if suffix == ".parquet":
                rows = pl.scan_parquet(file).select(pl.len()).collect().item()
                needed = 8 * rows * len(pl.read_parquet_schema(file))
                if needed > free_memory() // 2:  # a short file can say one value very often
                    raise ValueError(f"{path} holds {rows:,} rows, which need {needed / 1e9:.3g} GB")
                file.seek(0)
                frame = pl.read_parquet(file)
            else:
                frame = pl.read_ipc(file)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(
            f"{path} is damaged, or not what its name says: {' '.join(str(error).split())[:300]}"
        ) from None
    if not frame.width or not frame.height:
        raise ValueError(f"{path} is empty: it has {frame.height} rows and {frame.width} columns")
    index, notes = _index_of(frame.columns, frame.columns)
    return Sheet(path, tuple(frame.columns), True, index, notes, frame)


# ---------------------------------------------------------------- text


def _open_text(path: Path, suffix: str, header: str, decimal: str) -> Sheet:
    content = content_of(path, suffix)
    text = Text.of(path, content, suffix.startswith(".tsv"), decimal)
    rows = text.rows()
    first, second = next(rows, None), next(rows, None)
    if first is None:
        raise ValueError(f"{path} holds only blank lines")
    cells = [cell.strip() for cell in first[1]]
    below = [cell.strip() for cell in second[1]] if second else None
    named, notes = has_header(cells, below, header, decimal)
    frame = text.frame(named)
    if not named:
        columns, index = tuple(str(i + 1) for i in range(len(cells))), tuple[str, ...]()
    else:
        columns = tuple(cell or f"column {i + 1}" for i, cell in enumerate(cells))
        twice = sorted({n for n in columns if columns.count(n) > 1}) if len(set(columns)) < len(columns) else []
        if twice:
            raise ValueError(f"{path} has two columns named {twice[0]!r} in its header; rename one")
        if second is None:
            raise ValueError(f"{path} has a header and no rows")
        index, more = _index_of(columns, cells)
        notes, frame = notes + more, frame.slice(1)
    commas, said = _decimal_commas(text, frame, decimal)
    return Sheet(path, columns, named, index, notes + said, frame, text, commas)


def _decimal_commas(text: Text, frame: Any, decimal: str) -> tuple[bool, tuple[str, ...]]:
    """Tell whether commas are the decimal signs, and what to say of it.

    Unless it is told, they are if some number has a comma that can be no sign of thousands, and none has a point.
    """
    import polars as pl

    if decimal != "auto" or b"," not in text.content or (text.separator == "," and b'"' not in text.content):
        return decimal == ",", ()
    example = None
    for cells in frame.get_columns():
        if cells.dtype != pl.String:
            continue
        cells = cells.str.strip_chars()
        if cells.str.contains(POINT_NUMBER).any():
            return False, ()
        found = cells.filter(cells.str.contains(COMMA_NUMBER) & ~cells.str.contains(THOUSANDS))
        example = found[0] if example is None and len(found) else example
    if example is None:
        return False, ()
    number = float(example.replace(",", "."))
    return True, (f"commas were taken for decimal signs, {example} for {number:g}; if they are none: --decimal .",)
