"""Tables of numbers and words as points, from files or frames.

`read` makes points (n, d) of a CSV, Parquet or Arrow file, of an array in an ``.npy``, ``.npz``, HDF5 or zarr file, or
of a frame of pandas, polars or pyarrow.  By choice, words become categories (a coordinate, 0 or 1, for each), cells
without a value get the mean of their column or their rows are left out, and a column names the rows.  Nothing of that
happens in silence: without a choice such a table is refused, with the row, the column, and what can be said.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .arrays import check_choice
from .io.encoding import Choices, Encoding
from .io.frames import is_frame, sheet_of
from .io.tables import Source, Table, Wanted, parse_sources, read_labels, read_points, read_sheets

__all__ = ["Encoding", "Table", "labels", "read"]


def read(
    *data: Any,
    drop: Sequence[str] = (),
    id: str | None = None,
    missing: str | None = None,
    categories: str | None = None,
    unseen: str = "refuse",
    encoding: Encoding | None = None,
    header: str = "auto",
    decimal: str = "auto",
) -> Table:
    r"""Read a table, or several with the same columns one below the other, as points (n, d).

    Parameters
    ----------
    *data : str, path, or frame of pandas, polars or pyarrow
        Files (``"part-*.csv"``: all that match; ``"a.csv:x,y"``: some columns; ``"a.h5:/train/x"``: an array), or one
        frame.
    drop : sequence of str
        Columns to leave out.
    id : str, optional
        The column of the rows' names, which is no coordinate: ``table.ids``.
    missing : {"refuse", "drop", "mean"}, optional
        Of cells without a value (empty, NA, NaN, null): an error; their rows are left out (``table.kept`` are those
        that stay); or they get the mean of their coordinate, which the encoding keeps.  By default as in ``encoding``,
        or "refuse".
    categories : {"refuse", "one-hot", "drop"}, optional
        Of columns of words: an error, a coordinate (0 or 1) for each word, or they are left out.
    unseen : {"refuse", "zeros"}
        Of words that ``encoding`` does not have.
    encoding : Encoding, optional
        That of an earlier table, ``table.encoding`` or ``rep.table``: the same coordinates are made.
    header : {"auto", "yes", "no"}
        Whether text files begin with a row of names.
    decimal : {"auto", ".", ","}
        The decimal sign of text files; "auto": a point, or a comma where nothing else is possible, which is said.

    Returns
    -------
    Table
        ``values`` (n, d), the names of their ``columns``, ``ids``, ``kept``, ``encoding``, and ``notes``: what was
        decided, in words.

    Raises
    ------
    OSError, ValueError
        With the file, and the row and column where there is one.

    Examples
    --------
    >>> import pathlib, tempfile, sslcore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "wine.csv")
    ...     _ = path.write_text("id,alcohol,colour\na,12.5,red\nb,,white\n")
    ...     table = sslcore.tables.read(path, id="id", categories="one-hot", missing="mean")
    >>> table.columns, table.values.tolist()
    (('alcohol', 'colour=red', 'colour=white'), [[12.5, 1.0, 0.0], [12.5, 0.0, 1.0]])
    """
    choices = Choices(missing, categories, unseen, id, decimal)
    _check_header(header)
    if isinstance(drop, str) or not isinstance(drop, Iterable):
        raise TypeError(f"drop must be a sequence of names of columns, such as [{drop!r:.80}], found {drop!r:.80}")
    drop = list(drop)
    if encoding is not None and not isinstance(encoding, Encoding):
        raise TypeError(f"encoding must be table.encoding of an earlier table, or rep.table, found {encoding!r:.80}")
    wanted = None if encoding is None else Wanted(tuple(encoding.columns), "the encoding", encoding)
    if len(data) == 1 and is_frame(data[0]):
        return read_sheets([sheet_of(data[0])], Source(Path("the frame")), drop, wanted=wanted, choices=choices)
    return read_points(_source(data, "read"), drop, header=header, wanted=wanted, choices=choices)


def labels(*files: Any, header: str = "auto", decimal: str = "auto") -> Table:
    r"""Read labels (n,), one for each row: integers, real numbers or words; ``missing`` marks those that are not there.

    Parameters
    ----------
    *files : str or path
        Such as ``"wine.csv:class"`` or ``"y.npy"``.
    header, decimal : str
        As for `read`.

    Returns
    -------
    Table
        ``table.of_rows(labels.values)`` are those of the rows that `read` kept.

    Raises
    ------
    OSError, ValueError
        With the file, and the row where there is one.

    Examples
    --------
    >>> import pathlib, tempfile, sslcore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "wine.csv")
    ...     _ = path.write_text("alcohol,class\n12.5,barolo\n13,barbera\n")
    ...     sslcore.tables.labels(f"{path}:class").values.tolist()
    ['barolo', 'barbera']
    """
    _check_header(header)
    return read_labels(_source(files, "labels"), header=header, decimal=decimal)


def _check_header(header: Any) -> None:
    check_choice(header, "header", ("auto", "yes", "no"))


def _source(files: Sequence[Any], name: str) -> Source:
    if not files or not all(isinstance(each, str | os.PathLike) for each in files):
        found = ", ".join(type(each).__name__ for each in files) or "nothing"
        first = "; collect() it first" if "LazyFrame" in found else ""
        raise TypeError(f"{name} takes names of files, or one frame of pandas, polars or pyarrow, found {found}{first}")
    return parse_sources([os.fspath(each) for each in files])
