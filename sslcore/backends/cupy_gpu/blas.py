"""cuBLAS and cuSOLVER on blocks of matrices, by pointer and leading dimension: what CuPy's functions would copy.

Everything is in Fortran order inside; an array in C order is the transpose of one.  Sizes and leading dimensions are
32-bit, which is enough for 2^31 rows; addresses are 64-bit.  All calls are queued on the current stream.
"""

from __future__ import annotations

from typing import Any

import cupy as xp
import numpy as np
from cupy.cuda import device
from cupy_backends.cuda.libs import cublas, cusolver

__all__ = ["gemm", "gemm_batched", "potrf", "syrk", "trsm"]


def _is_double(array: Any) -> bool:
    return bool(array.dtype == np.float64)


def _operand(a: Any) -> tuple[Any, int, int]:
    """Return the array (a copy if no axis has unit stride), its leading dimension, and how cuBLAS must read it."""
    size = a.dtype.itemsize
    rows, columns = a.shape
    if a.strides[0] == size or rows == 1:
        step = a.strides[1] // size if columns > 1 else rows
        if step >= rows:
            return a, step, cublas.CUBLAS_OP_N
    if a.strides[1] == size or columns == 1:
        step = a.strides[0] // size if rows > 1 else columns
        if step >= columns:
            return a, step, cublas.CUBLAS_OP_T
    return xp.asfortranarray(a), rows, cublas.CUBLAS_OP_N


def _target(out: Any) -> int:
    """Return the leading dimension of a matrix that is written to, in Fortran order."""
    size = out.dtype.itemsize
    step = out.strides[1] // size if out.shape[1] > 1 else out.shape[0]
    if step < out.shape[0] or (out.strides[0] != size and out.shape[0] > 1):
        raise ValueError(f"an array in Fortran order was expected, found strides {out.strides} of shape {out.shape}")
    return int(step)


def gemm(a: Any, b: Any, out: Any, alpha: float = 1.0, beta: float = 0.0) -> None:
    """Set out = alpha a b + beta out; a and b in either order, out in Fortran order with any leading dimension."""
    if not out.size:
        return
    if not a.shape[1]:
        if beta == 0.0:
            out.fill(0.0)  # whatever it held
        else:
            out *= out.dtype.type(beta)
        return
    multiply = cublas.dgemm if _is_double(out) else cublas.sgemm
    first, lda, flip_a = _operand(a)
    second, ldb, flip_b = _operand(b)
    factors = np.array([alpha, beta], out.dtype)
    multiply(
        device.get_cublas_handle(),
        flip_a,
        flip_b,
        out.shape[0],
        out.shape[1],
        a.shape[1],
        factors.ctypes.data,
        first.data.ptr,
        lda,
        second.data.ptr,
        ldb,
        factors.ctypes.data + factors.itemsize,
        out.data.ptr,
        _target(out),
    )


def gemm_batched(
    a: Any, b: Any, out: Any, steps: tuple[int, int, int], count: int, alpha: float = 1.0, beta: float = 0.0
) -> None:
    """Set out_i = alpha a_i b_i + beta out_i for ``count`` products, each ``steps`` entries after the one before.

    The first of each is given, the operands in either order, as they lie in memory.
    """
    multiply = cublas.dgemmStridedBatched if _is_double(out) else cublas.sgemmStridedBatched
    first, lda, flip_a = _operand(a)
    second, ldb, flip_b = _operand(b)
    if first is not a or second is not b:
        raise ValueError("operands of a batch must have an axis of unit stride: a copy of the first is not the others")
    factors = np.array([alpha, beta], out.dtype)
    multiply(
        device.get_cublas_handle(),
        flip_a,
        flip_b,
        out.shape[0],
        out.shape[1],
        a.shape[1],
        factors.ctypes.data,
        first.data.ptr,
        lda,
        steps[0],
        second.data.ptr,
        ldb,
        steps[1],
        factors.ctypes.data + factors.itemsize,
        out.data.ptr,
        _target(out),
        steps[2],
        count,
    )


def syrk(a: Any, out: Any, alpha: float = 1.0, beta: float = 1.0) -> None:
    """Set the upper triangle of out to alpha a a^T + beta out; out in Fortran order, ``a`` in either order."""
    if not out.size:
        return
    update = cublas.dsyrk if _is_double(out) else cublas.ssyrk
    rows, lda, flip = _operand(a)
    factors = np.array([alpha, beta], out.dtype)
    update(
        device.get_cublas_handle(),
        cublas.CUBLAS_FILL_MODE_UPPER,
        flip,
        out.shape[0],
        a.shape[1],
        factors.ctypes.data,
        rows.data.ptr,
        lda,
        factors.ctypes.data + factors.itemsize,
        out.data.ptr,
        _target(out),
    )


def trsm(factor: Any, b: Any, *, transposed: bool) -> None:
    """Overwrite b by U^-1 b, or U^-T b, for the upper triangle U of ``factor``; both in Fortran order."""
    if not b.size:
        return
    solve = cublas.dtrsm if _is_double(b) else cublas.strsm
    one = np.ones(1, b.dtype)
    solve(
        device.get_cublas_handle(),
        cublas.CUBLAS_SIDE_LEFT,
        cublas.CUBLAS_FILL_MODE_UPPER,
        cublas.CUBLAS_OP_T if transposed else cublas.CUBLAS_OP_N,
        cublas.CUBLAS_DIAG_NON_UNIT,
        b.shape[0],
        b.shape[1],
        one.ctypes.data,
        factor.data.ptr,
        _target(factor),
        b.data.ptr,
        _target(b),
    )


def potrf(panel: Any, info: Any) -> None:
    """Factor a small matrix in Fortran order, in place: upper Cholesky; ``info`` (1,) int32 is 0 if it exists."""
    double = _is_double(panel)
    size, factorize = (
        (cusolver.dpotrf_bufferSize, cusolver.dpotrf) if double else (cusolver.spotrf_bufferSize, cusolver.spotrf)
    )
    handle, n, ld = device.get_cusolver_handle(), panel.shape[0], _target(panel)
    length = size(handle, cublas.CUBLAS_FILL_MODE_UPPER, n, panel.data.ptr, ld)
    work = xp.empty(length, panel.dtype)
    factorize(handle, cublas.CUBLAS_FILL_MODE_UPPER, n, panel.data.ptr, ld, work.data.ptr, length, info.data.ptr)
