"""Files of views, of which rows are read when they are needed: ``.npy`` and Parquet."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tunables
from ..backends.numba_cpu.parallel import parallel_for
from ..io.atomic import open_regular
from ..io.stored import array_promise
from ..io.tables import Source

__all__ = ["FILES", "Block", "NpyFile", "ParquetFile", "require_alike"]


class Block(ABC):
    """Views (n, m, d) of which any rows can be read.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        As it is stored.
    name : str
        For messages.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    name: str
    row = "sample"
    is_file = False

    @abstractmethod
    def fill(self, start: int, out: np.ndarray) -> None:
        """Read the rows from ``start`` on to ``out`` (rows, m, d), float32 or float64 in C order."""

    def place(self, row: int, view: int = 0) -> str:
        """Return where a view came from, in words."""
        return f"{self.row} {row} of {self.name}"

    def entry(self, row: int, view: int, coordinate: int) -> str:
        """Return where an entry came from, in words."""
        return f"{self.place(row, view)} (view {view}, coordinate {coordinate}, counted from 0)"


def require_alike(block: Block, like: Block, *sides: tuple[str, int]) -> None:
    """Refuse a block whose sides, by their names and axes, or whose dtype are not those of another one."""
    pairs = [(f"{{}} {name}", block.shape[axis], like.shape[axis]) for name, axis in sides]
    for words, found, expected in (*pairs, ("dtype {}", str(block.dtype), str(like.dtype))):
        if found != expected:
            raise ValueError(
                f"{block.name} has {words.format(found)}, {like.name} has {expected}: all blocks must be alike"
            )


class NpyFile(Block):
    """An ``.npy`` file, read and not mapped: what is read twice is the same memory, and a cut file is an error."""

    row, is_file = "row", True

    def __init__(self, source: Source) -> None:
        self.source, self.name = source, str(source)
        self.shape, self.dtype, self._fortran, self._offset = array_promise(source)
        self._state = self._now()

    def fill(self, start: int, out: np.ndarray) -> None:
        """Read rows; one after the other in C order, through a map in Fortran order."""
        if self._now() != self._state:
            raise ValueError(f"{self.name} has changed since it was opened; write it first, then read it")
        if self._fortran:
            out[...] = np.load(self.source.path, mmap_mode="r", allow_pickle=False)[start : start + len(out)]
            return
        direct = self.dtype == out.dtype and self.dtype.isnative
        raw = out if direct else np.empty(out.shape, self.dtype)
        target, row_bytes, size = raw.reshape(-1).view(np.uint8), raw.nbytes // len(raw), tunables.STREAM_READ_BYTES
        parallel_for(
            lambda i: self._read(start * row_bytes + i * size, target[i * size : (i + 1) * size].data, row_bytes),
            -(-target.size // size),
        )
        if not direct:
            out[...] = raw

    def _read(self, first: int, target: memoryview, row_bytes: int) -> None:
        """Read the bytes of the entries from ``first`` on."""
        done = 0
        with open_regular(self.source.path) as file:
            file.seek(self._offset + first)
            while done < len(target):
                count = file.readinto(target[done:])  # type: ignore[attr-defined]
                if not count:
                    raise ValueError(f"{self.name} is cut short: row {(first + done) // row_bytes} is gone")
                done += count

    def _now(self) -> tuple[int, int, int]:
        """Return what changes with the file."""
        found = os.stat(self.source.path)
        return found.st_size, found.st_mtime_ns, found.st_ino


class ParquetFile(Block):
    """A Parquet file of one sample a row, read by polars.

    Each column of arrays (or lists of equal lengths) is a view; or the only one, of arrays (m, d), holds all views.
    """

    row, is_file = "row", True

    def __init__(self, source: Source) -> None:
        try:
            import polars as pl
        except ImportError as error:
            raise ImportError("Parquet files need polars: pip install '.[cli]' in sslcore's folder") from error
        self.source, self.name = source, str(source)
        with self._reworded():
            self._frame = pl.scan_parquet(source.path, glob=False)
            n = int(self._frame.select(pl.len()).collect().item())
            self._columns = self._frame.collect_schema().names()
        if not n:
            raise ValueError(f"{source} is empty: it has no row")
        first = self._values(0, 1)
        self.shape, self.dtype = (n, *first.shape[1:]), first.dtype

    def fill(self, start: int, out: np.ndarray) -> None:
        """Read rows."""
        values = self._values(start, len(out))
        if values.shape != out.shape:
            raise ValueError(
                f"{self.name} has views of shape {values.shape[1:]} from row {start} on, {out.shape[1:]} before"
            )
        out[...] = values

    def _values(self, start: int, count: int) -> np.ndarray:
        """Read rows as an array (n, m, d)."""
        import polars as pl

        with self._reworded():
            frame = self._frame.slice(start, count).collect()
        views = []
        for series in frame:
            where = f"column {series.name!r} of {self.name}"
            if not series.dtype.is_nested():
                raise ValueError(
                    f"{where} holds {series.dtype}: each column must be a view, an array of numbers in each row"
                )
            if isinstance(series.dtype, pl.List):
                lengths = series.list.len().fill_null(0).to_numpy()
                if series.null_count() or (lengths != lengths[0]).any():
                    raise ValueError(
                        f"the lists of {where} differ in length: from row {start} on they have {lengths.min()} to "
                        f"{lengths.max()} entries"
                    )
                series = series.list.to_array(int(lengths[0]))
            values = series.to_numpy()
            if values.dtype == object or values.ndim not in (2, 3):
                raise ValueError(
                    f"{where} must hold arrays (d) or (m, d) of numbers, found {series.dtype}, or with missing entries"
                )
            views.append(values)
        if len(views) == 1 and views[0].ndim == 3:
            return views[0]
        shapes = [values.shape[1:] for values in views]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise ValueError(f"the columns of {self.name} must be views of equal length, found {shapes}")
        return np.stack(views, axis=1)

    def _reworded(self) -> Any:
        return _Reworded(self.name)


class _Reworded:
    """Turns what polars raises of a damaged file into one line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        import polars as pl

        if isinstance(error, pl.exceptions.PolarsError | pl.exceptions.PanicException | OSError):
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{self._name} is damaged, or not what its name says: {reason}") from None


FILES: dict[str, Callable[[Source], Block]] = {".npy": NpyFile, ".parquet": ParquetFile}
"""By the ending of the name, in small letters."""
