"""Files: one npz archive without pickle, a JSON header inside; written atomically, refused when anything is off."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from typing import Any

import numpy as np

from . import features as feature_maps
from . import kernels
from .arrays import Array, on_host
from .features import Features, Identity, Nystrom, RandomFourier
from .files import replacing
from .kernels import Function, Kernel, Product, Scaled, Sum

__all__ = ["features_from_dict", "features_to_dict", "read_archive", "same_features", "write_archive"]

FORMAT = 1


def write_archive(path: str | os.PathLike[str], kind: str, header: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write arrays and header to ``path``; the file appears whole or not at all."""
    text = json.dumps({"format": FORMAT, "library": "sslcore", "kind": kind} | header)
    with replacing(path) as file:
        contents: dict[str, Any] = {"header": np.array(text)} | arrays
        np.savez(file, **contents)


def read_archive(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and arrays of a file of this kind; ``ValueError`` with the reason if it is not one."""
    try:
        # opened here: np.load does not close a file that it cannot read
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it holds a single array")
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop("header")))
        if header.get("library") != "sslcore" or header.get("kind") != kind:
            raise ValueError(f"it holds {header.get('kind', 'something else')!r}")
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, this version reads format {FORMAT}")
    except FileNotFoundError:
        raise
    except (OSError, EOFError, KeyError, ValueError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{os.fspath(path)} is not a file of {kind} written by sslcore: {error}") from None
    return header, arrays


def kernel_to_dict(kernel: Kernel) -> dict[str, Any]:
    """Class and parameters of a kernel."""
    if isinstance(kernel, Function):
        raise TypeError("a kernel that is a plain function cannot be saved; use kernels of sslcore.kernels")
    fields = {f.name: getattr(kernel, f.name) for f in dataclasses.fields(kernel)}  # type: ignore[arg-type]
    encoded = {name: kernel_to_dict(v) if isinstance(v, Kernel) else v for name, v in fields.items()}
    return {"kernel": type(kernel).__name__, **encoded}


def kernel_from_dict(values: dict[str, Any]) -> Kernel:
    """The inverse of `kernel_to_dict`; unknown names are refused."""
    known: dict[str, type[Kernel]] = {c.__name__: c for c in (Sum, Product, Scaled)} | dict(kernels.registry)
    fields = dict(values)
    name = fields.pop("kernel")
    if name not in known:
        raise ValueError(f"unknown kernel {name!r}")
    decoded = {key: kernel_from_dict(v) if isinstance(v, dict) else v for key, v in fields.items()}
    return known[name](**decoded)


def features_to_dict(features: Features) -> tuple[dict[str, Any], dict[str, Array]]:
    """Class and parameters of features, and the arrays among them."""
    name = type(features).__name__
    if isinstance(features, Nystrom):
        if isinstance(features.landmarks, int):
            raise ValueError("the landmarks are not chosen yet; call .fit(views) first")
        description = {"selection": features.selection, "seed": features.seed}
        return {"features": name, "kernel": kernel_to_dict(features.kernel), **description}, {
            "landmarks": on_host(features.landmarks)
        }
    if isinstance(features, RandomFourier):
        n = features.count
        return {"features": name, "kernel": kernel_to_dict(features.kernel), "n_features": n, "seed": features.seed}, {}
    if isinstance(features, Identity):
        return {"features": name}, {}
    raise TypeError(f"features of class {name} cannot be saved")


def features_from_dict(values: dict[str, Any], arrays: dict[str, Array]) -> Features:
    """The inverse of `features_to_dict`."""
    fields = dict(values)
    name = fields.pop("features")
    if name not in (Identity.__name__, Nystrom.__name__, RandomFourier.__name__):
        raise ValueError(f"unknown features {name!r}")
    if "kernel" in fields:
        fields["kernel"] = kernel_from_dict(fields["kernel"])
    if name == Nystrom.__name__:
        fields["landmarks"] = arrays["landmarks"]
    return feature_maps.registry[name](**fields)


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
