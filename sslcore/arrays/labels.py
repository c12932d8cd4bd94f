"""Names as users hand them over: the label of each point, and the sample (group) of each view.

Names are integers, booleans, words, or, for groups, real numbers and dates too.  They come as arrays of NumPy or CuPy,
masked arrays, columns of pandas, polars or Arrow, or lists; they are read on the host, wherever they were.  What says
"none" is no name: an entry under a mask, None, NaN, NaT, pandas.NA, a null of polars or Arrow, and the word "nan" that
NumPy itself writes when it turns a NaN among words into a string.  Missing labels are left out (`read_target`), missing
groups are refused (`read_groups`).
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import device_of
from .checks import Array, as_array, namespace, on_host, rank_of, shown
from .foreign import as_native

__all__ = ["Target", "read_groups", "read_labels", "read_part", "read_target", "task_of"]

TASKS = ("auto", "regression", "classification")

FLOAT_AS_WORD = 32
"""Characters of a string of NumPy that can hold any float: such arrays are made from words and numbers together."""


# ---------------------------------------------------------------- names and what is missing


def read_names(value: Any, name: str, *, dates: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return names as an array of integers, booleans, floats, strings or bytes, and which entries are missing.

    Dates are names where ``dates`` allows them.  Entries that are missing hold anything.  Numbers with missing ones
    among them stay what the others are: integers in a list with None, or in a nullable column, are integers.

    Raises
    ------
    TypeError
        Entries of several kinds, or of another kind.
    """
    value = _column(_native(value, name))
    if isinstance(value, np.ma.MaskedArray):
        names, missing = read_names(value.data, name, dates=dates)
        return names, missing | np.ma.getmaskarray(value)
    items = _items(value)
    if items is not None:
        return _from_items(items, name, dates)
    names = on_host(value)
    if names.dtype.kind == "O":
        if names.ndim != 1:
            raise TypeError(f"{name} must have one dimension where its entries are Python objects, found {names.shape}")
        return _from_items(names.tolist(), name, dates)
    if names.dtype.kind in "mM":
        if not dates:
            raise _no_dates(name)
        return names, np.isnat(names)
    if names.dtype.kind in "US":
        width = names.dtype.itemsize // np.dtype(names.dtype.kind + "1").itemsize
        word: Any = "nan" if names.dtype.kind == "U" else b"nan"
        return names, names == word if width >= FLOAT_AS_WORD else np.zeros(names.shape, bool)
    if names.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold integers, booleans or words, found dtype {names.dtype}")
    return names, np.isnan(names) if names.dtype.kind == "f" else np.zeros(names.shape, bool)


def _native(value: Any, name: str) -> Any:
    """Convert an array of another library to NumPy or CuPy; masks, lists and columns stay what they are."""
    return value if isinstance(value, np.ma.MaskedArray | list | tuple) else as_native(value, name)


def _items(value: Any) -> list[Any] | None:
    """Return the entries, as Python objects, of a list or column that NumPy alone would misread; else None."""
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        plain = len(kinds) == 1 and kinds <= {float, bool}
        return None if plain or any(rank_of(item) > 0 for item in value[:1]) else list(value)
    dtype = getattr(value, "dtype", None)
    if isinstance(value, np.ndarray) or device_of(value) == "cupy" or isinstance(dtype, np.dtype):
        return None  # pandas' columns of NumPy's types too
    for method in ("to_list", "to_pylist", "tolist"):  # polars and pandas, Arrow, arrays of pandas
        if hasattr(value, method) and rank_of(value) == 1:
            return list(getattr(value, method)())
    return None


def _is_scalar_array(item: Any) -> bool:
    return getattr(item, "ndim", None) == 0 and not isinstance(item, np.generic) and item is not np.ma.masked


def _column(value: Any) -> Any:
    """Return the column of a table of pandas or polars that has one only; anything else as it is."""
    return value[value.columns[0]] if _is_table(value) and len(value.columns) == 1 else value


def _is_table(value: Any) -> bool:
    return hasattr(value, "columns") and len(getattr(value, "shape", ())) == 2


def _is_missing(item: Any) -> bool:
    if item is None or item is np.ma.masked:
        return True
    try:
        return bool(item != item)  # NaN, NaT
    except (TypeError, ValueError):
        # neither equal nor unequal to itself; it exists only where pandas was imported
        return "pandas" in sys.modules and item is sys.modules["pandas"].NA


def _kind(item: Any, name: str) -> str:
    if isinstance(item, np.datetime64 | datetime.date):
        return "M"
    if isinstance(item, bool | np.bool_):
        return "b"
    if isinstance(item, int | np.integer):
        return "i"
    if isinstance(item, float | np.floating):
        return "f"
    if isinstance(item, str):
        return "U"
    return "S" if isinstance(item, bytes) else type(as_native(item, name)).__name__  # which refuses sparse matrices


_WORDS = {"b": "booleans", "i": "integers", "f": "real numbers", "U": "words", "S": "bytes", "M": "dates"}


def _no_dates(name: str) -> TypeError:
    return TypeError(f"{name} must hold integers, booleans or words, found dates; convert them, for example with str")


def _from_items(items: Sequence[Any], name: str, dates: bool) -> tuple[np.ndarray, np.ndarray]:
    items = [item.item() if _is_scalar_array(item) else item for item in items]
    missing = np.array([_is_missing(item) for item in items], bool)
    present = [item for item, lost in zip(items, missing, strict=True) if not lost]
    kinds = {_kind(item, name) for item in present}
    if not present:
        return np.full(len(items), np.nan), missing
    kind = kinds.pop() if len(kinds) == 1 else "f" if "f" in kinds and kinds <= {"i", "f"} else "several"
    if kind == "several":
        found = " and ".join(sorted(_WORDS.get(each, each) for each in kinds))
        raise TypeError(f"{name} must hold names of one kind, found {found}; convert them, for example with str")
    if kind not in _WORDS:
        raise TypeError(
            f"{name} must hold integers, booleans or words, found {kind}; convert them, for example with str"
        )
    if kind == "M":
        if not dates:
            raise _no_dates(name)
        present = [str(item) for item in present]  # with their time zone and all digits
    if kind == "i":
        least, most = min(present), max(present)
        if least < -(2**63) or most >= (2**64 if least >= 0 else 2**63):
            raise TypeError(f"{name} holds integers beyond 64 bits; convert them, for example with str")
        read = np.array(present, np.int64 if most < 2**63 else np.uint64)
    else:
        read = np.array(present, float if kind == "f" else None)
    names = np.zeros(len(items), read.dtype)
    names[~missing] = read
    return names, missing


# ---------------------------------------------------------------- groups


def read_groups(groups: Any, n: int) -> tuple[np.ndarray, int]:
    """Return the index (n,) of the sample of each of n views, 0, 1, ... in the order of the names, and their number.

    Raises
    ------
    ValueError, TypeError
        Another number of groups, a missing or infinite one, or names of several kinds.
    """
    names, missing = read_names(groups, "groups", dates=True)
    if names.shape != (n,):
        raise ValueError(f"groups must name the sample of each of the {n} views, found shape {names.shape}")
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"groups must name the sample of each view, the group of view {row} is missing ({int(missing.sum())} such "
            f"views in all: NaN, None, NaT or under a mask); leave these views out, or name their samples"
        )
    if names.dtype.kind == "f" and not np.isfinite(names).all():
        row = int(np.flatnonzero(~np.isfinite(names))[0])
        raise ValueError(f"groups must be finite, found {names[row]} for view {row}")
    found, index = np.unique(names, return_inverse=True)
    return index, len(found)


# ---------------------------------------------------------------- labels and targets


@dataclass(frozen=True, eq=False)
class Target:
    """Classes or real numbers that a probe is fitted to, at the labelled points ``places``.

    ``values`` (n_labelled,) are indices of ``classes``, NumPy's; or, where ``classes`` is None, targets (n_labelled, t)
    in float64 on the device of y.  ``flat`` says that y had one axis.
    """

    values: Array
    places: np.ndarray
    classes: np.ndarray | None
    flat: bool


def read_target(y: Any, n: int, task: str, labelled: Any = None) -> Target:
    """Read the labels or targets of n points; points without any are left out.

    A point has no label where it is missing, and where an integer label is -1 (as in ``sklearn.semi_supervised``); no
    target where all targets are NaN.  ``labelled`` (n,) of booleans says it in place of these marks.

    Raises
    ------
    ValueError, TypeError
        Another length, no point with a label, fewer than 2 classes, or targets that are not finite.
    """
    if task == "auto":
        task = task_of(y)
    chosen = None if labelled is None else _read_labelled(labelled, n)
    if task == "regression":
        return _read_numbers(y, n, chosen)
    names, missing = _names_of(y, n)
    marked = names == -1 if names.dtype.kind == "i" else np.zeros(n, bool)
    places = np.flatnonzero(~(missing | marked) if chosen is None else chosen)
    _require_some(places)
    if chosen is not None and missing[places].any():
        raise ValueError(
            f"y must hold a label where labelled is True, that of point {places[missing[places]][0]} is missing"
        )
    classes, index = np.unique(_finite(names, places), return_inverse=True)
    if len(classes) < 2:
        hint = (
            ""
            if chosen is not None or len(places) == n
            else (" (points with label -1 or NaN count as not labelled; give labelled= if that is a class)")
        )
        raise ValueError(f"y must hold at least 2 classes, found only {shown(classes[0].item())}{hint}")
    return Target(index, places, classes, True)


def read_labels(y: Any, n: int, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of n points, to be compared with ``classes``, and the places of the points that have one.

    Raises
    ------
    TypeError
        Words where the classes are numbers, or the other way round: none of them could be right.
    ValueError
        Another length, or no point with a label.
    """
    names, missing = _names_of(y, n)
    if names.dtype.kind == "i" and -1 not in classes:
        missing = missing | (names == -1)
    places = np.flatnonzero(~missing)
    _require_some(places)
    sort = {"U": "words", "S": "bytes"}
    found, known = (sort.get(each.dtype.kind, "numbers") for each in (names, classes))
    if found != known:
        raise TypeError(
            f"y must hold labels of the kind of the fit, {known} such as {classes[0]!r}, found {found} such as "
            f"{names[places[0]]!r}; convert them"
        )
    return _finite(names, places), places


def read_targets(y: Any, n: int) -> tuple[Array, np.ndarray]:
    """Return the targets (n_labelled, t) of those of n points that have any, and their places."""
    found = _read_numbers(y, n, None)
    return found.values, found.places


def task_of(y: Any) -> str:
    """Choose the task: real numbers are regressed on, anything else is a label."""
    y = _column(_native(y, "y"))
    if device_of(y) != "cupy" and (_items(y) is not None or on_host(y).dtype.kind == "O"):
        names, missing = read_names(y, "y")
        return "regression" if names.dtype.kind == "f" and not missing.all() else "classification"
    return "regression" if (y.dtype if hasattr(y, "dtype") else np.asarray(y).dtype).kind in "fc" else "classification"


def _names_of(y: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    names, missing = read_names(y, "labels y")
    if names.ndim != 1:
        raise ValueError(f"labels y must have one dimension (n,), found shape {names.shape}; or task='regression'")
    if len(names) != n:
        raise ValueError(f"z and y must have the same length, found {n} and {len(names)}")
    return names, missing


def read_part(y: Any, n: int, task: str) -> tuple[Array, np.ndarray]:
    """Return labels, or targets (n, t) in float64, of n points of many, and which of them have one: none may have.

    The marks are those of `read_target`; values of the others mean nothing, and targets may be infinite.
    """
    if task == "regression":
        values = _as_numbers(y)
        if len(values) != n:
            raise ValueError(f"z and y must have the same length, found {n} and {len(values)}")
        values = values.reshape(n, -1)
        return values, ~on_host(namespace(values).isnan(values).all(axis=1))
    names, missing = _names_of(y, n)
    return names, ~(missing | (names == -1) if names.dtype.kind == "i" else missing)


def _read_numbers(y: Any, n: int, chosen: np.ndarray | None) -> Target:
    flat = rank_of(y) == 1
    values = _as_numbers(y)
    if len(values) != n:
        raise ValueError(f"z and y must have the same length, found {n} and {len(values)}")
    values = values.reshape(n, -1)
    xp = namespace(values)
    if chosen is None:
        missing = xp.isnan(values).all(axis=1)
        chosen = ~on_host(missing) if bool(missing.any()) else np.ones(n, bool)
    places = np.flatnonzero(chosen)
    _require_some(places)
    used = values if len(places) == n else values[xp.asarray(places)]
    finite = xp.isfinite(used).all(axis=1)
    if not bool(finite.all()):
        bad = ~on_host(finite)
        row = int(places[bad][0])
        column = int(xp.argmin(xp.isfinite(values[row])))
        index = (row,) if flat else (row, column)
        raise ValueError(
            f"y must be finite, found {float(values[row, column])} at index {index} ({int(bad.sum())} such rows in "
            f"all); points all of whose targets are NaN are left out"
        )
    return Target(used, places, None, flat)


def _as_numbers(y: Any) -> Array:
    """Return targets (n,) or (n, t) in float64, NaN where they are missing."""
    y = _native(y, "y")
    if _is_table(y):
        return np.stack([_as_numbers(y[column]) for column in y.columns], axis=1)
    if isinstance(y, np.ma.MaskedArray):
        values = np.array(_as_numbers(y.data))
        values[np.ma.getmaskarray(y)] = np.nan
        return values
    if device_of(y) != "cupy" and (_items(y) is not None or on_host(y).dtype.kind == "O"):
        names, missing = read_names(y, "y")
        values = as_array(names, "y", ndim=1, finite=False).astype(np.float64)
        values[missing] = np.nan
        return values
    values = as_array(y, "y", ndim=(1, 2), shape_hint="(n,) or (n, t)", finite=False)
    return values.astype(np.float64, copy=False)


def _read_labelled(labelled: Any, n: int) -> np.ndarray:
    chosen = on_host(as_native(labelled, "labelled"))
    if chosen.dtype != bool or chosen.shape != (n,):
        raise ValueError(
            f"labelled must be a boolean array of shape ({n},), found {chosen.dtype} of shape {chosen.shape}"
        )
    return chosen


def _require_some(places: np.ndarray) -> None:
    if not len(places):
        raise ValueError("no point has a label: all labels are missing or -1, or labelled is False everywhere")


def _finite(names: np.ndarray, places: np.ndarray) -> np.ndarray:
    chosen: np.ndarray = names[places]
    if names.dtype.kind == "f" and not np.isfinite(chosen).all():
        row = int(places[~np.isfinite(chosen)][0])
        raise ValueError(f"y must be finite, found {names[row]} at index ({row},)")
    return chosen
