"""The columns of a symmetric matrix cleared below a band, on our own threads.

Products of a BLAS leave threads behind that wait busily for a tenth of a second, which takes a core from the solves
that come next.  Columns are cleared by a block reflector Q = I - V T V^T (Schreiber and Van Loan 1989), which turns
what is to the right of them, M:

    Q^T M Q = M - V W^T - W V^T,  W = Y - V (T^T V^T Y) / 2,  Y = M V T.

Of M the lower triangle is kept in Fortran order: in rows of memory, what is on the diagonal and to the right of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import tunables
from ...tunables import CPU_BAND_BLOCKED_COLUMNS as FEW
from ...tunables import CPU_BAND_CACHED_ROWS as CACHED
from ...tunables import CPU_BLAS_ALONE_PRODUCTS as MOST
from ..contract import Array, Matrix
from .compiling import compiled
from .elementary import FAST, wide_vectors
from .parallel import n_threads, parallel_for
from .thin import rows_of
from .unlocked import GEMM, address_of, gemm
from .vectors import PRODUCT_ROWS, PRODUCT_VECTORS, VECTOR, Rows, add_block, ask_for_rows

__all__ = ["Reduction"]


class _Part(NamedTuple):
    """The rows ``first`` to ``stop`` of the matrix, which are turned in blocks of ``side`` rows, and where V and W lie.

    ``pairs`` (rows, 2 columns) are V and W, with rows of zeros behind them, ``strips`` (strips, 2 columns, some rows)
    are -W and -V, transposed.
    """

    first: int
    stop: int
    pairs: Matrix
    strips: Array


class Reduction:
    """Memory for clearing the columns of ``a``, symmetric in Fortran order, ``width`` of them at a time."""

    def __init__(self, a: Matrix, width: int) -> None:
        self.rows, self.width, self.real = a.T, width, a.dtype
        strip = PRODUCT_VECTORS * VECTOR // a.itemsize
        self.side = PRODUCT_ROWS * -(-width // PRODUCT_ROWS)
        columns = strip * -(-width // strip)
        blocks = -(-len(a) // self.side)
        self.pairs = np.zeros((blocks * self.side, 2 * columns), a.dtype)
        self.strips = np.zeros((-(-len(a) // strip), 2 * columns, strip), a.dtype)
        self.sums = np.zeros((blocks, columns, columns), a.dtype)
        self.triangle = np.zeros((columns, columns), a.dtype)

    def clear(self, start: int) -> Matrix:
        """Clear ``width`` columns from ``start`` on below the band, and turn what is to the right; T, in our memory.

        V stays where the columns were, below the band.
        """
        first, n = start + self.width, len(self.rows)
        count = min(self.width, n - first)
        self.pairs[:] = 0.0
        _reflect(GEMM[self.real], self.rows, start, first, count, self.pairs, self.triangle)
        part = _Part(first, n, self.pairs, self.strips)
        blocks, strip = -(-(n - first) // self.side), self.strips.shape[2]
        sums = self.sums[:blocks]

        def multiply(b: int) -> None:
            _multiply(self.rows, part, b * self.side, self.side, self.triangle, sums[b])

        def complete(b: int) -> None:
            _complete(part, b * group, (b + 1) * group, half)

        def subtract(b: int) -> None:
            _subtract(self.rows, part, b * height, (b + 1) * height)

        parallel_for(multiply, blocks)
        half = _half(self.triangle, sums)
        group = strip * max(1, CACHED // strip)
        parallel_for(complete, -(-(n - first) // group))
        parts = tunables.CPU_FACTOR_THREAD_PARTS * n_threads()
        height = group * -(-(n - first) // (group * parts))  # whole blocks: what is written is no other task's
        parallel_for(subtract, -(-(n - first) // height))
        return self.triangle


# ---------------------------------------------------------------- the reflector


@compiled(nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _dot(x: Array, y: Array) -> Any:
    wide_vectors()
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@compiled(nogil=True, fastmath=FAST)
def _subtract_multiple(factor: float, x: Array, y: Array) -> None:
    wide_vectors()
    for i in range(len(x)):
        y[i] -= factor * x[i]


@compiled(nogil=True)
def _reflection(x: Array, v: Array) -> Any:
    """Return tau of I - tau v v^T, which leaves nothing of x but x[0]; v[0] = 1, and x[1:] becomes v[1:].

    Where a number is NaN or infinite all become NaN, in the band too.
    """
    v[0] = 1
    largest, strange = x.dtype.type(0), x.dtype.type(0)
    for i in range(1, len(x)):
        largest = max(largest, abs(x[i]))
        strange += x[i] * 0
    if not np.isfinite(strange):
        largest = strange
    if largest == 0:
        v[1:] = 0
        return x.dtype.type(0)
    largest = max(largest, abs(x[0]))
    for i in range(len(x)):
        v[i] = x[i] / largest
    alpha = v[0]
    beta = -np.copysign(np.sqrt(_dot(v, v)), alpha)
    v[0] = 1
    divisor = alpha - beta
    for i in range(1, len(x)):
        v[i] /= divisor
        x[i] = v[i]
    x[0] = beta * largest
    return (beta - alpha) / beta


@compiled(nogil=True)
def _reflect(routine: int, rows: Matrix, start: int, first: int, count: int, pairs: Matrix, triangle: Matrix) -> None:
    """Find V and T that clear ``rows[start:first, first:]`` behind its diagonal; V goes to ``pairs``, too.

    FEW reflections are applied to the columns after them at a time.
    """
    n, width = rows.shape[0], first - start
    height, size = n - first, rows.itemsize
    some = np.zeros((FEW, height), rows.dtype)
    inner, turned = np.zeros((width, FEW), rows.dtype), np.zeros((width, FEW), rows.dtype)
    small = np.zeros((FEW, FEW), rows.dtype)
    taus = np.zeros(count, rows.dtype)
    sizes, real = np.zeros(6, np.int32), np.ones(2, rows.dtype)
    for c0 in range(0, count, FEW):
        c1 = min(c0 + FEW, count)
        some[:] = 0
        for c in range(c0, c1):
            v = some[c - c0, c:]
            taus[c] = _reflection(rows[start + c, first + c :], v)
            for other in range(c + 1, c1):
                y = rows[start + other, first + c :]
                _subtract_multiple(taus[c] * _dot(v, y), v, y)
            for i in range(c, height):
                pairs[i, c] = some[c - c0, i]
        rest = width - c1
        if not rest:
            continue
        _triangle_of(some, taus, c0, c1 - c0, small)
        # C - V (T^T (V^T C)), in pieces for which BLAS starts no threads
        vectors, others = address_of(some, c0), address_of(rows, (start + c1) * n + first + c0)
        left = height - c0
        step = max(1, MOST // (FEW * rest))
        real[0], real[1] = 1, 0
        sizes[0], sizes[1] = FEW, rest
        for i in range(0, left, step):
            sizes[2] = min(step, left - i)
            at = (vectors + i * size, others + i * size, address_of(inner, 0))
            gemm(routine, at, (height, n, FEW), True, sizes, real)
            real[1] = 1
        for c in range(rest):
            for j in range(c1 - c0):
                total = rows.dtype.type(0)
                for i in range(j + 1):
                    total += small[i, j] * inner[c, i]
                turned[c, j] = total
        real[0], real[1] = -1, 1
        sizes[1], sizes[2] = rest, FEW
        for i in range(0, left, step):
            sizes[0] = min(step, left - i)
            at = (vectors + i * size, address_of(turned, 0), others + i * size)
            gemm(routine, at, (height, FEW, n), False, sizes, real)
    some[0, 0] = inner[0, 0] + turned[0, 0]  # arrays live to their last use, which their addresses are not
    _triangle(pairs, height, taus, triangle)


@compiled(nogil=True)
def _triangle_of(some: Matrix, taus: Array, first: int, count: int, triangle: Matrix) -> None:
    """Set ``triangle`` to T of a few reflections, I - V T V^T, whose vectors are rows of ``some``."""
    for j in range(count):
        for i in range(j):
            triangle[i, j] = _dot(some[i, first:], some[j, first:])
    _combine(triangle, taus[first : first + count])


@compiled(nogil=True)
def _combine(triangle: Matrix, taus: Array) -> None:
    """Overwrite the products v_i^T v_j, i < j, by T: its columns are -tau_j T (V^T v_j), and tau_j below."""
    column = np.zeros(len(taus), triangle.dtype)
    for j in range(len(taus)):
        for i in range(j):
            column[i] = triangle[i, j]
        for i in range(j):
            total = triangle.dtype.type(0)
            for t in range(i, j):
                total += triangle[i, t] * column[t]
            triangle[i, j] = -taus[j] * total
        triangle[j, j] = taus[j]


@compiled(nogil=True)
def _triangle(pairs: Matrix, height: int, taus: Array, triangle: Matrix) -> None:
    """Set ``triangle`` to T of all reflections, whose vectors are columns of ``pairs``; zeros below, and beside."""
    zero, strip = pairs.dtype.type(0), PRODUCT_VECTORS * VECTOR // pairs.itemsize
    triangle[:] = 0
    memory, out = rows_of(pairs), rows_of(triangle)
    for c in range(0, len(taus), strip):
        y = Rows(memory.address + c * pairs.itemsize, memory.stride)
        for r in range(0, min(c + strip, len(taus)), PRODUCT_ROWS):
            x = Rows(memory.address + r * pairs.itemsize, memory.stride)
            target = Rows(out.address + r * out.stride + c * pairs.itemsize, out.stride)
            add_block(x, pairs.itemsize, y, height, target, zero)
    for i in range(triangle.shape[0]):
        for j in range(triangle.shape[1]):
            if i > j or j >= len(taus):
                triangle[i, j] = 0
    _combine(triangle, taus)


# ---------------------------------------------------------------- what is to the right of it


@compiled(nogil=True)
def _add_product(x: Rows, apart: int, y: Rows, steps: int, out: Matrix, height: int, columns: int) -> None:
    """Add the sums over s of x[s, r] y[s, v] to ``out``, for r < ``height`` and v < ``columns``: whole blocks."""
    zero, strip = out.dtype.type(0), PRODUCT_VECTORS * VECTOR // out.itemsize
    to = rows_of(out)
    for r in range(0, height, PRODUCT_ROWS):
        for c in range(0, columns, strip):
            target = Rows(to.address + r * to.stride + c * out.itemsize, to.stride)
            add_block(
                Rows(x.address + r * apart, x.stride),
                apart,
                Rows(y.address + c * out.itemsize, y.stride),
                steps,
                target,
                zero,
            )


@compiled(nogil=True)
def _multiply(rows: Matrix, part: _Part, start: int, side: int, triangle: Matrix, sums: Matrix) -> None:
    """Put ``side`` rows of Y = M V T, from ``start`` on, in the place of W, and their share of V^T Y in ``sums``."""
    n, size, pairs = rows.shape[0], rows.itemsize, part.pairs
    total, columns = part.stop - part.first, triangle.shape[0]
    stop = min(start + side, total)
    here = stop - start
    image = np.zeros((side, columns), rows.dtype)
    corner = address_of(rows, part.first * n + part.first)
    v, step = rows_of(pairs), n * size
    # M is symmetric: what is left of the diagonal is read where it was kept, above
    for j in range(0, start, 2 * side):
        steps = min(2 * side, start - j)
        x = Rows(corner + j * step + start * size, step)
        _add_product(x, size, Rows(v.address + j * v.stride, v.stride), steps, image, here, columns)
    square = np.zeros((side, side), rows.dtype)
    for i in range(here):
        for j in range(i, here):
            square[i, j] = square[j, i] = rows[part.first + start + i, part.first + start + j]
    _add_product(
        Rows(address_of(square, 0), size), side * size, Rows(v.address + start * v.stride, v.stride), here, image, here,
        columns,
    )  # fmt: skip
    for j in range(stop, total, 2 * side):
        steps = min(2 * side, total - j)
        x = Rows(corner + start * step + j * size, size)
        _add_product(x, step, Rows(v.address + j * v.stride, v.stride), steps, image, here, columns)
    image[here:] = 0
    square[0, 0] = 0  # an array lives to its last use, which its address is not
    y = pairs[start : start + side, columns:]
    _add_product(Rows(address_of(image, 0), size), columns * size, rows_of(triangle), columns, y, side, columns)
    image[0, 0] = 0
    sums[:] = 0
    _add_product(Rows(v.address + start * v.stride, v.stride), size, rows_of(y), here, sums, columns, columns)


@compiled(nogil=True)
def _half(triangle: Matrix, sums: Array) -> Matrix:
    """Return -(T^T V^T Y) / 2, of the shares of all blocks in their order."""
    columns = triangle.shape[0]
    whole, out = np.zeros((columns, columns), triangle.dtype), np.zeros((columns, columns), triangle.dtype)
    for b in range(sums.shape[0]):
        whole += sums[b]
    for i in range(columns):
        for t in range(i + 1):
            factor = triangle[t, i] / -2
            for j in range(columns):
                out[i, j] += factor * whole[t, j]
    return out


@compiled(nogil=True)
def _complete(part: _Part, start: int, stop: int, half: Matrix) -> None:
    """Turn rows of Y into those of W = Y - V (T^T V^T Y) / 2, and put both into strips."""
    columns, strip = half.shape[0], part.strips.shape[2]
    size, stop = part.pairs.itemsize, min(stop, part.stop - part.first)
    v = rows_of(part.pairs[start:])
    _add_product(
        Rows(v.address, size), v.stride, rows_of(half), columns, part.pairs[start:, columns:], stop - start, columns
    )
    for i in range(start, start + strip * -(-(stop - start) // strip)):
        target = part.strips[i // strip]
        for t in range(columns):
            target[t, i % strip] = -part.pairs[i, columns + t] if i < stop else 0
            target[columns + t, i % strip] = -part.pairs[i, t] if i < stop else 0


@compiled(nogil=True)
def _subtract(rows: Matrix, part: _Part, start: int, stop: int) -> None:
    """Subtract V W^T + W V^T from some rows, on the diagonal and to the right of it."""
    strips, total = part.strips, part.stop - part.first
    depth, width = strips.shape[1], strips.shape[2]
    zero, size = rows.dtype.type(0), rows.itemsize
    spare = np.zeros((PRODUCT_ROWS, width), rows.dtype)  # for blocks that go beyond the matrix
    memory, vectors = rows_of(rows), rows_of(part.pairs)
    for first in range(start, min(stop, total), CACHED):
        last = min(first + CACHED, stop, total)
        for s in range(first // width, -(-total // width)):
            y, j = rows_of(strips[s]), s * width
            for i in range(first, min(last, j + width), PRODUCT_ROWS):
                x = Rows(vectors.address + i * vectors.stride, size)
                row = memory.address + (part.first + i) * memory.stride + part.first * size
                out = Rows(row + j * size, memory.stride)
                if i + PRODUCT_ROWS <= total and j + width <= total:
                    # what is left of the diagonal is nobody's
                    ask_for_rows(Rows(out.address + PRODUCT_ROWS * out.stride, out.stride), PRODUCT_ROWS, width * size)
                    add_block(x, vectors.stride, y, depth, out, zero)
                    continue
                spare[:] = 0
                add_block(x, vectors.stride, y, depth, rows_of(spare), zero)
                for r in range(min(PRODUCT_ROWS, total - i)):
                    for c in range(min(width, total - j)):
                        rows[part.first + i + r, part.first + j + c] += spare[r, c]
