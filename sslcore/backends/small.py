"""Dense problems of the size of a Krylov block, solved on the host whatever the device.

They take microseconds here and milliseconds on a GPU; what crosses over is k x k.  From SciPy, whose BLAS is that of
the CPU backend: two libraries in one process have two pools of threads, which slow each other down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lapack

__all__ = ["eigh", "normalizer"]


def eigh(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues, increasing, and eigenvectors of a small symmetric matrix in float64."""
    n = len(a)
    # the divide-and-conquer driver: those for subsets have failed on close eigenvalues
    values, vectors, info = lapack.dsyevd(a, lwork=1 + 6 * n + 2 * n * n, liwork=3 + 5 * n)
    if info:
        raise np.linalg.LinAlgError(f"LAPACK's dsyevd did not converge (info = {info})")
    return values, vectors


def normalizer(gram: np.ndarray, tolerance: float, epsilon: float) -> tuple[Any, float]:
    """X such that the columns of a X are orthonormal, from the ``gram`` matrix of a, scaled to a unit diagonal.

    Columns of a of norm <= ``tolerance``, and combinations that vanish to ``epsilon``, are left out.  Also returns the
    ratio of the eigenvalues in use.
    """
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    kept = norms > tolerance
    scale = np.where(kept, 1.0 / np.where(kept, norms, 1.0), 0.0)
    values, vectors = eigh(gram * (scale[:, None] * scale))
    good = values > 10 * len(gram) * epsilon
    values = values[good]
    return scale[:, None] * vectors[:, good] / np.sqrt(values), values[-1] / values[0] if len(values) else 1.0
