"""Frames of pandas, polars and pyarrow as sheets, and results as frames of the same kind; none of them is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays import as_entries
from .sheets import Sheet

__all__ = ["frame_like", "is_frame", "names_of", "selected", "sheet_of", "unnamed"]

_FRAMES = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "Table"}


def library_of(value: Any) -> str | None:
    """Return the library whose frame this is, subclasses included; None for anything else."""
    for kind in type(value).__mro__:
        library = kind.__module__.partition(".")[0]
        if _FRAMES.get(library) == kind.__name__:
            return library
    return None


def is_frame(value: Any) -> bool:
    """Tell whether a value is a frame of pandas or polars, or a table of pyarrow."""
    return library_of(value) is not None


def names_of(frame: Any) -> list[str]:
    """Return the names of the columns."""
    return list(map(str, frame.column_names if library_of(frame) == "pyarrow" else frame.columns))


def selected(frame: Any, names: Sequence[str]) -> Any:
    """Return the frame with these columns only, in this order."""
    if library_of(frame) != "pandas":
        return frame.select(list(names))
    found = names_of(frame)  # those of pandas may be numbers
    return frame.iloc[:, [found.index(name) for name in names]]


def unnamed(frame: Any) -> bool:
    """Tell whether nobody has named the columns: pandas then counts them."""
    return library_of(frame) == "pandas" and type(frame.columns).__name__ == "RangeIndex"


def sheet_of(frame: Any, name: str = "the frame") -> Sheet:
    """Make a sheet of a frame, which messages call ``name``; the index of pandas is no column."""
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError(
            "tables with words or missing values need polars: pip install '.[cli]' in sslcore's folder"
        ) from error
    names, library = names_of(frame), library_of(frame)
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(f"{name} has two columns named {twice!r}; rename one")
    if not names or not len(frame):
        raise ValueError(f"{name} is empty: it has {len(frame)} rows and {len(names)} columns")
    if library == "pandas":
        frame = pl.DataFrame([_series(each, frame.iloc[:, i]) for i, each in enumerate(names)])
    elif library == "pyarrow":
        frame = pl.from_arrow(frame)
    return Sheet(name, tuple(names), True, (), (), frame)


def _series(name: str, column: Any) -> Any:
    """Make a series of polars of a column of pandas."""
    import polars as pl

    if column.dtype.kind in "iuf" and column.dtype.name != "category":
        return pl.Series(name, as_entries(column, name))
    if column.dtype.name.startswith("period["):
        column = column.dt.to_timestamp()
    if column.dtype.kind in "mM":  # dates and spans of time: a sheet says that they are neither numbers nor words
        return pl.Series(name, column.to_numpy(f"{'datetime' if column.dtype.kind == 'M' else 'timedelta'}64[us]"))
    gone = column.isna().to_numpy()
    if column.dtype.kind == "b" and column.dtype.name != "category":  # which may be words to a model, not 0 and 1
        return pl.Series(name, [None if e else bool(cell) for cell, e in zip(column, gone, strict=True)], pl.Boolean)
    words = [None if empty else str(cell) for cell, empty in zip(column, gone, strict=True)]
    return pl.Series(name, words, dtype=pl.String)


def frame_like(frame: Any, columns: Mapping[str, Any], kept: np.ndarray | None) -> Any:
    """Make a frame of the same kind, with the index that one of pandas has, of columns of its rows, or of some."""
    library = library_of(frame)
    assert library is not None
    module = importlib.import_module(library)
    plain = {name: column.to_list() if hasattr(column, "to_list") else column for name, column in columns.items()}
    if library == "pandas":
        return module.DataFrame(plain, index=frame.index if kept is None else frame.index[kept])
    return module.DataFrame(dict(columns)) if library == "polars" else module.table(plain)
