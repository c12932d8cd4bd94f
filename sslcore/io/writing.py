"""Results as files: arrays as ``.npy``, rows as ``.csv``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, BinaryIO

import numpy as np

from ..arrays import Array
from .atomic import replacing

__all__ = ["COLUMNS", "table_suffix", "write_columns", "write_csv", "write_npy", "write_npy_header"]


def write_npy(path: str | os.PathLike[str] | BinaryIO, array: Array) -> None:
    """Write an array to an ``.npy`` file, which appears whole or not at all, or to one that is open.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np
    >>> from sslcore.io.tables import write_npy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_npy(pathlib.Path(folder, "z.npy"), np.arange(3))
    ...     np.load(pathlib.Path(folder, "z.npy"))
    array([0, 1, 2])
    """
    with replacing(path) as file:
        # not the file itself: NumPy would write it behind Python's back, and lose the reason of a failure
        np.lib.format.write_array(_Plain(file), np.ascontiguousarray(array), allow_pickle=False)


def write_npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Write the beginning of an ``.npy`` file, after which the entries come in C order.

    Examples
    --------
    >>> import io, numpy as np
    >>> from sslcore.io.writing import write_npy_header
    >>> file = io.BytesIO()
    >>> write_npy_header(file, (2,), np.dtype("<f8"))
    >>> _ = file.write(np.ones(2).tobytes()), file.seek(0)
    >>> np.load(file)
    array([1., 1.])
    """
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


COLUMNS = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
"""Endings of tables that are written."""


def table_suffix(suffix: str) -> str:
    """Return the ending of a table of the same kind as one that was read; of arrays, and of text, ``.csv``."""
    return ".tsv" if suffix.startswith(".tsv") else suffix if suffix in COLUMNS else ".csv"


def write_columns(file: IO[bytes], suffix: str, columns: Mapping[str, Any]) -> None:
    r"""Write columns of equal length, arrays or series of polars, as a table.

    Examples
    --------
    >>> import io, numpy as np
    >>> from sslcore.io.writing import write_columns
    >>> file = io.BytesIO()
    >>> write_columns(file, ".tsv", {"name": ["a", "b"], "value": np.array([0.5, 1e-9])})
    >>> file.getvalue()
    b'name\tvalue\na\t0.5\nb\t1e-09\n'
    """
    if suffix in (".csv", ".tsv"):
        lists = [column.tolist() if hasattr(column, "tolist") else list(column) for column in columns.values()]
        write_csv(file, list(columns), zip(*lists, strict=True), "\t" if suffix == ".tsv" else ",")
        return
    import polars as pl

    frame, content = pl.DataFrame(dict(columns)), io.BytesIO()
    frame.write_parquet(content) if suffix == ".parquet" else frame.write_ipc(content)
    file.write(content.getbuffer())


def write_csv(file: IO[bytes], columns: Sequence[str], rows: Iterable[Sequence[Any]], separator: str = ",") -> None:
    r"""Write a header and rows, UTF-8.

    Examples
    --------
    >>> import io
    >>> from sslcore.io.tables import write_csv
    >>> file = io.BytesIO()
    >>> write_csv(file, ["name", "value"], [("a, b", 0.5)])
    >>> file.getvalue()
    b'name,value\n"a, b",0.5\n'
    """
    text = _Encoded(file)
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
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
