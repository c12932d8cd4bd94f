"""Files: a zip archive of a JSON header and plain arrays, without pickle; ``docs/format.md`` describes it byte by byte.

Two halves.  `encode` turns the values that a model is made of (numbers, arrays, kernels, augmentations, features,
records such as the certificate) into JSON and named arrays, and `decode` builds them again from the registries: only
constructors of known classes run, each of which checks its arguments.  `write_archive` and `read_archive` are the
container: whole or not at all on the way out, and on the way in nothing is believed: sizes are compared with the
bytes that are there before anything is allocated, and each array with its checksum.
"""

from __future__ import annotations

import dataclasses
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

from .. import augmentations, kernels, tunables
from .. import features as feature_maps
from .._version import __version__
from ..arrays import on_host
from ..augmentations import Augmentation, Compose
from ..backends import device_of
from ..backends.machine import free_memory
from ..errors import MemoryBudgetError
from ..features import Features, Nystrom, RandomFourier
from ..io.atomic import open_regular, open_zip, replacing
from ..kernels import Function, Kernel, Precomputed, Product, Scaled, Sum
from ..solvers.certificate import Certificate
from ..solvers.selection import Selection

__all__ = ["FORMAT", "MALFORMED", "RECORDS", "decode", "encode", "read_archive", "same_features", "write_archive"]

FORMAT = 2
"""Of the files that this version writes and reads; it changes with every change that an older reader cannot know."""

RECORDS: dict[str, type] = {record.__name__: record for record in (Certificate, Selection)}
"""Frozen dataclasses that may be parts of a saved object."""

_DTYPES = ("<f8", "<f4", "<i8", "|b1")
_HEADER = "header.json"
_MOST_HEADER, _MOST_MEMBERS, _MOST_AXES = 1 << 24, 1024, 8
_MOST_LISTS, _MOST_VALUES = 1 << 17, 1 << 20  # lists and dictionaries of the header, and values in them
_MOST_DIGITS = 4300
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{,:]', re.DOTALL)
_READABLE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
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


# ---------------------------------------------------------------- values


def encode(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` as JSON; arrays in it go to ``arrays``, named after their place.  ``TypeError`` if it has no such form.

    Where the place makes no name of a file, or one that is taken, the array gets a number.

    Every JSON object is ``{tag: ..., "parameters": {...}}`` with one of the tags kernel, augmentation, features and
    record, or ``{"array": name}``, ``{"float": "inf"}``, ``{"map": {...}}``.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and value.bit_length() > 14_000:  # of 4,215 digits
        raise ValueError(f"{name} is an integer of {value.bit_length()} bits, too long to be saved")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, np.ndarray) or device_of(value) == "cupy":
        array = on_host(value)
        plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if plain.dtype.str not in _DTYPES:
            raise TypeError(f"{name} is an array of {array.dtype}, which cannot be saved; use one of {_DTYPES}")
        if name in arrays or not _READABLE.fullmatch(name):
            name = f"array-{len(arrays)}"  # which no place is called
        arrays[name] = plain
        return {"array": name}
    if isinstance(value, list | tuple):
        return [encode(part, f"{name}.{i}", arrays) for i, part in enumerate(value)]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"the keys of {name} must be strings to be saved, found {list(value)!r}")
        return {"map": {key: encode(part, f"{name}.{key}", arrays) for key, part in value.items()}}
    tag, parameters = _parameters(value, name)
    encoded = {key: encode(part, f"{name}.{key}", arrays) for key, part in parameters.items()}
    return {tag: type(value).__name__, "parameters": encoded}


def decode(document: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `encode`; ``ValueError`` or ``TypeError`` for what it cannot have written.

    Each array is taken out of ``arrays``: of one that had many places, constructors could make as many copies.
    """
    if document is None or isinstance(document, bool | int | float | str):
        return document
    if isinstance(document, list):
        return [decode(part, arrays) for part in document]
    tag = next(iter(document), None)
    if set(document) == {"array"}:
        name = document["array"]
        if name not in arrays:
            raise ValueError(f"array {name!r} is missing, or has two places")
        return arrays.pop(name)
    if set(document) == {"float"}:
        return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[document["float"]]
    if set(document) == {"map"}:
        return {key: decode(part, arrays) for key, part in document["map"].items()}
    if set(document) != {tag, "parameters"} or tag not in _BUILDERS:
        raise ValueError(f"an object with the keys {sorted(document)} is not of this format")
    parameters = {key: decode(part, arrays) for key, part in document["parameters"].items()}
    return _BUILDERS[tag](str(document[tag]), parameters)


def _parameters(value: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Tag and constructor's arguments of an object."""
    if isinstance(value, Function):
        raise TypeError(
            "a kernel that is a plain function cannot be saved: a file holds no code; declare it as a class of its own "
            "(sslcore.kernels.Profile), or save rep.coefficients and rep.centres yourself"
        )
    kind = type(value)
    if isinstance(value, Nystrom):
        if isinstance(value.landmarks, int):
            raise ValueError("the landmarks are not chosen yet; call .fit(views) first")
        kept, factor = map(on_host, value.factor())
        given = {"kernel": value.kernel, "landmarks": value.landmarks, "selection": value.selection, "seed": value.seed}
        # of equal pivots another machine may choose another one, and then the coefficients would fit no more
        return "features", {**given, "kept": kept, "factor": factor}
    if isinstance(value, RandomFourier):
        given = {"kernel": value.kernel, "n_features": value.count, "seed": value.seed}
        return "features", {**given, "first": _first_frequencies(value)}
    for tag, base, known in _families():
        if isinstance(value, base):
            if known.get(kind.__name__) is not kind or not dataclasses.is_dataclass(value):
                raise TypeError(f"{name} of class {kind.__name__} cannot be saved: it is no dataclass of the registry")
            return tag, {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init or kind is Compose}
    if dataclasses.is_dataclass(value) and _record(kind.__name__) is kind:
        return "record", {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(f"{name} of class {kind.__name__} cannot be saved")


def _families() -> list[tuple[str, type, dict[str, Any]]]:
    """Tag, base class and known classes of each family of values."""
    combined = {c.__name__: c for c in (Sum, Product, Scaled, Precomputed)}
    return [
        ("kernel", Kernel, combined | kernels.registry),
        ("augmentation", Augmentation, augmentations.registry),
        ("features", Features, feature_maps.registry),
    ]


def _known(tag: str, name: str) -> Any:
    known = next(classes for t, _, classes in _families() if t == tag)
    if name not in known:
        raise ValueError(f"it needs the {tag} {name!r}, which is not known here; import the module that declares it")
    return known[name]


def _record(name: str) -> Any:
    return RECORDS.get(name)


def _build_augmentation(name: str, parameters: dict[str, Any]) -> Augmentation:
    kind = _known("augmentation", name)
    return kind(*parameters["parts"]) if kind is Compose else kind(**parameters)


def _build_features(name: str, parameters: dict[str, Any]) -> Features:
    kind = _known("features", name)
    if kind is Nystrom:
        kept, factor = parameters.pop("kept"), parameters.pop("factor")
        if isinstance(parameters["landmarks"], int):
            raise ValueError("the landmarks must be an array")
        return Nystrom(**parameters).with_factor(kept, factor)
    if kind is RandomFourier:
        first = parameters.pop("first")
        features = RandomFourier(**parameters)
        if not np.allclose(_first_frequencies(features), first, rtol=1e-12, atol=0):
            raise ValueError(
                f"the generator of this NumPy ({np.__version__}) draws other random frequencies from seed "
                f"{features.seed} than the one that made the file; use the NumPy that wrote it"
            )
        return features
    others: Features = kind(**parameters)
    return others


def _first_frequencies(features: RandomFourier) -> np.ndarray:
    """A few random frequencies of this kernel and seed, to see whether NumPy still draws the same."""
    return RandomFourier(features.kernel, 8, features.seed).frequencies(2)


def _build_record(name: str, parameters: dict[str, Any]) -> Any:
    kind = _record(name)
    if kind is None:
        raise ValueError(f"a record {name!r} is not known here")
    return kind(**parameters)


_BUILDERS: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "kernel": lambda name, parameters: _known("kernel", name)(**parameters),
    "augmentation": _build_augmentation,
    "features": _build_features,
    "record": _build_record,
}


def same_features(first: Features, second: Features) -> bool:
    """Whether two feature maps are the same function."""
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, Nystrom) and isinstance(second, Nystrom):
        if first.kernel != second.kernel or isinstance(first.landmarks, int) or isinstance(second.landmarks, int):
            return False
        return np.array_equal(on_host(first.landmarks), on_host(second.landmarks))
    if isinstance(first, RandomFourier) and isinstance(second, RandomFourier):
        parameters = [(f.kernel, f.count, f.seed) for f in (first, second)]
        return parameters[0] == parameters[1]
    return first == second


# ---------------------------------------------------------------- the container


def write_archive(target: str | os.PathLike[str] | BinaryIO, kind: str, content: dict[str, Any]) -> None:
    """Write ``content``, by name, to a file, which appears whole or not at all, or to one that is open."""
    arrays: dict[str, np.ndarray] = {}
    encoded = {name: encode(value, name, arrays) for name, value in content.items()}
    listed = {
        name: {"dtype": a.dtype.str, "shape": list(a.shape), "sha256": hashlib.sha256(_bytes(a)).hexdigest()}
        for name, a in arrays.items()
    }
    origin = {"library": "sslcore", "format": FORMAT, "kind": kind, "version": __version__}
    text = json.dumps(origin | {"arrays": listed, "content": encoded}, allow_nan=False).encode()
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


def read_archive(path: str | os.PathLike[str], *kinds: str) -> tuple[str, dict[str, Any]]:
    """Kind and content of a file of one of these kinds; ``ValueError`` with the reason if it is not one."""
    with open_regular(path) as file:
        try:
            header, arrays = _unpack(file, path, kinds)
            content = {name: decode(value, arrays) for name, value in header["content"].items()}
        except MALFORMED as error:
            raise refusal(path, kinds, error) from None
    return header["kind"], content


def refusal(path: str | os.PathLike[str], kinds: tuple[str, ...], error: Exception) -> ValueError:
    """The error for a file that is not what it should be."""
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
    if header["format"] != FORMAT:
        newer = isinstance(header["format"], int | float) and header["format"] > FORMAT
        raise ValueError(
            f"it has format {header['format']!r}, written by version {header.get('version')}, and this one reads "
            f"format {FORMAT}; {'upgrade sslcore' if newer else 'make it again'}"
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
    """One array; its header must be the one that `write_archive` writes, so that there is nothing to parse."""
    if dtype not in _DTYPES or not isinstance(shape, list) or len(shape) > _MOST_AXES:
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
    """The memory of an array in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The beginning of a .npy file (version 1.0) in C order."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}"
    length = -(-(len(text) + 11) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + text.ljust(length - 1).encode() + b"\n"
