"""Arrays in files: ``.npy``, ``.npz``, HDF5 and zarr.

What a file promises (its header, its directory) is compared with its size, or with the memory that is free, before
anything is allocated.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import warnings
import zipfile
from typing import IO, Any

import numpy as np

from .. import tunables
from ..arrays import Array, check_finite
from ..backends.machine import free_memory
from ..errors import MemoryBudgetError
from .atomic import open_regular, open_zip
from .sheets import listed
from .sources import STORED, Source, require_file

__all__ = ["array_promise", "read_array", "require_finite"]

MOST_HEADER = 10_000
"""Bytes of the longest header of an array that NumPy takes."""
MOST_UNPACKED, MOST_RATIO = 64 << 20, 100
"""Bytes that a compressed array may always have, and, beyond, how many for each of its compressed ones."""


def require_finite(array: Array, source: Source) -> None:
    """Refuse NaN and infinity, with the place of the first."""
    if not check_finite(array):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{source} has {array[place]} at row {place[0]} (index {list(place)}, counted from 0); remove or impute it"
        )


def read_array(source: Source) -> Array:
    """Read one array; a large ``.npy``, or one that an HDF5 file holds in one piece, is mapped."""
    if source.suffix in STORED:
        return _read_stored(source)
    with open_regular(source.path) as file:
        size = os.fstat(file.fileno()).st_size
        if source.suffix == ".npy":
            shape, dtype = _promise(file, source, size)
            if 0 not in shape and math.prod(shape) * dtype.itemsize >= tunables.TABLE_MAPPED_BYTES:
                out: Array = np.load(source.path, mmap_mode="r", allow_pickle=False)
                return out
            file.seek(0)
            return _values(file, source)
        try:
            with open_zip(file) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                info = _member(source, archive, members)
                _check_compression(source, info, size)
                with archive.open(info) as member:
                    shape, dtype = _promise(member, source, info.file_size)
                needed, free = math.prod(shape) * dtype.itemsize, free_memory()
                if needed > free:
                    raise MemoryBudgetError(
                        f"{source} takes {needed / 1e9:.3g} GB of memory, of which {free / 1e9:.3g} GB are free; "
                        f"save it as .npy, which need not be in memory"
                    )
                with archive.open(info) as member:
                    return _values(member, source)
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # of zipfile and the decompressors, many kinds
            raise ValueError(f"{source.path} is damaged or cut short: {error}") from None


class _Refused(Exception):
    """An error whose words are ours."""


def _read_stored(source: Source) -> Array:
    """Read an array of an HDF5 or zarr store."""
    name = "zarr" if source.suffix == ".zarr" else "h5py"
    try:
        library = importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{source.suffix} files need {name}: pip install '.[stores]' in sslcore's folder") from error
    try:
        if name == "zarr":
            return _chosen(source, library.open(str(source.path), mode="r"), library.Array)
        with library.File(source.path, "r") as file:
            return _chosen(source, file, library.Dataset)
    except _Refused as error:
        raise ValueError(str(error)) from None
    except MemoryError:
        raise
    except Exception as error:  # of two libraries and what they decompress with, many kinds
        raise ValueError(
            f"{source.path} is damaged, or not what its name says: {' '.join(str(error).split())[:300]}"
        ) from None


def _chosen(source: Source, store: Any, kind: type) -> Array:
    """Read the chosen array of a store, or its only one."""
    arrays: dict[str, Any] = {"": store} if isinstance(store, kind) else _arrays_of(store, kind, "")
    wanted = None if source.choice is None else source.choice.strip("/")
    if wanted is None and len(arrays) != 1:
        example = f"; choose one, as {source.path}:{min(arrays)}" if arrays else ""
        raise _Refused(f"{source.path} holds {len(arrays)} arrays: {listed(arrays) or 'none'}{example}")
    name = next(iter(arrays)) if wanted is None else wanted
    if name not in arrays:
        raise _Refused(f"{source.path} has no array {source.choice!r}; it has: {listed(arrays)}")
    array = arrays[name]
    dtype = np.dtype(array.dtype)
    if dtype.hasobject or dtype.kind not in "biufcUS":
        raise _Refused(f"{source} holds {dtype}, neither real numbers nor strings of fixed length")
    needed, free = math.prod(array.shape) * dtype.itemsize, free_memory()
    offset = array.id.get_offset() if hasattr(array, "id") else None  # of data in one piece
    if offset is not None and needed >= tunables.TABLE_MAPPED_BYTES:
        mapped: np.ndarray = np.memmap(source.path, dtype=dtype, mode="r", offset=offset, shape=array.shape)
        return mapped
    if needed > free:
        raise MemoryBudgetError(
            f"{source} takes {needed / 1e9:.3g} GB of memory, of which {free / 1e9:.3g} GB are free; save it as .npy, "
            f"which need not be in memory"
        )
    return np.asarray(array[...])


def _arrays_of(group: Any, kind: type, prefix: str) -> dict[str, Any]:
    """Return the arrays of a group and of its groups, by their paths."""
    found: dict[str, Any] = {}
    for name in sorted(group):
        item = group[name]
        found |= {prefix + name: item} if isinstance(item, kind) else _arrays_of(item, kind, f"{prefix}{name}/")
    return found


def _values(file: IO[bytes], source: Source) -> Array:
    """Read the array of a .npy whose promise was checked."""
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{source} is damaged or cut short: {' '.join(str(error).split())[:200]}") from None


def _check_compression(source: Source, info: zipfile.ZipInfo, size: int) -> None:
    """Refuse a member that promises more than its bytes are likely to hold, before any is made of them."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{source} is compressed in another way than NumPy does; save it with np.savez_compressed")
    if info.compress_size > size or (info.compress_type == zipfile.ZIP_STORED and info.file_size > info.compress_size):
        raise ValueError(f"{source.path} is damaged or cut short: {info.filename} is larger than the file")
    if info.file_size > max(MOST_UNPACKED, MOST_RATIO * info.compress_size):
        raise ValueError(
            f"{source} promises {info.file_size} bytes in {info.compress_size} compressed ones, more than "
            f"{MOST_RATIO} times as many; if that is meant, save it as .npy"
        )


def _member(source: Source, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """Read the chosen array of an archive, or its only one."""
    by_name = {info.filename[:-4]: info for info in members}
    if source.choice is not None:
        if source.choice not in by_name:
            raise ValueError(f"{source.path} has no array {source.choice!r}; it has: {listed(by_name)}")
        return by_name[source.choice]
    if len(members) == 1:
        return members[0]
    if not members:
        raise ValueError(f"{source.path} holds no arrays")
    raise ValueError(
        f"{source.path} holds {len(members)} arrays: {listed(by_name)}; choose one, as {source.path}:{min(by_name)}"
    )


def array_promise(source: Source) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Return shape, dtype, whether it is in Fortran order, and the offset of an ``.npy`` file that is long enough."""
    require_file(source)
    with open_regular(source.path) as file:
        shape, dtype, fortran = _header(file, source, os.fstat(file.fileno()).st_size)
        return shape, dtype, fortran, file.tell()


def _promise(file: IO[bytes], source: Source, size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype that an array's header promises, if ``size`` bytes can hold it."""
    return _header(file, source, size)[:2]


def _header(file: IO[bytes], source: Source, size: int) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Read the header of an array, up to its first entry."""
    try:
        beginning = file.read(8)
        version = np.lib.format.read_magic(io.BytesIO(beginning))
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version} of the format is not known")
        length = file.read(2 if version == (1, 0) else 4)
        count = int.from_bytes(length, "little")
        if count > MOST_HEADER:  # which NumPy would read, and refuse then
            raise ValueError(f"it promises {count} bytes, more than {MOST_HEADER}")
        whole = io.BytesIO(length + file.read(count))
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings(action="ignore"):
            shape, fortran, dtype = read(whole)
    except Exception as error:  # NumPy reads a literal of Python: errors of its tokenizer, parser and more
        raise ValueError(f"the header of {source} is damaged: {' '.join(str(error).split())[:200]}") from None
    if dtype.hasobject:
        raise ValueError(
            f"{source} holds Python objects, which are never read, since reading them can run code; save numbers, for "
            f"example with array.astype(float)"
        )
    if dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{source} holds records ({dtype}); save its numbers as a plain array (n, d)")
    if any(isinstance(side, bool) or side < 0 for side in shape) or not dtype.itemsize:
        raise ValueError(f"the header of {source} is damaged: shape {shape} of {dtype}")
    needed, there = math.prod(shape) * dtype.itemsize, size - (8 + len(length) + count)
    if needed > there:
        raise ValueError(
            f"{source} is cut short: shape {shape} of {dtype} takes {needed} bytes, it has {max(there, 0)}"
        )
    return shape, dtype, fortran
