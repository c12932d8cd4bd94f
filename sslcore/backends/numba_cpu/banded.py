"""Solves with a + s I for many shifts s: a is reduced to a band once, by orthogonal transformations that all s share.

a = P L P^T, P a product of block reflectors I - V T V^T (Schreiber and Van Loan 1989) and L of some dozen subdiagonals,
takes (4/3) n^3 operations, all in products of matrices: the time of about four Cholesky factorisations.  After that
a + s I = P (L + s I) P^T is factorised in n b^2 operations for each s.  V stays where the columns were that it has
cleared, below the band.
"""

from __future__ import annotations

import copy
import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import blas, cython_blas, cython_lapack, lapack

from ... import tunables
from ..contract import Matrix
from .banded_alone import solve_band, turn_columns
from .unlocked import GEMM

__all__ = ["BandedShifts", "shifted"]


def _routine(module: Any, name: str, arguments: int) -> Callable[..., None]:
    """Return a routine that takes a part of a matrix by its address: the wrappers of SciPy copy it."""
    python = ctypes.pythonapi
    name_of, pointer = python.PyCapsule_GetName, python.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = module.__pyx_capi__[name]
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(pointer(capsule, name_of(capsule)))


@dataclass(frozen=True)
class _Routines:
    """The routines of one type of numbers, with the arguments of LAPACK."""

    real: Any
    symm: Callable[..., None]
    syr2k: Callable[..., None]
    larfb: Callable[..., None]
    gemm: Callable[..., Any]
    geqrt: Callable[..., Any]
    pbtrf: Callable[..., Any]

    @classmethod
    def of(cls, letter: str, real: Any) -> _Routines:
        """Look up those whose names begin with ``letter``."""
        return cls(
            real,
            symm=_routine(cython_blas, letter + "symm", 12),
            syr2k=_routine(cython_blas, letter + "syr2k", 12),
            larfb=_routine(cython_lapack, letter + "larfb", 15),
            gemm=getattr(blas, letter + "gemm"),
            geqrt=getattr(lapack, letter + "geqrt"),
            pbtrf=getattr(lapack, letter + "pbtrf"),
        )


_ROUTINES: dict[Any, _Routines] = {
    np.dtype(np.float64): _Routines.of("d", ctypes.c_double),
    np.dtype(np.float32): _Routines.of("s", ctypes.c_float),
}


@functools.lru_cache(maxsize=1000)
def _reference(kind: Any, value: Any) -> Any:
    """Keep a number for routines that take numbers by reference, and never write to them."""
    return ctypes.byref(kind(value))


def _letter(value: str) -> Any:
    return ctypes.c_char(value.encode())


def _call(routine: Callable[..., None], real: Any, *arguments: Any) -> None:
    """Call a routine of Fortran: it takes letters, integers and numbers by reference, matrices by address."""
    kinds = {str: _letter, int: ctypes.c_int, float: real}
    routine(*[_reference(kinds[type(x)], x) if type(x) in kinds else x for x in arguments])


def _address(a: Matrix, row: int = 0, column: int = 0) -> Any:
    """Return where an entry of a matrix in Fortran order lies."""
    return ctypes.c_void_p(a.ctypes.data + a.itemsize * (row + column * len(a)))


class BandedShifts:
    """The matrix a, reduced to a band: `factor` takes a shift, `solve` the factors of several."""

    def __init__(self, a: Matrix) -> None:
        self.n, self.routines = len(a), _ROUTINES[a.dtype]
        self.width = max(1, min(tunables.CPU_BAND_COLUMNS, self.n - 1))
        self.matrix = a
        self.band = np.zeros((self.width + 1, self.n), a.dtype, order="F")  # [d, j]: the entry (j + d, j)
        self.alone = False
        blocks = (self.n - 1) // self.width
        self.triangles = np.zeros((blocks, self.width, self.width), a.dtype)  # T^T of each block of columns
        for start in range(0, self.n, self.width):
            if start + self.width < self.n:
                self._clear(start)
            for column in range(start, min(start + self.width, self.n)):
                below = a[column : column + self.width + 1, column]
                self.band[: len(below), column] = below

    def _clear(self, start: int) -> None:
        """Clear the columns from ``start`` on below the band, and turn what is to the right of them."""
        a, width, below, f = self.matrix, self.width, start + self.width, self.routines
        rows, real = self.n - below, f.real
        count = min(width, rows)
        panel, t, _ = f.geqrt(count, a[below:, start:below])
        v = np.asfortranarray(np.tril(panel[:, :count], -1))
        v[np.arange(count), np.arange(count)] = 1.0
        # (I - V T V^T)^T M (I - V T V^T) = M - V W^T - W V^T, W = Y - V (T^T V^T Y) / 2, Y = M V T
        image, right = np.empty_like(v), _address(a, below, below)
        _call(f.symm, real, "L", "L", rows, count, 1.0, right, self.n, _address(v), rows, 0.0, _address(image), rows)
        y = f.gemm(1.0, image, t)
        w = f.gemm(-0.5, v, f.gemm(1.0, t, f.gemm(1.0, v, y, trans_a=1), trans_a=1), beta=1.0, c=y, overwrite_c=1)
        _call(f.syr2k, real, "L", "N", rows, count, -1.0, _address(v), rows, _address(w), rows, 1.0, right, self.n)
        a[below:, start:below] = panel
        self.triangles[start // width, :count, :count] = t.T

    def factor(self, shift: float) -> Matrix | None:
        """Factorise a + shift I; None if it is not positive definite to rounding."""
        band = self.band.copy(order="F")
        band[0] += band.dtype.type(shift)
        lower, info = self.routines.pbtrf(band, lower=1, overwrite_ab=1)
        return None if info else lower

    def pivots(self, factor: Matrix) -> Matrix:
        """Return the diagonal of the triangular factor."""
        diagonal: Matrix = factor[0]
        return diagonal

    def solve(self, b: Matrix, factors: Sequence[tuple[Matrix, slice]], *, turned: bool = False) -> Matrix:
        """Overwrite columns of b (Fortran order), those of each slice by the solution with its factor; return b.

        ``turned``: b is P^T b, and so is the solution.
        """
        if not turned:
            self.turn(b)
        for factor, columns in factors:
            solve_band(factor.T, b.T[columns])
        if not turned:
            self.turn(b, back=True)
        return b

    def turn(self, b: Matrix, *, back: bool = False) -> None:
        """Overwrite b by P^T b, or by P b."""
        if self.alone:
            turn_columns(GEMM[b.dtype], self.matrix, self.triangles, b, back)
        else:
            self._reflect(("L", "N" if back else "T"), b, b.shape[1], backwards=back)

    def turn_rows(self, b: Matrix) -> None:
        """Overwrite b, (m, n) in Fortran order, by b P."""
        self._reflect(("R", "N"), b, len(b), backwards=False)

    def _reflect(self, way: tuple[str, str], b: Matrix, others: int, *, backwards: bool) -> None:
        """Multiply b by one block reflector after the other, in place; it has ``others`` rows or columns beside n."""
        f, work = self.routines, np.empty((others, self.width), b.dtype, order="F")
        space, left = (_address(work), others), way[0] == "L"
        numbers = range(len(self.triangles))
        for i in reversed(numbers) if backwards else numbers:
            start, below = i * self.width, (i + 1) * self.width
            rest = self.n - below
            sizes = (rest, others) if left else (others, rest)
            reflector = _address(self.matrix, below, start), self.n, _address(self.triangles[i]), self.width
            part = _address(b, below, 0) if left else _address(b, 0, below)
            _call(f.larfb, f.real, *way, "F", "C", *sizes, min(self.width, rest), *reflector, part, len(b), *space)

    def rounded(self) -> BandedShifts:
        """Return the same for right sides in float32: its reflectors are rounded, factors are not."""
        part = copy.copy(self)
        part.matrix, part.triangles = self.matrix.astype(np.float32), self.triangles.astype(np.float32)
        part.routines = _ROUTINES[np.dtype(np.float32)]
        return part

    def side_by_side(self) -> BandedShifts:
        """Return the same for a task beside others: it turns on the caller's thread."""
        part = copy.copy(self)
        part.alone = True
        return part


def shifted(a: Matrix) -> BandedShifts:
    """Prepare a, symmetric in Fortran order, for solves with a + s I for many s; a is overwritten and kept."""
    return BandedShifts(a)
