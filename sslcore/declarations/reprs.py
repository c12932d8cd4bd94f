"""Short words for objects with large arrays, and for functions: what `repr` shows in a session."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

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


_LONGEST = 200
"""Characters of an argument; of a longer one the beginning and a checksum."""


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which a file tells of a function; `functools.partial` with its arguments, to the last digit.

    A ``<`` is in the names that may be those of others too: of lambdas, functions within functions, callable objects
    and their methods.

    Examples
    --------
    >>> import fractions, functools, json
    >>> from sslcore.declarations.reprs import name_of
    >>> name_of(functools.partial(json.dumps, indent=1))
    'json.dumps(indent=1)'
    >>> name_of(fractions.Fraction(1, 3).limit_denominator)
    '<fractions.Fraction object>.limit_denominator'
    """
    if isinstance(function, functools.partial):
        given = [_argument(value) for value in function.args]
        given += [f"{name}={_argument(value)}" for name, value in sorted(function.keywords.items())]
        return f"{name_of(function.func)}({', '.join(given)})"
    name = getattr(function, "__qualname__", getattr(function, "__name__", None))
    owner = getattr(function, "__self__", None)
    if name is None or not (owner is None or inspect.ismodule(owner) or inspect.isclass(owner)):
        of = type(function if name is None else owner)
        return f"<{of.__module__}.{of.__qualname__} object>" + ("" if name is None else f".{function.__name__}")
    return f"{getattr(function, '__module__', None) or type(function).__module__}.{name}"


def _argument(value: Any) -> str:
    """Give the ``repr`` of an argument with all digits and entries of arrays, or a checksum in place of its end."""
    if callable(value):
        return name_of(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        content = np.ascontiguousarray(value).tobytes()
        return f"array {value.shape} {value.dtype} of sha256 {hashlib.sha256(content).hexdigest()[:16]}"
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        text = " ".join(repr(value).split())
    if len(text) <= _LONGEST:
        return text
    return f"{text[:40]}... of sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
