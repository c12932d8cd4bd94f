"""How values of pairs of points are computed: the decisions that all backends share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["DIRECT", "TOLERANCE", "require_in_range", "unit_of"]

DIRECT = 48
"""Up to so many coordinates the differences are summed directly; above, a matrix product is faster."""

TOLERANCE = {np.dtype(np.float64): 3e-14, np.dtype(np.float32): 2e-6}
"""Error of a kernel value above which a distance from a matrix product is computed again."""


def unit_of(length: float) -> tuple[float, int]:
    """Length = fraction 2^exponent with 1 <= fraction < 2: a kernel of length 1 sees the coordinates as they are."""
    fraction, exponent = math.frexp(length)
    return 2.0 * fraction, exponent - 1


def require_in_range(largest: float, x: Any) -> None:
    """Refuse points ``x`` whose ``largest`` coordinate, in the kernel's unit, has no square in their type."""
    limit = math.sqrt(float(np.finfo(x.dtype).max) / (16 * x.shape[1]))
    if not largest <= limit:
        raise ValueError(
            f"the data reach {largest:.2g} times the length on which the kernel varies (at most {limit:.0e} in "
            f"{x.dtype}): squared distances overflow; rescale the data, or raise the kernel's scale"
        )
