"""Least-squares probes on growing prefixes, on the device: a block of threads has a draw (prefix_probes.cu)."""

from __future__ import annotations

from typing import Any

import cupy as xp
import numpy as np

from . import sources
from .loader import kernel

__all__ = ["prefix_probes"]


def prefix_probes(
    z: Any, y: Any, sizes: Any, test: Any, target: Any, penalty: Any, tolerance: float
) -> tuple[Any, Any]:
    """Fit least squares on the first s points of each draw, s in ``sizes``, and return errors on test points.

    ``sslcore.backends.contract.Backend.prefix_probes`` has the formulas.
    """
    (draws, n, k), q, count = z.shape, y.shape[2], len(sizes)
    work = xp.empty((draws, 2 * k * (k + q)))
    squared, zero_one = xp.empty((draws, count)), xp.empty((draws, count))
    inputs = [xp.ascontiguousarray(a, dtype=np.float64) for a in (z, y)]
    tests = [xp.ascontiguousarray(a, dtype=np.float64) for a in (test, target)]
    kernel("prefix_probes", "prefix_probes")(
        (draws,),
        (sources.numbers("prefix_probes")["THREADS"],),
        (
            *inputs,
            xp.asarray(sizes),
            *tests,
            xp.asarray(penalty),
            np.float64(tolerance),
            np.int64(n),
            np.int64(len(test)),
            np.int32(k),
            np.int32(q),
            np.int32(count),
            work,
            squared,
            zero_one,
        ),
    )
    return squared, zero_one
