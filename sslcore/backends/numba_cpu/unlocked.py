"""Products and solves for tasks side by side: without Python's lock, which SciPy's wrappers keep, and on one thread.

The routine is that of ``scipy.linalg.cython_blas``, called by address from compiled code.
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
from scipy.linalg import cython_blas

from ...tunables import CPU_BLAS_ALONE_COLUMNS as COLUMNS
from ...tunables import CPU_BLAS_ALONE_PRODUCTS as MOST
from ...tunables import CPU_BLAS_ALONE_ROWS as ROWS
from ...tunables import CPU_BLAS_ALONE_SIDE_ROWS as SIDE
from ..contract import Array, Matrix
from .compiling import compiled, generated

__all__ = ["GEMM", "address_of", "cholesky_solve_alone", "gemm", "matmul_alone", "symmetric_product_alone"]


def _address(module: ModuleType, name: str) -> int:
    """Return the address of a routine of Fortran."""
    capsule, python = module.__pyx_capi__[name], ctypes.pythonapi
    signature = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", python))(capsule)
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", python))
    address: int = pointer(capsule, signature)
    return address


GEMM = {np.dtype(t): _address(cython_blas, name) for t, name in ((np.float64, "dgemm"), (np.float32, "sgemm"))}


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
def address_of(array: Array, place: int) -> int:
    """Return the address of an item of a contiguous array.

    Numba frees the array after its last use by name: use it once more after the call that is given the address.
    """
    return int(np.intp(array.ctypes.data)) + place * array.itemsize


@compiled(nogil=True)
def column_step(a: Matrix) -> int:
    """Return how many numbers the columns of a matrix, or of a leading block of it, are apart in Fortran order."""
    return int(a.strides[1] // a.itemsize if a.shape[1] > 1 else a.shape[0])


@compiled(nogil=True)
def gemm(
    routine: int, at: tuple[int, int, int], leading: tuple[int, int, int], flip: bool, sizes: Array, real: Array
) -> None:
    """Add a @ b (``flip``: a^T @ b) to the third matrix, all in Fortran order."""
    sizes[3], sizes[4], sizes[5] = leading
    letters = np.array([84 if flip else 78, 78], np.uint8)
    _call(
        routine,
        (
            address_of(letters, 0), address_of(letters, 1),
            address_of(sizes, 0), address_of(sizes, 1), address_of(sizes, 2),
            address_of(real, 0), at[0], address_of(sizes, 3), at[1], address_of(sizes, 4),
            address_of(real, 1), at[2], address_of(sizes, 5),
        ),
    )  # fmt: skip
    letters[0] = 0  # an array lives to its last use, which its address is not


@compiled(nogil=True)
def _product(routine: int, a: Matrix, flip: bool, b: Matrix, out: Matrix, factors: Array) -> None:
    """Set out = alpha a @ b + beta out (``flip``: a^T @ b), all in Fortran order, in pieces of at most MOST products.

    ``factors`` are alpha and beta.  A piece of ``a`` is multiplied by some columns after the other while it is in the
    cache; of few columns ``out`` is, and whole columns of ``a`` are read in turn.
    """
    rows, columns = out.shape
    inner = b.shape[0]
    sizes, real = np.zeros(6, np.int32), factors.copy()
    size, leading = a.itemsize, (column_step(a), inner, rows)
    first, second, third = address_of(a.T, 0), address_of(b.T, 0), address_of(out.T, 0)
    groups = -(-columns // COLUMNS)
    width = -(-columns // groups)
    if flip or groups > 1:
        depth = min(inner, ROWS if flip else ROWS // 8)
        height = max(1, MOST // (depth * width))
    else:
        depth, height = max(1, MOST // (rows * width)), rows
    below, right = (leading[0], 1) if flip else (1, leading[0])  # from one row of the product to the next, and along
    for k in range(0, inner, depth):
        sizes[2] = min(depth, inner - k)
        for i in range(0, rows, height):
            sizes[0] = min(height, rows - i)
            here = first + (i * below + k * right) * size
            for j in range(0, columns, width):
                sizes[1] = min(width, columns - j)
                at = (here, second + (k + j * inner) * size, third + (i + j * rows) * size)
                gemm(routine, at, leading, flip, sizes, real)
        real[1] = 1.0


def matmul_alone(a: Matrix, b: Matrix, *, out: Matrix | None = None, alpha: float = 1.0, beta: float = 0.0) -> Matrix:
    """Set out = alpha a @ b + beta out, as `dense.matmul`, in pieces for which BLAS starts no threads of its own.

    The pieces are the same whoever multiplies.  ``a`` may be a leading block of a matrix.
    """
    dtype = a.dtype
    if out is None:
        out, beta = np.empty((a.shape[0], b.shape[1]), dtype, order="F"), 0.0
    if not out.size or not a.size:
        out *= dtype.type(beta)
        return out
    assert out.flags.f_contiguous
    assert a.dtype == b.dtype == out.dtype
    flip = not (a.flags.f_contiguous or a.strides[0] == a.itemsize)
    factors = np.array([alpha, beta], dtype)
    _product(GEMM[dtype], a.T if flip else a, flip, np.asfortranarray(b), out, factors)
    return out


@compiled(nogil=True)
def _symmetric_product(routine: int, a: Matrix, diagonal: Array, b: Matrix, out: Matrix, square: Matrix) -> None:
    """Add the product of the matrix with a's strict lower triangle and this diagonal, by squares and what is below."""
    n, columns = out.shape
    width, apart = square.shape[0], column_step(a)
    sizes, real = np.zeros(6, np.int32), np.ones(2, square.dtype)
    sizes[1] = columns
    first, second, third = address_of(a.T, 0), address_of(b.T, 0), address_of(out.T, 0)
    size, step = a.itemsize, max(1, MOST // max(1, width * columns))
    for start in range(0, n, width):
        stop = min(n, start + width)
        for j in range(start, stop):
            square[j - start, j - start] = diagonal[j]
            for i in range(j + 1, stop):
                square[i - start, j - start] = square[j - start, i - start] = a[i, j]
        here = (third + start * size, second + start * size)
        sizes[0] = sizes[2] = stop - start
        gemm(routine, (address_of(square.T, 0), here[1], here[0]), (width, n, n), False, sizes, real)
        for row in range(stop, n, step):
            rows = min(step, n - row)
            block = first + (row + start * apart) * size
            sizes[0], sizes[2] = rows, stop - start
            gemm(routine, (block, here[1], third + row * size), (apart, n, n), False, sizes, real)
            sizes[0], sizes[2] = stop - start, rows
            gemm(routine, (block, second + row * size, here[0]), (apart, n, n), True, sizes, real)


def symmetric_product_alone(a: Matrix, diagonal: Array, b: Matrix) -> Matrix:
    """Multiply as `dense.symmetric_product`, on the caller's thread; ``a`` is in Fortran order."""
    out: Matrix = np.zeros(b.shape, a.dtype, order="F")
    square = np.zeros((SIDE, SIDE), a.dtype, order="F")
    if out.size:
        _symmetric_product(GEMM[a.dtype], a, diagonal.astype(a.dtype, copy=False), np.asfortranarray(b), out, square)
    return out


@compiled(nogil=True)
def _solve(routine: int, factor: Matrix, b: Matrix, width: int) -> None:
    """Overwrite b by (U^T U)^-1 b: squares on the diagonal one after the other, and products with what is beside."""
    n, columns = b.shape
    apart = column_step(factor)
    sizes, real = np.zeros(6, np.int32), np.ones(2, b.dtype)
    real[0] = -1.0
    sizes[1] = columns
    first, second = address_of(factor.T, 0), address_of(b.T, 0)
    size, step = b.itemsize, max(1, MOST // max(1, width * columns))
    for start in range(0, n, width):
        stop = min(n, start + width)
        for c in range(columns):
            for j in range(start, stop):
                value = b[j, c]
                for i in range(start, j):
                    value -= factor[i, j] * b[i, c]
                b[j, c] = value / factor[j, j]
        for row in range(stop, n, step):
            sizes[0], sizes[2] = min(step, n - row), stop - start
            at = (first + (start + row * apart) * size, second + start * size, second + row * size)
            gemm(routine, at, (apart, n, n), True, sizes, real)
    for block in range(-(-n // width) - 1, -1, -1):
        start, stop = block * width, min(n, (block + 1) * width)
        for row in range(stop, n, step):
            sizes[0], sizes[2] = stop - start, min(step, n - row)
            at = (first + (start + row * apart) * size, second + row * size, second + start * size)
            gemm(routine, at, (apart, n, n), False, sizes, real)
        for c in range(columns):
            for j in range(stop - 1, start - 1, -1):
                value = b[j, c] / factor[j, j]
                b[j, c] = value
                for i in range(start, j):
                    b[i, c] -= factor[i, j] * value


def cholesky_solve_alone(factor: Matrix, b: Matrix) -> Matrix:
    """Overwrite b, in Fortran order, by (U^T U)^-1 b: LAPACK has threads solve for more than a column."""
    b = np.asfortranarray(b)
    _solve(GEMM[b.dtype], factor, b, SIDE)
    return b
