"""Dense problems of the size of a Krylov block, solved on the host whatever the device.

They take microseconds here and milliseconds on a GPU; what crosses over is k x k.  From SciPy, whose BLAS is that of
the CPU backend: two libraries in one process have two pools of threads, which slow each other down.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import blas, lapack

from .. import tunables
from . import namespace

__all__ = ["eigh", "graded_pairs", "orthonormalize", "top_eigh"]

_ROUNDING = 1e-14  # what the driver for all eigenpairs leaves, of a matrix of norm 1


def eigh(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all eigenvalues, increasing, and eigenvectors of a small symmetric matrix in float64."""
    n = len(a)
    # the divide-and-conquer driver: those for subsets have failed on close eigenvalues
    values, vectors, info = lapack.dsyevd(a, lwork=1 + 6 * n + 2 * n * n, liwork=3 + 5 * n)
    if info:
        raise np.linalg.LinAlgError(f"LAPACK's dsyevd did not converge (info = {info})")
    return values, vectors


def top_eigh(a: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` largest eigenvalues, decreasing, and eigenvectors of a small symmetric float64 matrix.

    By the driver for subsets, in two thirds of the time.  It has failed on close eigenvalues: what it finds is checked,
    and if need be found by the other one.
    """
    n = len(a)
    if 2 * count < n:
        values, vectors, found, _, info = lapack.dsyevr(a, range="I", il=n - count + 1, iu=n)
        if info == 0 and found == count:
            values = values[:count]
            amiss = np.abs(blas.dgemm(1.0, a.T, vectors) - vectors * values).max() / max(np.abs(values).max(), 1e-300)
            bent = np.abs(blas.dgemm(1.0, vectors, vectors, trans_a=1) - np.eye(count)).max()
            if max(amiss, bent) <= _ROUNDING:
                return values[::-1], vectors[:, ::-1]
    values, vectors = eigh(a)
    return values[: -count - 1 : -1], vectors[:, : -count - 1 : -1]


def graded_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return increasing gamma and x with x^T a x = I, x^T b x = diag(gamma): each gamma to its own last digits.

    For ``a`` near I and ``b`` = D s D with a well-conditioned s and any scales D: with s = u^T u the gamma are the
    squared singular values of u D, which Jacobi's method finds to relative accuracy.  None if a or b is not positive
    definite to rounding.
    """
    upper, info = lapack.dpotrf(a, lower=0, clean=1)
    if info or not (b.diagonal() > 0).all():
        return None
    inverse, _ = lapack.dtrtri(upper)
    b = inverse.T @ b @ inverse
    scale = np.sqrt(b.diagonal())
    factor, info = lapack.dpotrf(b / scale[:, None] / scale, lower=0, clean=1)
    if info:
        return None
    singular, _, vectors, work, _, info = lapack.dgejsv(np.asfortranarray(factor * scale), joba=0, jobp=0)
    if info:
        return None
    values = (singular * (work[0] / work[1])) ** 2
    return values[::-1], inverse @ vectors[:, ::-1]


def orthonormalize(
    a: Any, tolerance: float, matmul: Callable[..., Any], to_host: Callable[[Any], np.ndarray]
) -> tuple[Any, Any]:
    """Return an orthonormal basis q (n, r) of the columns of ``a`` (Fortran order), and q^T a; r is a's rank.

    What is left of every column by the others is dropped if its norm is at most ``tolerance``, or rounding.

    Short matrices by QR with pivoting.  Tall ones by the eigenvectors of Gram matrices (Stathopoulos and Wu 2002): a
    few products, where that factorisation is a hundred calls, each of which waits for all threads of a busy machine, or
    for the device.
    """
    xp = namespace(a)
    if len(a) <= tunables.EIGEN_SHORT_ROWS:
        q, r = _pivoted_qr(to_host(a), tolerance)
        return xp.asarray(q), xp.asarray(r)
    gram = to_host(matmul(a.T, a)).astype(float)
    tolerance = max(tolerance, 4 * float(np.finfo(a.dtype).eps) * math.sqrt(float(gram.diagonal().max())))
    q, spread = _normalized(a, gram, tolerance, matmul)
    if spread > 10.0:  # else rounding has not been amplified
        q, _ = _normalized(q, to_host(matmul(q.T, q)).astype(float), 0.5, matmul)
    if 0 < q.shape[1] < a.shape[1]:  # a Gram matrix knows directions to the square root of rounding only
        rest = a
        for _ in range(2):
            rest = matmul(q, matmul(q.T, rest), out=rest.copy(order="F"), alpha=-1.0, beta=1.0)
        more, _ = orthonormalize(rest, tolerance, matmul, to_host)
        q = xp.concatenate([q.T, more.T[: a.shape[1] - q.shape[1]]]).T
    return q, matmul(q.T, a)


def _normalized(a: Any, gram: np.ndarray, tolerance: float, matmul: Callable[..., Any]) -> tuple[Any, float]:
    """Return columns a x with unit Gram matrix, by eigenvectors of the ``gram`` of a, scaled to a unit diagonal.

    Also returns the ratio of the eigenvalues in use.
    """
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    kept = norms > tolerance
    scale = np.where(kept, 1.0 / np.where(kept, norms, 1.0), 0.0)
    values, vectors = eigh(gram * (scale[:, None] * scale))
    good = values > 10 * len(gram) * np.finfo(a.dtype).eps
    values = values[good]
    x = np.asfortranarray(scale[:, None] * vectors[:, good] / np.sqrt(values), dtype=a.dtype)
    return matmul(a, namespace(a).asarray(x)), values[-1] / values[0] if len(values) else 1.0


@functools.cache
def _upper(rows: int, columns: int) -> np.ndarray:
    """Return ones on and above the diagonal; NumPy's triu takes longer than the factorisation of a small block."""
    return np.triu(np.ones((rows, columns), bool))


def _pivoted_qr(a: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    columns = a.shape[1]
    geqp3, orgqr = (lapack.dgeqp3, lapack.dorgqr) if a.dtype == np.float64 else (lapack.sgeqp3, lapack.sorgqr)
    factored, pivots, tau, _, _ = geqp3(a, lwork=64 * (columns + 1))
    upper = factored[:columns] * _upper(min(len(a), columns), columns)
    rank = int((np.abs(upper.diagonal()) > tolerance).sum())
    unpivoted = np.empty((rank, columns), a.dtype)
    unpivoted[:, pivots - 1] = upper[:rank]
    q = orgqr(factored[:, : len(tau)], tau, lwork=64 * (columns + 1), overwrite_a=1)[0]
    return q[:, :rank], unpivoted
