"""Pair values (squared and l1 distances, distances on circles) and kernel profiles over tiles of a Gram matrix.

A kernel of the registry is a profile k = f(t) of one pair value t (`sslcore.kernels`).  The profile's
formula is compiled here to a C function once per formula and dtype; the tile loops, compiled once for
all kernels, call it by address on rows that still lie in the L1 cache.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from .elementary import FAST, cos2pi32, cos2pi64, exp32, exp64, wide_vectors

__all__ = ["apply_profile", "correct_distances", "direct_strip", "mirror_strip", "profile_address", "torus_strip"]

_TILE = 512  # columns per tile: the row of results and a few rows of y stay in L1
_NO_PROFILE = 0


@functools.cache
def profile_address(formula: str, file: str, name: str, dtype: np.dtype) -> int:
    """Address of the compiled ``void profile(T* t, intp n, const T* c)``: t[j] <- f(t[j]; c).

    ``formula`` is an expression in t, the constants c0..c3, exp, sqrt, cos2pi and ``real(literal)``, valid in
    Python and in C++.  The function claims to be ``name`` in ``file``, where the formula is declared:
    that is what lets Numba cache it on disk and forget it when the declaration changes.
    """
    return _compile_profile(formula, file, name, dtype).address


@functools.cache
def _compile_profile(formula: str, file: str, name: str, dtype: np.dtype):
    real = types.float64 if dtype == np.float64 else types.float32
    # Numba's key on disk has the bytecode but neither its constants nor what its names stand for: formulas that
    # differ in a number may share it, and so may two versions of exp.  The name tells them apart.
    exp, cos2pi = (exp64, cos2pi64) if dtype == np.float64 else (exp32, cos2pi32)
    made_from: list[object] = [formula]
    for function in (exp, cos2pi):
        made_from += [function.py_func.__code__.co_code, function.py_func.__code__.co_consts]
    name = f"{name}_{hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]}"
    source = (
        f"def {name}(t_pointer, n, c_pointer):\n"
        "    wide_vectors()\n"
        "    values = carray(t_pointer, (n,))\n"
        "    c = carray(c_pointer, (4,))\n"
        "    c0, c1, c2, c3 = c[0], c[1], c[2], c[3]\n"
        "    for j in range(n):\n"
        "        t = values[j]\n"
        f"        values[j] = {formula}\n"
    )
    names = {
        "carray": carray,
        "wide_vectors": wide_vectors,
        "exp": exp,
        "cos2pi": cos2pi,
        "sqrt": math.sqrt,
        "real": real,
        "__name__": __name__,
    }
    exec(compile(source, file, "exec"), names)
    signature = types.void(types.CPointer(real), types.intp, types.CPointer(real))
    try:
        return cfunc(signature, cache=True, fastmath=FAST, error_model="numpy")(names[name])
    except RuntimeError:  # declared where Numba has nowhere to cache, for example in a notebook
        return cfunc(signature, fastmath=FAST, error_model="numpy")(names[name])


@intrinsic
def _call_profile(typingctx, address, t, n, c):
    def codegen(context, builder, signature, args):
        integer = ir.IntType(ctypes.sizeof(ctypes.c_void_p) * 8)
        function = ir.FunctionType(ir.VoidType(), [integer, integer, integer])
        pointer = builder.inttoptr(args[0], function.as_pointer())
        builder.call(pointer, args[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), codegen


@intrinsic
def _pointer(typingctx, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), codegen


@njit(cache=True, nogil=True)
def _row(out, i, j0, j1):
    """out[i, j0:j1] as a contiguous array, which it is although Numba cannot know that of a block of a matrix."""
    address = out.ctypes.data + i * out.strides[0] + j0 * out.itemsize
    return carray(_pointer(address), (j1 - j0,), out.dtype)


# ---------------------------------------------------------------- rows of pair values
# Each inner loop is a function of its own on contiguous slices: inlined into the loops around it,
# LLVM does not vectorise it.  Four coordinates at a time: one load and store of the result for eight
# operations, which makes the arithmetic the limit.


@njit(cache=True, nogil=True, fastmath=FAST)
def _square_1(x, y, out):
    wide_vectors()
    x0 = x[0]
    for j in range(out.size):
        d0 = x0 - y[j]
        out[j] = d0 * d0


@njit(cache=True, nogil=True, fastmath=FAST)
def _square_2(x, y0, y1, out):
    wide_vectors()
    x0, x1 = x[0], x[1]
    for j in range(out.size):
        d0 = x0 - y0[j]
        d1 = x1 - y1[j]
        out[j] = d0 * d0 + d1 * d1


@njit(cache=True, nogil=True, fastmath=FAST)
def _square_3(x, y0, y1, y2, out):
    wide_vectors()
    x0, x1, x2 = x[0], x[1], x[2]
    for j in range(out.size):
        d0 = x0 - y0[j]
        d1 = x1 - y1[j]
        d2 = x2 - y2[j]
        out[j] = d0 * d0 + d1 * d1 + d2 * d2


@njit(cache=True, nogil=True, fastmath=FAST)
def _square_4(x, y0, y1, y2, y3, out):
    wide_vectors()
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    for j in range(out.size):
        d0 = x0 - y0[j]
        d1 = x1 - y1[j]
        d2 = x2 - y2[j]
        d3 = x3 - y3[j]
        out[j] = d0 * d0 + d1 * d1 + (d2 * d2 + d3 * d3)


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_square_4(x, y0, y1, y2, y3, out):
    wide_vectors()
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    for j in range(out.size):
        d0 = x0 - y0[j]
        d1 = x1 - y1[j]
        d2 = x2 - y2[j]
        d3 = x3 - y3[j]
        out[j] += d0 * d0 + d1 * d1 + (d2 * d2 + d3 * d3)


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_square_4_twice(x, z, y0, y1, y2, y3, out_x, out_z):
    """Two rows at once: each y is loaded once for both."""
    wide_vectors()
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    z0, z1, z2, z3 = z[0], z[1], z[2], z[3]
    for j in range(out_x.size):
        d0 = x0 - y0[j]
        d1 = x1 - y1[j]
        d2 = x2 - y2[j]
        d3 = x3 - y3[j]
        e0 = z0 - y0[j]
        e1 = z1 - y1[j]
        e2 = z2 - y2[j]
        e3 = z3 - y3[j]
        out_x[j] += d0 * d0 + d1 * d1 + (d2 * d2 + d3 * d3)
        out_z[j] += e0 * e0 + e1 * e1 + (e2 * e2 + e3 * e3)


@njit(cache=True, nogil=True, fastmath=FAST)
def _absolute_1(x, y, out):
    wide_vectors()
    x0 = x[0]
    for j in range(out.size):
        out[j] = abs(x0 - y[j])


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_absolute_1(x, y, out):
    wide_vectors()
    x0 = x[0]
    for j in range(out.size):
        out[j] += abs(x0 - y[j])


@njit(cache=True, nogil=True)
def _start_squares(x, yt, j0, j1, out):
    """out[j] = the squares of the first 1 to 4 coordinates, so that a multiple of 4 remains; returns how many."""
    head = (x.size - 1) % 4 + 1
    if head == 1:
        _square_1(x, yt[0, j0:j1], out)
    elif head == 2:
        _square_2(x, yt[0, j0:j1], yt[1, j0:j1], out)
    elif head == 3:
        _square_3(x, yt[0, j0:j1], yt[1, j0:j1], yt[2, j0:j1], out)
    else:
        _square_4(x, yt[0, j0:j1], yt[1, j0:j1], yt[2, j0:j1], yt[3, j0:j1], out)
    return head


@njit(cache=True, nogil=True)
def _squared_distances(x, yt, j0, j1, out, k0, k1):
    """out[i, k0:k1] = |x_i - y_j|^2 for the points j0 <= j < j1, given as columns of yt (d, n_y)."""
    rows, d = x.shape
    head = 0
    for i in range(rows):
        head = _start_squares(x[i], yt, j0, j1, _row(out, i, k0, k1))
    for i in range(0, rows - 1, 2):
        row, next_row = _row(out, i, k0, k1), _row(out, i + 1, k0, k1)
        for c in range(head, d, 4):
            _add_square_4_twice(
                x[i, c : c + 4],
                x[i + 1, c : c + 4],
                yt[c, j0:j1],
                yt[c + 1, j0:j1],
                yt[c + 2, j0:j1],
                yt[c + 3, j0:j1],
                row,
                next_row,
            )
    if rows % 2:
        i = rows - 1
        row = _row(out, i, k0, k1)
        for c in range(head, d, 4):
            _add_square_4(x[i, c : c + 4], yt[c, j0:j1], yt[c + 1, j0:j1], yt[c + 2, j0:j1], yt[c + 3, j0:j1], row)


@njit(cache=True, nogil=True)
def _l1_distances(x, yt, j0, j1, out, k0, k1):
    """out[i, k0:k1] = |x_i - y_j|_1, as above."""
    for i in range(len(x)):
        row = _row(out, i, k0, k1)
        _absolute_1(x[i], yt[0, j0:j1], row)
        for c in range(1, x.shape[1]):
            _add_absolute_1(x[i, c : c + 1], yt[c, j0:j1], row)


@njit(cache=True, nogil=True)
def direct_strip(x, yt, j_first, l1, address, constants, out):
    """out[i, j] = f(pair value of x_i and y_{j_first + j}), by differences of coordinates."""
    rows, columns = out.shape
    for k0 in range(0, columns, _TILE):
        k1 = min(k0 + _TILE, columns)
        j0, j1 = j_first + k0, j_first + k1
        for i0 in range(0, rows, 2):
            i1 = min(i0 + 2, rows)
            if l1:
                _l1_distances(x[i0:i1], yt, j0, j1, out[i0:i1], k0, k1)
            else:
                _squared_distances(x[i0:i1], yt, j0, j1, out[i0:i1], k0, k1)
            if address != _NO_PROFILE:
                for i in range(i0, i1):
                    _call_profile(address, _row(out, i, k0, k1).ctypes.data, k1 - k0, constants.ctypes.data)


# ---------------------------------------------------------------- products over the circles of a torus


@njit(cache=True, nogil=True, fastmath=FAST)
def _arc(x, y, out):
    """out[j] = distance of x[0] and y[j], both in [-1/2, 1/2], on the circle of length 1."""
    wide_vectors()
    x0 = x[0]
    one = x0 * 0 + 1
    for j in range(out.size):
        d0 = abs(x0 - y[j])
        e0 = one - d0
        out[j] = d0 if d0 < e0 else e0


@njit(cache=True, nogil=True, fastmath=FAST)
def _multiply(factor, out):
    wide_vectors()
    for j in range(out.size):
        out[j] *= factor[j]


@njit(cache=True, nogil=True)
def torus_strip(x, yt, j_first, address, constants, out):
    """out[i, j] = the product over c of f(distance of x_ic and y_{j_first + j, c} on the circle)."""
    rows, columns = out.shape
    factor = np.empty(_TILE, out.dtype)
    for k0 in range(0, columns, _TILE):
        k1 = min(k0 + _TILE, columns)
        j0, j1 = j_first + k0, j_first + k1
        for i in range(rows):
            row = _row(out, i, k0, k1)
            _arc(x[i], yt[0, j0:j1], row)
            _call_profile(address, row.ctypes.data, k1 - k0, constants.ctypes.data)
            for c in range(1, x.shape[1]):
                other = factor[: k1 - k0]
                _arc(x[i, c : c + 1], yt[c, j0:j1], other)
                _call_profile(address, other.ctypes.data, k1 - k0, constants.ctypes.data)
                _multiply(other, row)


# ---------------------------------------------------------------- distances from a matrix product


@njit(cache=True, nogil=True, fastmath=FAST)
def _expand(norm_x, norm_y, out):
    wide_vectors()
    for j in range(out.size):
        t = norm_x + norm_y[j] - (out[j] + out[j])
        out[j] = max(t, t * 0)


@njit(cache=True, nogil=True, fastmath=FAST)
def _count_unsure(norm_x, norm_y, factor, reach, rounding, out):
    wide_vectors()
    count = 0
    for j in range(out.size):
        size = norm_x + norm_y[j]
        bound = min(factor * size, reach)
        count += 1 if out[j] <= bound * bound + rounding * size else 0
    return count


@njit(cache=True, nogil=True, fastmath=FAST | {"reassoc"})
def _squared_distance(x, y):
    wide_vectors()
    total = x[0] * 0
    for c in range(x.size):
        difference = x[c] - y[c]
        total += difference * difference
    return total


@njit(cache=True, nogil=True)
def correct_distances(x, y, norms_x, norms_y, factor, reach, rounding, address, constants, out):
    """Turn products out[i, j] = <x_i, y_j> into f(|x_i - y_j|^2), accurate near zero distance too.

    |x|^2 + |y|^2 - 2 <x, y> has an absolute error near eps (|x|^2 + |y|^2), hence the distance r one of
    eps (|x|^2 + |y|^2) / (2 r).  Pairs with r <= ``factor`` (|x|^2 + |y|^2), factor = eps / (tolerance times the
    kernel's length), are computed again from the differences of their coordinates ``x`` and ``y``, those before the
    centre was subtracted (which rounds too), unless r > ``reach``, where the kernel has decayed to nothing.  r^2 is
    known to ``rounding`` (|x|^2 + |y|^2) only: far from the centre, equal points look far apart.
    """
    for j0 in range(0, out.shape[1], _TILE):
        j1 = min(j0 + _TILE, out.shape[1])
        norms = norms_y[j0:j1]
        for i in range(out.shape[0]):
            row = _row(out, i, j0, j1)
            _expand(norms_x[i], norms, row)
            if _count_unsure(norms_x[i], norms, factor, reach, rounding, row):
                for j in range(row.size):
                    size = norms_x[i] + norms[j]
                    bound = min(factor * size, reach)
                    if row[j] <= bound * bound + rounding * size:
                        row[j] = _squared_distance(x[i], y[j0 + j])
            _call_profile(address, row.ctypes.data, row.size, constants.ctypes.data)


@njit(cache=True, nogil=True)
def apply_profile(address, constants, out):
    """out[i, j] <- f(out[i, j])."""
    for j0 in range(0, out.shape[1], _TILE):
        j1 = min(j0 + _TILE, out.shape[1])
        for i in range(out.shape[0]):
            row = _row(out, i, j0, j1)
            _call_profile(address, row.ctypes.data, row.size, constants.ctypes.data)


@njit(cache=True, nogil=True)
def mirror_strip(out, i0, i1):
    """out[j, i] = out[i, j] for the rows i0 <= i < i1 and all j >= i1 (and inside the strip)."""
    n = out.shape[0]
    for j0 in range(i0, n, 32):
        j1 = min(j0 + 32, n)
        for k0 in range(i0, i1, 32):
            k1 = min(k0 + 32, i1)
            for j in range(j0, j1):
                for i in range(k0, min(k1, j)):
                    out[j, i] = out[i, j]
