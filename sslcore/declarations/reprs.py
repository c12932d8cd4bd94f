"""Short words for objects with large arrays, and for functions: what `repr` shows in a session."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

__all__ = ["brief", "name_of"]


def brief(self: Any) -> str:
    """Give the ``__repr__`` of a dataclass: its fields, those of more than eight entries by shape and type only.

    Examples
    --------
    >>> import dataclasses, numpy as np
    >>> from sslcore.declarations.reprs import brief
    >>> @dataclasses.dataclass
    ... class Fit:
    ...     reg: float
    ...     values: np.ndarray
    ...     __repr__ = brief
    >>> Fit(0.1, np.ones((20, 3))), Fit(0.1, np.array([1.0, 2.0]))
    (Fit(reg=0.1, values: (20, 3) float64), Fit(reg=0.1, values=array([1., 2.])))
    """
    shown = (_shown(f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__name__}({', '.join(shown)})"


def _shown(name: str, value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype") and getattr(value, "size", 0) > 8:
        return f"{name}: {tuple(value.shape)} {value.dtype}"
    if isinstance(value, tuple | list) and len(value) > 8:
        return f"{name}: {len(value)} of {', '.join(sorted({type(part).__name__ for part in value}))}"
    return f"{name}={' '.join(repr(value).split())}"


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which a file tells of a function; `functools.partial` with its arguments.

    Examples
    --------
    >>> import functools, json
    >>> from sslcore.declarations.reprs import name_of
    >>> name_of(functools.partial(json.dumps, indent=1))
    'json.dumps(indent=1)'
    """
    if isinstance(function, functools.partial):
        given = [repr(value) for value in function.args]
        given += [f"{name}={value!r}" for name, value in sorted(function.keywords.items())]
        return f"{name_of(function.func)}({', '.join(given)})"
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"
