"""Solves and turns of a reduced matrix for tasks side by side: without Python's lock, and on the caller's thread.

A band is so narrow that a solve waits for itself.  So all columns of a block are solved for at once: they lie side by
side in vectors, as do the lanes that LLVM multiplies.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from ...tunables import CPU_BLAS_ALONE_PRODUCTS as MOST
from ...tunables import CPU_TURNED_COLUMNS as TURNED
from ..contract import Array, Matrix
from .compiling import compiled, generated
from .elementary import wide_vectors
from .unlocked import address_of, gemm
from .vectors import VECTOR, Rows, add_term, constant, spread_from, unpacked, vector_at, zero_sums

__all__ = ["solve_band", "turn_columns"]

WIDE = 3
"""Vectors of columns that are solved for at once, at most."""

CHAINS = 2
"""Sums of each of them, so that one addition does not wait for the one before."""


def _eliminations(vectors: int) -> Callable[..., Any]:
    """Return an elimination step for so many vectors of columns."""

    @generated
    def step(
        typingctx: Any, like: Any, factors: Any, rows: Any, count: Any, pivot: Any, target: Any
    ) -> tuple[Any, Callable[..., Any]]:
        """Set the target to (target - sum_i factors[i] rows[i]) / pivot, i < count; pivot and target are addresses."""
        size = like.bitwidth // 8

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, factors, rows, count, pivot, target = args
            (factors, apart), (rows, stride) = unpacked(builder, factors, rows)
            kind = ir.VectorType(context.get_value_type(like), VECTOR // size)
            sums = zero_sums(builder, kind, itertools.product(range(CHAINS), range(vectors)))

            def add(place: Any, chain: int) -> None:
                factor = spread_from(builder, builder.add(factors, builder.mul(apart, place)), kind)
                row = builder.add(rows, builder.mul(stride, place))
                for v in range(vectors):
                    value = builder.load(vector_at(builder, row, constant(v * VECTOR), kind), align=size)
                    add_term(builder, sums[chain, v], factor, value)

            whole = builder.sdiv(count, constant(CHAINS))
            with cgutils.for_range(builder, whole) as loop:
                for chain in range(CHAINS):
                    add(builder.add(builder.mul(loop.index, constant(CHAINS)), constant(chain)), chain)
            done = builder.mul(whole, constant(CHAINS))
            with cgutils.for_range(builder, builder.sub(count, done)) as loop:
                add(builder.add(done, loop.index), 0)
            divisor = spread_from(builder, pivot, kind)
            for v in range(vectors):
                at = vector_at(builder, target, constant(v * VECTOR), kind)
                value = builder.load(at, align=size)
                for chain in range(CHAINS):
                    value = builder.fsub(value, builder.load(sums[chain, v]))
                builder.store(builder.fdiv(value, divisor), at, align=size)
            return context.get_dummy_value()

        return types.void(like, factors, rows, types.intp, types.intp, types.intp), codegen

    return step


_eliminate_one, _eliminate_two, _eliminate_three = (_eliminations(vectors) for vectors in range(1, WIDE + 1))


@compiled(nogil=True)
def _eliminate(like: Any, vectors: int, factors: Rows, rows: Rows, count: int, places: tuple[Any, Any]) -> None:
    if vectors == 1:
        _eliminate_one(like, factors, rows, count, places[0], places[1])
    elif vectors == 2:
        _eliminate_two(like, factors, rows, count, places[0], places[1])
    else:
        _eliminate_three(like, factors, rows, count, places[0], places[1])


@compiled(nogil=True)
def solve_band(lower: Matrix, block: Matrix) -> None:
    """Overwrite the rows of ``block`` (columns, n) by (L L^T)^-1 times them.

    ``lower`` (n, width + 1) has L[j + d, j] at [j, d].
    """
    wide_vectors()
    columns, n = block.shape
    width, size = lower.shape[1] - 1, lower.itemsize
    like, lanes = lower.dtype.type(0), VECTOR // size
    for first in range(0, columns, WIDE * lanes):
        here = min(WIDE * lanes, columns - first)
        vectors = -(-here // lanes)
        x = np.zeros((n, vectors * lanes), lower.dtype)
        for c in range(here):
            for j in range(n):
                x[j, c] = block[first + c, j]
        band, at, stride = np.intp(lower.ctypes.data), np.intp(x.ctypes.data), x.strides[0]
        for j in range(n):
            count = min(j, width)
            factors = Rows(band + ((j - count) * (width + 1) + count) * size, width * size)
            rows = Rows(at + (j - count) * stride, stride)
            _eliminate(like, vectors, factors, rows, count, (band + j * (width + 1) * size, at + j * stride))
        for j in range(n - 1, -1, -1):
            count = min(n - 1 - j, width)
            factors = Rows(band + (j * (width + 1) + count) * size, -size)
            rows = Rows(at + (j + count) * stride, -stride)
            _eliminate(like, vectors, factors, rows, count, (band + j * (width + 1) * size, at + j * stride))
        for c in range(here):
            for j in range(n):
                block[first + c, j] = x[j, c]


@compiled(nogil=True)
def turn_columns(routine: int, matrix: Matrix, triangles: Array, block: Matrix, back: bool) -> None:
    """Multiply ``block`` by one reflector I - V T V^T after the other, or, ``back``, by their transposes from the last.

    V of the i-th lies in ``matrix`` below the i-th block of columns' band, with a unit diagonal that is not stored;
    ``triangles`` (m, width, width) have T^T, and ``routine`` is the address of a product of matrices (`unlocked`).
    ``matrix`` and ``block`` are in Fortran order.
    """
    n, columns = block.shape
    count, width = triangles.shape[0], triangles.shape[1]
    size = matrix.itemsize
    sizes, real = np.zeros(6, np.int32), np.ones(2, matrix.dtype)
    square = np.zeros((width, width), matrix.dtype)
    inner, turned = np.empty((TURNED, width), matrix.dtype), np.empty((TURNED, width), matrix.dtype)
    corner, first, second = address_of(square, 0), address_of(inner, 0), address_of(turned, 0)
    for c0 in range(0, columns, TURNED):
        here = min(TURNED, columns - c0)
        target = address_of(block.T, c0 * n)
        step = max(1, MOST // (width * here))
        for number in range(count):
            i = count - 1 - number if back else number
            start = i * width
            below = start + width
            high = min(width, n - below)
            for c in range(high):
                square[c, c] = 1.0
                for r in range(c + 1, high):
                    square[c, r] = matrix[below + r, start + c]
            left, top = address_of(matrix.T, start * n), target + below * size
            sizes[0], sizes[1], sizes[2] = high, here, high
            real[0], real[1] = 1.0, 0.0
            gemm(routine, (corner, top, first), (width, n, width), True, sizes, real)
            real[1] = 1.0
            for row in range(below + high, n, step):
                sizes[2] = min(step, n - row)
                at = (left + row * size, target + row * size, first)
                gemm(routine, at, (n, n, width), True, sizes, real)
            sizes[2], real[1] = high, 0.0
            triangle = address_of(triangles, i * width * width)
            gemm(routine, (triangle, first, second), (width, width, width), not back, sizes, real)
            real[0], real[1] = -1.0, 1.0
            gemm(routine, (corner, second, top), (width, width, n), False, sizes, real)
            for row in range(below + high, n, step):
                sizes[0] = min(step, n - row)
                at = (left + row * size, second, target + row * size)
                gemm(routine, at, (n, width, n), False, sizes, real)
    inner[0, 0] = turned[0, 0]  # an array lives to its last use, which its address is not
