"""Products and solves of large matrices with thin blocks, at nearly the rate at which memory is read.

What an exact solver does a few dozen times with three matrices that no cache holds.  OpenBLAS takes twice as long for
ten columns, reads a triangular factor once for each thread, and leaves threads behind that wait busily.  Sums have a
fixed order: the results are the same bits on any number of threads.
"""

from __future__ import annotations

import numpy as np

from ... import tunables
from ...tunables import CPU_SOLVE_BLOCK_ROWS as SOLVED
from ...tunables import CPU_SOLVE_CORNER_ROWS as CORNER
from ...tunables import CPU_THIN_STREAMS_ROWS as STREAMS
from ...tunables import CPU_THIN_SYMMETRIC_PAIRS, CPU_THIN_TILE_PAIRS
from ..contract import Array, Matrix
from .compiling import compiled
from .parallel import n_threads, parallel_for
from .thin import (
    Part,
    grid,
    multiply_columns,
    multiply_rows,
    rows_of,
    thin,
)
from .vectors import VECTOR, Rows

__all__ = ["is_thin", "multiply", "multiply_symmetric", "solve"]

HIGH, WIDE = CPU_THIN_TILE_PAIRS
LOW, SHORT = CPU_THIN_SYMMETRIC_PAIRS


def is_thin(a: Matrix, b: Matrix, out: Matrix | None = None) -> bool:
    """Tell whether a product with ``b`` is one for this module: large, of few columns, and all arrays without gaps."""
    columns = b.shape[1]
    if not 0 < columns <= tunables.CPU_THIN_MOST_COLUMNS or a.size * columns < tunables.CPU_THIN_LEAST_PRODUCTS:
        return False
    if a.dtype != b.dtype or not (a.flags.c_contiguous or a.flags.f_contiguous) or not b.flags.f_contiguous:
        return False
    if out is not None and not (out.flags.f_contiguous and out.dtype == a.dtype):
        return False
    return bool(a.flags.writeable and b.flags.writeable)  # Numba compiles anew for arrays that are not


def multiply(a: Matrix, b: Matrix, out: Matrix, alpha: float, beta: float) -> None:
    """Set out = alpha a @ b + beta out."""
    if a.flags.c_contiguous:
        _rows(a, Part(0, a.shape[0], 0, a.shape[1]), b.T, (alpha, beta), out.T)
    else:
        _columns(a.T, Part(0, a.shape[1], 0, a.shape[0]), b.T, (alpha, beta), out.T)


def solve(factor: Matrix, b: Matrix) -> None:
    """Overwrite b by (U^T U)^-1 b; U in Fortran order."""
    lower, columns, n = factor.T, b.T, len(b)
    if n <= tunables.CPU_SOLVE_APART_ROWS:  # every wait for all threads would take as long as the work of one
        parts = min(n_threads(), max(1, len(columns) // tunables.CPU_SOLVE_APART_COLUMNS))
        cuts = [len(columns) * i // parts for i in range(parts + 1)]
        parallel_for(lambda i: _alone(lower, columns[cuts[i] : cuts[i + 1]]), parts)
        return
    starts = range(0, n, SOLVED)
    for start in starts:
        stop = min(start + SOLVED, n)
        if start:
            _rows(lower, Part(start, stop, 0, start), columns, (-1.0, 1.0), columns)
        _forward(lower, start, stop, columns)
    for start in reversed(starts):
        stop = min(start + SOLVED, n)
        _backward(lower, start, stop, columns)
        if start:
            _columns(lower, Part(start, stop, 0, start), columns, (-1.0, 1.0), columns)


def multiply_symmetric(a: Matrix, diagonal: Array, b: Matrix) -> Matrix:
    """Return the product of b and the symmetric matrix with the strict lower triangle of a (Fortran order)."""
    n, columns = b.shape
    tasks = int(min(max(1, n * n * columns // 2 // tunables.CPU_THIN_TASK_PRODUCTS), tunables.CPU_THIN_MOST_PARTS))
    cuts = [LOW * round(n * (1 - (1 - i / tasks) ** 0.5) / LOW) for i in range(tasks)] + [n]  # of equal areas
    totals = np.zeros((tasks, columns, n + VECTOR // b.itemsize))
    parallel_for(lambda i: _symmetric(a.T, cuts[i], cuts[i + 1], b.T, totals[i]), tasks)
    product: Matrix = np.empty((n, columns), b.dtype, order="F")
    product.T[...] = totals.sum(axis=0)[:, :n] + diagonal * b.T
    return product


def _tasks(part: Part, columns: int) -> int:
    """Return how many tasks a product with this part of a matrix is worth."""
    products = (part.i1 - part.i0) * (part.j1 - part.j0) * columns
    return min(max(1, products // tunables.CPU_THIN_TASK_PRODUCTS), tunables.CPU_THIN_MOST_PARTS)


def _cut(start: int, stop: int, tasks: int, unit: int) -> tuple[int, int]:
    """Return the size and number of about so many parts of a range, of a multiple of ``unit`` each but the last."""
    size = unit * -(-(stop - start) // (unit * tasks))
    return size, -(-(stop - start) // size)


def _rows(values: Matrix, part: Part, right: Matrix, scales: tuple[float, float], out: Matrix) -> None:
    """Do `_times`, on several threads."""
    tasks = _tasks(part, len(right))
    size, count = _cut(part.i0, part.i1, tasks, min(HIGH, -(-(part.i1 - part.i0) // tasks)))

    def task(s: int) -> None:
        start = part.i0 + s * size
        _times(values, Part(start, min(start + size, part.i1), part.j0, part.j1), right, scales, out)

    parallel_for(task, count)


def _columns(values: Matrix, part: Part, left: Matrix, scales: tuple[float, float], out: Matrix) -> None:
    """Do `_transposed_times`, on several threads."""
    tasks = min(_tasks(part, len(left)), n_threads())  # wide: each row of a task is a run of memory
    size, count = _cut(part.j0, part.j1, tasks, tunables.CPU_THIN_LEAST_COLUMNS)

    def task(s: int) -> None:
        start = part.j0 + s * size
        _transposed_times(values, Part(part.i0, part.i1, start, min(start + size, part.j1)), left, scales, out)

    parallel_for(task, count)


@compiled(nogil=True)
def _store(total: float, scales: tuple[float, float], out: Matrix, c: int, i: int) -> None:
    """Set out[c, i] = alpha total + beta out[c, i]; what was there is not looked at if beta is 0."""
    alpha, beta = scales
    out[c, i] = alpha * total + beta * out[c, i] if beta != 0.0 else alpha * total


@compiled(nogil=True)
def _times(values: Matrix, part: Part, right: Matrix, scales: tuple[float, float], out: Matrix) -> None:
    """Set out[c, i] = alpha sum_j values[i, j] right[c, j] + beta out[c, i] for the rows and columns of a part."""
    lanes = VECTOR // values.itemsize
    sums = np.zeros((HIGH, right.shape[0], lanes))
    whole = part.j0 + (part.j1 - part.j0) // lanes * lanes
    for i0 in range(part.i0, part.i1, HIGH):
        height = min(HIGH, part.i1 - i0)
        rows = rows_of(values[i0:])
        for k0 in range(part.j0, whole, WIDE):
            here = Rows(rows.address + k0 * values.itemsize, rows.stride)
            vectors = min(WIDE, whole - k0) // lanes
            multiply_rows(here, height, vectors, thin(right, k0), sums, right[0])
        for i in range(height):
            for c in range(right.shape[0]):
                total = 0.0
                for lane in range(lanes):
                    total += sums[i, c, lane]
                    sums[i, c, lane] = 0.0
                for j in range(whole, part.j1):
                    total += values[i0 + i, j] * right[c, j]
                _store(total, scales, out, c, i0 + i)


@compiled(nogil=True)
def _transposed_times(values: Matrix, part: Part, left: Matrix, scales: tuple[float, float], out: Matrix) -> None:
    """Set out[c, j] = alpha sum_i values[i, j] left[c, i] + beta out[c, j] for the rows and columns of a part."""
    size = values.itemsize
    lanes, width = VECTOR // size, part.j1 - part.j0
    vectors = width // lanes
    totals = np.zeros((left.shape[0], (vectors + 1 | 1) * lanes))  # rows do not share a set of the cache
    for i0 in range(part.i0, part.i1, STREAMS):
        height = min(STREAMS, part.i1 - i0)
        rows = rows_of(values[i0:])
        here = Rows(rows.address + part.j0 * size, rows.stride)
        multiply_columns(here, height, vectors, grid(left, i0), thin(totals, 0), left[0])
        for j in range(vectors * lanes, width):
            for c in range(left.shape[0]):
                for i in range(i0, i0 + height):
                    totals[c, j] += values[i, part.j0 + j] * left[c, i]
    for c in range(left.shape[0]):
        for j in range(width):
            _store(totals[c, j], scales, out, c, part.j0 + j)


@compiled(nogil=True)
def _corner(lower: Matrix, start: int, stop: int, transposed: bool, block: Matrix) -> None:
    """Solve with a small square on the diagonal of L, or of L^T, in place, for all columns of the block at once."""
    columns = block.shape[0]
    x = np.empty((stop - start, columns), block.dtype)
    for i in range(stop - start):
        for c in range(columns):
            x[i, c] = block[c, start + i]
    for step in range(stop - start):
        i = stop - start - 1 - step if transposed else step
        if not transposed:
            for j in range(i):
                factor = lower[start + i, start + j]
                for c in range(columns):
                    x[i, c] -= factor * x[j, c]
        for c in range(columns):
            x[i, c] /= lower[start + i, start + i]
            block[c, start + i] = x[i, c]
        if transposed:
            for j in range(i):
                factor = lower[start + i, start + j]
                for c in range(columns):
                    x[j, c] -= factor * x[i, c]


@compiled(nogil=True)
def _forward(lower: Matrix, start: int, stop: int, block: Matrix) -> None:
    """Solve with a square on the diagonal of L, in place."""
    for i in range(start, stop, CORNER):
        end = min(i + CORNER, stop)
        if i > start:
            _times(lower, Part(i, end, start, i), block, (-1.0, 1.0), block)
        _corner(lower, i, end, False, block)


@compiled(nogil=True)
def _backward(lower: Matrix, start: int, stop: int, block: Matrix) -> None:
    """Solve with the transpose of a square on the diagonal of L, in place."""
    corners = -(-(stop - start) // CORNER)
    for s in range(corners):
        i = start + (corners - 1 - s) * CORNER
        end = min(i + CORNER, stop)
        _corner(lower, i, end, True, block)
        if i > start:
            _transposed_times(lower, Part(i, end, start, i), block, (-1.0, 1.0), block)


@compiled(nogil=True)
def _alone(lower: Matrix, block: Matrix) -> None:
    """Solve with L and L^T, in place."""
    n = block.shape[1]
    for start in range(0, n, SOLVED):
        stop = min(start + SOLVED, n)
        if start:
            _times(lower, Part(start, stop, 0, start), block, (-1.0, 1.0), block)
        _forward(lower, start, stop, block)
    for start in range((n - 1) // SOLVED * SOLVED, -1, -SOLVED):
        stop = min(start + SOLVED, n)
        _backward(lower, start, stop, block)
        if start:
            _transposed_times(lower, Part(start, stop, 0, start), block, (-1.0, 1.0), block)


@compiled(nogil=True)
def _symmetric(values: Matrix, start: int, stop: int, block: Matrix, totals: Matrix) -> None:
    """Add the products of the values right of the diagonal, in some rows, to both of their parts of ``totals``."""
    size, n = values.itemsize, values.shape[1]
    lanes, columns = VECTOR // size, block.shape[0]
    sums = np.zeros((LOW, columns, lanes))
    for i0 in range(start, stop, LOW):
        i1 = min(i0 + LOW, stop)
        rows = rows_of(values[i0:])
        whole = i1 + (n - i1) // lanes * lanes
        for k0 in range(i1, whole, SHORT):
            here = Rows(rows.address + k0 * size, rows.stride)
            vectors = min(SHORT, whole - k0) // lanes
            multiply_rows(here, i1 - i0, vectors, thin(block, k0), sums, block[0])
            multiply_columns(here, i1 - i0, vectors, grid(block, i0), thin(totals, k0), block[0])
        for i in range(i0, i1):
            for c in range(columns):
                total = 0.0
                for lane in range(lanes):
                    total += sums[i - i0, c, lane]
                    sums[i - i0, c, lane] = 0.0
                for first, last in ((i + 1, i1), (whole, n)):
                    for j in range(first, last):
                        total += values[i, j] * block[c, j]
                        totals[c, j] += values[i, j] * block[c, i]
                totals[c, i] += total
