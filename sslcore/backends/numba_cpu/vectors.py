"""Blocks of a Gram matrix in registers, written on LLVM's vectors: what its vectoriser does not find by itself.

Three pieces.  Pair values of a few points of x with a vector of points of y: the sums stay in registers over all
coordinates, where a loop over rows of results loads and stores them once for every few.  Products of matrices that stay
in the cache, in the same way.  And the transposed copy of a square of 8 x 8 values, by shuffles, where a loop moves one
value at a time.  LLVM cuts the vectors to the width that the processor has.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils

from ...tunables import CPU_REGISTER_POINTS as ROWS
from ...tunables import CPU_VECTOR_BYTES as VECTOR
from ..contract import Array, Matrix
from .compiling import compiled, generated
from .elementary import FAST, wide_vectors

__all__ = [
    "PRODUCT_ROWS",
    "PRODUCT_VECTORS",
    "ROWS",
    "SIDE",
    "VECTOR",
    "Rows",
    "add_block",
    "add_scaled",
    "add_squares",
    "add_term",
    "add_triangle",
    "aligned",
    "aligned_zeros",
    "ask_for",
    "ask_for_rows",
    "constant",
    "copy_rows",
    "dot_products",
    "pair_values",
    "product",
    "put_scaled",
    "spread_from",
    "transpose",
    "unpacked",
    "vector_at",
    "zero_sums",
]

SIDE = 8
"""Side of the squares that are transposed."""

PRODUCT_ROWS, PRODUCT_VECTORS = (8, 2) if get_host_cpu_features().get("avx512f") else (4, 1)
"""The block of a matrix product whose sums stay in registers: of 32 as wide as a vector, or of 16 half as wide, which 8
rows of 2 vectors overflow (32 in place of 48 billion operations a second)."""

_INTEGER = cgutils.intp_t
_WIDTH = VECTOR // 8


class Rows(NamedTuple):
    """Rows in memory: the address of the first, and how many bytes apart they are."""

    address: Any  # np.intp: Numba adds the unsigned `ctypes.data` to signed integers as floating-point numbers
    stride: int


def vector_at(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    """Return the pointer to a vector at this address plus this many bytes; it is aligned as one value only."""
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def constant(value: int) -> Any:
    """Return this integer as LLVM's, of the size of a pointer."""
    return ir.Constant(_INTEGER, value)


def spread(builder: Any, value: Any, kind: Any) -> Any:
    """Return the vector that has this value in all lanes."""
    lane = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lane, lane, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None))


def unpacked(builder: Any, *rows: Any) -> list[list[Any]]:
    """Return address and stride of each `Rows`."""
    return [cgutils.unpack_tuple(builder, each, 2) for each in rows]


def zero_sums(builder: Any, kind: Any, places: Iterable[Any]) -> dict[Any, Any]:
    """Return a sum of this kind for each place, which is zero here and stays in a register."""
    zero = ir.Constant(kind, [0.0] * kind.count)
    return {place: cgutils.alloca_once_value(builder, zero) for place in places}


def add_term(builder: Any, total: Any, *factors: Any) -> None:
    """Add the product of two vectors, or one vector, to a sum."""
    term = factors[0] if len(factors) == 1 else builder.fmul(*factors, flags=("contract",))
    builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)


def spread_from(builder: Any, address: Any, kind: Any) -> Any:
    """Return the vector that has the value at this address in all lanes."""
    return spread(builder, builder.load(builder.inttoptr(address, kind.element.as_pointer())), kind)


def ask_for(builder: Any, address: Any) -> None:
    """Ask for what lies at this address before it is needed; nothing happens where nothing is."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read_and_keep_data = (ir.Constant(flag, value) for value in (0, 3, 1))
    builder.call(prefetch, [builder.inttoptr(address, byte), *to_read_and_keep_data])


def _pair_values(absolute: bool, vectors: int) -> Callable[..., Any]:
    """Return the pair values of ROWS points of x with this many vectors of points of y (an intrinsic)."""

    @generated
    def block(typingctx: Any, like: Any, x: Any, y: Any, d: Any, out: Any) -> tuple[Any, Callable[..., Any]]:
        size = like.bitwidth // 8
        width = VECTOR // size

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, first, second, d, third = args
            (x, x_stride), (y, y_stride), (out, out_stride) = unpacked(builder, first, second, third)
            kind = ir.VectorType(context.get_value_type(like), width)
            zero = ir.Constant(kind, [0.0] * width)
            sums = zero_sums(builder, kind, itertools.product(range(ROWS), range(vectors)))
            with cgutils.for_range(builder, d) as loop:
                row = builder.add(y, builder.mul(loop.index, y_stride))
                beginnings = [vector_at(builder, row, constant(v * VECTOR), kind) for v in range(vectors)]
                points = [builder.load(at, align=size) for at in beginnings]
                column = builder.add(x, builder.mul(loop.index, constant(size)))
                for r in range(ROWS):
                    point = spread_from(builder, builder.add(column, builder.mul(x_stride, constant(r))), kind)
                    for v in range(vectors):
                        difference = builder.fsub(point, points[v])
                        if absolute:
                            negative = builder.fcmp_ordered("<", difference, zero)
                            length = builder.select(negative, builder.fneg(difference), difference)
                            add_term(builder, sums[r, v], length)
                        else:
                            add_term(builder, sums[r, v], difference, difference)
            for (r, v), total in sums.items():
                at = builder.add(out, builder.mul(out_stride, constant(r)))
                builder.store(builder.load(total), vector_at(builder, at, constant(v * VECTOR), kind), align=size)
            return context.get_dummy_value()

        return types.void(like, x, y, types.intp, out), codegen

    return block


def _products(vectors: int, added: bool) -> Callable[..., Any]:
    """Return the sums over s of x[s, r] y[s, v], for PRODUCT_ROWS r and vectors v of y (an intrinsic).

    They are stored in ``out``, or ``added`` to it.
    """

    @generated
    def block(
        typingctx: Any, like: Any, x: Any, apart: Any, y: Any, steps: Any, out: Any
    ) -> tuple[Any, Callable[..., Any]]:
        size = like.bitwidth // 8
        width = VECTOR // size

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, first, apart, second, steps, third = args
            (x, x_stride), (y, y_stride), (out, out_stride) = unpacked(builder, first, second, third)
            kind = ir.VectorType(context.get_value_type(like), width)
            sums = zero_sums(builder, kind, itertools.product(range(PRODUCT_ROWS), range(vectors)))
            with cgutils.for_range(builder, steps) as loop:
                row = builder.add(y, builder.mul(loop.index, y_stride))
                points = [
                    builder.load(vector_at(builder, row, constant(v * VECTOR), kind), align=size)
                    for v in range(vectors)
                ]
                column = builder.add(x, builder.mul(loop.index, x_stride))
                for r in range(PRODUCT_ROWS):
                    factor = spread_from(builder, builder.add(column, builder.mul(apart, constant(r))), kind)
                    for v in range(vectors):
                        add_term(builder, sums[r, v], factor, points[v])
            for (r, v), total in sums.items():
                row = builder.add(out, builder.mul(out_stride, constant(r)))
                place, value = vector_at(builder, row, constant(v * VECTOR), kind), builder.load(total)
                if added:
                    value = builder.fadd(builder.load(place, align=size), value)
                builder.store(value, place, align=size)
            return context.get_dummy_value()

        return types.void(like, x, types.intp, y, types.intp, out), codegen

    return block


_squares = _pair_values(absolute=False, vectors=1)
_squares_of_two = _pair_values(absolute=False, vectors=2)  # a fourth more a second: each point of x is loaded for both
_absolutes = _pair_values(absolute=True, vectors=1)


def _store(builder: Any, value: Any, pointer: Any, size: int, streamed: bool) -> None:
    """Store a vector; ``streamed``: past the caches, to an address that is a multiple of the vector's size."""
    if not streamed:
        builder.store(value, pointer, align=size)
        return
    instruction = builder.store(value, pointer, align=size * SIDE)
    instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _transposition(streamed: bool) -> Callable[..., Any]:
    """Set target[j, i] = source[i, j], SIDE x SIDE, by three rounds of interleaving row i with row i + 4."""

    @generated
    def transposed(
        typingctx: Any, like: Any, source: Any, source_stride: Any, target: Any, target_stride: Any
    ) -> tuple[Any, Callable[..., Any]]:
        size = like.bitwidth // 8

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, source, source_stride, target, target_stride = args
            kind = ir.VectorType(context.get_value_type(like), SIDE)
            rows = [
                builder.load(vector_at(builder, source, builder.mul(source_stride, constant(i)), kind), align=size)
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
                at = vector_at(builder, target, builder.mul(target_stride, constant(j)), kind)
                _store(builder, row, at, size, streamed)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(like, integer, integer, integer, integer), codegen

    return transposed


_product_of_one, _product_of_many = _products(1, added=False), _products(PRODUCT_VECTORS, added=False)
_added_to_one, _added_to_many = _products(1, added=True), _products(PRODUCT_VECTORS, added=True)


@generated
def _prefetch(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ask_for(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@compiled(nogil=True)
def ask_for_rows(rows: Rows, height: int, size: int) -> None:
    """Ask for so many bytes of each of some rows, which are needed soon."""
    for i in range(height):
        for at in range(0, size, VECTOR):
            _prefetch(rows.address + i * rows.stride + at)


@compiled(nogil=True)
def add_block(x: Rows, apart: int, y: Rows, steps: int, out: Rows, like: Any) -> None:
    """Add the sums over s of x[s, r] y[s, v] to ``out``: PRODUCT_ROWS r, and v of PRODUCT_VECTORS.

    ``apart`` is how many bytes the r are apart; ``like`` is a number of the type of all.
    """
    wide_vectors()
    _added_to_many(like, x, apart, y, steps, out)


@compiled(nogil=True)
def aligned_zeros(rows: int, columns: int) -> Matrix:
    """Return zeros whose rows are an odd number of whole vectors: they begin at vectors, and share no set of the cache.

    At least ``rows`` of them, to a multiple of PRODUCT_ROWS.
    """
    vectors = -(-columns // _WIDTH) | 1
    rows = -(-rows // PRODUCT_ROWS) * PRODUCT_ROWS
    raw = np.zeros((rows * vectors + 1) * _WIDTH)
    start = -np.intp(raw.ctypes.data) % VECTOR // raw.itemsize
    return raw[start : start + rows * vectors * _WIDTH].reshape(rows, vectors * _WIDTH)


@compiled(nogil=True)
def add_squares(z: Matrix, rows: int, columns: int, out: Matrix) -> None:
    """Add z^T z of the first ``rows`` of z to ``out``: the entries on and above the diagonal, and some below.

    Both are of `aligned_zeros`.
    """
    wide_vectors()
    like = z.dtype.type(0)
    first, to = np.intp(z.ctypes.data), np.intp(out.ctypes.data)
    step, below = z.strides[0], out.strides[0]
    vectors = -(-columns // _WIDTH)
    for i in range(0, columns, PRODUCT_ROWS):
        x = Rows(first + i * z.itemsize, step)
        v = i // _WIDTH
        while v < vectors:
            y, target = Rows(first + v * VECTOR, step), Rows(to + i * below + v * VECTOR, below)
            if v + PRODUCT_VECTORS <= vectors:
                _added_to_many(like, x, z.itemsize, y, rows, target)
                v += PRODUCT_VECTORS
            else:
                _added_to_one(like, x, z.itemsize, y, rows, target)
                v += 1


@compiled(nogil=True)
def product(z: Matrix, rows: int, weight: Matrix, inner: int, columns: int, out: Matrix) -> None:
    """Set ``out`` to z weight, (rows, inner) times (inner, columns); all are of `aligned_zeros`."""
    wide_vectors()
    like = z.dtype.type(0)
    first, second, to = np.intp(z.ctypes.data), np.intp(weight.ctypes.data), np.intp(out.ctypes.data)
    step, below = z.strides[0], out.strides[0]
    vectors = -(-columns // _WIDTH)
    v = 0
    while v < vectors:
        many = v + PRODUCT_VECTORS <= vectors
        y = Rows(second + v * VECTOR, weight.strides[0])
        for r in range(0, rows, PRODUCT_ROWS):
            x, target = Rows(first + r * step, z.itemsize), Rows(to + r * below + v * VECTOR, below)
            if many:
                _product_of_many(like, x, step, y, inner, target)
            else:
                _product_of_one(like, x, step, y, inner, target)
        v += PRODUCT_VECTORS if many else 1


@compiled(nogil=True)
def pair_values(x: Matrix, yt: Matrix, j0: int, l1: bool, target: Rows, columns: int) -> None:
    """Store pair values |x_i - y_{j0 + j}|^2 (``l1``: |.|_1) of ROWS points, by differences of coordinates.

    ``x`` (ROWS, d) has unit stride along its rows, ``yt`` (d, at least j0 + columns rounded up to whole vectors) holds
    points as columns, ``target`` are ROWS rows of results.
    """
    wide_vectors()
    like = yt.dtype.type(0)
    d = x.shape[1]
    step = VECTOR // yt.itemsize
    first = Rows(np.intp(x.ctypes.data), x.strides[0])
    y = np.intp(yt.ctypes.data) + j0 * yt.itemsize
    vectors = -(-columns // step)
    v = 0
    if not l1:
        while v + 2 <= vectors:
            at = VECTOR * v
            _squares_of_two(like, first, Rows(y + at, yt.strides[0]), d, Rows(target.address + at, target.stride))
            v += 2
    while v < vectors:
        at = VECTOR * v
        second, out = Rows(y + at, yt.strides[0]), Rows(target.address + at, target.stride)
        if l1:
            _absolutes(like, first, second, d, out)
        else:
            _squares(like, first, second, d, out)
        v += 1


@compiled(nogil=True)
def dot_products(x: Matrix, yt: Matrix, j0: int, target: Rows, columns: int) -> None:
    """Store the products <x_i, y_{j0 + j}> of ROWS points, as `pair_values` stores their distances."""
    wide_vectors()
    like = yt.dtype.type(0)
    d, size = x.shape[1], yt.itemsize
    vectors = -(-columns * size // VECTOR)
    y = np.intp(yt.ctypes.data) + j0 * size
    for r in range(0, ROWS, PRODUCT_ROWS):
        first = Rows(np.intp(x.ctypes.data) + r * x.strides[0], size)
        v = 0
        while v < vectors:
            second = Rows(y + v * VECTOR, yt.strides[0])
            out = Rows(target.address + r * target.stride + v * VECTOR, target.stride)
            if v + PRODUCT_VECTORS <= vectors:
                _product_of_many(like, first, x.strides[0], second, d, out)
                v += PRODUCT_VECTORS
            else:
                _product_of_one(like, first, x.strides[0], second, d, out)
                v += 1


_transposed = _transposition(streamed=False)
_transposed_streamed = _transposition(streamed=True)


@generated
def _streamed(typingctx: Any, like: Any, source: Any, target: Any) -> tuple[Any, Callable[..., Any]]:
    """Copy SIDE values from one address to another, past the caches."""
    size = like.bitwidth // 8

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, source, target = args
        kind = ir.VectorType(context.get_value_type(like), SIDE)
        zero = constant(0)
        value = builder.load(vector_at(builder, source, zero, kind), align=size)
        _store(builder, value, vector_at(builder, target, zero, kind), size, True)
        return context.get_dummy_value()

    return types.void(like, types.intp, types.intp), codegen


@compiled(nogil=True)
def aligned(out: Matrix) -> bool:
    """Tell whether every row begins at a multiple of VECTOR bytes, as stores past the caches want it."""
    found: bool = out.ctypes.data % VECTOR == 0 and out.strides[0] % VECTOR == 0
    return found


@compiled(nogil=True, fastmath=FAST)
def put_scaled(weight: float, values: Array, out: Array) -> None:
    """Set out to weight times values."""
    wide_vectors()
    for j in range(out.size):
        out[j] = weight * values[j]


@compiled(nogil=True, fastmath=FAST)
def add_scaled(weight: float, values: Array, out: Array) -> None:
    """Add weight times values to out."""
    wide_vectors()
    for j in range(out.size):
        out[j] += weight * values[j]


@compiled(nogil=True)
def add_triangle(weight: float, values: Matrix, out: Matrix) -> None:
    """Add weight times the lower triangle of ``values`` to that of ``out``, both in C order."""
    for i in range(len(out)):
        add_scaled(weight, values[i, : i + 1], out[i, : i + 1])


@compiled(nogil=True)
def copy_rows(source: Matrix, target: Matrix, streamed: bool) -> None:
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
def transpose(source: Matrix, target: Matrix, streamed: bool) -> None:
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
