"""cuBLAS and cuSOLVER as CuPy calls them, over SciPy's BLAS and LAPACK; `cupyx` where it leads there."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg as sl

from .array import ndarray, wrap
from .cuda import alloc_pinned_memory
from .functions import linalg_state

__all__ = ["CUBLAS", "CUPYX", "CUSOLVER", "HIGH_CUBLAS", "SCIPY_LINALG"]

_N, _T, _C = 0, 1, 2  # CUBLAS_OP
_LOWER, _UPPER = 0, 1  # CUBLAS_FILL_MODE
_LEFT, _RIGHT = 0, 1  # CUBLAS_SIDE


longest = 2**31
"""Entries between the first and the last of a matrix: more is not promised where sizes are 32-bit integers."""


def _matrix(address: int, rows: int, columns: int, ld: int, dtype: Any) -> np.ndarray:
    """The matrix in Fortran order at an address."""
    dtype = np.dtype(dtype)
    if rows == 0 or columns == 0:
        return np.empty((rows, columns), dtype)
    if ld < rows:
        raise ValueError(f"leading dimension {ld} of a matrix with {rows} rows")
    if (columns - 1) * ld + rows > longest:
        raise ValueError(f"a matrix of {rows} rows and {columns} columns, {ld} entries apart: at most {longest} in all")
    buffer = (ctypes.c_uint8 * (((columns - 1) * ld + rows) * dtype.itemsize)).from_address(int(address))
    return np.ndarray((rows, columns), dtype, buffer=buffer, strides=(dtype.itemsize, ld * dtype.itemsize))


def _scalar(address: int, dtype: Any) -> Any:
    return _matrix(address, 1, 1, 1, dtype)[0, 0]


def _turned(a: np.ndarray, operation: int) -> np.ndarray:
    return a if operation == _N else a.T


def _triangle(a: np.ndarray, uplo: int, unit: bool = False) -> np.ndarray:
    t = np.tril(a) if uplo == _LOWER else np.triu(a)
    if unit:
        np.fill_diagonal(t, 1)
    return t


def _symmetric(a: np.ndarray, uplo: int) -> np.ndarray:
    t = _triangle(a, uplo)
    return t + t.T - np.diag(t.diagonal())


def _update(c: np.ndarray, product: np.ndarray, alpha: Any, beta: Any, mask: Any = None) -> None:
    result = alpha * product if beta == 0 else alpha * product + beta * c
    if mask is None:
        c[...] = result
    else:
        np.copyto(c, result, where=mask)


def _gemm(dtype: Any) -> Any:
    def gemm(handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, lda: int, B: int,
             ldb: int, beta: int, C: int, ldc: int) -> None:  # fmt: skip
        a = _matrix(A, *((m, k) if transa == _N else (k, m)), lda, dtype)
        b = _matrix(B, *((k, n) if transb == _N else (n, k)), ldb, dtype)
        _update(
            _matrix(C, m, n, ldc, dtype),
            _turned(a, transa) @ _turned(b, transb),
            _scalar(alpha, dtype),
            _scalar(beta, dtype),
        )

    return gemm


def _gemm_strided(dtype: Any) -> Any:
    size, product = np.dtype(dtype).itemsize, _gemm(dtype)

    def gemm_strided(handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, lda: int,
                     strideA: int, B: int, ldb: int, strideB: int, beta: int, C: int, ldc: int, strideC: int,
                     batchCount: int) -> None:  # fmt: skip
        for i in range(batchCount):
            a, b, c = A + i * strideA * size, B + i * strideB * size, C + i * strideC * size
            product(handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)

    return gemm_strided


def _syrk(dtype: Any) -> Any:
    def syrk(
        handle: int, uplo: int, trans: int, n: int, k: int, alpha: int, A: int, lda: int, beta: int, C: int, ldc: int
    ) -> None:
        a = _turned(_matrix(A, *((n, k) if trans == _N else (k, n)), lda, dtype), trans)
        mask = _triangle(np.ones((n, n), bool), uplo)
        _update(_matrix(C, n, n, ldc, dtype), a @ a.T, _scalar(alpha, dtype), _scalar(beta, dtype), mask)

    return syrk


def _symm(dtype: Any) -> Any:
    def symm(handle: int, side: int, uplo: int, m: int, n: int, alpha: int, A: int, lda: int, B: int, ldb: int,
             beta: int, C: int, ldc: int) -> None:  # fmt: skip
        order = m if side == _LEFT else n
        a, b = _symmetric(_matrix(A, order, order, lda, dtype), uplo), _matrix(B, m, n, ldb, dtype)
        _update(
            _matrix(C, m, n, ldc, dtype), a @ b if side == _LEFT else b @ a, _scalar(alpha, dtype), _scalar(beta, dtype)
        )

    return symm


def _trsm(dtype: Any) -> Any:
    def trsm(handle: int, side: int, uplo: int, trans: int, diag: int, m: int, n: int, alpha: int, Aptr: int,
             lda: int, Bptr: int, ldb: int) -> None:  # fmt: skip
        order = m if side == _LEFT else n
        a, b = _matrix(Aptr, order, order, lda, dtype), _matrix(Bptr, m, n, ldb, dtype)
        if 0 in b.shape:
            return
        function = (
            sl.blas.dtrsm if np.dtype(dtype) == np.float64 else sl.blas.strsm
        )  # divides by zero, as a device does
        options = {"side": side, "lower": int(uplo == _LOWER), "trans_a": int(trans != _N), "diag": diag}
        b[...] = function(_scalar(alpha, dtype), np.asfortranarray(a), np.asfortranarray(b), **options)

    return trsm


def _potrf(dtype: Any) -> Any:
    def potrf(handle: int, uplo: int, n: int, A: int, lda: int, workspace: int, lwork: int, devInfo: int) -> None:
        a = _matrix(A, n, n, lda, dtype)
        function = sl.lapack.dpotrf if np.dtype(dtype) == np.float64 else sl.lapack.spotrf
        factor, info = function(a, lower=int(uplo == _LOWER), clean=0, overwrite_a=0)
        np.copyto(a, factor, where=_triangle(np.ones((n, n), bool), uplo))
        _matrix(devInfo, 1, 1, 1, np.int32)[0, 0] = info

    return potrf


def _potrf_size(handle: int, uplo: int, n: int, A: int, lda: int) -> int:
    return 64 * n


def _potrs(dtype: Any) -> Any:
    def potrs(handle: int, uplo: int, n: int, nrhs: int, A: int, lda: int, B: int, ldb: int, devInfo: int) -> None:
        a, b = _triangle(_matrix(A, n, n, lda, dtype), uplo), _matrix(B, n, nrhs, ldb, dtype)
        b[...] = sl.cho_solve((a, uplo == _LOWER), b, check_finite=False)
        _matrix(devInfo, 1, 1, 1, np.int32)[0, 0] = 0

    return potrs


CUBLAS: dict[str, Any] = {
    "CUBLAS_OP_N": _N,
    "CUBLAS_OP_T": _T,
    "CUBLAS_OP_C": _C,
    "CUBLAS_FILL_MODE_LOWER": _LOWER,
    "CUBLAS_FILL_MODE_UPPER": _UPPER,
    "CUBLAS_SIDE_LEFT": _LEFT,
    "CUBLAS_SIDE_RIGHT": _RIGHT,
    "CUBLAS_DIAG_NON_UNIT": 0,
    "CUBLAS_DIAG_UNIT": 1,
    "CUBLAS_POINTER_MODE_HOST": 0,
    "CUBLAS_POINTER_MODE_DEVICE": 1,
    "getPointerMode": lambda handle: 0,
    "setPointerMode": lambda handle, mode: None,
}
CUSOLVER: dict[str, Any] = {}


def _silent(function: Any) -> Any:
    """The same function; overflow passes unnoticed, as on a device."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return call


for _letter, _dtype in (("s", np.float32), ("d", np.float64)):
    CUBLAS |= {
        f"{_letter}gemm": _silent(_gemm(_dtype)),
        f"{_letter}gemmStridedBatched": _silent(_gemm_strided(_dtype)),
        f"{_letter}syrk": _silent(_syrk(_dtype)),
        f"{_letter}symm": _silent(_symm(_dtype)),
        f"{_letter}trsm": _trsm(_dtype),
    }
    CUSOLVER |= {
        f"{_letter}potrf": _potrf(_dtype),
        f"{_letter}potrf_bufferSize": _potrf_size,
        f"{_letter}potrs": _potrs(_dtype),
    }


# ---------------------------------------------------------------- cupy.cublas and cupyx


def _code(trans: Any) -> int:
    return {"N": _N, "T": _T, "H": _C, "C": _C, 0: _N, 1: _T, 2: _C}[trans]


def _high_gemm(
    transa: Any, transb: Any, a: ndarray, b: ndarray, out: Any = None, alpha: float = 1.0, beta: float = 0.0
) -> ndarray:
    if out is None:
        beta = 0.0
        out = ndarray(
            (_turned(a._host, _code(transa)).shape[0], _turned(b._host, _code(transb)).shape[1]), a.dtype, order="F"
        )
    kind = a.dtype.type
    _update(out._host, _turned(a._host, _code(transa)) @ _turned(b._host, _code(transb)), kind(alpha), kind(beta))
    return out


def _high_syrk(
    trans: Any, a: ndarray, out: Any = None, alpha: float = 1.0, beta: float = 0.0, lower: bool = False
) -> ndarray:
    t = _turned(a._host, _code(trans))
    if out is None:
        beta, out = 0.0, wrap(np.zeros((len(t), len(t)), a.dtype, order="F"))
    kind = a.dtype.type
    mask = _triangle(np.ones((len(t), len(t)), bool), _LOWER if lower else _UPPER)
    _update(out._host, t @ t.T, kind(alpha), kind(beta), mask)
    return out


HIGH_CUBLAS: dict[str, Any] = {"gemm": _high_gemm, "syrk": _high_syrk}


def _solve_triangular(
    a: ndarray,
    b: ndarray,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = False,
) -> ndarray:
    for value in (a, b):
        if not isinstance(value, ndarray):
            raise TypeError(f"expected an array of the device, found {type(value)}")
    return wrap(
        np.asfortranarray(
            sl.solve_triangular(
                a._host,
                b._host,
                trans=_code(trans),
                lower=lower,
                unit_diagonal=unit_diagonal,
                check_finite=check_finite,
            )
        )
    )


def _empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    count = int(np.prod(shape))
    return np.frombuffer(alloc_pinned_memory(count * np.dtype(dtype).itemsize), dtype, count).reshape(
        shape, order=order
    )  # type: ignore[call-overload]


@contextlib.contextmanager
def _errstate(*, linalg: str) -> Iterator[None]:
    if linalg not in ("ignore", "raise"):
        raise NotImplementedError(f"linalg must be 'ignore' or 'raise', found {linalg!r}")
    kept, linalg_state["linalg"] = linalg_state["linalg"], linalg
    try:
        yield
    finally:
        linalg_state["linalg"] = kept


CUPYX: dict[str, Any] = {"empty_pinned": _empty_pinned, "errstate": _errstate}
SCIPY_LINALG: dict[str, Any] = {"solve_triangular": _solve_triangular}
