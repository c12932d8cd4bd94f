"""Blocks of a Gram matrix in registers, written on LLVM's vectors: what its vectoriser does not find by itself.

Two pieces.  Pair values of a few points of x with a vector of points of y: the sums stay in registers over all
coordinates, where a loop over rows of results loads and stores them once for every few.  And the transposed copy of a
square of 8 x 8 values, by shuffles, where a loop moves one value at a time.  LLVM cuts the vectors to the width that
the processor has.
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .elementary import wide_vectors

__all__ = ["ROWS", "SIDE", "VECTOR", "pair_values", "transpose"]

ROWS = 8
"""Points of x at a time: as many sums in registers, enough to hide the time that one operation takes."""

VECTOR = 64
"""Bytes of a vector of points of y: the widest that there are."""

SIDE = 8
"""Side of the squares that are transposed."""

_INTEGER = cgutils.intp_t


def _vector(builder, address, offset, kind):
    """The pointer to a vector at this address plus this many bytes; it is aligned as one value only."""
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _constant(value):
    return ir.Constant(_INTEGER, value)


def _pair_values(absolute):
    """An intrinsic: the pair values of ROWS points of x with a vector of points of y."""

    @intrinsic
    def block(typingctx, like, x, x_stride, y, y_stride, d, out, out_stride):
        size = like.bitwidth // 8
        width = VECTOR // size

        def codegen(context, builder, signature, args):
            _, x, x_stride, y, y_stride, d, out, out_stride = args
            real = context.get_value_type(like)
            kind = ir.VectorType(real, width)
            zero = ir.Constant(kind, [0.0] * width)
            same = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)  # lane 0 everywhere
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(ROWS)]
            with cgutils.for_range(builder, d) as loop:
                points = builder.load(_vector(builder, y, builder.mul(loop.index, y_stride), kind), align=size)
                column = builder.add(x, builder.mul(loop.index, _constant(size)))
                for r, total in enumerate(sums):
                    offset = builder.mul(x_stride, _constant(r))
                    value = builder.load(builder.inttoptr(builder.add(column, offset), real.as_pointer()))
                    first = builder.insert_element(zero, value, ir.Constant(ir.IntType(32), 0))
                    spread = builder.shuffle_vector(first, first, same)
                    difference = builder.fsub(spread, points)
                    if absolute:
                        negative = builder.fcmp_ordered("<", difference, zero)
                        term = builder.select(negative, builder.fneg(difference), difference)
                    else:
                        term = builder.fmul(difference, difference, flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
            for r, total in enumerate(sums):
                at = _vector(builder, out, builder.mul(out_stride, _constant(r)), kind)
                builder.store(builder.load(total), at, align=size)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(like, integer, integer, integer, integer, integer, integer, integer), codegen

    return block


_squares = _pair_values(absolute=False)
_absolutes = _pair_values(absolute=True)


@intrinsic
def _transposed(typingctx, like, source, source_stride, target, target_stride):
    """target[j, i] = source[i, j], SIDE x SIDE: three rounds of interleaving row i with row i + 4."""
    size = like.bitwidth // 8

    def codegen(context, builder, signature, args):
        _, source, source_stride, target, target_stride = args
        kind = ir.VectorType(context.get_value_type(like), SIDE)
        rows = [
            builder.load(_vector(builder, source, builder.mul(source_stride, _constant(i)), kind), align=size)
            for i in range(SIDE)
        ]
        half = SIDE // 2
        low, high = (
            ir.Constant(ir.VectorType(ir.IntType(32), SIDE), [start + i // 2 + SIDE * (i % 2) for i in range(SIDE)])
            for start in (0, half)
        )
        for _ in range(3):
            rows = [builder.shuffle_vector(rows[i], rows[i + half], mask) for i in range(half) for mask in (low, high)]
        for j, row in enumerate(rows):
            at = _vector(builder, target, builder.mul(target_stride, _constant(j)), kind)
            builder.store(row, at, align=size)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(like, integer, integer, integer, integer), codegen


@njit(cache=True, nogil=True)
def pair_values(x, yt, j0, l1, target, stride, columns):
    """Pair values |x_i - y_{j0 + j}|^2 (``l1``: |x_i - y_{j0 + j}|_1) of ROWS points, by differences of coordinates.

    ``x`` (ROWS, d) has unit stride along its rows, ``yt`` (d, at least j0 + columns rounded up to whole vectors) holds
    points as columns, ``target`` is the address of the first of ROWS rows of results, ``stride`` bytes apart.
    """
    wide_vectors()
    like = yt.dtype.type(0)
    d = x.shape[1]
    step = VECTOR // yt.itemsize
    y = yt.ctypes.data + j0 * yt.itemsize
    for v in range(-(-columns // step)):
        if l1:
            _absolutes(like, x.ctypes.data, x.strides[0], y + VECTOR * v, yt.strides[0], d, target + VECTOR * v, stride)
        else:
            _squares(like, x.ctypes.data, x.strides[0], y + VECTOR * v, yt.strides[0], d, target + VECTOR * v, stride)


@njit(cache=True, nogil=True)
def transpose(source, target):
    """target[j, i] = source[i, j]; both with unit stride along their rows."""
    wide_vectors()
    like = source.dtype.type(0)
    rows, columns = source.shape
    whole_rows, whole_columns = rows // SIDE * SIDE, columns // SIDE * SIDE
    for j in range(0, whole_columns, SIDE):
        for i in range(0, whole_rows, SIDE):
            _transposed(
                like,
                source.ctypes.data + i * source.strides[0] + j * source.itemsize,
                source.strides[0],
                target.ctypes.data + j * target.strides[0] + i * source.itemsize,
                target.strides[0],
            )
    for j in range(columns):
        for i in range(whole_rows if j < whole_columns else 0, rows):
            target[j, i] = source[i, j]
