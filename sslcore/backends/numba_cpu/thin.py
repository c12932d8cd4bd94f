"""Products of a matrix with a thin block of columns, written on LLVM's vectors.

A BLAS reaches a fifth of the processor's rate for ten columns.  Here both products of a matrix V (rows i, columns j)
run along its rows, which are contiguous: V C adds V[i, j] C[j, c] in as many partial sums as a vector has lanes, V^T C
adds V[i, j] C[i, c] to a vector of results.  The thin blocks lie with the points along the rows, so that nothing is
wasted whatever their number of columns; up to GROUP columns are summed in registers at a time.

As many rows, or vectors, are multiplied at a time as there are registers for the sums of, and each vector is asked for
some time before it is needed: a matrix in memory, which is read once, then comes at nearly the rate of a copy.

Sums of a tile are of its type, those across tiles float64; their order does not depend on threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from ...tunables import CPU_PREFETCH_BYTES
from ..contract import Array, Matrix
from .compiling import compiled, generated
from .elementary import wide_vectors
from .vectors import VECTOR, Rows, add_term, ask_for, constant, spread_from, unpacked, vector_at, zero_sums

__all__ = [
    "Grid",
    "Part",
    "Thin",
    "add_lanes",
    "grid",
    "multiply_columns",
    "multiply_rows",
    "rows_of",
    "thin",
]

GROUP, SUMS = (12, 27) if llvmlite.binding.get_host_cpu_features().get("avx512f") else (2, 4)
"""Columns of a block at a time, and sums in registers: of 32 vectors, or of 16 that are half as wide."""

MOST = 6
"""Rows, or vectors, that are multiplied at a time, at most."""

_DOUBLE = 8  # bytes


class Thin(NamedTuple):
    """A block of columns with its points along the rows: address of the first, bytes between columns, their number."""

    address: Any  # np.intp
    stride: int
    columns: int


class Part(NamedTuple):
    """The rows i0 <= i < i1 and the columns j0 <= j < j1 of a matrix, or of the kernel values of points."""

    i0: int
    i1: int
    j0: int
    j1: int


class Grid(NamedTuple):
    """Factors in memory: address of the first, and how many bytes apart its rows and its columns are."""

    address: Any  # np.intp
    down: int
    across: int


_AT_ONCE = tuple(max(1, min(MOST, SUMS // max(1, columns))) for columns in range(GROUP + 1))
"""Rows, or vectors, that are multiplied by so many columns at a time."""


def _in_groups(emit: Callable[..., None]) -> Callable[..., None]:
    """Return the generator of a switch over the number of columns, 1 to GROUP, each with code of its own."""

    def branches(builder: Any, columns: Any, *others: Any) -> None:
        done = builder.append_basic_block("done")
        switch = builder.switch(columns, done)
        for count in range(1, GROUP + 1):
            case = builder.append_basic_block(f"columns{count}")
            switch.add_case(constant(count), case)
            builder.position_at_end(case)
            emit(builder, count, *others)
            builder.branch(done)
        builder.position_at_end(done)

    return branches


def _add_to_doubles(builder: Any, address: Any, value: Any, width: int) -> None:
    """Add a vector of either type to as many numbers of float64 in memory."""
    kind = ir.VectorType(ir.DoubleType(), width)
    if value.type != kind:
        value = builder.fpext(value, kind)
    pointer = vector_at(builder, address, constant(0), kind)
    builder.store(builder.fadd(builder.load(pointer, align=_DOUBLE), value), pointer, align=_DOUBLE)


def _load(builder: Any, address: Any, kind: Any, size: int) -> Any:
    """Load a vector, and ask for what lies CPU_PREFETCH_BYTES after it."""
    ask_for(builder, builder.add(address, constant(CPU_PREFETCH_BYTES)))
    return builder.load(vector_at(builder, address, constant(0), kind), align=size)


@generated
def _rows(
    typingctx: Any, like: Any, values: Any, height: Any, block: Any, vectors: Any, sums: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add the products of so many vectors of the next rows and a thin block, of at most GROUP, to the sums' lanes.

    Of _AT_ONCE rows ``height`` are there; in place of others the last is read, to no effect.  ``sums`` are Rows: for
    each row of values a vector of float64 for each column.
    """
    size = like.bitwidth // 8
    width = VECTOR // size

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, values, height, block, vectors, sums = args
        (values, stride), (sums, sums_stride) = unpacked(builder, values, sums)
        block, block_stride, columns = cgutils.unpack_tuple(builder, block, 3)
        kind = ir.VectorType(context.get_value_type(like), width)
        last = builder.sub(height, constant(1))

        def emit(builder: Any, count: int) -> None:
            totals = zero_sums(builder, kind, itertools.product(range(_AT_ONCE[count]), range(count)))
            there = [builder.icmp_signed("<", constant(r), height) for r in range(_AT_ONCE[count])]
            places = [builder.select(known, constant(r), last) for r, known in enumerate(there)]
            rows = [builder.add(values, builder.mul(stride, place)) for place in places]
            with cgutils.for_range(builder, vectors) as loop:
                at = builder.mul(loop.index, constant(VECTOR))
                loaded = [_load(builder, builder.add(row, at), kind, size) for row in rows]
                for c in range(count):
                    column = builder.add(block, builder.mul(block_stride, constant(c)))
                    factor = builder.load(vector_at(builder, column, at, kind), align=size)
                    for r, value in enumerate(loaded):
                        add_term(builder, totals[r, c], value, factor)
            for r, known in enumerate(there):
                with builder.if_then(known):
                    row = builder.add(sums, builder.mul(sums_stride, constant(r)))
                    for c in range(count):
                        at = builder.add(row, constant(c * width * _DOUBLE))
                        _add_to_doubles(builder, at, builder.load(totals[r, c]), width)

        _in_groups(emit)(builder, columns)
        return context.get_dummy_value()

    return types.void(like, values, types.intp, block, types.intp, sums), codegen


def _column_products(vectors: int | None) -> Callable[..., Any]:
    """Return the products of this many vectors of points, or _AT_ONCE, with a thin block over some rows of values."""

    @generated
    def block(
        typingctx: Any, like: Any, values: Any, height: Any, left: Any, columns: Any, totals: Any
    ) -> tuple[Any, Callable[..., Any]]:
        """Add sum_i values[i, j] left[i, c] to totals[c, j]; ``left`` is a Grid."""
        size = like.bitwidth // 8
        width = VECTOR // size

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, values, height, left, columns, totals = args
            (values, stride), (totals, totals_stride) = unpacked(builder, values, totals)
            left, down, across = cgutils.unpack_tuple(builder, left, 3)
            kind = ir.VectorType(context.get_value_type(like), width)

            def emit(builder: Any, count: int) -> None:
                at_once = range(vectors or _AT_ONCE[count])
                sums = zero_sums(builder, kind, itertools.product(range(count), at_once))
                with cgutils.for_range(builder, height) as loop:
                    row = builder.add(values, builder.mul(loop.index, stride))
                    points = [_load(builder, builder.add(row, constant(v * VECTOR)), kind, size) for v in at_once]
                    at = builder.add(left, builder.mul(loop.index, down))
                    for c in range(count):
                        factor = spread_from(builder, builder.add(at, builder.mul(across, constant(c))), kind)
                        for v in at_once:
                            add_term(builder, sums[c, v], points[v], factor)
                for (c, v), total in sums.items():
                    at = builder.add(totals, builder.mul(totals_stride, constant(c)))
                    at = builder.add(at, constant(v * width * _DOUBLE))
                    _add_to_doubles(builder, at, builder.load(total), width)

            _in_groups(emit)(builder, columns)
            return context.get_dummy_value()

        return types.void(like, values, types.intp, left, types.intp, totals), codegen

    return block


_columns_of_one, _columns_of_many = _column_products(1), _column_products(None)


@compiled(nogil=True)
def rows_of(matrix: Matrix) -> Rows:
    """Return the rows of a matrix."""
    return Rows(np.intp(matrix.ctypes.data), matrix.strides[0])


@compiled(nogil=True)
def thin(block: Matrix, first: int) -> Thin:
    """Return the thin block whose columns are the rows of this matrix, from the point ``first`` on."""
    return Thin(np.intp(block.ctypes.data) + first * block.itemsize, block.strides[0], block.shape[0])


@compiled(nogil=True)
def grid(block: Matrix, first: int) -> Grid:
    """Return the factors of a block whose columns are the rows of this matrix, from the point ``first`` on."""
    return Grid(np.intp(block.ctypes.data) + first * block.itemsize, block.itemsize, block.strides[0])


@compiled(nogil=True)
def _group(left: int) -> int:
    """Return the columns of the next group, so that the groups that are left are of nearly equal size."""
    groups = -(-left // GROUP)
    return -(-left // groups)


@compiled(nogil=True)
def multiply_rows(values: Rows, height: int, vectors: int, block: Thin, sums: Any, like: Array) -> None:
    """Add values @ block to the lanes of ``sums`` (height, columns, lanes), in float64.

    ``values`` are so many vectors long, of the type of ``like``; ``block`` begins at their first column.
    """
    wide_vectors()
    zero = like.dtype.type(0)
    first = 0
    while first < block.columns:
        count = _group(block.columns - first)
        factors = Thin(block.address + first * block.stride, block.stride, count)
        for i in range(0, height, _AT_ONCE[count]):
            rows = Rows(values.address + i * values.stride, values.stride)
            target = Rows(np.intp(sums.ctypes.data) + i * sums.strides[0] + first * sums.strides[1], sums.strides[0])
            _rows(zero, rows, height - i, factors, vectors, target)
        first += count


@compiled(nogil=True)
def multiply_columns(values: Rows, height: int, vectors: int, left: Grid, totals: Thin, like: Array) -> None:
    """Add values^T @ left to ``totals``, in float64; ``left`` has a row of factors for each row of values.

    ``values`` are so many vectors long, of the type of ``like``; ``totals`` begins at their first column.
    """
    wide_vectors()
    zero, size = like.dtype.type(0), like.itemsize
    first = 0
    while first < totals.columns:
        count = _group(totals.columns - first)
        factors = Grid(left.address + first * left.across, left.down, left.across)
        address = totals.address + first * totals.stride
        v = 0
        while v < vectors:
            points = Rows(values.address + v * VECTOR, values.stride)
            target = Rows(address + v * (VECTOR // size) * _DOUBLE, totals.stride)
            if v + _AT_ONCE[count] <= vectors:
                _columns_of_many(zero, points, height, factors, count, target)
                v += _AT_ONCE[count]
            else:
                _columns_of_one(zero, points, height, factors, count, target)
                v += 1
        first += count


@compiled(nogil=True)
def add_lanes(sums: Array, height: int, totals: Matrix) -> None:
    """Add the lanes of sums[i, c] to totals[i, c], and set them to zero."""
    for i in range(height):
        for c in range(sums.shape[1]):
            total = 0.0
            for lane in range(sums.shape[2]):
                total += sums[i, c, lane]
                sums[i, c, lane] = 0.0
            totals[i, c] += total
