"""Dense factorisations and products on the device, in place where memory matters, with 64-bit indices throughout.

Single calls of cuBLAS and cuSOLVER are kept below 2^31 entries (CuPy's own functions copy their arguments, and have
32-bit workspaces): large factorisations and solves are made of panels, whose products are matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import cupy as xp
import cupyx
import numpy as np

from ... import tunables
from .. import host_linalg
from . import blas, sources
from .device import to_host
from .loader import THREADS, blocks_of, kernel, launch

__all__ = [
    "add_second_moment",
    "cholesky",
    "cholesky_solve",
    "cholesky_solve_alone",
    "convergent",
    "eigh",
    "matmul",
    "matmul_alone",
    "mirror",
    "orthonormalize",
    "pivoted_cholesky",
    "shifted",
    "side_by_side",
    "symmetric_eigenvalues",
    "symmetric_product",
    "symmetric_product_alone",
    "triangular_solve",
    "whiten",
    "whitener",
]


LARGEST = 2**30
"""Entries of memory that a matrix in one call extends over, those between its columns included (and never less than
four panels of columns): cuBLAS's 32-bit interface does not promise more than 2^31."""


def matmul(a: Any, b: Any, *, out: Any = None, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """Set out = alpha a @ b + beta out, in Fortran order; ``a`` and ``b`` in either order."""
    if out is None:
        out, beta = xp.empty((a.shape[0], b.shape[1]), a.dtype, order="F"), 0.0
    out = xp.asfortranarray(out)
    wide = max(1, LARGEST // max(1, a.shape[0]))
    for left in range(0, b.shape[1], wide):
        target, right = out[:, left : left + wide], b[:, left : left + wide]
        step = max(1, LARGEST // max(1, *target.shape))
        blas.gemm(a[:, :step], right[:step], target, alpha, beta)
        for start in range(step, a.shape[1], step):
            blas.gemm(a[:, start : start + step], right[start : start + step], target, alpha, 1.0)
    return out


def matmul_alone(a: Any, b: Any, *, out: Any = None, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """Do as `matmul`: there is one stream."""
    return matmul(a, b, out=out, alpha=alpha, beta=beta)


def cholesky_solve_alone(factor: Any, b: Any) -> Any:
    """Do as `cholesky_solve`: there is one stream."""
    return cholesky_solve(factor, b)


def symmetric_product_alone(a: Any, diagonal: Any, b: Any) -> Any:
    """Do as `symmetric_product`: there is one stream."""
    return symmetric_product(a, diagonal, b)


def side_by_side(task: Callable[[int], None], n_tasks: int) -> None:
    """Call one task after the other: the device has work for all of its processors, and the host one stream."""
    for i in range(n_tasks):
        task(i)


def cholesky(a: Any) -> bool:
    """Overwrite the upper triangle of ``a`` (Fortran order) with U, a = U^T U; False if not positive definite.

    The strict lower triangle is left as it was.  Panels of rows: the corner by cuSOLVER in a copy, the rest of the rows
    by a triangular solve, and what they explain is subtracted from the rows below by products of panels.
    """
    n = len(a)
    info = xp.zeros(max(1, blocks_of(n, tunables.CUDA_PANEL_COLUMNS)), np.int32)
    put_upper = kernel("dense", "put_upper", a.dtype)
    for number, start in enumerate(range(0, n, tunables.CUDA_PANEL_COLUMNS)):
        stop = min(start + tunables.CUDA_PANEL_COLUMNS, n)
        place = a[start:stop, start:stop]
        corner = place.copy(order="F")
        blas.potrf(corner, info[number : number + 1])
        launch(put_upper, corner.size, corner, np.int64(len(corner)), place.data, np.int64(_leading(a)))
        rows = a[start:stop, stop:]
        for part in _columns(rows):
            blas.trsm(corner, rows[:, part], transposed=True)
        for left in range(stop, n, 4 * tunables.CUDA_PANEL_COLUMNS):
            right = min(left + 4 * tunables.CUDA_PANEL_COLUMNS, n)
            columns = a[start:stop, left:right]
            for part in _columns(a[start:stop, stop:left]):
                above = a[stop:left, left:right][part]
                blas.gemm(a[start:stop, stop:left][:, part].T, columns, above, -1.0, 1.0)
            blas.syrk(columns.T, a[left:right, left:right], -1.0, 1.0)
    # a matrix with NaN may go unnoticed by the corners
    return bool((info == 0).all() & xp.isfinite(a.diagonal()).all())


def cholesky_solve(factor: Any, b: Any) -> Any:
    """Overwrite b, in Fortran order, by (U^T U)^-1 b."""
    b = xp.asfortranarray(b)
    _solve_in_place(factor, b, transposed=True)
    _solve_in_place(factor, b, transposed=False)
    return b


def triangular_solve(factor: Any, b: Any, *, transposed: bool = False) -> Any:
    """Return U^-1 b, or U^-T b."""
    result = b.copy(order="F")
    _solve_in_place(factor, result, transposed=transposed)
    return result


def _solve_in_place(factor: Any, b: Any, *, transposed: bool) -> None:
    n = len(factor)
    step = 4 * tunables.CUDA_PANEL_COLUMNS
    starts = range(0, n, step)
    for start in starts if transposed else reversed(starts):
        stop = min(start + step, n)
        if transposed:
            blas.gemm(factor[:start, start:stop].T, b[:start], b[start:stop], -1.0, 1.0)
        else:
            for part in _columns(factor[start:stop, stop:]):
                blas.gemm(factor[start:stop, stop:][:, part], b[stop:][part], b[start:stop], -1.0, 1.0)
        blas.trsm(factor[start:stop, start:stop], b[start:stop], transposed=transposed)


def symmetric_product(a: Any, diagonal: Any, b: Any) -> Any:
    """Multiply b by the symmetric matrix with ``a``'s strict lower triangle (Fortran order) and this diagonal."""
    n = len(a)
    out = xp.zeros((n, b.shape[1]), b.dtype, order="F")
    tile = kernel("dense", "symmetric_tile", a.dtype)
    for start in range(0, n, tunables.CUDA_PANEL_COLUMNS):
        stop = min(start + tunables.CUDA_PANEL_COLUMNS, n)
        corner = xp.empty((stop - start, stop - start), a.dtype, order="F")
        place = a[start:stop, start:stop]
        launch(
            tile,
            corner.size,
            place.data,
            np.int64(_leading(a)),
            diagonal[start:stop],
            np.int64(len(corner)),
            corner,
        )
        blas.gemm(corner, b[start:stop], out[start:stop], 1.0, 1.0)
        below = a[stop:, start:stop]
        blas.gemm(below, b[start:stop], out[stop:], 1.0, 1.0)
        blas.gemm(below.T, b[stop:], out[start:stop], 1.0, 1.0)
    return out


def _leading(a: Any) -> int:
    return max(len(a), int(a.strides[1]) // int(a.dtype.itemsize))


def _columns(a: Any) -> Iterator[slice]:
    """Yield the columns of ``a`` (Fortran order), as many at a time as extend over LARGEST entries of memory."""
    step = max(4 * tunables.CUDA_PANEL_COLUMNS, LARGEST // _leading(a))
    for start in range(0, a.shape[1], step):
        yield slice(start, start + step)


def convergent() -> AbstractContextManager[Any]:
    """Make a context in which CuPy's decompositions raise where they do not converge: one wait for the device a call.

    Otherwise they return what there is: they do not look at what cuSOLVER says.
    """
    context: AbstractContextManager[Any] = cupyx.errstate(linalg="raise")
    return context


def eigh(a: Any) -> tuple[Any, Any]:
    """Return all eigenvalues, increasing, and eigenvectors."""
    with convergent():
        values, vectors = xp.linalg.eigh(a)
    return values, vectors


def shifted(a: Any) -> None:
    """Return None: a factorisation for each shift takes little time here, solves with bands much."""


def symmetric_eigenvalues(a: Any) -> Any:
    """Return all eigenvalues, increasing."""
    with convergent():
        return xp.linalg.eigvalsh(a)


def orthonormalize(a: Any, tolerance: float) -> tuple[Any, Any]:
    """Return an orthonormal basis q (n, r) of the columns of ``a`` (Fortran order), and q^T a: `host_linalg`."""
    return host_linalg.orthonormalize(a, tolerance, matmul, to_host)


def pivoted_cholesky(a: Any, tolerance: float) -> tuple[Any, Any, int]:
    """Return U, pivots and rank with a[pivots, pivots] = U^T U to rank r; rows with a pivot <= tolerance are dropped.

    Returns U (r, r) for the r pivots kept, and these.  Two kernels a step, and after some steps a product; nothing is
    waited for until the rank is read.
    """
    a, n = a.copy(order="C"), len(a)
    factor = xp.zeros((n, n))
    residual = a.diagonal().copy()
    pivots, values = xp.zeros(n, np.int64), xp.zeros(n)
    settled = xp.full(1, -1, np.int32)
    choose, row = kernel("dense", "choose_pivot"), kernel("dense", "pivot_row")
    limit, threads = np.float64(tolerance), (sources.numbers("dense")["THREADS"],)
    for start in range(0, n, tunables.CUDA_PIVOT_STEPS):
        stop = min(start + tunables.CUDA_PIVOT_STEPS, n)
        for step in range(start, stop):
            choose((1,), threads, (residual, np.int64(n), limit, np.int64(step), pivots, values, settled))
            launch(row, n, a, np.int64(n), np.int64(start), np.int64(step), pivots, values, factor, residual, settled)
        done = factor[start:stop]
        blas.gemm(done.T, done, a.T, -1.0, 1.0)
    rank = int(settled[0])
    rank = n if rank < 0 else rank
    pivots = pivots[:rank]
    return xp.asfortranarray(factor[:rank][:, pivots]), pivots, rank


def whitener(factor: Any, dtype: Any) -> Any:
    """Prepare U, a pivoted Cholesky factor in float64, for `whiten`: once for many blocks.

    It is U with the blocks on its diagonal inverted, rounded to ``dtype``.  With pivots no entry of a row exceeds the
    one on the diagonal, so that U is a diagonal matrix times one that is well conditioned however small the pivots are,
    and nothing is lost by inverses of blocks, which a scaling of rows does not change.
    """
    prepared = factor.astype(dtype, order="F")
    for start in range(0, len(factor), tunables.CUDA_INVERTED_ROWS):
        place = slice(start, start + tunables.CUDA_INVERTED_ROWS)
        corner = xp.asfortranarray(factor[place, place])
        inverse = xp.asfortranarray(xp.eye(len(corner)))
        blas.trsm(corner, inverse, transposed=False)
        prepared[place, place] = inverse
    return prepared


def whiten(factor: Any, values: Any) -> Any:
    """Multiply rows by U^-1, in place: values (n, r) in C order, U as `whitener` has prepared it."""
    rows = max(1, LARGEST // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].T
        if part.size:
            _whiten_columns(factor, part, 0, len(factor))
    return values


def _whiten_columns(prepared: Any, values: Any, start: int, stop: int) -> None:
    """Whiten features ``start`` to ``stop`` of ``values`` (r, n), from which those before have been subtracted."""
    blocks = blocks_of(stop - start, tunables.CUDA_INVERTED_ROWS)
    if blocks == 1:
        mine = values[start:stop]
        blas.gemm(prepared[start:stop, start:stop].T, mine.copy(order="F"), mine)
        return
    middle = start + blocks_of(blocks, 2) * tunables.CUDA_INVERTED_ROWS
    _whiten_columns(prepared, values, start, middle)
    blas.gemm(prepared[start:middle, middle:stop].T, values[start:middle], values[middle:stop], -1.0, 1.0)
    _whiten_columns(prepared, values, middle, stop)


def add_second_moment(total: Any, rows: Any, factor: float = 1.0, *, scratch: Any = None) -> None:
    """Add factor rows^T rows to the upper triangle of ``total``, (r, r) float64 in Fortran order; rows in C order."""
    if rows.dtype == np.float64:
        blas.syrk(rows.T, total, factor, 1.0)
    elif rows.size:  # products in float32, sums over blocks in float64
        n = len(total)
        product = xp.empty(total.size, rows.dtype) if scratch is None else scratch
        product = product.reshape(total.shape, order="F")
        blas.syrk(rows.T, product, 1.0, 0.0)
        grid = (blocks_of(n, THREADS), min(n, 65535))
        kernel("dense", "add_upper", rows.dtype)(grid, (THREADS,), (product, np.int64(n), np.float64(factor), total))


def mirror(matrix: Any) -> None:
    """Copy the upper triangle of a square matrix in C order onto the lower one."""
    n = len(matrix)
    if n:
        numbers = sources.numbers("dense")
        side = blocks_of(n, numbers["SIDE"])
        block = numbers["SIDE"], numbers["LINES"]
        kernel("dense", "mirror", matrix.dtype)((side, side), block, (matrix, np.int64(n)))
