"""BLAS and LAPACK for tasks side by side: without Python's lock, which SciPy's own wrappers keep, and on one thread.

The routines are those of ``scipy.linalg.cython_blas`` and ``cython_lapack``, called by address from compiled code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from scipy.linalg import cython_blas, cython_lapack

from ...tunables import CPU_BLAS_ALONE_PRODUCTS as MOST
from ..contract import Array, Matrix
from .compiling import compiled, generated

__all__ = ["cholesky_solve_alone", "matmul_alone"]


def _address(module: ModuleType, name: str) -> int:
    """Return the address of a routine of Fortran."""
    capsule, python = module.__pyx_capi__[name], ctypes.pythonapi
    signature = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", python))(capsule)
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", python))
    address: int = pointer(capsule, signature)
    return address


_GEMM = {np.dtype(t): _address(cython_blas, name) for t, name in ((np.float64, "dgemm"), (np.float32, "sgemm"))}
_POTRS = {np.dtype(t): _address(cython_lapack, name) for t, name in ((np.float64, "dpotrs"), (np.float32, "spotrs"))}


@generated
def _call(typingctx: Any, address: Any, arguments: Any) -> tuple[Any, Callable[..., Any]]:
    """Call a routine whose arguments are all addresses."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = cgutils.unpack_tuple(builder, args[1], len(arguments))
        function = ir.FunctionType(ir.VoidType(), [cgutils.intp_t] * len(pointers))
        builder.call(builder.inttoptr(args[0], function.as_pointer()), pointers)
        return context.get_dummy_value()

    return types.void(types.intp, arguments), codegen


@compiled(nogil=True)
def _at(array: Array, place: int) -> int:
    """Return the address of an item of a contiguous array."""
    return int(np.intp(array.ctypes.data)) + place * array.itemsize


@compiled(nogil=True)
def _gemm(
    routine: int, at: tuple[int, int, int], leading: tuple[int, int, int], flip: bool, sizes: Array, real: Array
) -> None:
    """Add a @ b (``flip``: a^T @ b) to the third matrix, all in Fortran order."""
    sizes[3], sizes[4], sizes[5] = leading
    letters = np.array([84 if flip else 78, 78], np.uint8)
    _call(
        routine,
        (
            _at(letters, 0), _at(letters, 1), _at(sizes, 0), _at(sizes, 1), _at(sizes, 2), _at(real, 0), at[0],
            _at(sizes, 3), at[1], _at(sizes, 4), _at(real, 1), at[2], _at(sizes, 5),
        ),
    )  # fmt: skip


@compiled(nogil=True)
def _product(routine: int, a: Matrix, flip: bool, b: Matrix, out: Matrix, factors: Array) -> None:
    """Set out = alpha a @ b + beta out (``flip``: a^T @ b), all in Fortran order, in pieces of at most MOST products.

    ``factors`` are alpha and beta.
    """
    rows, columns = out.shape
    inner = b.shape[0]
    sizes, real = np.zeros(6, np.int32), factors.copy()
    leading = (a.shape[0], inner, rows)
    sizes[0], sizes[1], sizes[2] = rows, columns, inner
    first, second, third = _at(a.T, 0), _at(b.T, 0), _at(out.T, 0)
    step = max(1, MOST // max(1, (inner if flip else rows) * columns))
    below = a.shape[0] * a.itemsize
    if flip:
        for start in range(0, rows, step):
            sizes[0] = min(step, rows - start)
            at = (first + start * below, second, third + start * a.itemsize)
            _gemm(routine, at, leading, flip, sizes, real)
    else:
        for start in range(0, inner, step):
            sizes[2] = min(step, inner - start)
            at = (first + start * below, second + start * a.itemsize, third)
            _gemm(routine, at, leading, flip, sizes, real)
            real[1] = 1.0


def matmul_alone(a: Matrix, b: Matrix, *, out: Matrix | None = None, alpha: float = 1.0, beta: float = 0.0) -> Matrix:
    """Set out = alpha a @ b + beta out, as `dense.matmul`, in pieces for which BLAS starts no threads of its own.

    The pieces are the same whoever multiplies.
    """
    dtype = a.dtype
    if out is None:
        out, beta = np.empty((a.shape[0], b.shape[1]), dtype, order="F"), 0.0
    if not out.size or not a.size:
        out *= dtype.type(beta)
        return out
    flip = not a.flags.f_contiguous
    factors = np.array([alpha, beta], dtype)
    _product(_GEMM[dtype], a.T if flip else a, flip, np.asfortranarray(b), out, factors)
    return out


@compiled(nogil=True)
def _solve(routine: int, factor: Matrix, b: Matrix) -> None:
    sizes, letter = np.array([b.shape[0], b.shape[1], 0], np.int32), np.array([85], np.uint8)
    n, info = _at(sizes, 0), _at(sizes, 2)
    _call(routine, (_at(letter, 0), n, _at(sizes, 1), _at(factor.T, 0), n, _at(b.T, 0), n, info))


def cholesky_solve_alone(factor: Matrix, b: Matrix) -> Matrix:
    """Overwrite b, in Fortran order, by (U^T U)^-1 b; of few columns LAPACK solves for on the caller's thread."""
    b = np.asfortranarray(b)
    _solve(_POTRS[b.dtype], factor, b)
    return b
