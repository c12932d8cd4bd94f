"""The container of saved files: a zip archive of a JSON header and plain arrays; ``docs/format.md`` has every byte.

It knows arrays, bytes and limits, and nothing of what they mean: `sslcore.fitting.codec` turns models into JSON and
named arrays, and back.  A file appears whole or not at all, without pickle.  On the way in nothing is believed: sizes
are compared with the bytes that are there before anything is allocated, and each array with its checksum.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from .. import tunables
from .._version import __version__
from ..backends.machine import free_memory
from ..errors import MemoryBudgetError
from .atomic import open_regular, open_zip, replacing

__all__ = ["DTYPES", "FORMATS", "MALFORMED", "READABLE", "read_archive", "refusal", "write_archive"]

FORMATS = (2, 3)
"""Of the files that this version writes and reads; a file has the oldest whose readers know all that is in it."""

DTYPES = ("<f8", "<f4", "<i8", "|b1")
"""Types of the arrays of a file."""

READABLE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""Names of arrays that are names of files everywhere."""

_HEADER = "header.json"
_MOST_HEADER, _MOST_MEMBERS, _MOST_AXES = 1 << 24, 1024, 8
_MOST_LISTS, _MOST_VALUES = 1 << 17, 1 << 20  # lists and dictionaries of the header, and values in them
_MOST_DIGITS = 4300
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{,:]', re.DOTALL)
MALFORMED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
"""What the parsers of the standard library, and constructors, raise on bytes that no writer made."""


def write_archive(
    target: str | os.PathLike[str] | BinaryIO,
    kind: str,
    content: dict[str, Any],
    arrays: dict[str, np.ndarray],
    number: int = FORMATS[0],
) -> None:
    """Write JSON and arrays, by name, to a file, which appears whole or not at all, or to one that is open."""
    listed = {
        name: {"dtype": a.dtype.str, "shape": list(a.shape), "sha256": hashlib.sha256(_bytes(a)).hexdigest()}
        for name, a in arrays.items()
    }
    origin = {"library": "sslcore", "format": number, "kind": kind, "version": __version__}
    text = json.dumps(origin | {"arrays": listed, "content": content}, allow_nan=False).encode()
    if len(text) > _MOST_HEADER or len(arrays) >= _MOST_MEMBERS:
        raise ValueError(f"the description is too large to be saved ({len(text)} bytes, {len(arrays)} arrays)")
    try:
        _check_counts(text)
    except ValueError as error:
        raise ValueError(f"the description is too large to be saved ({error}); make long lists arrays") from None
    with replacing(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER), text)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                member.write(_npy_header(array.dtype.str, array.shape))
                member.write(_bytes(array))


def read_archive(
    path: str | os.PathLike[str],
    kinds: tuple[str, ...],
    decode: Callable[[dict[str, Any], dict[str, np.ndarray]], dict[str, Any]],
) -> tuple[str, dict[str, Any]]:
    """Return the kind of a file of one of these kinds, and what ``decode`` makes of its JSON and its arrays.

    Raises ``ValueError`` with the reason if the file is not one, `decode` having refused it included.
    """
    with open_regular(path) as file:
        try:
            header, arrays = _unpack(file, path, kinds)
            content = decode(header["content"], arrays)
        except MALFORMED as error:
            raise refusal(path, kinds, error) from None
    return header["kind"], content


def refusal(path: str | os.PathLike[str], kinds: tuple[str, ...], error: Exception) -> ValueError:
    """Make the error for a file that is not what it should be."""
    reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
    return ValueError(f"{os.fspath(path)} holds no {' or '.join(kinds)} that sslcore {__version__} can read: {reason}")


def _unpack(
    file: BinaryIO, path: str | os.PathLike[str], kinds: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    size = os.fstat(file.fileno()).st_size
    try:
        archive = open_zip(file)
    except MALFORMED:
        raise ValueError("it is no zip archive, or its end is missing or damaged") from None
    with archive:
        members = {info.filename: info for info in archive.infolist()}
        if _HEADER not in members:
            raise ValueError(f"it is a zip archive without {_HEADER}")
        if len(members) != len(archive.infolist()) or len(members) > _MOST_MEMBERS:
            raise ValueError("it names a member twice, or has too many")
        for info in members.values():
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
                raise ValueError(f"its member {info.filename!r} is compressed or encrypted, which sslcore never does")
        if sum(info.file_size for info in members.values()) > size:  # before any of them is read
            raise ValueError("it is damaged: its members are larger than the file")
        free = free_memory()
        if size > free:
            raise MemoryBudgetError(
                f"{os.fspath(path)} takes {size / 1e9:.3g} GB of memory, of which {free / 1e9:.3g} GB are free"
            )
        if members[_HEADER].file_size > _MOST_HEADER:
            raise ValueError("its header is too large")
        header = _header(_contents(archive, _HEADER), kinds)
        listed = header["arrays"]
        if set(members) != {_HEADER, *(f"{name}.npy" for name in listed)}:
            raise ValueError("it is damaged: its members are not the arrays that the header names")
        return header, {
            name: _read_array(archive, members[f"{name}.npy"], name, **listed[name]) for name in sorted(listed)
        }


def _header(text: bytes, kinds: tuple[str, ...]) -> dict[str, Any]:
    _check_counts(text)
    header = json.loads(
        text.decode(), parse_constant=_no_constant, parse_int=_integer, parse_float=_real, object_pairs_hook=_object
    )
    if not isinstance(header, dict) or header.get("library") != "sslcore":
        raise ValueError("it was not written by sslcore")
    if header["format"] not in FORMATS:
        newer = isinstance(header["format"], int | float) and header["format"] > FORMATS[-1]
        raise ValueError(
            f"it has format {header['format']!r}, written by version {header.get('version')}, and this one reads "
            f"formats {' and '.join(map(str, FORMATS))}; {'upgrade sslcore' if newer else 'make it again'}"
        )
    if header["kind"] not in kinds:
        raise ValueError(f"it holds {header['kind']!r}")
    return header


def _no_constant(name: str) -> Any:
    raise ValueError(f"its header holds {name}, which is not JSON")


def _check_counts(text: bytes) -> None:
    """Refuse JSON that takes far more memory than its text: an empty list takes 60 times its two bytes."""
    if text.count(b"[") + text.count(b"{") <= _MOST_LISTS and text.count(b",") + text.count(b":") <= _MOST_VALUES:
        return  # with those in strings, which do not count
    lists = values = 0
    for token in _TOKENS.finditer(text):
        mark = text[token.start()]
        lists += mark in b"[{"
        values += mark in b",:"
        if lists > _MOST_LISTS or values > _MOST_VALUES:
            raise ValueError(f"its header holds more than {_MOST_LISTS} lists or {_MOST_VALUES} values")


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"its header holds an integer of {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"its header holds {text:.60}, which is out of range")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"its header says one of {sorted(found)} twice")
    return found


def _contents(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except MALFORMED:
        raise ValueError(f"it is damaged: {name} cannot be read") from None


def _read_array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, dtype: Any, shape: Any, sha256: Any
) -> np.ndarray:
    """Read one array; its header must be the one that `write_archive` writes, so that there is nothing to parse."""
    if dtype not in DTYPES or not isinstance(shape, list) or len(shape) > _MOST_AXES:
        raise ValueError(f"array {name!r} has the dtype {dtype!r} and the shape {shape!r}")
    if any(isinstance(s, bool) or not isinstance(s, int) or s < 0 for s in shape):
        raise ValueError(f"array {name!r} has the shape {shape!r}")
    beginning = _npy_header(dtype, tuple(shape))
    if info.file_size != len(beginning) + math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"it is damaged: array {name!r} of shape {shape} is not as long as that")
    out = np.empty(shape, dtype)
    target, digest = _bytes(out), hashlib.sha256()
    try:
        with archive.open(info) as member:
            if member.read(len(beginning)) != beginning:
                raise ValueError
            for start in range(0, len(target), tunables.ARCHIVE_PIECE_BYTES):
                piece = member.read(min(tunables.ARCHIVE_PIECE_BYTES, len(target) - start))
                target[start : start + len(piece)] = piece
                digest.update(piece)
        if digest.hexdigest() != sha256:
            raise ValueError
    except MALFORMED:
        raise ValueError(f"it is damaged: array {name!r} does not have its checksum") from None
    return out.astype(out.dtype.newbyteorder("="), copy=False)


def _bytes(array: np.ndarray) -> memoryview:
    """Return the memory of an array in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the beginning of a .npy file (version 1.0) in C order."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}"
    length = -(-(len(text) + 11) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + text.ljust(length - 1).encode() + b"\n"
