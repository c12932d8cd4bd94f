"""Tables with columns: text (``.csv`` and its kin), Parquet and Arrow, read by polars.

What a cell means is decided here and not by guesses of a reader: every cell of a text file comes as the text it is, and
is then cast.  Where that fails, or where a row is too short, a second pass in plain Python finds the row, the line and
the column that are to blame; it costs time only then.

* Commas, semicolons or tabs separate, whichever the first row has most of; where it has none, spaces do, if the first
  two rows have as many words.  Cells may be quoted; a byte order mark and blank lines do not count.
* The first row is a header if none of its cells is a number, or if it is what pandas makes of a table without names
  (0, 1, ...); ``header`` says otherwise.  Without one, columns are named by their number, from 1.
* A first column without a name (or "Unnamed: 0") is the index that `DataFrame.to_csv` has written: left out, and said.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import shlex
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends.machine import free_memory

__all__ = ["COLUMNAR", "MISSING", "TEXT", "Sheet", "open_sheet"]

TEXT = (".csv", ".tsv", ".txt", ".dat", ".csv.gz", ".tsv.gz")
COLUMNAR = (".parquet", ".arrow", ".feather")

MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaN", "nan", "-NaN", "-nan", "NaT", "None", "NULL", "null")
)
"""Words for "no value", as pandas, polars, R, spreadsheets and databases write them."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table whose columns can be taken as numbers or as labels.

    Attributes
    ----------
    path : Path
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
    text : _Text or None
        How a text file is written.
    """

    path: Path
    columns: tuple[str, ...]
    named: bool
    index: tuple[str, ...]
    notes: tuple[str, ...]
    frame: Any = field(repr=False)
    text: _Text | None = field(default=None, repr=False)

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

    def _known(self, name: str) -> str:
        if name not in self.columns:
            header = "" if self.named else ", which has no header"
            raise ValueError(f"there is no column {name!r} in {self.path}{header}; columns: {listed(self.columns)}")
        return name

    # ---------------------------------------------------------------- numbers

    def numbers(self, chosen: Sequence[int]) -> Array:
        """Return the chosen columns (n, d), finite: float64, or float32 if all of them are."""
        import polars as pl

        series = [self._cells(position) for position in chosen]
        kind = pl.Float32 if all(each.dtype == pl.Float32 for each in series) else pl.Float64
        values = np.empty((self.frame.height, len(chosen)), np.float32 if kind == pl.Float32 else np.float64)
        bad: list[tuple[int, int]] = []  # row and place of the first cell of each column that is no number
        for place, each in enumerate(series):
            cast = each.cast(kind, strict=False)
            if cast.null_count():
                rows = cast.is_null().arg_true()
                values[:, place] = cast.fill_null(np.nan).to_numpy()
                for row, cell in zip(rows.to_list(), each.gather(rows).to_list(), strict=True):
                    if not is_number(cell):
                        bad.append((row, place))
                        break
                    values[row, place] = float(cell)
            else:
                values[:, place] = cast.to_numpy()
        if bad:
            row, place = min(bad)
            self._refuse_cell(row, chosen[place], series[place][row])
        if not np.isfinite(values).all():
            row, place = map(int, np.argwhere(~np.isfinite(values))[0])
            self._refuse(row, chosen[place], f"is {values[row, place]}; remove or impute it")
        return values

    def _cells(self, position: int) -> Any:
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
                f"column {name!r} of {self.path} holds {cells.dtype}, neither numbers nor words; leave it out with "
                f"--drop {shlex.quote(name)}"
            )
        return cells.str.strip_chars()

    def _refuse_cell(self, row: int, position: int, cell: str | None) -> NoReturn:
        found = f"is {cell!r:.60}, not a number" if cell else "is empty"
        advice = f"correct it, or leave the column out with --drop {shlex.quote(self.columns[position])}"
        if row == 0 and cell and not self.named:
            advice += ", or say --header yes if this row has the names of the columns"
        self._refuse(row, position, f"{found}; {advice}")

    def _refuse(self, row: int, position: int, reason: str) -> NoReturn:
        line = "" if self.text is None else f" (line {self.text.line(row + self.named)})"
        raise ValueError(f"{self.path}: row {row + 1}{line}, column {self.columns[position]!r} {reason}")

    # ---------------------------------------------------------------- labels

    def labels(self, position: int) -> tuple[Array, np.ndarray]:
        """Return one column (n,), and which of its labels are missing (whose values mean nothing).

        Integers if all that are there are, as they would be written; real numbers if all are; else words.  Where labels
        are missing, 1.0 and the like are integers: pandas writes them so, since its integers have no missing value.
        """
        import polars as pl

        cells = self._cells(position)
        if cells.dtype.is_integer() or cells.dtype == pl.Boolean:
            return cells.fill_null(0 if cells.dtype.is_integer() else False).to_numpy(), cells.is_null().to_numpy()
        if cells.dtype.is_numeric():
            values = cells.cast(pl.Float64).fill_null(np.nan).to_numpy()
            return self._numeric_labels(values, np.isnan(values), position)
        words = [cell or "" for cell in cells.to_list()]
        missing = np.array([word in MISSING for word in words])
        there = [word for word in words if word not in MISSING]
        if all(map(_is_integer, there)):
            return np.array([0 if gone else int(word) for word, gone in zip(words, missing, strict=True)]), missing
        if all(map(is_number, there)) and not all(word.isdigit() for word in there):
            values = np.array([np.nan if gone else float(word) for word, gone in zip(words, missing, strict=True)])
            return self._numeric_labels(values, missing, position)
        return np.array(words), missing

    def _numeric_labels(self, values: np.ndarray, missing: np.ndarray, position: int) -> tuple[Array, np.ndarray]:
        there = values[~missing]
        if not np.isfinite(there).all():
            row = int(np.flatnonzero(~missing & ~np.isfinite(values))[0])
            self._refuse(row, position, f"is {values[row]}; every label must be finite, or missing")
        if missing.any() and (there == np.rint(there)).all() and (np.abs(there) < 2**53).all():
            return np.where(missing, 0, values).astype(np.int64), missing
        return values, missing


def open_sheet(path: Path, suffix: str, header: str = "auto") -> Sheet:
    """Read a table; ``header``: whether a text file begins with names, "yes", "no" or "auto".

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
        raise ImportError(f"{suffix} files need polars: pip install 'sslcore[cli]'") from error
    return _open_columnar(path, suffix) if suffix in COLUMNAR else _open_text(path, suffix, header)


def listed(names: Iterable[str]) -> str:
    """List names with commas between, the first twelve; those that have commas themselves in quotes."""
    shown = [f'"{name}"' if "," in name else name for name in names]
    return ", ".join(shown[:12]) + (f", ... ({len(shown)} in all)" if len(shown) > 12 else "")


def is_number(cell: str | None) -> bool:
    """Tell whether a cell is a number as files write it: Python's digits may be grouped, a file's may not."""
    if not cell or "_" in cell:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_integer(cell: str) -> bool:
    """Tell whether ``cell`` is an int64 that would be written back as it is ("007" is not)."""
    return re.fullmatch(r"0|-?[1-9][0-9]{0,18}", cell) is not None and -(2**63) <= int(cell) < 2**63


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


def _open_text(path: Path, suffix: str, header: str) -> Sheet:
    content = _content(path, suffix)
    text = _Text.of(path, content, suffix.startswith(".tsv"))
    rows = text.rows()
    first, second = next(rows, None), next(rows, None)
    if first is None:
        raise ValueError(f"{path} holds only blank lines")
    cells = [cell.strip() for cell in first[1]]
    named, notes = _has_header(cells, [cell.strip() for cell in second[1]] if second else None, header)
    frame = text.frame(named)
    if not named:
        return Sheet(path, tuple(str(i + 1) for i in range(len(cells))), False, (), notes, frame, text)
    columns = tuple(cell or f"column {i + 1}" for i, cell in enumerate(cells))
    twice = sorted({name for name in columns if columns.count(name) > 1}) if len(set(columns)) < len(columns) else []
    if twice:
        raise ValueError(f"{path} has two columns named {twice[0]!r} in its header; rename one")
    if second is None:
        raise ValueError(f"{path} has a header and no rows")
    index, more = _index_of(columns, cells)
    return Sheet(path, columns, True, index, notes + more, frame.slice(1), text)


def _has_header(cells: list[str], below: list[str] | None, header: str) -> tuple[bool, tuple[str, ...]]:
    """Tell whether the first row is a header, and what to say if that can be doubted."""
    if header != "auto":
        return header == "yes", ()
    count = cells[1:] if len(cells) > 1 and not cells[0] else cells
    integers = below is not None and all(map(_is_integer, below))
    if count == [str(i) for i in range(len(count))] and below is not None and (count is not cells or not integers):
        found = "the first row, 0, 1, ..., was" if len(count) > 1 else "the first row, 0, was"
        return True, (f"{found} taken for the names of the columns; if it is a row of data: --header no",)
    if not any(map(is_number, cells)):
        return True, ()
    counts = count == [str(i) for i in range(len(count))]
    if below is not None and all(map(_is_integer, cells)) and (counts or not any(map(_is_integer, below))):
        shown = ", ".join(cells[:3]) + (", ..." if len(cells) > 3 else "")
        return False, (f"the first row, {shown}, was taken for data; if it has the columns' names: --header yes",)
    return False, ()


@dataclass(frozen=True)
class _Text:
    """A text table: bytes in UTF-8, and what separates the cells."""

    path: Path
    content: bytes = field(repr=False)
    separator: str

    @classmethod
    def of(cls, path: Path, content: bytes, tabs: bool) -> _Text:
        """Look at what separates the cells; where spaces do, leave one between any two."""
        first = next((line for line in io.BytesIO(content) if line.strip()), b"").decode()
        unquoted = re.sub('"[^"]*"', "", first)
        separator = "\t" if tabs else max(",;\t", key=unquoted.count)
        if not tabs and separator not in unquoted and " " in first.strip():
            words = _in_words(content)
            if _as_many_words(words):
                return cls(path, words, " ")
        return cls(path, content, separator)

    def frame(self, named: bool) -> Any:
        """Return all rows that are not blank, the header too, as text; each is as long as the first."""
        import polars as pl

        quoted, gap = b'"' in self.content, rb" *" if self.separator == "\t" else rb"[ \t]*"
        content = re.sub(rb"\A(" + gap + rb"\r?\n)+", b"", self.content)
        if not quoted:
            content = content.replace(b"\r\n", b"\n")
            if any(sign in content for sign in (b"\n\n", b"\n ", b"\n\t")):  # before a slow look
                content = re.sub(rb"(?m)^" + gap + rb"(\n|\Z)", b"", content)
        try:
            frame = pl.read_csv(
                b"\xef\xbb\xbf" + content if content.startswith((b"x^", b"x\1")) else content,  # no zlib stream
                has_header=False,
                infer_schema=False,
                separator=self.separator,
                quote_char='"' if quoted else None,
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            return self._slow_frame(named)
        if frame.width == 1:
            return frame.drop_nulls()  # blank lines; an empty cell has quotes there
        cells = frame.width * frame.height
        # polars fills short rows up, and takes a blank line for one
        full = (
            frame.to_series(-1).null_count() == 0
            if quoted
            else content.count(self.separator.encode()) == cells - frame.height
        )
        return frame if full else self._slow_frame(named)

    def _slow_frame(self, named: bool) -> Any:
        """Return the same by Python's reader, which knows the lines."""
        import polars as pl

        rows: list[list[str]] = []
        for row, (line, cells) in enumerate(self.rows()):
            if row and len(cells) != len(rows[0]):
                raise ValueError(
                    f"{self.path}: row {row + 1 - named} (line {line}) has {len(cells)} cells, the "
                    f"{'header' if named else 'first row'} has {len(rows[0])}"
                )
            rows.append(cells)
        return pl.DataFrame(rows, {f"column_{i}": pl.String for i in range(len(rows[0]))}, orient="row")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield all rows that are not blank, the header too, with the line on which each ends."""
        lines = io.TextIOWrapper(io.BytesIO(self.content), "utf-8", newline="")
        reader = csv.reader(lines, delimiter=self.separator, strict=True)
        quoted_column = False  # a cell of spaces in quotes is a row of it, a line of spaces is none of any table
        try:
            for cells in reader:
                if cells and (quoted_column or len(cells) > 1 or not cells[0].isspace()):
                    quoted_column = quoted_column or (len(cells) == 1 and b'"' in self.content)
                    yield reader.line_num, cells
        except csv.Error as error:
            reason = "a quote is not closed" if "unexpected end" in str(error) else str(error)
            raise ValueError(f"{self.path}: line {reader.line_num}: {reason}") from None

    def line(self, row: int) -> int:
        """Return the line on which a row, the header counted, ends."""
        return next(line for i, (line, _) in enumerate(self.rows()) if i == row)


def _in_words(content: bytes) -> bytes:
    """Return lines without spaces at their ends and with one between words; what is in quotes stays."""
    shrink: Callable[[Any], bytes] = lambda match: match[1] or b" "  # noqa: E731
    content = re.sub(rb'("[^"]*")|[ \t]+', shrink, content) if b'"' in content else re.sub(rb"[ \t]+", b" ", content)
    return re.sub(rb"(?m)^ | (?=\r?$)", b"", content)


def _as_many_words(content: bytes) -> bool:
    """Tell whether the first two rows have as many words, more than one, and numbers among the last ones."""
    lines = [line.decode() for line in content.split(b"\n", 20)[:20] if line.strip()][:2]
    rows = list(csv.reader(lines, delimiter=" "))
    return len(rows[0]) > 1 and len({len(row) for row in rows}) == 1 and any(map(is_number, rows[-1]))


def _content(path: Path, suffix: str) -> bytes:
    """Return the bytes of a text file in UTF-8, lines ended by a newline, without a byte order mark."""
    content = _inflated(path) if suffix.endswith(".gz") else path.read_bytes()
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        if not content.isascii():
            content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        raise ValueError(f"{path} is not text in UTF-8: after line {line}, {error.reason}; save it in UTF-8") from None
    if (place := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, place) + 1
        raise ValueError(f"{path} is not text: line {line} has a zero byte")
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    marked = re.match(rb"\s*# ", content)  # so NumPy writes headers
    return content if marked is None else content[marked.end() :]


def _inflated(path: Path) -> bytes:
    room = free_memory() // 4
    content = bytearray()
    try:
        with gzip.open(path) as file:
            while len(content) <= room and (part := file.read(tunables.TABLE_PIECE_BYTES)):
                content += part
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from None
    if len(content) > room:
        raise ValueError(f"{path} holds more than {room / 1e9:.3g} GB, a quarter of the memory that is free")
    return bytes(content)
