"""Solves with a + s I for many shifts s: a is reduced to a band once, by orthogonal transformations that all s share.

a = P L P^T, P a product of block reflectors I - V T V^T (Schreiber and Van Loan 1989) and L of some dozen subdiagonals,
takes (4/3) n^3 operations, all in products of matrices: the time of about four Cholesky factorisations.  After that
a + s I = P (L + s I) P^T is factorised in n b^2 operations for each s.  V stays where the columns were that it has
cleared, below the band.  All runs on our own threads: those of a BLAS wait busily afterwards (`reduction`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import lapack

from ... import tunables
from ..contract import Matrix
from .banded_alone import solve_band, turn_columns
from .parallel import parallel_for
from .reduction import Reduction
from .unlocked import GEMM

__all__ = ["BandedShifts", "shifted"]


class BandedShifts:
    """The matrix a, reduced to a band: `factor` takes a shift, `solve` the factors of several."""

    def __init__(self, a: Matrix) -> None:
        self.n, self.matrix = len(a), a
        self.factorized = {np.dtype(np.float64): lapack.dpbtrf, np.dtype(np.float32): lapack.spbtrf}[a.dtype]
        self.width = width = max(1, min(tunables.CPU_BAND_COLUMNS, self.n - 1))
        self.band = np.zeros((width + 1, self.n), a.dtype, order="F")  # [d, j]: the entry (j + d, j)
        self.triangles = np.zeros(((self.n - 1) // width, width, width), a.dtype)  # T^T of each block of columns
        reduction = Reduction(a, width)
        for i in range(len(self.triangles)):
            self.triangles[i] = reduction.clear(i * width)[:width, :width].T
        for column in range(self.n):
            below = a[column : column + width + 1, column]
            self.band[: len(below), column] = below

    def factor(self, shift: float) -> Matrix | None:
        """Factorise a + shift I; None if it is not positive definite to rounding."""
        band = self.band.copy(order="F")
        band[0] += band.dtype.type(shift)
        lower, info = self.factorized(band, lower=1, overwrite_ab=1)
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

        def turn(part: slice) -> None:
            turn_columns(GEMM[b.dtype], self.matrix, self.triangles, b[:, part], back)

        _in_parts(turn, b.shape[1])

    def turn_rows(self, b: Matrix) -> None:
        """Overwrite b, (m, n) in Fortran order, by b P."""

        def turn(part: slice) -> None:
            turned = np.asfortranarray(b[part].T)
            turn_columns(GEMM[b.dtype], self.matrix, self.triangles, turned, False)
            b[part] = turned.T

        _in_parts(turn, len(b))

    def rounded(self) -> BandedShifts:
        """Return the same for right sides in float32: its reflectors are rounded, factors are not."""
        part = copy.copy(self)
        part.matrix, part.triangles = self.matrix.astype(np.float32), self.triangles.astype(np.float32)
        return part


def _in_parts(task: Callable[[slice], None], count: int) -> None:
    """Call ``task`` for parts of so many columns or rows, about equal, whatever the number of threads."""
    parts = -(-count // tunables.CPU_TURNED_COLUMNS)
    parallel_for(lambda i: task(slice(count * i // parts, count * (i + 1) // parts)), parts)


def shifted(a: Matrix) -> BandedShifts:
    """Prepare a, symmetric in Fortran order, for solves with a + s I for many s; a is overwritten and kept."""
    return BandedShifts(a)
