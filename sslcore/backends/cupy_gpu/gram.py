"""Rows of Gram matrices: which kernel serves which pair value, after the same rules as on the CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cupy as xp
import numpy as np

from ..pairing import DIRECT, RECURSIONS, TOLERANCE, near_versine, require_in_range, unit_of
from . import blas
from .loader import THREADS, blocks_of, kernel

__all__ = ["Points", "empty_matrix", "gram_rows", "gram_symmetric", "points"]

_TILE, _SIDE = 64, 16  # of direct sums: values, and threads, along a side (gram.cu)
_LINES = 1024  # blocks along the rows where each thread goes down a column

_CHEAP = 8
"""Up to so many coordinates a value is computed again in less time than its mirror image takes to copy."""

_DIRECT_KERNELS = {"sqdist": "direct_squares", "l1": "direct_absolutes", "torus": "direct_products"}


@dataclass(frozen=True)
class Points:
    """The second argument of a profile kernel, prepared once for many blocks of the first."""

    kernel: Any
    exponent: int  # coordinates are stored times 2^-exponent, which is exact: the kernel's length is then near 1
    constants: tuple[Any, ...]  # c0..c3, of the type of the points
    centre: Any  # subtracted from the coordinates (distances from matrix products only)
    y: Any  # (n_y, d) for matrix products; (d, n_y) for direct sums
    norms: Any = None  # |y|^2, for distances from matrix products
    uncentred: Any = None  # y before the centre is subtracted, which rounds: for differences
    lengths: Any = None  # of the points in each layer, for kernels of angles

    @property
    def direct(self) -> bool:
        """Whether differences are summed directly."""
        return self.kernel.pair not in ("dot", "angle") and self.centre is None

    @property
    def mirrored(self) -> bool:
        """Whether half of a symmetric matrix and a copy take less time than the whole."""
        return not (self.direct and len(self.y) <= _CHEAP)


def points(kernel: Any, y: Any) -> Points:
    """Prepare ``y`` (n_y, d) as second argument of the profile kernel ``kernel``."""
    distance = kernel.pair in ("sqdist", "l1")
    length, exponent = unit_of(kernel.length) if distance else (kernel.length, 0)
    y = kernel.coordinates(y)
    if kernel.pair == "angle":
        directions, lengths = kernel.directions(y)
        return Points(kernel, 0, (), None, xp.ascontiguousarray(directions), lengths=lengths.astype(y.dtype))
    values = (*kernel.constants(length), 0.0, 0.0, 0.0, 0.0)[:4]
    constants = tuple(y.dtype.type(c) for c in values)
    if kernel.pair == "dot":
        return Points(kernel, 0, constants, None, xp.ascontiguousarray(y))
    if kernel.pair == "torus":
        return Points(kernel, 0, constants, None, xp.ascontiguousarray(_wrapped(y).T))
    scaled = _in_units(y, exponent)
    if kernel.pair in _DIRECT_KERNELS and (kernel.pair != "sqdist" or y.shape[1] <= DIRECT):
        return Points(kernel, exponent, constants, None, xp.ascontiguousarray(scaled.T))
    centre = scaled.mean(axis=0)
    centred = scaled - centre
    return Points(kernel, exponent, constants, centre, centred, _squared_norms(centred), scaled)


def gram_rows(prepared: Points, x: Any, first: int, out: Any) -> None:
    """out[i, j] = k(x_i, y_{first + j}); ``out`` has unit stride along its rows."""
    rows, columns = out.shape
    if not out.size:
        return
    x = prepared.kernel.coordinates(x)
    dtype = x.dtype
    ld = np.int64(out.strides[0] // dtype.itemsize if rows > 1 else columns)
    shape = (np.int64(rows), np.int64(columns), ld)
    formula = prepared.kernel.formula
    if prepared.direct:
        name = _DIRECT_KERNELS[prepared.kernel.pair]
        kernel("gram", name, dtype, formula)(
            (blocks_of(columns, _TILE), min(blocks_of(rows, _TILE), 65535)),
            (_SIDE, _SIDE),
            (
                _wrapped(x) if prepared.kernel.pair == "torus" else _in_units(x, prepared.exponent),
                shape[0],
                np.int64(x.shape[1]),
                prepared.y,
                np.int64(prepared.y.shape[1]),
                np.int64(first),
                out.data,
                *shape[1:],
                *prepared.constants,
            ),
        )
        return
    grid = (blocks_of(columns, THREADS), min(rows, _LINES))
    end = first + columns
    if prepared.kernel.pair == "angle":
        directions, lengths = prepared.kernel.directions(x)
        directions, y = xp.ascontiguousarray(directions), prepared.y[first:end]
        blas.gemm(y, directions.T, out.T)
        kernel("angles", "finish_angles", dtype)(
            grid,
            (THREADS,),
            (
                out.data,
                *shape,
                directions,
                y,
                np.int64(y.shape[1]),
                lengths.astype(dtype),
                xp.ascontiguousarray(prepared.lengths[:, first:end]),
                np.int64(len(lengths)),
                dtype.type(near_versine(prepared.kernel.length, y.shape[1], dtype)),
                np.int32(RECURSIONS[prepared.kernel.recursion]),
                dtype.type(prepared.kernel.bias),
                dtype.type(prepared.kernel.gain),
            ),
        )
        return
    if prepared.kernel.pair == "dot":
        blas.gemm(prepared.y[first:end], xp.ascontiguousarray(x).T, out.T)
        if formula != "t":
            profile = kernel("gram", "apply_profile", dtype, formula)
            profile(grid, (THREADS,), (out.data, *shape, *prepared.constants))
        return
    uncentred = _in_units(x, prepared.exponent)
    scaled = uncentred - prepared.centre
    blas.gemm(prepared.y[first:end], scaled.T, out.T)
    length, _ = unit_of(prepared.kernel.length)
    epsilon = float(np.finfo(dtype).eps)
    kernel("gram", "correct_distances", dtype, formula)(
        grid,
        (THREADS,),
        (
            out.data,
            *shape,
            uncentred,
            prepared.uncentred[first:end],
            np.int64(x.shape[1]),
            _squared_norms(scaled),
            prepared.norms[first:end],
            dtype.type(epsilon / TOLERANCE[dtype] / length),
            dtype.type(prepared.kernel.reach * length),
            dtype.type(8 * math.sqrt(x.shape[1]) * epsilon),
            *prepared.constants,
        ),
    )


def empty_matrix(rows: int, columns: int, dtype: Any) -> Any:
    """An array; CuPy's begin at multiples of 512 bytes anyway."""
    return xp.empty((rows, columns), dtype)


def gram_symmetric(prepared: Points, x: Any, out: Any) -> None:
    """out[i, j] = k(x_i, x_j), exactly symmetric; ``prepared`` was made of ``x``, with few coordinates."""
    gram_rows(prepared, x, 0, out)


def _in_units(x: Any, exponent: int) -> Any:
    """Coordinates times 2^-exponent, which is exact; refused where squared distances in this unit would overflow."""
    scaled = xp.ldexp(xp.ascontiguousarray(x), np.int32(-exponent))
    require_in_range(float(xp.abs(scaled).max()) if scaled.size else 0.0, x)
    return scaled


def _wrapped(x: Any) -> Any:
    """Coordinates modulo 1, in [-1/2, 1/2], without rounding; in C order."""
    return xp.ascontiguousarray(x - xp.rint(x))


def _squared_norms(x: Any) -> Any:
    return (x * x).sum(axis=1)  # einsum would be as many products of one row each
