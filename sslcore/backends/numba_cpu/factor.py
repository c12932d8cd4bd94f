"""Cholesky factorisations on our own threads, of matrices of 512 to 4,096 rows.

Those of a BLAS wait busily for a tenth of a second afterwards, which takes a core from all that follows in a fit.  In
rows of memory U^T, of which a = U^T U, is a lower triangle L.  It is found block by block: the corner of a block, then
what lies below it, L_ik = a_ik L_kk^-T, which is kept transposed in strips as wide as a product in registers, and last
L_ik L_jk^T is subtracted from all that is left.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import tunables
from ...tunables import CPU_FACTOR_BLOCK_ROWS as DEPTH
from ...tunables import CPU_FACTOR_CACHED_ROWS as ROWS
from ..contract import Matrix
from .compiling import compiled
from .elementary import wide_vectors
from .parallel import n_threads, parallel_for
from .thin import rows_of
from .vectors import PRODUCT_ROWS, PRODUCT_VECTORS, VECTOR, Rows, add_block, ask_for_rows

__all__ = ["factorize"]


class _Step(NamedTuple):
    """The block that is found: its first row, how many there are, and the first row below."""

    first: int
    size: int
    below: int


def factorize(a: Matrix) -> bool:
    """Overwrite the upper triangle of ``a`` (Fortran order) with U, a = U^T U; False if not positive definite.

    The strict lower triangle is left as it was.
    """
    n, lower = len(a), a.T
    width = PRODUCT_VECTORS * VECTOR // a.itemsize
    strips = np.zeros((-(-n // width), DEPTH, width), a.dtype)
    negative = np.zeros((DEPTH, DEPTH), a.dtype)
    threads = n_threads()
    for first in range(0, n, DEPTH):
        step = _Step(first, min(DEPTH, n - first), min(first + DEPTH, n))
        if not _corner(lower, first, step.size, negative):
            return False
        left = n - step.below
        if not left:
            break
        count = -(-left // width)
        group = -(-count // threads)
        height = ROWS * -(-left // (ROWS * tunables.CPU_FACTOR_THREAD_PARTS * threads))

        def divide(s: int, step: _Step = step, group: int = group, count: int = count) -> None:
            _divide(lower, step, negative, strips, s * group, min((s + 1) * group, count))

        def subtract(s: int, step: _Step = step, left: int = left, height: int = height) -> None:
            stop = left - s * height  # the longest rows first
            _subtract(lower, step, strips, step.below + max(0, stop - height), step.below + stop)

        parallel_for(divide, -(-count // group))
        parallel_for(subtract, -(-left // height))
    return True


@compiled(nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _dot(matrix: Matrix, i: int, j: int, first: int, stop: int) -> Any:
    """Return the product of two rows of a matrix, of some columns."""
    wide_vectors()
    total = matrix.dtype.type(0)
    for t in range(first, stop):
        total += matrix[i, t] * matrix[j, t]
    return total


@compiled(nogil=True)
def _corner(lower: Matrix, first: int, size: int, negative: Matrix) -> bool:
    """Factorise a square on the diagonal in place; False if it is not positive definite.  ``negative`` becomes -L."""
    for i in range(first, first + size):
        for j in range(first, i + 1):
            value = lower[i, j] - _dot(lower, i, j, first, j)
            if i > j:
                value /= lower[j, j]
            elif value > 0:
                value = np.sqrt(value)
            else:  # NaN too
                return False
            lower[i, j] = value
            negative[i - first, j - first] = -value
    return True


@compiled(nogil=True)
def _divide(lower: Matrix, step: _Step, negative: Matrix, strips: Any, start: int, stop: int) -> None:
    """Find the rows of some strips below a block; ``negative`` is its corner's -L.  The strips are left as -L^T."""
    k, size = step.first, step.size
    width = strips.shape[2]
    zero, at = lower.dtype.type(0), rows_of(negative)
    for s in range(start, stop):
        strip, i0 = strips[s], step.below + s * width
        height = min(width, lower.shape[0] - i0)
        for r in range(height):
            for t in range(size):
                strip[t, r] = lower[i0 + r, k + t]
        solved = rows_of(strip)
        for t0 in range(0, size, PRODUCT_ROWS):
            if t0:
                x = Rows(at.address + t0 * at.stride, negative.itemsize)
                add_block(x, at.stride, solved, t0, Rows(solved.address + t0 * solved.stride, solved.stride), zero)
            for t in range(t0, min(t0 + PRODUCT_ROWS, size)):
                for u in range(t0, t):
                    factor = negative[t, u]
                    for r in range(width):
                        strip[t, r] += factor * strip[u, r]
                inverse = -1 / negative[t, t]
                for r in range(width):
                    strip[t, r] *= inverse
        for r in range(height):
            for t in range(size):
                lower[i0 + r, k + t] = strip[t, r]
        for t in range(size):
            for r in range(width):
                strip[t, r] = -strip[t, r]


@compiled(nogil=True)
def _subtract_few(lower: Matrix, step: _Step, strips: Any, i0: int, i1: int) -> None:
    """Do so for rows whose block stays in the second-level cache."""
    width, size = strips.shape[2], lower.itemsize
    zero = lower.dtype.type(0)
    spare = np.zeros((PRODUCT_ROWS, width), lower.dtype)  # for tiles across the diagonal
    last = np.zeros((PRODUCT_ROWS, step.size), lower.dtype)  # for rows that are fewer than a product's
    memory = rows_of(lower)
    for s in range(strips.shape[0]):
        j0 = step.below + s * width
        if j0 >= i1:
            break
        y = rows_of(strips[s])
        for i in range(i0, i1, PRODUCT_ROWS):
            height = min(PRODUCT_ROWS, i1 - i)
            if j0 >= i + height:
                continue
            row = memory.address + i * memory.stride
            x, apart = Rows(row + step.first * size, size), memory.stride
            if height == PRODUCT_ROWS and j0 + width <= i + 1:
                out = Rows(row + j0 * size, memory.stride)
                ask_for_rows(Rows(out.address + PRODUCT_ROWS * out.stride, out.stride), height, width * size)
                add_block(x, apart, y, step.size, out, zero)
                continue
            if height < PRODUCT_ROWS:
                for r in range(height):
                    for t in range(step.size):
                        last[r, t] = lower[i + r, step.first + t]
                others = rows_of(last)
                x, apart = Rows(others.address, size), others.stride
            spare[:] = 0
            add_block(x, apart, y, step.size, rows_of(spare), zero)
            for r in range(height):
                for c in range(min(width, i + r + 1 - j0)):
                    lower[i + r, j0 + c] += spare[r, c]


@compiled(nogil=True)
def _subtract(lower: Matrix, step: _Step, strips: Any, start: int, stop: int) -> None:
    """Subtract the products of the block's rows from some rows below it, on and left of the diagonal."""
    for i0 in range(start, stop, ROWS):
        _subtract_few(lower, step, strips, i0, min(i0 + ROWS, stop))
