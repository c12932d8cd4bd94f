"""Powers of two that bring arrays near 1: exact, so squares neither overflow nor vanish, and nothing is rounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import Array, namespace, on_host, require_finite

__all__ = ["exponent_of", "rescaled"]


def exponent_of(array: Array, name: str, offset: int = 0) -> int:
    """Return the e with 2^(e-1) <= max |array| < 2^e (0 if all entries are zero), or refuse what is not finite.

    ``offset`` is that of `sslcore.arrays.require_finite`.
    """
    with np.errstate(invalid="ignore"):
        ends = on_host(namespace(array).stack([array.max(), -array.min()]))  # both at once: a device is waited for
    largest = float(ends.max())
    if not math.isfinite(largest):
        require_finite(array, name, offset)
    return math.frexp(largest)[1]


def rescaled(array: Array, exponent: Any) -> Array:
    """Return array 2^exponent in float64; ``exponent`` is an integer, or an array of them that broadcasts.

    Results that float64 cannot hold become infinite or round to zero.
    """
    xp = namespace(array)
    with np.errstate(over="ignore", under="ignore"):
        out: Array = xp.ldexp(xp.asarray(array, np.float64), xp.asarray(exponent, np.int32))
        return out
