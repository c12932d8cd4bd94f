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
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, types

from ...tunables import CPU_SYMMETRIC_TILE_COLUMNS as SYMMETRIC_TILE
from ...tunables import CPU_TILE_COLUMNS as TILE
from ..contract import Array, Matrix
from ..formulas import check_formula
from .compiling import code_of, compiled, compiled_callback, generated
from .elementary import FAST, cos2pi32, cos2pi64, exp32, exp64, wide_vectors
from .vectors import ROWS, VECTOR, Rows, aligned, copy_rows, pair_values, transpose

__all__ = [
    "Block",
    "Bounds",
    "Centred",
    "CompiledProfile",
    "apply_profile",
    "correct_distances",
    "correct_symmetric",
    "direct_strip",
    "fill_block",
    "mirror_strip",
    "profile_address",
    "symmetric_strip",
    "torus_strip",
]

_NO_PROFILE = 0


class CompiledProfile(NamedTuple):
    """A kernel's profile as compiled code calls it."""

    address: int  # of the C function (`profile_address`)
    constants: Array  # c0..c3, of the dtype of the results


class Bounds(NamedTuple):
    """Bounds beyond which a distance from a matrix product is too uncertain: see `correct_distances`."""

    factor: float
    reach: float
    rounding: float


class Centred(NamedTuple):
    """Points whose products were taken about a centre."""

    original: Matrix  # coordinates before the centre was subtracted, (n, d)
    norms: Array  # squared norms afterwards, (n,)


class Block(NamedTuple):
    """The place of the results of a few points of x, in a matrix or in a buffer."""

    rows: Rows
    height: int  # rows whose profile is wanted, at most ROWS
    width: int


@functools.cache
def profile_address(formula: str, file: str, name: str, dtype: np.dtype[Any]) -> int:
    """Return the address of the compiled ``void profile(T* t, intp n, const T* c)``, which sets t[j] to f(t[j]; c).

    ``formula`` is an expression in t, the constants c0..c3, exp, sqrt, cos2pi and ``real(literal)``, valid in
    Python and in C++.  The function claims to be ``name`` in ``file``, where the formula is declared:
    that is what lets Numba cache it on disk and forget it when the declaration changes.
    """
    address: int = _compile_profile(check_formula(formula), file, name, dtype).address
    return address


@functools.cache
def _compile_profile(formula: str, file: str, name: str, dtype: np.dtype[Any]) -> Any:
    real = types.float64 if dtype == np.float64 else types.float32
    # Numba's key on disk has the bytecode but neither its constants nor what its names stand for: formulas that
    # differ in a number may share it, and so may two versions of exp.  The name tells them apart.
    exp, cos2pi = (exp64, cos2pi64) if dtype == np.float64 else (exp32, cos2pi32)
    made_from: list[object] = [formula]
    for function in (exp, cos2pi):
        made_from += [code_of(function).co_code, code_of(function).co_consts]
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
    names: dict[str, Any] = {
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
    return compiled_callback(names[name], signature, fastmath=FAST, error_model="numpy")


@generated
def _call_profile(typingctx: Any, address: Any, t: Any, n: Any, c: Any) -> tuple[Any, Callable[..., Any]]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(ctypes.sizeof(ctypes.c_void_p) * 8)
        function = ir.FunctionType(ir.VoidType(), [integer, integer, integer])
        pointer = builder.inttoptr(args[0], function.as_pointer())
        builder.call(pointer, args[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), codegen


@generated
def _pointer(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), codegen


@compiled(nogil=True)
def _row(out: Matrix, i: int, j0: int, j1: int) -> Array:
    """Return out[i, j0:j1] as a contiguous array, which Numba cannot know of a block of a matrix."""
    address = out.ctypes.data + i * out.strides[0] + j0 * out.itemsize
    row: Array = carray(_pointer(address), (j1 - j0,), out.dtype)
    return row


# ---------------------------------------------------------------- differences of coordinates


@compiled(nogil=True)
def fill_block(x: Matrix, yt: Matrix, j0: int, l1: bool, profile: CompiledProfile, block: Block) -> None:
    """Fill values f of the ROWS points x into a block; beyond its height only the pair values are made."""
    pair_values(x, yt, j0, l1, block.rows, block.width)
    if profile.address != _NO_PROFILE:
        for i in range(block.height):
            row = block.rows.address + i * block.rows.stride
            _call_profile(profile.address, row, block.width, profile.constants.ctypes.data)


@compiled(nogil=True)
def direct_strip(x: Matrix, yt: Matrix, j_first: int, l1: bool, profile: CompiledProfile, out: Matrix) -> None:
    """Set out[i, j] = f(pair value of x_i and y_{j_first + j}) by differences of coordinates.

    ``x`` and ``yt`` go on with zeros to a multiple of ROWS rows, and of a vector of columns.
    """
    height, columns = out.shape
    itemsize = out.itemsize
    spare = np.empty((ROWS, TILE), out.dtype)  # for blocks with rows or columns that ``out`` does not have
    for k0 in range(0, columns, TILE):
        width = min(TILE, columns - k0)
        for i in range(0, height, ROWS):
            rows = min(ROWS, height - i)
            whole = rows == ROWS and width * itemsize % VECTOR == 0
            if whole:
                target = Rows(np.intp(out.ctypes.data) + i * out.strides[0] + k0 * itemsize, out.strides[0])
            else:
                target = Rows(np.intp(spare.ctypes.data), spare.strides[0])
            fill_block(x[i : i + ROWS], yt, j_first + k0, l1, profile, Block(target, rows, width))
            if not whole:
                for r in range(rows):
                    out[i + r, k0 : k0 + width] = spare[r, :width]


@compiled(nogil=True)
def symmetric_strip(x: Matrix, i0: int, i1: int, yt: Matrix, l1: bool, profile: CompiledProfile, out: Matrix) -> None:
    """Fill rows i0 <= i < i1 of the symmetric matrix of x, from the diagonal on, and their mirror image below it.

    Each pair is computed once, into a tile that stays in the cache while it is written twice.
    """
    n = out.shape[0]
    streamed = aligned(out)  # i0 is a multiple of ROWS
    height = i1 - i0
    tile = np.empty((-(-height // ROWS) * ROWS, SYMMETRIC_TILE + 8), out.dtype)  # rows do not share a set of the cache
    for k0 in range(i0, n, SYMMETRIC_TILE):
        width = min(SYMMETRIC_TILE, n - k0)
        for i in range(i0, i1, ROWS):
            target = Rows(np.intp(tile.ctypes.data) + (i - i0) * tile.strides[0], tile.strides[0])
            fill_block(x[i : i + ROWS], yt, k0, l1, profile, Block(target, min(ROWS, i1 - i), width))
        if k0 == i0:
            for i in range(height):
                for j in range(i):
                    tile[i, j] = tile[j, i]
        copy_rows(tile[:height, :width], out[i0:i1, k0 : k0 + width], streamed)
        below = height if k0 == i0 else 0  # the square on the diagonal is its own mirror image
        if below < width:
            transpose(tile[:height, below:width], out[k0 + below : k0 + width, i0:i1], streamed)


# ---------------------------------------------------------------- products over the circles of a torus


@compiled(nogil=True, fastmath=FAST)
def _arc(x: Array, y: Array, out: Array) -> None:
    """Set out[j] to the distance of x[0] and y[j], both in [-1/2, 1/2], on the circle of length 1."""
    wide_vectors()
    x0 = x[0]
    one = x0 * 0 + 1
    for j in range(out.size):
        d0 = abs(x0 - y[j])
        e0 = one - d0
        out[j] = d0 if d0 < e0 else e0


@compiled(nogil=True, fastmath=FAST)
def _multiply(factor: Array, out: Array) -> None:
    wide_vectors()
    for j in range(out.size):
        out[j] *= factor[j]


@compiled(nogil=True)
def torus_strip(x: Matrix, yt: Matrix, j_first: int, profile: CompiledProfile, out: Matrix) -> None:
    """Set out[i, j] to the product over c of f(distance of x_ic and y_{j_first + j, c} on the circle)."""
    rows, columns = out.shape
    factor = np.empty(TILE, out.dtype)
    for k0 in range(0, columns, TILE):
        k1 = min(k0 + TILE, columns)
        j0, j1 = j_first + k0, j_first + k1
        for i in range(rows):
            row = _row(out, i, k0, k1)
            _arc(x[i], yt[0, j0:j1], row)
            _call_profile(profile.address, row.ctypes.data, k1 - k0, profile.constants.ctypes.data)
            for c in range(1, x.shape[1]):
                other = factor[: k1 - k0]
                _arc(x[i, c : c + 1], yt[c, j0:j1], other)
                _call_profile(profile.address, other.ctypes.data, k1 - k0, profile.constants.ctypes.data)
                _multiply(other, row)


# ---------------------------------------------------------------- distances from a matrix product


@compiled(nogil=True, fastmath=FAST)
def _expand(norm_x: float, norm_y: Array, out: Array) -> None:
    wide_vectors()
    for j in range(out.size):
        t = norm_x + norm_y[j] - (out[j] + out[j])
        out[j] = max(t, t * 0)


@compiled(nogil=True, fastmath=FAST)
def _count_unsure(norm_x: float, norm_y: Array, bounds: Bounds, out: Array) -> int:
    wide_vectors()
    count = 0
    for j in range(out.size):
        size = norm_x + norm_y[j]
        bound = min(bounds.factor * size, bounds.reach)
        count += 1 if out[j] <= bound * bound + bounds.rounding * size else 0
    return count


@compiled(nogil=True, fastmath=FAST | {"reassoc"})
def _squared_distance(x: Array, y: Array) -> Any:
    wide_vectors()
    total = x[0] * 0
    for c in range(x.size):
        difference = x[c] - y[c]
        total += difference * difference
    return total


@compiled(nogil=True)
def correct_distances(x: Centred, y: Centred, bounds: Bounds, profile: CompiledProfile, out: Matrix) -> None:
    """Turn products out[i, j] = <x_i, y_j> into f(|x_i - y_j|^2), accurate near zero distance too.

    |x|^2 + |y|^2 - 2 <x, y> has an absolute error near eps (|x|^2 + |y|^2), hence the distance r one of
    eps (|x|^2 + |y|^2) / (2 r).  Pairs with r <= ``factor`` (|x|^2 + |y|^2), factor = eps / (tolerance times the
    kernel's length), are computed again from the differences of their original coordinates (subtracting the centre
    rounds too), unless r > ``reach``, where the kernel has decayed to nothing.  r^2 is known to ``rounding``
    (|x|^2 + |y|^2) only: far from the centre, equal points look far apart.
    """
    for j0 in range(0, out.shape[1], TILE):
        j1 = min(j0 + TILE, out.shape[1])
        norms = y.norms[j0:j1]
        for i in range(out.shape[0]):
            row = _row(out, i, j0, j1)
            norm = x.norms[i]
            _expand(norm, norms, row)
            if _count_unsure(norm, norms, bounds, row):
                for j in range(row.size):
                    size = norm + norms[j]
                    bound = min(bounds.factor * size, bounds.reach)
                    if row[j] <= bound * bound + bounds.rounding * size:
                        row[j] = _squared_distance(x.original[i], y.original[j0 + j])
            _call_profile(profile.address, row.ctypes.data, row.size, profile.constants.ctypes.data)


@compiled(nogil=True)
def correct_symmetric(x: Centred, i0: int, i1: int, bounds: Bounds, profile: CompiledProfile, out: Matrix) -> None:
    """Correct, as `correct_distances`, rows i0 <= i < i1 of a symmetric matrix from the diagonal on; mirror them.

    A tile is mirrored while it is in the cache.
    """
    n = out.shape[0]
    streamed = aligned(out)  # i0 is a multiple of ROWS
    mine = Centred(x.original[i0:i1], x.norms[i0:i1])
    for j0 in range(i0, n, SYMMETRIC_TILE):
        j1 = min(j0 + SYMMETRIC_TILE, n)
        tile = out[i0:i1, j0:j1]
        correct_distances(mine, Centred(x.original[j0:j1], x.norms[j0:j1]), bounds, profile, tile)
        if j0 == i0:
            for i in range(i1 - i0):
                for j in range(i):
                    tile[i, j] = tile[j, i]
        below = i1 - i0 if j0 == i0 else 0  # the square on the diagonal is its own mirror image
        if below < j1 - j0:
            transpose(tile[:, below:], out[j0 + below : j1, i0:i1], streamed)


@compiled(nogil=True)
def apply_profile(profile: CompiledProfile, out: Matrix) -> None:
    """Replace out[i, j] by f(out[i, j])."""
    for j0 in range(0, out.shape[1], TILE):
        j1 = min(j0 + TILE, out.shape[1])
        for i in range(out.shape[0]):
            row = _row(out, i, j0, j1)
            _call_profile(profile.address, row.ctypes.data, row.size, profile.constants.ctypes.data)


@compiled(nogil=True)
def mirror_strip(out: Matrix, i0: int, i1: int) -> None:
    """Set out[j, i] = out[i, j] for the rows i0 <= i < i1 and all j >= i1 (and inside the strip)."""
    for j in range(i0, i1):
        for i in range(i0, j):
            out[j, i] = out[i, j]
    for j0 in range(i1, out.shape[0], SYMMETRIC_TILE):
        j1 = min(j0 + SYMMETRIC_TILE, out.shape[0])
        transpose(out[i0:i1, j0:j1], out[j0:j1, i0:i1], False)
