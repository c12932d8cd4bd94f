"""Backends: the only rooms of the house that know a device.

A backend is a module.  It offers the array namespace ``xp``, a few dense factorisations (in place
where that matters), and the primitives of the hot loops.  Algorithms above are written once on
these names; the arrays decide which backend serves them.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from ..errors import BackendError

__all__ = ["get_backend"]

_MODULES = {"numba": "numba_cpu", "cupy": "cupy_gpu"}


def get_backend(*arrays: Any, backend: str | None = None) -> ModuleType:
    """The backend that serves these arrays; ``backend`` overrides, for tests and experts.

    Arrays of CuPy select ``"cupy"``, everything else (NumPy arrays, lists, memory maps) ``"numba"``.
    Mixed devices raise, and so does a backend that is not there: nothing crosses over unasked.
    """
    found = {_device_of(a) for a in arrays if a is not None}
    if len(found) > 1:
        raise BackendError("arrays of NumPy and of CuPy are mixed; move them to one device first")
    if backend is None:
        name = found.pop() if found else "numba"
    elif backend in _MODULES:
        name = backend
        if found and found != {name}:
            raise BackendError(
                f"backend={backend!r} cannot take arrays of backend {found.pop()!r}; move the arrays first"
            )
    else:
        raise ValueError(f"backend must be one of {', '.join(map(repr, _MODULES))} or None, found {backend!r}")
    module = f"{__name__}.{_MODULES[name]}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (error.name == module or error.name.split(".")[0] == name):
            raise
        raise BackendError(
            f"the {name!r} backend is not available here ({error}); use backend='numba' with NumPy arrays"
        ) from error


def _device_of(array: Any) -> str:
    return "cupy" if type(array).__module__.split(".")[0] == "cupy" else "numba"
