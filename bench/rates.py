"""What the machine gives: matrix products, factorisations and copies of a given size, as tasks for `timing`.

They are timed in the same run as what is compared to them.  The solvers call SciPy's BLAS and LAPACK; blocks of Gram
matrices are made by ``np.matmul``, which is NumPy's own copy of the library.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from .timing import Task

__all__ = ["copy", "gemm", "potrf", "syrk"]


def gemm(rows: int, columns: int, depth: int, dtype: type = np.float64, library: str = "scipy") -> Task:
    """(rows, depth) times (depth, columns), into memory that is there already."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, depth)).astype(dtype)
    b = rng.standard_normal((depth, columns)).astype(dtype)
    flops = 2.0 * rows * columns * depth
    if library == "numpy":
        out = np.zeros((rows, columns), dtype)
        return Task(lambda: np.matmul(a, b, out=out), flops=flops)
    function = blas.dgemm if dtype is np.float64 else blas.sgemm
    a, b, c = (np.asfortranarray(v) for v in (a, b, np.zeros((rows, columns), dtype)))
    return Task(lambda: function(1.0, a, b, beta=0.0, c=c, overwrite_c=1), flops=flops)


def syrk(rows: int, r: int) -> Task:
    """One triangle of z^T z, z (rows, r)."""
    z = np.random.default_rng(0).standard_normal((rows, r))
    c = np.zeros((r, r), order="F")
    return Task(lambda: blas.dsyrk(1.0, z.T, beta=1.0, c=c, overwrite_c=1), flops=float(rows) * r * r)


def potrf(matrix: np.ndarray) -> Task:
    """Cholesky in place; the matrix (Fortran order) is restored outside of the clock."""
    n = len(matrix)
    work = np.empty_like(matrix, order="F")

    def restore() -> np.ndarray:
        np.copyto(work, matrix)
        return work

    def factorize(a: np.ndarray) -> None:
        if lapack.dpotrf(a, lower=0, clean=0, overwrite_a=1)[1]:
            raise AssertionError("the matrix of the bare Cholesky is not positive definite")

    return Task(factorize, restore, flops=n**3 / 3)


def copy(n_bytes: int = 1 << 28) -> Task:
    """Copy memory on one thread: bytes read and written."""
    source = np.ones(n_bytes // 8)
    target = np.zeros_like(source)
    return Task(lambda: np.copyto(target, source), bytes=2.0 * source.nbytes)
