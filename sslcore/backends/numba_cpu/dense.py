"""Dense factorisations and products, from one BLAS (SciPy's), in place where memory matters.

Two libraries of BLAS in one process have two pools of threads, which slow each other down when calls
alternate; the solvers' inner loops therefore use only what is here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import scipy.linalg as sl
from scipy.linalg import blas, lapack

from ... import tunables
from .. import host_linalg
from ..contract import Array, Matrix
from ..host_linalg import eigh
from . import dense_thin
from .dense_thin import is_thin
from .factor import factorize
from .vectors import add_triangle

__all__ = [
    "add_second_moment",
    "cholesky",
    "cholesky_solve",
    "convergent",
    "eigh",
    "matmul",
    "orthonormalize",
    "pivoted_cholesky",
    "symmetric_eigenvalues",
    "symmetric_product",
    "triangular_solve",
    "whiten",
    "whitener",
]


def convergent() -> AbstractContextManager[Any]:
    """Make a context in which decompositions of NumPy raise where they do not converge: as they do always."""
    return nullcontext()


def matmul(a: Matrix, b: Matrix, *, out: Matrix | None = None, alpha: float = 1.0, beta: float = 0.0) -> Matrix:
    """Set out = alpha a @ b + beta out, in Fortran order; ``a`` in either order."""
    if is_thin(a, b, out):
        if out is None:
            out, beta = np.empty((a.shape[0], b.shape[1]), a.dtype, order="F"), 0.0
        dense_thin.multiply(a, b, out, float(alpha), float(beta))
        return out
    if a.shape[0] == 0 or b.shape[1] == 0 or a.shape[1] == 0:  # BLAS refuses empty operands
        return np.zeros((a.shape[0], b.shape[1]), a.dtype, order="F") if out is None else out * a.dtype.type(beta)
    if a.shape[0] == 1 and out is None and b.flags.c_contiguous:  # gemm would copy b to its own layout first
        gemv = blas.dgemv if a.dtype == np.float64 else blas.sgemv
        row: Matrix = gemv(alpha, b.T, a[0])[None]
        return row
    gemm = blas.dgemm if a.dtype == np.float64 else blas.sgemm
    first, flip_a = (a, 0) if a.flags.f_contiguous else (a.T, 1)
    second, flip_b = (b, 0) if b.flags.f_contiguous else (b.T, 1)
    if out is None:
        product: Matrix = gemm(alpha, first, second, trans_a=flip_a, trans_b=flip_b)
    else:
        product = gemm(alpha, first, second, beta=beta, c=out, trans_a=flip_a, trans_b=flip_b, overwrite_c=1)
    return product


def cholesky(a: Matrix) -> bool:
    """Overwrite the upper triangle of ``a`` (Fortran order) with U, a = U^T U; False if not positive definite.

    The strict lower triangle is left as it was.
    """
    ours = tunables.CPU_FACTOR_LEAST_ROWS <= len(a) <= tunables.CPU_FACTOR_MOST_ROWS
    if (ours or len(a) > tunables.CPU_LAPACK_MOST_ROWS) and a.flags.f_contiguous and a.flags.writeable:
        return factorize(a)
    potrf = lapack.dpotrf if a.dtype == np.float64 else lapack.spotrf
    info: int = potrf(a, lower=0, clean=0, overwrite_a=1)[1]
    return info == 0


def cholesky_solve(factor: Matrix, b: Matrix) -> Matrix:
    """Overwrite b, in Fortran order, by (U^T U)^-1 b."""
    if factor.flags.f_contiguous and is_thin(factor, b):
        dense_thin.solve(factor, b)
        return b
    potrs = lapack.dpotrs if factor.dtype == np.float64 else lapack.spotrs
    solution: Matrix = potrs(factor, b, lower=0, overwrite_b=1)[0]
    return solution


def triangular_solve(factor: Matrix, b: Matrix, *, transposed: bool = False) -> Matrix:
    """Return U^-1 b, or U^-T b."""
    trtrs = lapack.dtrtrs if factor.dtype == np.float64 else lapack.strtrs
    solution: Matrix = trtrs(factor, b, lower=0, trans=int(transposed))[0]
    return solution


def symmetric_product(a: Matrix, diagonal: Array, b: Matrix) -> Matrix:
    """Multiply b by the symmetric matrix with ``a``'s strict lower triangle and this diagonal.

    The diagonal of ``a`` is exchanged meanwhile: it may be of another order of magnitude, a correction would cancel.
    """
    if a.flags.f_contiguous and is_thin(a, b):
        return dense_thin.multiply_symmetric(a, diagonal, b)
    symm = blas.dsymm if a.dtype == np.float64 else blas.ssymm
    index = np.arange(len(a))
    kept = a.diagonal().copy()
    a[index, index] = diagonal
    try:
        product: Matrix = symm(1.0, a, b, lower=1)
    finally:
        a[index, index] = kept
    return product


def symmetric_eigenvalues(a: Matrix) -> Array:
    """Return all eigenvalues, increasing; ``a`` may be overwritten."""
    values: Array = sl.eigh(a, eigvals_only=True, driver="evr", overwrite_a=True, check_finite=False)
    return values


def orthonormalize(a: Matrix, tolerance: float) -> tuple[Matrix, Matrix]:
    """Return an orthonormal basis q (n, r) of the columns of ``a`` (Fortran order), and q^T a: `host_linalg`."""
    return host_linalg.orthonormalize(a, tolerance, matmul, np.asarray)


def pivoted_cholesky(a: Matrix, tolerance: float) -> tuple[Matrix, Array, int]:
    """Return U, pivots and rank with a[pivots, pivots] = U^T U to rank r; rows with a pivot <= tolerance are dropped.

    Returns U (r, r) for the r pivots kept, and all pivots.
    """
    factor, pivots, rank, _ = lapack.dpstrf(a, lower=0, tol=tolerance)
    return np.asfortranarray(np.triu(factor[:rank, :rank])), pivots - 1, int(rank)


def whitener(factor: Matrix, dtype: Any) -> Matrix:
    """Make what `whiten` takes for U, a pivoted Cholesky factor in float64: U in ``dtype``."""
    return np.asfortranarray(factor, dtype)


def whiten(factor: Matrix, values: Matrix) -> Matrix:
    """Multiply rows by U^-1, in place: values (n, r) in C order."""
    trsm = blas.dtrsm if values.dtype == np.float64 else blas.strsm
    whitened: Matrix = trsm(1.0, factor, values.T, trans_a=1, lower=0, overwrite_b=1).T
    return whitened


def add_second_moment(total: Matrix, rows: Matrix, factor: float = 1.0, *, scratch: Array | None = None) -> None:
    """Add factor rows^T rows to the upper triangle of ``total``, (r, r) float64 in Fortran order; rows in C order."""
    if rows.dtype == np.float64 and len(rows) == 1:
        blas.dsyr(factor, rows[0], a=total, overwrite_a=1)
    elif rows.dtype == np.float64:
        blas.dsyrk(factor, rows.T, beta=1.0, c=total, overwrite_c=1)
    else:
        product = None
        if scratch is not None:
            product = scratch.reshape(total.shape, order="F")
            product.fill(0.0)  # as the wrapper's own: BLAS may multiply it by zero, NaN too
        product = blas.ssyrk(1.0, rows.T, c=product, overwrite_c=1)
        add_triangle(float(factor), product.T, total.T)  # the factor may be no number of float32
