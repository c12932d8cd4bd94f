"""Names of data files, and what they are: regular files that begin as their names say.

A *source* is a file's name, or ``FILE:NAME`` where the file holds several things: an array of an ``.npz`` or of an HDF5
file (``a.h5:/train/x``), columns of a table (``moons.csv:class``, ``moons.csv:x,y``).  Several files of one kind may
follow each other.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .atomic import open_regular
from .sheets import COLUMNAR
from .texts import TEXT

__all__ = ["SUFFIXES", "TABLES", "Source", "names_tables", "parse_source", "parse_sources", "require_file"]

TABLES = (*TEXT, *COLUMNAR)
STORED = (".h5", ".hdf5", ".zarr")
SUFFIXES = (".npy", ".npz", *TABLES, *STORED)
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
        The array of an ``.npz`` or of an HDF5 or zarr store, or the columns of a table, separated by commas.
    more : tuple of Source
        Files of the same kind whose rows follow.

    Examples
    --------
    >>> from sslcore.io.tables import parse_source
    >>> str(parse_source("moons.csv:class")), parse_source("moons.npy").choice
    ('moons.csv:class', None)
    """

    path: Path
    choice: str | None = None
    more: tuple[Source, ...] = ()

    @property
    def each(self) -> tuple[Source, ...]:
        """All files, one by one."""
        return (replace(self, more=()), *self.more)

    @property
    def suffix(self) -> str:
        """Ending of the name, in small letters, if it is one that can be read."""
        return max((suffix for suffix in SUFFIXES if self.path.name.lower().endswith(suffix)), key=len, default="")

    @property
    def stem(self) -> str:
        """Name of the file without that ending."""
        return self.path.name[: len(self.path.name) - len(self.suffix)]

    def size(self) -> int:
        """Return the bytes of the files; 0 for one that is not there, which reading will tell."""
        total = 0
        for source in self.each:
            with suppress(OSError):
                total += source.path.stat().st_size
        return total

    def column(self, name: str) -> Source:
        """Return the same files with another choice."""
        return Source(self.path, name, tuple(source.column(name) for source in self.more))

    def __str__(self) -> str:
        name = str(self.path) if self.choice is None else f"{self.path}:{self.choice}"
        return f"{name} and {len(self.more)} more" if self.more else name


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
    source = _parsed(text)
    if source.choice is not None and not source.choice:
        raise ValueError(f"nothing follows the colon of {text!r}; name an array or a column, or leave out the colon")
    if source.choice is not None and source.suffix == ".npy":
        raise ValueError(f"{source.path} is a single array; leave out :{source.choice}")
    return source


def names_tables(text: str) -> bool:
    """Tell whether ``FILE`` or ``FILE:NAME``, a pattern or not, ends as tables do."""
    return any(source.suffix in TABLES for source in _splits(text))


def _splits(text: str) -> list[Source]:
    """Split at each colon, the last one first."""
    places = [i for i in reversed(range(len(text))) if text[i] == ":"]
    return [Source(Path(text)), *(Source(Path(text[:i]), text[i + 1 :]) for i in places)]


def _parsed(text: str) -> Source:
    """Find the colon at which the file's name ends."""
    known = [source for source in _splits(text) if source.suffix]
    if not known:
        raise ValueError(f"data are read from {', '.join(SUFFIXES)} files, found {text}")
    return next((source for source in known if os.path.lexists(source.path)), known[-1])


def parse_sources(texts: Sequence[str]) -> Source:
    """Make a source of several files, one after the other; a pattern such as ``part-*.csv`` stands for all that match.

    Raises
    ------
    OSError
        If nothing matches a pattern.
    ValueError
        If a name ends in none of the suffixes that can be read, a file is named twice, or arrays and tables are mixed.

    Examples
    --------
    >>> from sslcore.io.tables import parse_sources
    >>> str(parse_sources(["a.csv", "b.csv"]))
    'a.csv and 1 more'
    """
    found: list[Source] = []
    for text in texts:
        if glob.has_magic(text) and not os.path.lexists(text):
            pattern = _parsed(text)
            names = sorted(glob.glob(str(pattern.path), recursive=True))
            if not names:
                raise FileNotFoundError(f"no file matches {text}")
            found += [Source(Path(name), pattern.choice) for name in names]
        else:
            found.append(parse_source(text))
    first = found[0]
    for i, source in enumerate(found[1:], 1):
        if (source.suffix in TABLES) != (first.suffix in TABLES):
            raise ValueError(f"{first.path} and {source.path} follow each other: both must be tables, or both arrays")
        if any(os.path.realpath(source.path) == os.path.realpath(other.path) for other in found[:i]):
            raise ValueError(f"{source.path} is named twice; its rows would count twice")
    return replace(first, more=tuple(found[1:]))


def require_file(source: Source) -> None:
    """Refuse what is missing, a folder, a pipe, empty, or not what its name says."""
    path = source.path
    if source.suffix == ".zarr" and path.is_dir():
        return
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
        ".h5": "an HDF5 file",
        ".hdf5": "an HDF5 file",
        ".zarr": "a folder, which zarr stores are",
        ".csv.gz": "a gzip archive",
        ".tsv.gz": "a gzip archive",
    }.get(source.suffix)
    if found != wanted:
        raise ValueError(f"{path} is not what its name says: it begins as {found or 'text, or something unknown'}")
