"""Tables as text: bytes in UTF-8, what separates their cells, and whether the first row has the names.

polars reads; where it cannot, or where a row is too short, a second pass in plain Python finds the line that is to
blame.  What a cell means is decided in `sslcore.io.sheets`.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import tunables
from ..backends.machine import free_memory

__all__ = ["TEXT", "Text", "content_of", "has_header", "is_integer", "is_number"]

TEXT = (".csv", ".tsv", ".txt", ".dat", ".csv.gz", ".tsv.gz")

COMMA_NUMBER = r"^[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?$"
POINT_NUMBER = r"^[+-]?[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?$"
"""Numbers with a decimal sign."""
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2},[0-9]{3}$"
"""Numbers whose comma may set thousands apart."""
COMMA_OR_INTEGER = re.compile(rf"{COMMA_NUMBER}|^(0|-?[1-9][0-9]{{0,14}})$")


def is_number(cell: str | None) -> bool:
    """Tell whether a cell is a number as files write it: Python's digits may be grouped, a file's may not."""
    if not cell or "_" in cell:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_integer(cell: str) -> bool:
    """Tell whether ``cell`` is an int64 that would be written back as it is ("007" is not)."""
    return re.fullmatch(r"0|-?[1-9][0-9]{0,18}", cell) is not None and -(2**63) <= int(cell) < 2**63


def has_header(cells: list[str], below: list[str] | None, header: str, decimal: str) -> tuple[bool, tuple[str, ...]]:
    """Tell whether the first row is a header, and what to say if that can be doubted."""
    if header != "auto":
        return header == "yes", ()
    count = cells[1:] if len(cells) > 1 and not cells[0] else cells
    integers = below is not None and all(map(is_integer, below))
    if count == [str(i) for i in range(len(count))] and below is not None and (count is not cells or not integers):
        found = "the first row, 0, 1, ..., was" if len(count) > 1 else "the first row, 0, was"
        return True, (f"{found} taken for the names of the columns; if it is a row of data: --header no",)
    if not any(is_number(cell) or (decimal != "." and re.match(COMMA_NUMBER, cell)) for cell in cells):
        return True, ()
    counts = count == [str(i) for i in range(len(count))]
    if below is not None and all(map(is_integer, cells)) and (counts or not any(map(is_integer, below))):
        shown = ", ".join(cells[:3]) + (", ..." if len(cells) > 3 else "")
        return False, (f"the first row, {shown}, was taken for data; if it has the columns' names: --header yes",)
    return False, ()


@dataclass(frozen=True)
class Text:
    """A text table: bytes in UTF-8, and what separates the cells."""

    path: Path
    content: bytes = field(repr=False)
    separator: str

    @classmethod
    def of(cls, path: Path, content: bytes, tabs: bool, decimal: str) -> Text:
        """Look at what separates the cells; where spaces do, leave one between any two."""
        first = next((line for line in io.BytesIO(content) if line.strip()), b"").decode()
        unquoted = re.sub('"[^"]*"', "", first)
        separator = "\t" if tabs else max(";\t" if decimal == "," else ",;\t", key=unquoted.count)
        if not tabs and separator not in unquoted:
            separator = ","
            words = _in_words(content) if " " in first.strip() else b""
            if words and _as_many_words(words, decimal):
                return cls(path, words, " ")
        if separator == "," and decimal == "auto":
            separator = _other_separator(content)
        return cls(path, _in_words(content) if separator == " " else content, separator)

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
        quoted_column = False  # spaces in quotes are a row of it, a line of spaces is none of any table
        try:
            for cells in reader:
                if cells and (quoted_column or len(cells) > 1 or not cells[0] or cells[0].strip(" \t")):
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


def _other_separator(content: bytes) -> str:
    """Return what separates cells where commas may be decimal signs: all of them stand between digits."""
    lines = [re.sub('"[^"]*"', "", line.decode()) for line in content.split(b"\n", 20)[:20] if line.strip()]
    if all("," not in re.sub(r"(?<![^0-9;\s+-]),(?=[0-9])", "", line) for line in lines):
        for sign in ";\t":
            if len(counts := {line.count(sign) for line in lines}) == 1 and counts != {0}:
                return sign
        rows = [line.split() for line in lines]
        if len({len(row) for row in rows}) == 1 < len(rows[0]) and all(
            is_number(cell) or re.match(COMMA_NUMBER, cell) for row in rows for cell in row
        ):
            return " "
    return ","


def _as_many_words(content: bytes, decimal: str) -> bool:
    """Tell whether the first two rows have as many words, more than one, and numbers among the last ones."""
    lines = [line.decode() for line in content.split(b"\n", 20)[:20] if line.strip()][:2]
    rows = list(csv.reader(lines, delimiter=" "))
    return (
        len(rows[0]) > 1
        and len({len(row) for row in rows}) == 1
        and any(is_number(cell) or (decimal != "." and re.match(COMMA_NUMBER, cell)) for cell in rows[-1])
    )


def content_of(path: Path, suffix: str) -> bytes:
    """Return the bytes of a text file in UTF-8, lines ended by a newline, without a byte order mark."""
    content = _inflated(path) if suffix.endswith(".gz") else path.read_bytes()
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        if not content.isascii():
            content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} is not text in UTF-8: line {line} has the byte 0x{content[error.start]:02x} ({error.reason}); "
            f"save it in UTF-8 (from Latin-1: iconv -f LATIN1 -t UTF-8)"
        ) from None
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
