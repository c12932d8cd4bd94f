"""Blocks of a Gram matrix in registers, written on LLVM's vectors: what its vectoriser does not find by itself.

Two pieces.  Pair values of a few points of x with a vector of points of y: the sums stay in registers over all
coordinates, where a loop over rows of results loads and stores them once for every few.  And the transposed copy of a
square of 8 x 8 values, by shuffles, where a loop moves one value at a time.  LLVM cuts the vectors to the width that
the processor has.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...tunables import CPU_REGISTER_POINTS as ROWS
from ...tunables import CPU_VECTOR_BYTES as VECTOR
from .compiling import compiled
from .elementary import wide_vectors

__all__ = ["ROWS", "SIDE", "VECTOR", "aligned", "copy_rows", "pair_values", "transpose"]

SIDE = 8
"""Side of the squares that are transposed."""

_INTEGER = cgutils.intp_t


def _vector(builder, address, offset, kind):
    """Return the pointer to a vector at this address plus this many bytes; it is aligned as one value only."""
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _constant(value):
    return ir.Constant(_INTEGER, value)


def _pair_values(absolute, vectors):
    """Return the pair values of ROWS points of x with this many vectors of points of y (an intrinsic)."""

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
            places = [(r, v) for r in range(ROWS) for v in range(vectors)]
            sums = {place: cgutils.alloca_once_value(builder, zero) for place in places}
            with cgutils.for_range(builder, d) as loop:
                row = builder.add(y, builder.mul(loop.index, y_stride))
                points = [
                    builder.load(_vector(builder, row, _constant(v * VECTOR), kind), align=size) for v in range(vectors)
                ]
                column = builder.add(x, builder.mul(loop.index, _constant(size)))
                for r in range(ROWS):
                    offset = builder.mul(x_stride, _constant(r))
                    value = builder.load(builder.inttoptr(builder.add(column, offset), real.as_pointer()))
                    first = builder.insert_element(zero, value, ir.Constant(ir.IntType(32), 0))
                    spread = builder.shuffle_vector(first, first, same)
                    for v in range(vectors):
                        total = sums[r, v]
                        difference = builder.fsub(spread, points[v])
                        if absolute:
                            negative = builder.fcmp_ordered("<", difference, zero)
                            term = builder.select(negative, builder.fneg(difference), difference)
                        else:
                            term = builder.fmul(difference, difference, flags=("contract",))
                        builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
            for (r, v), total in sums.items():
                at = builder.add(out, builder.mul(out_stride, _constant(r)))
                builder.store(builder.load(total), _vector(builder, at, _constant(v * VECTOR), kind), align=size)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(like, integer, integer, integer, integer, integer, integer, integer), codegen

    return block


_squares = _pair_values(absolute=False, vectors=1)
_squares_of_two = _pair_values(absolute=False, vectors=2)  # a fourth more a second: each point of x is loaded for both
_absolutes = _pair_values(absolute=True, vectors=1)


def _store(builder, value, pointer, size, streamed):
    """Store a vector; ``streamed``: past the caches, to an address that is a multiple of the vector's size."""
    if not streamed:
        builder.store(value, pointer, align=size)
        return
    instruction = builder.store(value, pointer, align=size * SIDE)
    instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _transposition(streamed):
    """Set target[j, i] = source[i, j], SIDE x SIDE, by three rounds of interleaving row i with row i + 4."""

    @intrinsic
    def transposed(typingctx, like, source, source_stride, target, target_stride):
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
                pairs = [(rows[i], rows[i + half]) for i in range(half)]
                rows = [builder.shuffle_vector(*pair, mask) for pair in pairs for mask in (low, high)]
            for j, row in enumerate(rows):
                at = _vector(builder, target, builder.mul(target_stride, _constant(j)), kind)
                _store(builder, row, at, size, streamed)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(like, integer, integer, integer, integer), codegen

    return transposed


@compiled(nogil=True)
def pair_values(x, yt, j0, l1, target, stride, columns):
    """Store pair values |x_i - y_{j0 + j}|^2 (``l1``: |.|_1) of ROWS points, by differences of coordinates.

    ``x`` (ROWS, d) has unit stride along its rows, ``yt`` (d, at least j0 + columns rounded up to whole vectors) holds
    points as columns, ``target`` is the address of the first of ROWS rows of results, ``stride`` bytes apart.
    """
    wide_vectors()
    like = yt.dtype.type(0)
    d = x.shape[1]
    step = VECTOR // yt.itemsize
    y = yt.ctypes.data + j0 * yt.itemsize
    vectors = -(-columns // step)
    v = 0
    if not l1:
        while v + 2 <= vectors:
            at = VECTOR * v
            _squares_of_two(like, x.ctypes.data, x.strides[0], y + at, yt.strides[0], d, target + at, stride)
            v += 2
    while v < vectors:
        at = VECTOR * v
        if l1:
            _absolutes(like, x.ctypes.data, x.strides[0], y + at, yt.strides[0], d, target + at, stride)
        else:
            _squares(like, x.ctypes.data, x.strides[0], y + at, yt.strides[0], d, target + at, stride)
        v += 1


_transposed = _transposition(streamed=False)
_transposed_streamed = _transposition(streamed=True)


@intrinsic
def _streamed(typingctx, like, source, target):
    """Copy SIDE values from one address to another, past the caches."""
    size = like.bitwidth // 8

    def codegen(context, builder, signature, args):
        _, source, target = args
        kind = ir.VectorType(context.get_value_type(like), SIDE)
        zero = _constant(0)
        value = builder.load(_vector(builder, source, zero, kind), align=size)
        _store(builder, value, _vector(builder, target, zero, kind), size, True)
        return context.get_dummy_value()

    return types.void(like, types.intp, types.intp), codegen


@compiled(nogil=True)
def aligned(out):
    """Tell whether every row begins at a multiple of VECTOR bytes, as stores past the caches want it."""
    return out.ctypes.data % VECTOR == 0 and out.strides[0] % VECTOR == 0


@compiled(nogil=True)
def copy_rows(source, target, streamed):
    """Set target[...] = source, (rows, columns); ``streamed`` as in `transpose`."""
    wide_vectors()
    like = source.dtype.type(0)
    rows, columns = source.shape
    whole = columns // SIDE * SIDE if streamed else 0
    for i in range(rows):
        first = source.ctypes.data + i * source.strides[0]
        to = target.ctypes.data + i * target.strides[0]
        for j in range(0, whole, SIDE):
            _streamed(like, first + j * source.itemsize, to + j * source.itemsize)
        target[i, whole:] = source[i, whole:]


@compiled(nogil=True)
def transpose(source, target, streamed):
    """Set target[j, i] = source[i, j]; both with unit stride along their rows.

    ``streamed``: past the caches, which spares reading what is overwritten; rows of ``target`` begin at multiples of
    VECTOR bytes.
    """
    wide_vectors()
    like = source.dtype.type(0)
    rows, columns = source.shape
    whole_rows, whole_columns = rows // SIDE * SIDE, columns // SIDE * SIDE
    for j in range(0, whole_columns, SIDE):
        for i in range(0, whole_rows, SIDE):
            first = source.ctypes.data + i * source.strides[0] + j * source.itemsize
            to = target.ctypes.data + j * target.strides[0] + i * source.itemsize
            if streamed:
                _transposed_streamed(like, first, source.strides[0], to, target.strides[0])
            else:
                _transposed(like, first, source.strides[0], to, target.strides[0])
    for j in range(columns):
        for i in range(whole_rows if j < whole_columns else 0, rows):
            target[j, i] = source[i, j]
