"""Columns of a table as coordinates: words as categories, missing values, and a column of names of the rows.

What was learnt from one table (which columns, their categories and means) is an `Encoding`, which is saved with a model
and makes the same coordinates of any other table.
"""

from __future__ import annotations

import bisect
import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..arrays import Array, check_boolean, check_choice, listed
from ..backends.machine import free_memory
from ..errors import MemoryBudgetError
from .sheets import OF_TIME, Sheet, are_times

__all__ = ["Choices", "Encoded", "Encoding", "encode", "rows_named", "settle", "without_absent"]

MISSING = ("refuse", "drop", "mean")
CATEGORIES = ("refuse", "one-hot", "drop")
UNSEEN = ("refuse", "zeros")

FEW_WORDS = 10
"""Words that a column may have whatever its length, to be one of categories; beyond, at most one in two rows."""

MOST_WORDS = 1000
"""Words that a column may have whatever its length: each is a coordinate of every view."""

SHOWN_ROWS = 8
"""Rows that are named, counted from 1, where some are left out."""


@dataclass(frozen=True)
class Choices:
    """Choices of how a table is read; None: as the model says, else refuse.

    Attributes
    ----------
    missing : {"refuse", "drop", "mean"} or None
        Of cells without a value: an error, their rows are left out, or they get the mean of their coordinate.
    categories : {"refuse", "one-hot", "drop"} or None
        Of columns of words: an error, a coordinate (0 or 1) for each word, or they are left out.
    unseen : {"refuse", "zeros"}
        Of words that an encoding does not have.
    id : str or None
        The column of the rows' names, which is no coordinate.
    decimal : {"auto", ".", ","}
        The decimal sign of text.

    Examples
    --------
    >>> from sslcore.io.encoding import Choices
    >>> Choices(missing="mean").missing
    'mean'
    """

    missing: str | None = None
    categories: str | None = None
    unseen: str = "refuse"
    id: str | None = None
    decimal: str = "auto"

    def __post_init__(self) -> None:
        if self.missing is not None:
            check_choice(self.missing, "missing", MISSING)
        if self.categories is not None:
            check_choice(self.categories, "categories", CATEGORIES)
        check_choice(self.unseen, "unseen", UNSEEN)
        check_choice(self.decimal, "decimal", ("auto", ".", ","))


@dataclass(frozen=True, eq=False)
class Encoding:
    """Coordinates as they were made of one table's columns (``rep.table``), to be made of others in the same way.

    Attributes
    ----------
    columns : sequence of str
        Those that coordinates are made of, in their order.
    categories : mapping
        The words of each column of words, in order: each has a coordinate, 1 where the cell is that word, else 0.
    means : (d,) array or None
        Of the coordinates, for cells without a value, if ``missing`` is "mean".
    missing : {"refuse", "drop", "mean"}
        As in `Choices`.
    id : str or None
        As in `Choices`.
    named : bool
        Whether the file said the names of its columns; else they are numbers, from 1.

    Examples
    --------
    >>> from sslcore.io.encoding import Encoding
    >>> Encoding(["size", "colour"], {"colour": ["blue", "red"]}).coordinates
    ('size', 'colour=blue', 'colour=red')
    """

    columns: Sequence[str]
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    means: np.ndarray | None = None
    missing: str = "refuse"
    id: str | None = None
    named: bool = True

    def __post_init__(self) -> None:
        check_boolean(self.named, "named")

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates: ``column``, or ``column=word``."""
        found: list[str] = []
        for name in self.columns:
            found += [f"{name}={word}" for word in self.categories[name]] if name in self.categories else [name]
        return tuple(found)

    @property
    def plain(self) -> bool:
        """Whether coordinates are just the columns: then their names say all."""
        return not self.categories and self.means is None and self.missing == "refuse" and self.id is None

    def check(self, width: int | None) -> None:
        """Refuse an encoding, read from a file, that does not hang together or gives not this number of coordinates."""

        def words(value: Any) -> bool:
            return isinstance(value, list | tuple) and bool(value) and all(isinstance(word, str) for word in value)

        good = words(self.columns) and len(set(self.columns)) == len(self.columns)
        good = good and isinstance(self.categories, dict) and set(self.categories) <= set(self.columns)
        good = good and all(words(each) and len(set(each)) == len(each) for each in self.categories.values())
        good = good and self.missing in MISSING and isinstance(self.named, bool)
        good = (
            good and (self.id is None or isinstance(self.id, str)) and (self.means is None) == (self.missing != "mean")
        )
        if good and self.means is not None:
            good = isinstance(self.means, np.ndarray) and self.means.dtype == np.float64
            good = good and self.means.shape == (len(self.coordinates),) and bool(np.isfinite(self.means).all())
        if not good or width not in (None, len(self.coordinates)):
            raise ValueError(f"it is damaged: the table's columns are {self!r:.200}")


class Encoded(NamedTuple):
    """Coordinates (n, d), the encoding that made them, the rows that were kept (None: all), and what is to be said."""

    values: Array
    encoding: Encoding
    kept: np.ndarray | None
    notes: tuple[str, ...]


def encode(sheets: Sequence[Sheet], names: Sequence[str], choices: Choices, known: Encoding | None = None) -> Encoded:
    """Make coordinates of the columns of one or several sheets, one below the other, that all have these names.

    ``known``: an encoding that was learnt before, whose columns ``names`` are.

    Raises
    ------
    ValueError
        With the row and the column of what no number can be made of, and what can be done about it.
    """
    return _Columns(sheets, names, choices, known).encoded()


def rows_named(rows: np.ndarray) -> str:
    """Name rows, given by their number from 0, as people count them: ``rows 1, 4, ...``."""
    shown = ", ".join(str(row + 1) for row in rows[:SHOWN_ROWS].tolist())
    return f"row{'s'[: len(rows) > 1]} {shown}{', ...' if len(rows) > SHOWN_ROWS else ''}"


def settle(
    values: Array, missing: str | None, known: Encoding | None, names: Sequence[str]
) -> tuple[Array, np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Settle what is missing (NaN) in coordinates (n, d): values, their means or None, rows kept or None, notes."""
    gone = np.isnan(values)
    count, rows = int(gone.sum()), np.asarray(gone.any(axis=1))
    of_rows = f"{int(rows.sum()):,} of {len(rows):,} rows"
    if missing != "mean":
        if missing != "drop" or not count:
            return values, None, None, ()
        which = rows_named(np.flatnonzero(rows))
        kept = np.flatnonzero(~rows)
        if not len(kept):
            raise ValueError(
                "every row has a cell without a value: use --missing mean, or leave columns out with --drop"
            )
        return values[kept], None, kept, (f"left out, for cells without a value: {of_rows} ({which}; --missing drop)",)
    if known is not None and known.means is None:
        raise ValueError("the model has no means of its columns: say --missing drop, or fit it with --missing mean")
    if known is None:
        empty = np.flatnonzero(np.all(gone, axis=0))
        if len(empty):
            name = names[int(empty[0])]
            raise ValueError(f"column {name!r} has no value at all: leave it out with --drop {shlex.quote(name)}")
        means = np.asarray(np.nanmean(values, axis=0, dtype=np.float64))
    else:
        assert known.means is not None
        means = known.means
    if not count:
        return values, means, None, ()
    filled = np.where(gone, means.astype(values.dtype), values)
    return (
        filled,
        means,
        None,
        (f"the mean of its column is in each cell without a value, in {of_rows} (--missing mean)",),
    )


def without_absent(values: Array, encoding: Encoding) -> tuple[Array, Encoding, tuple[str, ...]]:
    """Leave out the coordinates of words that no row (n, d) has: values, their encoding, and the names left out.

    Such words are those of rows that were left out since: a coordinate that is always 0 tells nothing of them, and new
    rows that have them are to be refused.
    """
    there = np.ones(values.shape[1], bool)
    categories: dict[str, list[str]] = {}
    start = 0
    for name in encoding.columns:
        words = encoding.categories.get(name)
        end = start + (1 if words is None else len(words))
        if words is not None:
            there[start:end] = values[:, start:end].any(axis=0)
            categories[name] = [word for word, stays in zip(words, there[start:end], strict=True) if stays]
        start = end
    if there.all():
        return values, encoding, ()
    means = None if encoding.means is None else encoding.means[there]
    absent = tuple(name for name, stays in zip(encoding.coordinates, there, strict=True) if not stays)
    return values[:, there], replace(encoding, categories=categories, means=means), absent


def _of_time(words: Any) -> bool:
    """Tell whether words are dates or times, and too many to be codes such as 16:10 that look like some."""
    return words.drop_nulls().n_unique() > FEW_WORDS and are_times(words)


def _most_words(n: int) -> int:
    """Return how many words a column of n rows may have, to be one of categories."""
    return max(FEW_WORDS, min(n // 2, MOST_WORDS))


_OF_WORDS = {
    "words": ("words", ", for --categories one-hot or drop"),
    "times": ("dates or times", ", which are no categories: make numbers of them, or say --drop"),
    "names": ("words", ", too many for categories: say --id for one that names the rows, else --drop"),
}
"""What a column without a number may hold, and what is said of it beside one that holds something else."""


class _Columns:
    """The columns of sheets that follow each other, on their way to coordinates."""

    def __init__(self, sheets: Sequence[Sheet], names: Sequence[str], choices: Choices, known: Encoding | None) -> None:
        self.sheets, self.names, self.choices, self.known = sheets, list(names), choices, known
        self.starts = [0, *itertools.accumulate(sheet.frame.height for sheet in sheets)]
        self.missing = choices.missing or ("refuse" if known is None else known.missing)
        self.words: dict[str, Any] = {}  # series of the columns of words
        self.bad: list[tuple[int, int, str]] = []  # row, place of the column and advice of the first bad cells
        self.refused: dict[str, str] = {}  # columns of words, where they are refused, and what these are

    def encoded(self) -> Encoded:
        """Return the coordinates."""
        values = self._read()
        dropped = [name for name in self.words if self.known is None and self.choices.categories == "drop"]
        whole = self._whole(values, dropped)
        categories = {name: self._categories(name, whole) for name in self.words if name not in dropped}
        columns = [name for name in self.names if name not in dropped]
        if not columns:
            raise ValueError(f"all columns of {self.sheets[0].path} are words: none is left; use --categories one-hot")
        encoding = Encoding(columns, categories, None, self.missing, self.choices.id, self.sheets[0].named)
        if self.words:
            values = self._assembled(values, encoding, whole)
        gone = np.isnan(values)
        if self.missing == "refuse" and gone.any():
            self._refuse_missing(gone, encoding)
        values, means, kept, notes = settle(values, self.missing, self.known, encoding.coordinates)
        if dropped:
            notes += (f"left out: column{'s'[: len(dropped) > 1]} {', '.join(dropped)}, of words (--categories drop)",)
        if categories and self.known is None:
            made = ", ".join(f"{name} ({len(words)})" for name, words in categories.items())
            notes += (f"words as coordinates, 0 or 1 for each: {made} (--categories one-hot)",)
        return Encoded(values, replace(encoding, means=means), kept, notes)

    def _whole(self, numbers: np.ndarray, dropped: Sequence[str]) -> np.ndarray | None:
        """Tell which rows, whose words count, stay where rows with missing values are dropped; None: all."""
        if self.missing != "drop" or not self.words:
            return None
        places = [place for place, name in enumerate(self.names) if name not in self.words]
        gone = np.asarray(np.isnan(numbers[:, places]).any(axis=1))
        for name in self.words:
            if name not in dropped:
                gone |= self.words[name].is_null().to_numpy()
        return None if gone.all() else ~gone  # that no row stays, `settle` says

    def _read(self) -> np.ndarray:
        """Read all columns as numbers, NaN where there is none; those of words are noted, what is neither refused."""
        values: np.ndarray | None = None
        for place, name in enumerate(self.names):
            parts = [sheet.numbers(sheet.columns.index(name)) for sheet in self.sheets]
            column = np.concatenate([numbers for numbers, _ in parts])
            odd = np.concatenate([rows + start for (_, rows), start in zip(parts, self.starts[:-1], strict=True)])
            if values is None:
                values = np.empty((len(column), len(self.names)), column.dtype)
            elif column.dtype.itemsize > values.itemsize:
                values = values.astype(column.dtype)
            values[:, place] = column
            infinite = np.flatnonzero(np.isinf(column))
            if len(infinite):
                self.bad.append((int(infinite[0]), place, ""))
            if self.known is not None and name in self.known.categories:
                self._note_words(name)
            elif len(odd):
                all_words = bool(np.isnan(column).all())
                if all_words and self.known is None and self.choices.categories not in (None, "refuse"):
                    self._note_words(name)
                else:
                    self.bad.append((int(odd[0]), place, self._advice(name, len(odd), all_words)))
        assert values is not None
        if self.bad:
            row, place, advice = min(self.bad)
            self._refuse(row, self.names[place], advice + self._others(self.names[place]))
        return values

    def _note_words(self, name: str) -> None:
        import polars as pl

        known = () if self.known is None else self.known.categories[name]
        self.words[name] = pl.concat([sheet.words(sheet.columns.index(name), known) for sheet in self.sheets])

    def _advice(self, name: str, count: int, all_words: bool) -> str:
        """Say what else can be done about a column with words."""
        import polars as pl

        if self.known is not None:
            return ""
        if not all_words:
            return f" ({count:,} of its {self.starts[-1]:,} cells are words, the others numbers)"
        words = pl.concat([sheet.words(sheet.columns.index(name), ()) for sheet in self.sheets])
        times, many = OF_TIME if _of_time(words) else "", words.n_unique() > _most_words(self.starts[-1])
        self.refused[name] = "times" if times else "names" if many else "words"
        if many:
            return f"{times}, or, if it names the rows, say --id {shlex.quote(name)}"
        if times:
            return times
        return "; of a column of words --categories one-hot makes a coordinate for each, --categories drop none"

    def _others(self, name: str) -> str:
        """Name the other columns of words, if the one that is refused is one: each would be refused after it.

        Those for which its advice does not hold are named apart.
        """
        said = ""
        for kind, (what, apart) in _OF_WORDS.items():
            others = [other for other, found in self.refused.items() if found == kind and other != name]
            if name not in self.refused or not others:
                continue
            single, told = len(others) == 1, f"{what} too" if kind == self.refused[name] else f"{what}{apart}"
            said += f"; column{'s' * (not single)} {listed([*map(repr, others)])} hold{'s' * single} {told}"
        return said

    def _categories(self, name: str, rows: np.ndarray | None) -> list[str]:
        """Return the words of a column in these rows, in order."""
        if self.known is not None:
            return list(self.known.categories[name])
        words = self.words[name] if rows is None else self.words[name].filter(rows)
        found, n = sorted(words.drop_nulls().unique().to_list()), len(words)
        if _of_time(words):
            raise ValueError(
                f"column {name!r} of {self.sheets[0].path} holds dates or times such as {found[0]!r:.60}, which are no "
                f"categories{OF_TIME}; or leave it out with --drop {shlex.quote(name)}"
            )
        if len(found) > _most_words(n):
            quoted = shlex.quote(name)
            raise ValueError(
                f"column {name!r} of {self.sheets[0].path} has {len(found):,} different words in {n:,} rows, too many "
                f"for categories: if they name the rows say --id {quoted}, else leave it out with --drop {quoted}"
            )
        return found

    def _assembled(self, numbers: np.ndarray, encoding: Encoding, whole: np.ndarray | None) -> np.ndarray:
        """Put the columns of numbers and those of words side by side; words of rows that do not stay may be unknown."""
        n, d = len(numbers), len(encoding.coordinates)
        needed, free = 8 * n * d, free_memory()
        if needed > free:
            raise MemoryBudgetError(
                f"{d:,} coordinates of {n:,} rows take {needed / 1e9:.3g} GB of memory, of which {free / 1e9:.3g} GB "
                f"are free; leave columns of many words out with --drop"
            )
        values = np.zeros((n, d))
        start = 0
        for name in encoding.columns:
            if name not in encoding.categories:
                values[:, start] = numbers[:, self.names.index(name)]
                start += 1
                continue
            place = {word: i for i, word in enumerate(encoding.categories[name])}
            cells = self.words[name].to_list()
            codes = np.array([-1 if cell is None else place.get(cell, -2) for cell in cells])
            unseen = np.flatnonzero((codes == -2) if whole is None else (codes == -2) & whole)
            if len(unseen) and self.choices.unseen == "refuse":
                known = ", ".join(list(place)[:8]) + (", ..." if len(place) > 8 else "")
                row = int(unseen[0])
                self._locate(row)[0].refuse(
                    *self._at(row, name),
                    f"is {cells[row]!r:.60}, which was not there when the model was fitted ({known}); correct it, or "
                    f"say --unseen zeros",
                )
            rows = np.flatnonzero(codes >= 0)
            values[rows, start + codes[rows]] = 1.0
            values[codes == -1, start : start + len(place)] = np.nan
            start += len(place)
        return values

    def _refuse_missing(self, gone: np.ndarray, encoding: Encoding) -> NoReturn:
        """Refuse the first cell without a value, and say how many there are."""
        owners = [name for name in encoding.columns for _ in encoding.categories.get(name, [""])]
        row, coordinate = map(int, np.argwhere(gone)[0])
        firsts = [i for i, name in enumerate(owners) if i == 0 or owners[i - 1] != name]  # one for each column
        count, rows = int(gone[:, firsts].sum()), int(gone.any(axis=1).sum())
        what = "1 cell has no value" if count == 1 else f"{count:,} cells, in {rows:,} rows, have no value"
        self._refuse(
            row,
            owners[coordinate],
            f"; {what}: --missing mean takes the means of their columns, --missing drop leaves rows out",
        )

    def _refuse(self, row: int, name: str, advice: str) -> NoReturn:
        self._locate(row)[0].refuse_cell(*self._at(row, name), advice)

    def _locate(self, row: int) -> tuple[Sheet, int]:
        """Return the sheet that has a row, and its number there."""
        place = bisect.bisect_right(self.starts, row) - 1
        return self.sheets[place], row - self.starts[place]

    def _at(self, row: int, name: str) -> tuple[int, int]:
        """Return row and column in the sheet that has them."""
        sheet, local = self._locate(row)
        return local, sheet.columns.index(name)
