"""Kernels as functions of a cosine: their arguments, and the library that computes with numbers, arrays or mpmath."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from ..arrays import check_integer, check_scalar, shown

__all__ = ["check_profile", "functions_of"]


def check_profile(u: Any, width: Any, squared_norm: Any) -> None:
    """Refuse what is no cosine, no number of coordinates or no squared norm; numbers of mpmath are numbers."""
    check_integer(width, "width", minimum=1)
    if squared_norm is not None:
        check_scalar(_plain(squared_norm), "squared_norm", minimum=0.0)
    values = np.asarray(_plain(u))
    if values.dtype.kind not in "iuf":
        raise TypeError(f"u must be the cosine of an angle, a real number or an array, found {shown(u)}")
    if not (np.abs(values) <= 1.0 + 1e-9).all():  # beyond by rounding at most; NaN is no cosine
        raise ValueError(f"u must be the cosine of an angle, from -1 to 1, found {shown(u)}")


def _plain(value: Any) -> Any:
    return float(value) if type(value).__module__.startswith("mpmath") else value


class _Numpy:
    """The functions of NumPy under the names that mpmath has for them."""

    exp, sqrt, atan2, pi = np.exp, np.sqrt, np.arctan2, math.pi


def functions_of(u: Any) -> Any:
    """Return the module that computes with numbers like ``u``: mpmath, which is then there, or NumPy."""
    return sys.modules["mpmath"].mp if type(u).__module__.startswith("mpmath") else _Numpy
