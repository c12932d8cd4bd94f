"""Checks at the public edge: every array and number that a user hands over passes here once.

Each function returns the value in the form the library computes with, or raises an error that says
what was expected, what was found and what to do.  Inner functions trust their arguments.
"""

from __future__ import annotations

import math
import mmap
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Backend, device_of, namespace
from ..backends.contract import Array, ArrayLike
from .foreign import as_native, unmasked

__all__ = [
    "Array",
    "ArrayLike",
    "as_array",
    "as_entries",
    "as_float_dtype",
    "as_seed",
    "as_views",
    "check_boolean",
    "check_choice",
    "check_finite",
    "check_integer",
    "check_map",
    "check_same_width",
    "check_scalar",
    "check_target",
    "ignore_overflow",
    "listed",
    "namespace",
    "on_host",
    "rank_of",
    "require_finite",
    "shown",
    "to_backend",
]


def as_float_dtype(dtype: Any, name: str) -> np.dtype:
    """Return the dtype in which data of ``dtype`` are computed: float32 or float64.

    Integers and booleans become float64, float16 becomes float32; everything else is refused.
    """
    native: np.dtype = np.dtype(dtype).newbyteorder("=")
    if native.kind in "iub":
        return np.dtype(np.float64)
    if native == np.float16:
        return np.dtype(np.float32)
    if native in (np.dtype(np.float32), np.dtype(np.float64)):
        return native
    remedy = _REMEDIES.get(native.kind, "convert it first, for example with {name}.astype('float64')")
    raise TypeError(
        f"{name} must hold real numbers (float32, float64, float16, integers or booleans), "
        f"found dtype {str(native)[:80]}; {remedy.format(name=name)}"
    )


_REMEDIES = {
    "O": "missing entries, words and arrays of unequal lengths are no numbers; if all are, {name}.astype('float64')",
    "c": "real and imaginary parts are coordinates too: {name}.real, {name}.imag",
    "M": "give times as numbers of a unit, for example ({name} - {name}.min()) / numpy.timedelta64(1, 's')",
    "m": "give times as numbers of a unit, for example {name} / numpy.timedelta64(1, 's')",
    "V": "make columns of the fields, with numpy.lib.recfunctions.structured_to_unstructured",
}
"""What to do about a dtype, by its kind."""


def shown(value: Any, width: int = 80) -> str:
    """Return ``repr(value)`` for an error message: one line, at most ``width`` characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of too many digits, or the value's own
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= width else text[: width - 3] + "..."


NAMED = 8
"""Columns that one error names."""


def listed(words: Sequence[str], most: int = NAMED) -> str:
    """Join words by commas, and beyond ``most`` say how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def as_array(
    value: Any,
    name: str,
    *,
    ndim: int | tuple[int, ...],
    shape_hint: str = "",
    allow_empty: bool = False,
    finite: bool = True,
) -> Array:
    """Return ``value`` as an array of float32 or float64 with the wanted rank, finite entries, not empty.

    Arrays stay on their device.  Strides are kept; nothing is copied unless the dtype changes.  ``shape_hint`` names
    the axes in the error message, for example ``"(n, m, d)"``.
    """
    array = as_entries(value, name)
    dtype = as_float_dtype(array.dtype, name)
    ranks = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in ranks:
        wanted = " or ".join(str(r) for r in ranks)
        hint = f" {shape_hint}" if shape_hint else ""
        raise ValueError(f"{name} must have {wanted} dimensions{hint}, found shape {array.shape}")
    if not allow_empty and array.size == 0:
        raise ValueError(f"{name} must not be empty, found shape {array.shape}")
    check_map(array, name)
    if array.dtype != dtype:
        array = array.astype(dtype)
    if isinstance(array, np.ndarray) and type(array) is not np.ndarray and not isinstance(array, np.memmap):
        array = np.asarray(array)
    return require_finite(array, name) if finite else array


def as_entries(value: Any, name: str) -> Array:
    """Return ``value`` as an array of the dtype it has; masks, sparse matrices and missing numbers are heeded."""
    value = as_native(value, name)
    if device_of(value) == "cupy" and hasattr(value, "dtype"):
        array: Array = value
        return array
    if hasattr(type(value), "iloc"):
        return _table_entries(value, name)
    _check_columns(value, name)
    return _entries(value, name)


ARROW_NUMBERS = frozenset(
    ("bool", "null", "halffloat", "float", "double", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))
)
"""Types of Arrow's columns that are numbers, or nothing; decimals are some, too."""


def _check_columns(value: Any, name: str) -> None:
    """Refuse a frame of polars or pyarrow with a column that is no numbers: NumPy would make some of dates."""
    library, schema = type(value).__module__.partition(".")[0], getattr(type(value), "schema", None)
    if library not in ("polars", "pyarrow") or schema is None:
        return
    if type(value).__name__ == "LazyFrame":
        raise TypeError(f"{name} must hold real numbers, found a LazyFrame, which holds none yet; use its collect()")
    if library == "polars":
        numbers = {key: kind.is_numeric() or str(kind) in ("Boolean", "Null") for key, kind in value.schema.items()}
    else:
        kinds = {field.name: str(field.type) for field in value.schema}
        numbers = {key: kind in ARROW_NUMBERS or kind.startswith("decimal") for key, kind in kinds.items()}
    _refuse_columns(
        name,
        [
            (key, value.schema.field(key).type if library == "pyarrow" else value[key].dtype)
            for key, good in numbers.items()
            if not good
        ],
    )


def _refuse_columns(name: str, columns: Sequence[tuple[Any, Any]]) -> None:
    """Refuse those (name, dtype) that are no numbers, all in one error."""
    if not columns:
        return
    found = listed([f"{shown(column)} of dtype {dtype}" for column, dtype in columns])
    several = len(columns) > 1
    they = "convert them, or, if they hold categories" if several else "convert it, or, if it holds categories"
    raise TypeError(
        f"{name} must hold real numbers, found the column{'s' * several} {found}; select the columns of numbers, "
        f"{they}, take sslcore.tables.read(frame, categories='one-hot').values"
    )


def _entries(value: Any, name: str) -> np.ndarray:
    """Return what NumPy makes of ``value``, or say why it makes nothing of it."""
    try:
        array: np.ndarray = np.asanyarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array: {error}") from None
    except OverflowError:
        raise ValueError(f"{name} must hold real numbers, found an integer beyond the range of float64") from None
    except (TypeError, RuntimeError, AttributeError, BufferError) as error:
        raise TypeError(f"{name} must be an array of real numbers, found a {type(value).__name__}: {error}") from None
    if isinstance(array, np.ma.MaskedArray):  # what some objects give as theirs
        return unmasked(array, name)
    if array.dtype == object and array.ndim == 0 and not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name} must hold real numbers in an array or lists of them, found dtype object, made of a "
            f"{type(value).__name__}"
        )
    return array


def _table_entries(table: Any, name: str) -> np.ndarray:
    """Return the entries of a frame or series of pandas; missing ones of nullable columns become NaN."""
    columns = table.dtypes.items() if hasattr(table, "columns") else [(table.name, table.dtype)]
    _refuse_columns(name, [(column, dtype) for column, dtype in columns if dtype.kind not in "iubf"])
    array = np.asarray(table)
    return array if array.dtype != object else table.to_numpy(dtype=_common_type(table), na_value=np.nan)


def _common_type(table: Any) -> np.dtype:
    """Return float32 or float64, in which the columns of a frame of pandas can be read."""
    dtypes = table.dtypes if hasattr(table, "columns") else [table.dtype]
    plain = [getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype)) for dtype in dtypes]
    return np.result_type(np.float32, *plain)


def check_map(array: Array, name: str) -> None:
    """Refuse a memory map whose file has become shorter than it was.

    To read beyond a file's end ends the process (a bus error), so this is asked before each block is read.
    """
    if not isinstance(array, np.memmap):
        return
    opened = getattr(array, "_mmap", None)
    if isinstance(opened, mmap.mmap):
        end = array.offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY + len(opened)
        size = opened.size()  # of the file as it is now
        if size < end:
            raise ValueError(
                f"{name} is a memory map of {array.filename}, which has shrunk from at least {end} bytes to {size} "
                f"since it was opened; write the file again, and open it when it is complete"
            )


def ignore_overflow() -> Any:
    """Make a context in which NumPy does not warn of overflow: for results that are checked afterwards."""
    return np.errstate(over="ignore", invalid="ignore")


def check_finite(array: Array) -> bool:
    """Tell whether all entries are finite, in one pass and without a temporary in the usual case."""
    own = array.dtype in (np.float32, np.float64)  # a sum in another type takes four times as long
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(array.sum(dtype=array.dtype if own else np.float64))
    return math.isfinite(total) or bool(namespace(array).isfinite(array).all())


def to_backend(array: Array | None, backend: Backend) -> Any:
    """Bring ``array``, or None, to where the backend works: an explicit copy, unless it is there."""
    if array is None:
        return None
    return on_host(array) if backend.NAME == "numba" else backend.xp.asarray(array)


def on_host(array: Array) -> np.ndarray:
    """Return ``array`` as a NumPy array: an explicit copy from the device, if it is there."""
    return namespace(array).asnumpy(array) if device_of(array) == "cupy" else np.asarray(array)


def rank_of(value: Any) -> int:
    """Count the axes of an array of any kind, or of nested lists, by their first entries; nothing is converted."""
    depth = 0
    while isinstance(value, list | tuple) and depth < 64:
        depth, value = depth + 1, value[0] if value else 0.0
    if isinstance(value, list | tuple):
        return depth  # and more, or without end: no array
    return depth + (value.ndim if hasattr(value, "ndim") else np.ndim(value))


def require_finite(array: Array, name: str, offset: int = 0) -> Array:
    """Return ``array``, or raise a ``ValueError`` naming the first entry that is NaN or infinite.

    ``offset`` is added to the first index, for arrays that are blocks of a longer one.
    """
    check_map(array, name)
    if check_finite(array):
        return array
    bad = ~namespace(array).isfinite(array)
    first = tuple(int(i) for i in namespace(array).argwhere(bad)[0])
    value = float(array[first])
    place = (first[0] + offset, *first[1:])
    count = int(bad.sum())
    raise ValueError(
        f"{name} must be finite, found {value} at index {place} ({count} such entries in all); "
        f"remove or impute them first"
    )


def check_integer(value: Any, name: str, *, minimum: int, maximum: int | None = None) -> int:
    """Return ``value`` as an ``int`` within bounds; booleans and floats are refused."""
    if isinstance(value, (bool, np.bool_, np.ma.MaskedArray)) or (
        isinstance(value, np.ndarray) and value.dtype.kind == "b"
    ):
        raise TypeError(f"{name} must be an integer, found {shown(value)}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, found {shown(value)}") from None
    if number < minimum or (maximum is not None and number > maximum):
        upper = "" if maximum is None else f" and at most {maximum}"
        raise ValueError(f"{name} must be at least {minimum}{upper}, found {shown(number)}")
    return number


def check_scalar(
    value: Any,
    name: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    strict: bool = False,
) -> float:
    """Return ``value`` as a finite ``float`` in [minimum, maximum], or > minimum when ``strict``."""
    is_number = isinstance(value, (numbers.Real, np.number)) or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf"
    )
    if isinstance(value, (bool, np.bool_, np.complexfloating, np.ma.MaskedArray)) or not is_number:
        raise TypeError(f"{name} must be a real number, found {shown(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer or a fraction beyond the range of float64
        number = math.inf
    low = number > minimum if strict else number >= minimum
    if not (math.isfinite(number) and low and number <= maximum):
        lower = "" if minimum == -math.inf else f" {'>' if strict else '>='} {minimum:g}"
        upper = "" if maximum == math.inf else f" and <= {maximum:g}"
        raise ValueError(f"{name} must be a finite number{lower}{upper}, found {shown(value)}")
    return number


def check_boolean(value: Any, name: str) -> bool:
    """Return ``value`` as a ``bool``; numbers, words and None are refused, whatever their truth value."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, found {shown(value)}")
    return bool(value)


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``, or refuse it."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, found {shown(value)}")
    return value


def as_seed(seed: Any) -> int:
    """Return a seed, an integer in [0, 2**64), or refuse it."""
    return check_integer(seed, "seed", minimum=0, maximum=2**64 - 1)


def check_same_width(x: Array, y: Array, name_x: str, name_y: str) -> None:
    """Refuse two sets of points with different numbers of coordinates."""
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"{name_x} and {name_y} must have the same number of coordinates, "
            f"found {x.shape[-1]} (shape {x.shape}) and {y.shape[-1]} (shape {y.shape})"
        )


def check_target(out: Any, shape: tuple[int, ...], dtype: Any, backend: Backend, *inputs: Array) -> Array:
    """Return ``out``, into which results of this shape and type can be written while the inputs are read, or refuse it.

    C order, on the backend's device, writable, apart from the inputs.
    """
    if not isinstance(out, backend.xp.ndarray) or isinstance(out, np.ma.MaskedArray | np.matrix):
        raise TypeError(f"out must be an array of {backend.xp.__name__}, where the work is done, found {type(out)}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out must have shape {shape} and dtype {dtype}, found {out.shape} and {out.dtype}")
    if not out.flags.c_contiguous or not getattr(out.flags, "writeable", True):
        raise ValueError("out must be in C order, without gaps, and not read-only")
    if any(backend.xp.may_share_memory(out, array) for array in inputs if device_of(array) == backend.NAME):
        raise ValueError("out must not share memory with the arrays that it is computed from")
    target: Array = out
    return target


def as_views(views: ArrayLike) -> Array:
    """Return views (n, m, d) with m >= 2, checked."""
    array = as_array(views, "views", ndim=3, shape_hint="(n, m, d)")
    if array.shape[1] < 2:
        raise ValueError(
            f"views must have at least 2 views of each sample (m >= 2), found shape {array.shape}; "
            f"with one view there is nothing to be invariant to"
        )
    return array
