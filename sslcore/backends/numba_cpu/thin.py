"""Products of a tile of kernel values with a thin block of columns, written on LLVM's vectors.

A BLAS reaches a fifth of the processor's rate for matrices of ten columns.  Here both products of a tile V (rows i,
columns j) run along its rows, which are contiguous: V C adds V[i, j] C[j, c] in as many partial sums as a vector has
lanes, V^T C adds V[i, j] C[i, c] to a vector of results.  The thin blocks lie with the points along the rows, so that
nothing is wasted whatever their number of columns; up to GROUP columns times two vectors of sums are in registers.

Sums of a tile are of its type, those across tiles float64; their order does not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..contract import Array, Matrix
from .compiling import compiled, generated
from .elementary import wide_vectors
from .vectors import VECTOR, Rows, constant, spread, vector_at

__all__ = ["Thin", "add_lanes", "multiply_columns", "multiply_rows"]

GROUP = 12 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 2
"""Columns whose sums are in registers: of 32 vectors, or of 16 that are half as wide."""

_DOUBLE = 8  # bytes


class Thin(NamedTuple):
    """A block of columns with its points along the rows: address of the first, bytes between columns, their number."""

    address: Any  # np.intp
    stride: int
    columns: int


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


@generated
def _rows(
    typingctx: Any, like: Any, values: Any, block: Any, columns: Any, vectors: Any, sums: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add, for two rows of values and ``columns`` of a thin block, the products of so many vectors to the sums' lanes.

    ``sums`` are Rows: those of the first row of values, then of the second, a vector of float64 for each column.
    """
    size = like.bitwidth // 8
    width = VECTOR // size

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, values, block, columns, vectors, sums = args
        (values, stride), (block, block_stride), (sums, sums_stride) = (
            cgutils.unpack_tuple(builder, rows, 2) for rows in (values, block, sums)
        )
        kind = ir.VectorType(context.get_value_type(like), width)

        def emit(builder: Any, count: int) -> None:
            zero = ir.Constant(kind, [0.0] * width)
            totals = [[cgutils.alloca_once_value(builder, zero) for _ in range(count)] for _ in range(2)]
            for row in totals:
                for total in row:
                    builder.store(zero, total)
            with cgutils.for_range(builder, vectors) as loop:
                at = builder.mul(loop.index, constant(VECTOR))
                first = builder.load(vector_at(builder, values, at, kind), align=size)
                second = builder.load(vector_at(builder, builder.add(values, stride), at, kind), align=size)
                for c in range(count):
                    column = builder.add(block, builder.mul(block_stride, constant(c)))
                    factor = builder.load(vector_at(builder, column, at, kind), align=size)
                    for value, row in ((first, totals[0]), (second, totals[1])):
                        term = builder.fmul(value, factor, flags=("contract",))
                        builder.store(builder.fadd(builder.load(row[c]), term, flags=("contract",)), row[c])
            for r, row in enumerate(totals):
                for c, total in enumerate(row):
                    at = builder.add(sums, builder.mul(sums_stride, constant(r)))
                    at = builder.add(at, constant(c * width * _DOUBLE))
                    _add_to_doubles(builder, at, builder.load(total), width)

        _in_groups(emit)(builder, columns)
        return context.get_dummy_value()

    return types.void(like, values, block, types.intp, types.intp, sums), codegen


def _columns(vectors: int) -> Callable[..., Any]:
    """Return the products of this many vectors of points with a thin block over some rows of values."""

    @generated
    def block(
        typingctx: Any, like: Any, values: Any, height: Any, left: Any, columns: Any, totals: Any
    ) -> tuple[Any, Callable[..., Any]]:
        """Add sum_i values[i, j] left[i, c] to totals[c, j]; ``left`` has its columns side by side, in Rows."""
        size = like.bitwidth // 8
        width = VECTOR // size

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, values, height, left, columns, totals = args
            (values, stride), (left, left_stride), (totals, totals_stride) = (
                cgutils.unpack_tuple(builder, rows, 2) for rows in (values, left, totals)
            )
            real = context.get_value_type(like)
            kind = ir.VectorType(real, width)

            def emit(builder: Any, count: int) -> None:
                zero = ir.Constant(kind, [0.0] * width)
                sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(vectors)] for _ in range(count)]
                for row in sums:
                    for total in row:
                        builder.store(zero, total)
                with cgutils.for_range(builder, height) as loop:
                    row = builder.add(values, builder.mul(loop.index, stride))
                    points = [
                        builder.load(vector_at(builder, row, constant(v * VECTOR), kind), align=size)
                        for v in range(vectors)
                    ]
                    at = builder.add(left, builder.mul(loop.index, left_stride))
                    for c in range(count):
                        address = builder.add(at, constant(c * size))
                        factor = spread(builder, builder.load(builder.inttoptr(address, real.as_pointer())), kind)
                        for point, total in zip(points, sums[c], strict=True):
                            term = builder.fmul(point, factor, flags=("contract",))
                            builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
                for c, row in enumerate(sums):
                    for v, total in enumerate(row):
                        at = builder.add(totals, builder.mul(totals_stride, constant(c)))
                        at = builder.add(at, constant(v * width * _DOUBLE))
                        _add_to_doubles(builder, at, builder.load(total), width)

            _in_groups(emit)(builder, columns)
            return context.get_dummy_value()

        return types.void(like, values, types.intp, left, types.intp, totals), codegen

    return block


_columns_of_one = _columns(1)
_columns_of_two = _columns(2)


@compiled(nogil=True)
def _group(left: int) -> int:
    """Return the columns of the next group, so that the groups that are left are of nearly equal size."""
    groups = -(-left // GROUP)
    return -(-left // groups)


@compiled(nogil=True)
def multiply_rows(values: Rows, height: int, vectors: int, block: Thin, sums: Any, like: Array) -> None:
    """Add values @ block to the lanes of ``sums`` (height rounded up to even, columns, lanes), in float64.

    ``values`` are so many vectors long, of the type of ``like``; ``block`` begins at their first column.
    """
    wide_vectors()
    zero = like.dtype.type(0)
    for i in range(0, height, 2):
        rows = Rows(values.address + i * values.stride, values.stride if i + 1 < height else 0)  # the last row, twice
        c = 0
        while c < block.columns:
            count = _group(block.columns - c)
            factors = Rows(block.address + c * block.stride, block.stride)
            target = Rows(np.intp(sums.ctypes.data) + i * sums.strides[0] + c * sums.strides[1], sums.strides[0])
            _rows(zero, rows, factors, count, vectors, target)
            c += count


@compiled(nogil=True)
def multiply_columns(values: Rows, height: int, vectors: int, left: Rows, totals: Thin, like: Array) -> None:
    """Add values^T @ left to ``totals``, in float64; ``left`` has a row of factors for each row of values.

    ``values`` are so many vectors long, of the type of ``like``; ``totals`` begins at their first column.
    """
    wide_vectors()
    zero, size = like.dtype.type(0), like.itemsize
    c = 0
    while c < totals.columns:
        count = _group(totals.columns - c)
        factors = Rows(left.address + c * size, left.stride)
        address = totals.address + c * totals.stride
        v = 0
        while v < vectors:
            points = Rows(values.address + v * VECTOR, values.stride)
            target = Rows(address + v * (VECTOR // size) * _DOUBLE, totals.stride)
            if v + 2 <= vectors:
                _columns_of_two(zero, points, height, factors, count, target)
                v += 2
            else:
                _columns_of_one(zero, points, height, factors, count, target)
                v += 1
        c += count


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
