"""Values of pairs of points: the decisions on their computation that all backends share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["RECURSIONS", "TOLERANCE", "near_versine", "require_in_range", "unit_of"]

TOLERANCE = {np.dtype(np.float64): 3e-14, np.dtype(np.float32): 2e-6}
"""Error of a kernel value above which a distance from a matrix product is computed again."""

RECURSIONS = {"step": 0, "quadratic": 1, "nngp": 2, "ntk": 3}
"""What is done with the angle of two points: how the backends' loops know it."""


def unit_of(length: float) -> tuple[float, int]:
    """Split length = fraction 2^exponent, 1 <= fraction < 2: a kernel of length 1 sees the coordinates as they are."""
    fraction, exponent = math.frexp(length)
    return 2.0 * fraction, exponent - 1


def near_versine(length: float, width: int, dtype: np.dtype) -> float:
    """Return the 1 - cos(angle) up to which angles of unit vectors are recomputed from coordinate differences.

    A product has an absolute error near eps, hence the angle one of eps / angle, and a kernel that varies on the angle
    ``length`` one of eps / (angle length); equal vectors must be recognised in any case.
    """
    epsilon = float(np.finfo(dtype).eps)
    return 0.5 * (2.0 * epsilon / (TOLERANCE[dtype] * length)) ** 2 + 8.0 * math.sqrt(width) * epsilon


def require_in_range(largest: float, x: Any) -> None:
    """Refuse points ``x`` whose ``largest`` coordinate, in the kernel's unit, has no square in their type."""
    limit = math.sqrt(float(np.finfo(x.dtype).max) / (16 * x.shape[1]))
    if not largest <= limit:
        raise ValueError(
            f"the data reach {largest:.2g} times the length on which the kernel varies (at most {limit:.0e} in "
            f"{x.dtype}): squared distances overflow; rescale the data, or raise the kernel's scale"
        )
