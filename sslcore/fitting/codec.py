"""Models as JSON and named arrays, and back: what `sslcore.io.archive` puts into files.

`encode` turns the values that a model is made of (numbers, arrays, kernels, augmentations, features, records such as
the certificate) into JSON and named arrays, and `decode` builds them again from the registries: only constructors of
known classes run, each of which checks its arguments.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from .. import augmentations, kernels
from .. import features as feature_maps
from ..arrays import on_host
from ..augmentations import Augmentation, Compose, Custom
from ..backends import device_of
from ..features import Features, Nystrom, RandomFourier
from ..io.archive import DTYPES, READABLE, read_archive, write_archive
from ..io.encoding import Encoding
from ..kernels import Function, Kernel, Precomputed, Product, Scaled, Sum
from ..solvers.certificate import Certificate
from ..solvers.selection import Selection
from .standardization import Standardization

__all__ = ["RECORDS", "decode", "encode", "read_values", "same_features", "write_values"]

RECORDS: dict[str, type] = {r.__name__: r for r in (Certificate, Encoding, Selection, Standardization)}
"""Frozen dataclasses that may be parts of a saved object."""

_SINCE_FORMAT_3 = (Encoding, Standardization)

# ---------------------------------------------------------------- values


def encode(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return ``value`` as JSON, or raise `TypeError`; arrays in it go to ``arrays``, named after their place.

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
        if plain.dtype.str not in DTYPES:
            raise TypeError(f"{name} is an array of {array.dtype}, which cannot be saved; use one of {DTYPES}")
        if name in arrays or not READABLE.fullmatch(name):
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
    """Invert `encode`; ``ValueError`` or ``TypeError`` for what it cannot have written.

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
    """Return tag and constructor's arguments of an object."""
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
    if isinstance(value, Custom):
        raise TypeError(
            f"{value!r}, a law that is a function of Python, cannot be saved: a file holds no code; declare it as a "
            f"class of its own (sslcore.augmentations.Augmentation), or leave it out"
        )
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
    """List tag, base class and known classes of each family of values."""
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
    """Draw a few frequencies of this kernel and seed, to see whether NumPy still draws the same."""
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
    """Tell whether two feature maps are the same function."""
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


# ---------------------------------------------------------------- files


def write_values(target: str | os.PathLike[str] | BinaryIO, kind: str, content: dict[str, Any]) -> None:
    """Write ``content``, by name, to a file, which appears whole or not at all, or to one that is open."""
    arrays: dict[str, np.ndarray] = {}
    encoded = {name: encode(value, name, arrays) for name, value in content.items()}
    new = "epsilon" in content or _needs_format_3(list(content.values()))
    write_archive(target, kind, encoded, arrays, 3 if new else 2)


def _needs_format_3(value: Any) -> bool:
    if isinstance(value, dict | list | tuple):
        return any(map(_needs_format_3, value.values() if isinstance(value, dict) else value))
    return isinstance(value, _SINCE_FORMAT_3)


def read_values(path: str | os.PathLike[str], *kinds: str) -> tuple[str, dict[str, Any]]:
    """Return kind and content of a file of one of these kinds; ``ValueError`` with the reason if it is not one."""
    return read_archive(path, kinds, _decode_content)


def _decode_content(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: decode(value, arrays) for name, value in content.items()}
