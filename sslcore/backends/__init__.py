"""Backends: the only rooms of the house that know a device.

A backend is a module that satisfies `sslcore.backends.contract.Backend`: the array namespace ``xp``, a few dense
factorisations (in place where that matters), and the primitives of the hot loops.  Algorithms above are written once
on these names; the arrays decide which backend serves them.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import BackendError
from .contract import Backend

if TYPE_CHECKING:  # both keep the contract: mypy compares every signature
    from . import cupy_gpu, numba_cpu

    _NUMBA: Backend = numba_cpu
    _CUPY: Backend = cupy_gpu

__all__ = ["Backend", "device_of", "get_backend", "namespace"]

_MODULES = {"numba": "numba_cpu", "cupy": "cupy_gpu"}


def get_backend(*arrays: Any, backend: str | None = None) -> Backend:
    """Return the backend that serves these arrays; ``backend`` overrides, for tests and experts.

    Arrays of CuPy select ``"cupy"``, everything else (NumPy arrays, lists, memory maps) ``"numba"``.
    Mixed devices raise, and so does a backend that is not there: nothing crosses over unasked.  NumPy arrays with
    ``backend="cupy"`` do ask: callers bring them to the device (`sslcore.arrays.foreign`), by blocks where they can.
    """
    found = {device_of(a) for a in arrays if a is not None}
    if len(found) > 1:
        raise BackendError(
            "arrays of NumPy and of CuPy are mixed; move them to one device first, with cupy.asarray(array) or "
            "cupy.asnumpy(array), a representation with its method to(backend)"
        )
    if backend is None:
        name = found.pop() if found else "numba"
    elif backend in _MODULES:
        name = backend
        if name == "numba" and found == {"cupy"}:
            raise BackendError(
                "backend='numba' cannot take arrays of backend 'cupy'; move the arrays first, with cupy.asnumpy(array)"
            )
    else:
        raise ValueError(f"backend must be one of {', '.join(map(repr, _MODULES))} or None, found {backend!r}")
    module = f"{__name__}.{_MODULES[name]}"
    try:
        return cast(Backend, importlib.import_module(module))
    except ImportError as error:
        root = (error.name or "").split(".")[0]
        if root != name and not root.startswith("cupy"):
            raise
        raise BackendError(
            f"the {name!r} backend is not available here ({error}); install CuPy for your CUDA version, with "
            f"pip install '.[cuda12]' or '.[cuda13]' in sslcore's folder, or use backend='numba' with NumPy arrays"
        ) from error


def device_of(value: Any) -> str:
    """Return the name of the backend to which an array (or anything else of that library) belongs."""
    return "cupy" if type(value).__module__.partition(".")[0] == "cupy" else "numba"


def namespace(array: Any) -> Any:
    """Return the module whose functions take ``array``: NumPy or CuPy, without the rest of a backend."""
    return sys.modules["cupy"] if device_of(array) == "cupy" else np
